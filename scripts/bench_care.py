"""What each policy of `care` does to a board without a fan, as a table.

    scripts/bench-care [--around 45 55] [--minutes 30]

The board is a model (tests/board.py): heat follows work, and a folder stands in for /sys. What runs on it is the
agent's own code: camera loop, router, lanes, care. Its time is a clock's, so half an hour takes seconds, and the
figures are the same on every machine. The afternoon is warm as given; then comes a night of 15 °C. The hosted API,
where there is one, answers three of four pictures.
"""

import argparse
import logging
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

from board import FPS, SLOWS_C, Log, Trial  # noqa: E402 - the checkout goes first on the path

from agent.care.relief import Policy  # noqa: E402
from agent.care_options import CareConfig  # noqa: E402

NIGHT_C, NIGHT_S = 15.0, 1200
SETTLED_S = 300
"""After so long the board has settled, and so has its care."""
HEAD = ("around", "engines", "`policy`", "`hot_c`", "hottest", "at the end", f"above {SLOWS_C:.0f} °C", "answered")
HEAD += ("device runs", "longest run", "all frames back")
CASES = (
    (False, Policy.NONE, None),
    (False, Policy.LOWER_FPS, None),
    (False, Policy.LOWER_FPS, 77.0),
    (True, Policy.NONE, None),
    (True, Policy.SHIFT_TO_CLOUD, 77.0),
    (True, Policy.BOTH, 77.0),
)
"""Whether there is a cloud, the policy, and hot_c."""


def main() -> None:
    """Run all, and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--around", type=float, nargs="+", default=[45.0, 55.0], metavar="C", help="around the board")
    parser.add_argument("--minutes", type=int, default=30, help="of the afternoon (default %(default)s)")
    chosen = parser.parse_args()
    logging.disable()
    _print(HEAD)
    _print(("---",) * len(HEAD))
    for around_c in chosen.around:
        for cloud, policy, hot_c in CASES:
            options = CareConfig(policy=policy, hot_c=hot_c)
            _print(row(options, around_c, 60 * chosen.minutes, cloud=cloud))


def _print(cells: tuple[str, ...]) -> None:
    sys.stdout.write(f"| {' | '.join(cells)} |\n")
    sys.stdout.flush()


def row(options: CareConfig, around_c: float, afternoon_s: int, *, cloud: bool) -> tuple[str, ...]:
    """One afternoon and a night, in the columns of HEAD."""
    with tempfile.TemporaryDirectory(prefix="vedette-care-") as folder:
        trial = Trial(Path(folder), options, lambda s: around_c if s < afternoon_s else NIGHT_C, cloud=cloud)
        log = trial.run(afternoon_s + NIGHT_S)
    return (
        f"{around_c:.0f} °C",
        "both" if cloud else "device",
        f"`{options.policy.value}`",
        f"{options.hot_c:.0f}" if options.hot_c else f"{SLOWS_C + 2:.0f}, left out",
        f"{max(log.celsius):.1f} °C",
        f"{log.celsius[afternoon_s]:.1f} °C",
        f"{sum(celsius >= SLOWS_C for celsius in log.celsius) / 60:.0f} min",
        f"{_rate(log.answered, afternoon_s):.2f} of {FPS:.0f} fps",
        f"{_rate(log.runs, afternoon_s):.2f} a second",
        f"{1000 * max(log.run_s):.0f} ms",
        _back(log, afternoon_s),
    )


def _rate(counts: list[int], afternoon_s: int) -> float:
    """A second, once it has settled."""
    return (counts[afternoon_s] - counts[SETTLED_S]) / (afternoon_s - SETTLED_S)


def _back(log: Log, afternoon_s: int) -> str:
    """After how much of the night every frame was used again."""
    last_s = max((at_s for at_s, limit in log.limits if limit is None), default=0.0)
    return f"{(last_s - afternoon_s) / 60:.0f} min" if last_s > afternoon_s else "none held"


if __name__ == "__main__":
    main()
