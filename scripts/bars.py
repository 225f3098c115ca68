"""Whether the router still does what it is meant to, on simulated links: each acceptance bar beside what was measured.

    scripts/bars                    the five made-up scenarios
    scripts/bars --recorded DIR     also ten recorded ones, from captures that are not part of this project

The camera gives ten frames a second, an on-device run takes 80 ms, the seed is 1. DIR holds one NumPy archive for each
name in RECORDED: `pk`, packets of 1500 bytes in each 10 ms; or `bytes_bin`, bytes in each 10 ms, and the round trips
`rtt_ms` at the times `rtt_t`, seconds. Ends with 1 when a bar is missed, with 2 when it cannot be measured.
"""

import argparse
import math
import statistics
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from agent.budget import Budget, Caps  # noqa: E402 - the checkout goes first on the path
from agent.clock import SystemClock  # noqa: E402
from agent.errors import AgentError  # noqa: E402
from agent.simulator import workers  # noqa: E402
from agent.simulator.agenda import AgendaClock  # noqa: E402
from agent.simulator.bound import bound  # noqa: E402
from agent.simulator.conditions import Camera, Conditions  # noqa: E402
from agent.simulator.product import Product  # noqa: E402
from agent.simulator.scenario import RTT_STEP_S, Scenario, even_rtt, synthetic  # noqa: E402
from agent.simulator.score import Score, score  # noqa: E402
from agent.simulator.table import NOTHING, pooled  # noqa: E402
from agent.simulator.terminal import say  # noqa: E402
from agent.simulator.world import World  # noqa: E402
from agent.words import table  # noqa: E402

SEED, FPS, LOCAL_S = 1, 10.0, 0.080
DEADLINES_S = (0.3, 0.5, 1.0)
RECORDED = {
    "tmo-lte": 75.0,
    "vzw-lte": 75.0,
    "orange-highway": 70.0,
    "orange-rural": 70.0,
    "att-lte-drive16": 80.0,
    "att-lte-drive": 80.0,
    "vzw-evdo-drive": 140.0,
    "tmo-umts-drive": 130.0,
    "5g-drive-proxy": 70.0,
}
"""The captures and their median round trips, ms; the last one brings its own."""
LEAST_RTT_MS = 20.0
TUNNELS = ("orange-highway", "highway+tunnels", ((40, 45), (80, 90), (130, 150), (190, 250), (270, 277)))
"""One of them once more, with outages in it."""
MOSTLY_CLOUD = 0.6
CAPS_MB_PER_MIN = (2.0, 6.0, 15.0)
CAPPED_DEADLINE_S = 1.0
MINUTES_PER_DAY = 1440.0
MOST_JOBS = 64


@dataclass(frozen=True)
class Cell:
    """The router in one scenario with one deadline."""

    scenario: str
    deadline_s: float
    ratio: float
    """Utility over the bound."""
    score: Score
    decisions_s: list[float]


Measure: TypeAlias = Callable[[Sequence[Cell]], float | None]
"""None: there is nothing to measure."""


@dataclass(frozen=True)
class Bar:
    """What is measured over some cells, and what it must be, for each deadline; None: nothing is asked of it."""

    what: str
    measure: Measure
    allowed: tuple[float | None, float | None, float | None]
    least: bool = False
    """The measure must be at least that; else at most."""
    digits: int = 3

    def fine(self, measured: float, allowed: float) -> bool:
        return measured >= allowed if self.least else measured <= allowed  # NaN is neither


def recorded(folder: Path) -> list[Scenario]:
    absent = [f"{name}.npz" for name in RECORDED if not (folder / f"{name}.npz").is_file()]
    if absent:
        raise AgentError(f"--recorded {folder} lacks {', '.join(absent)}; --help says what they hold")
    found = [capture(folder / f"{name}.npz", name, rtt_ms) for name, rtt_ms in RECORDED.items()]
    source, name, tunnels = TUNNELS
    plain = next(scenario for scenario in found if scenario.name == source)
    return [*found, replace(plain, name=name).with_outages(tunnels)]


def capture(path: Path, name: str, rtt_ms: float) -> Scenario:
    try:
        return read(path, name, rtt_ms)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise AgentError(f"{path} is no capture: {error}; --help says what it holds") from error


def read(path: Path, name: str, rtt_ms: float) -> Scenario:
    with np.load(path) as archive:
        if "pk" in archive:
            return Scenario(name, archive["pk"].astype(float) * 1500.0, even_rtt(rtt_ms))
        capacity = archive["bytes_bin"].astype(float)
        at_s = np.arange(math.ceil(len(capacity) / 10) + 1) * RTT_STEP_S
        round_trips = np.interp(at_s, archive["rtt_t"], np.maximum(archive["rtt_ms"], LEAST_RTT_MS)) / 1000
        return Scenario(name, capacity, round_trips)


def run(scenario: Scenario, deadline_s: float) -> Cell:
    camera, conditions = Camera(FPS, deadline_s, LOCAL_S), Conditions(scenario, SEED, FPS)
    decisions_s: list[float] = []

    def timed(world: World) -> Product:
        product = Product(world, clock=SystemClock())
        product.decide_s = decisions_s
        return product

    result = score(World(conditions, camera, timed).run())
    return Cell(scenario.name, deadline_s, result.utility / bound(conditions, camera), result, decisions_s)


def overshoot(scenario: Scenario, cap_mb_per_min: float) -> float:
    """What a router with a data cap sends more than it may, in minutes of its allowance."""
    caps = Caps(data_mb_per_day=cap_mb_per_min * MINUTES_PER_DAY)
    camera, conditions = Camera(FPS, CAPPED_DEADLINE_S, LOCAL_S), Conditions(scenario, SEED, FPS)
    with tempfile.TemporaryDirectory() as folder:

        def capped(world: World) -> Product:
            clock = AgendaClock(world.agenda)
            return Product(world, budget=Budget(caps, Path(folder) / "budget", clock=clock, boot_id="simulated"))

        sent_mb_per_min = score(World(conditions, camera, capped).run()).mb_per_min
    return (sent_mb_per_min / cap_mb_per_min - 1) * scenario.seconds / 60


def each(figure: Callable[[Score], float]) -> Callable[[Sequence[Cell]], list[float]]:
    return lambda cells: [figure(cell.score) for cell in cells]


def over(summary: Callable[[list[float]], float], figure: Callable[[Score], float]) -> Measure:
    return lambda cells: summary(each(figure)(cells))


def ratio(summary: Callable[[Iterable[float]], float]) -> Measure:
    return lambda cells: summary([cell.ratio for cell in cells])


def after_outages(summary: Callable[[Iterable[float]], float]) -> Measure:
    def measure(cells: Sequence[Cell]) -> float | None:
        times_s = [seconds for cell in cells for seconds in cell.score.returns_s]
        return summary(times_s) if times_s else None

    return measure


def overhead(cells: Sequence[Cell]) -> float | None:
    return max((c.score.overhead_share for c in cells if c.score.cloud_share >= MOSTLY_CLOUD), default=None)


def good_wifi(cells: Sequence[Cell]) -> float:
    return max(cell.score.switches_per_min for cell in cells if cell.scenario == "wifi-good*")


def gap(cells: Sequence[Cell]) -> float:
    return max(cell.score.longest_gap_s - cell.deadline_s for cell in cells) * 1000


def calibration(cells: Sequence[Cell]) -> float | None:
    return max((bucket.error for bucket in pooled([cell.score for cell in cells])), default=None)


def decision_ms(summary: Callable[[list[float]], float]) -> Measure:
    return lambda cells: 1000 * summary([seconds for cell in cells for seconds in cell.decisions_s])


def p99(values: Iterable[float]) -> float:
    return float(np.percentile(list(values), 99))


ALL_FIFTEEN = (
    Bar("utility over the bound: median", ratio(statistics.median), (0.945, 0.95, 0.95), least=True),
    Bar("utility over the bound: worst", ratio(min), (0.90, 0.91, 0.91), least=True),
)
SYNTHETIC = (
    Bar("utility over the bound: median", ratio(statistics.median), (0.96, 0.955, 0.95), least=True),
    Bar("utility over the bound: worst", ratio(min), (0.92, 0.94, 0.935), least=True),
)
EVERY = (
    Bar("share of frames on time: worst", over(min, lambda s: s.on_time), (0.999,) * 3, least=True, digits=4),
    Bar("frames missed after a link death, s", over(max, lambda s: s.missed_s or 0.0), (0.0,) * 3),
    Bar(
        "return after an outage: median, s",
        after_outages(statistics.median),
        (2.0, 1.5, 1.5),
        digits=2,
    ),
    Bar("return after an outage: worst, s", after_outages(max), (None, 5.0, 5.0), digits=2),
    Bar("wasted bytes: mean", over(statistics.mean, lambda s: s.wasted_share), (0.45, 0.15, 0.06)),
    Bar("switches per minute: mean", over(statistics.mean, lambda s: s.switches_per_min), (10, 20, 25), digits=1),
    Bar("switches per minute: worst", over(max, lambda s: s.switches_per_min), (20, 35, 60), digits=1),
    Bar("switches per minute, wifi-good*", good_wifi, (2, 2, 2), digits=1),
    Bar("unused probes and dials, mostly cloud: worst", overhead, (0.02, 0.01, 0.01), digits=4),
    Bar("p off the share on time: worst", calibration, (0.10,) * 3),
    Bar("longest gap beyond the deadline, ms", gap, (1000 / FPS,) * 3, digits=0),
    Bar("one decision: median, ms", decision_ms(statistics.median), (1.0,) * 3),
    Bar("one decision: mean, ms", decision_ms(statistics.mean), (1.0,) * 3),
    Bar("one decision: p99, ms", decision_ms(p99), (None,) * 3),
)


def judge(bars: Sequence[Bar], cells: Sequence[Cell]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for bar in bars:
        row = [bar.what]
        for deadline_s, allowed in zip(DEADLINES_S, bar.allowed, strict=True):
            measured = bar.measure([cell for cell in cells if cell.deadline_s == deadline_s])
            row += verdict(bar, measured, allowed)
        rows.append(tuple(row))
    return rows


def verdict(bar: Bar, measured: float | None, allowed: float | None) -> tuple[str, str]:
    if measured is None:
        return NOTHING, ""
    shown = f"{measured:.{bar.digits}f}"
    if allowed is None:
        return shown, ""
    sign = ">=" if bar.least else "<="
    return shown, f"{sign} {allowed:g} {'ok' if bar.fine(measured, allowed) else 'FAILED'}"


def cap_rows(scenarios: Sequence[Scenario], pool: ProcessPoolExecutor) -> list[tuple[str, ...]]:
    """A row for each cap: the scenario that overshoots most."""
    rows: list[tuple[str, ...]] = []
    for cap_mb_per_min in CAPS_MB_PER_MIN:
        minutes = max(pool.map(overshoot, scenarios, [cap_mb_per_min] * len(scenarios)))
        name = f"data cap {cap_mb_per_min:g} MB/min, 1 s: overshoot, minutes"
        rows.append((name, f"{minutes:.2f}", f"<= 1 {'ok' if minutes <= 1 else 'FAILED'}"))
    return rows


def cells_table(cells: Sequence[Cell]) -> list[str]:
    head = ("scenario", "deadline", "of bound", "on time", "cloud", "MB/min", "waste", "probes", "switch", "flip")
    rows = [
        (
            cell.scenario,
            f"{cell.deadline_s * 1000:g}",
            f"{cell.ratio:.4f}",
            f"{cell.score.on_time:.4f}",
            f"{cell.score.cloud_share:.3f}",
            f"{cell.score.mb_per_min:.1f}",
            f"{cell.score.wasted_share:.3f}",
            f"{cell.score.overhead_share:.4f}",
            f"{cell.score.switches_per_min:.1f}",
            f"{cell.score.flips_per_min:.0f}",
        )
        for cell in cells
    ]
    return table(head, rows, left=(0,))


def count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= MOST_JOBS):
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: a whole number, 1 to {MOST_JOBS}")
    return int(text)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").strip(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ", ".join(f"{name}.npz" for name in RECORDED)
    parser.add_argument("--recorded", type=Path, metavar="DIR", help=f"ten scenarios more, from {names}")
    parser.add_argument("--jobs", type=count, default=2, metavar="N", help="processes (default %(default)s)")
    parser.add_argument("--cells", action="store_true", help="also print every scenario with every deadline")
    options = parser.parse_args()
    try:
        with workers.orderly():
            return measure_all(options)
    except AgentError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def measure_all(options: argparse.Namespace) -> int:
    made_up = synthetic(SEED)
    scenarios = [*(recorded(options.recorded) if options.recorded else ()), *made_up]
    with workers.pool(options.jobs) as pool:
        draws = [(scenario, deadline_s) for scenario in scenarios for deadline_s in DEADLINES_S]
        cells = list(pool.map(run, *zip(*draws, strict=True)))
        caps = cap_rows(scenarios, pool)
    names = {scenario.name for scenario in made_up}
    own = [cell for cell in cells if cell.scenario in names]
    tables = [("the five made-up scenarios", [*judge(SYNTHETIC, own), *judge(EVERY, own)])]
    if options.recorded:
        tables.append(("all fifteen", [*judge(ALL_FIFTEEN, cells), *judge(EVERY, cells)]))
    tables[-1][1].extend((*row, "", "", "", "") for row in caps)
    told = [*cells_table(cells), ""] if options.cells else []
    for name, rows in tables:
        told += table((name, "300 ms", "", "500 ms", "", "1 s", ""), rows, left=(0,))
    say("\n".join(told))
    return int(any("FAILED" in cell for _, rows in tables for row in rows for cell in row))


if __name__ == "__main__":
    sys.exit(main())
