"""Faults over the agent's outbox, courier, supervisor and sinks: what is lost, what comes twice, how often it connects.

    scripts/faults [--seed N] [--part] [CASE...]

Without a case, all of them, one after the other; --part is what the test run does. docs/faults.md says what they are.
The seed draws moments, places and kinds of fault; what the machine's own timing does is not in it. Ends with 1 when
something was lost, damaged, came twice outside the in-flight window, or there were too many attempts to connect.
"""

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

from faults import shim  # noqa: E402 - the checkout goes first on the path
from faults.driven import drivers  # noqa: E402
from faults.suite import CASES  # noqa: E402
from faults.table import Row, World, table  # noqa: E402
from real import broker  # noqa: E402

_MOST_SHOWN = 5


def main() -> int:
    """Run what was asked for; the exit code."""
    arguments = _arguments()
    logging.getLogger("agent").setLevel(logging.CRITICAL)  # the outboxes that are opened here, hundreds of times
    names = arguments.case or list(CASES)
    with tempfile.TemporaryDirectory(prefix="vedette-faults-") as folder:
        rows = [row for name in names if (row := _run(name, Path(folder), arguments)) is not None]
    sys.stdout.write(table(rows) + "\n")
    return int(not rows or any(row.faults for row in rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*", choices=[*CASES, []], metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", action="store_true", help="as in the test run: a minute in all, not an hour")
    return parser.parse_args()


def _run(name: str, folder: Path, arguments: argparse.Namespace) -> Row | None:
    case, begun_s = CASES[name], time.monotonic()
    lacks = broker.REASON if case.needs_broker and broker.MISSING else ""
    lacks = lacks or (shim.REASON if case.needs_library and shim.MISSING else "")
    if lacks:
        sys.stdout.write(f"{name}: not run; {lacks}\n")
        return None
    home = folder / name
    home.mkdir()
    library = shim.compiled(home) if case.needs_library else None
    with drivers(library) as them:
        row = (case.part if arguments.part else case.full)(World(home, them, arguments.seed))
    _tell(name, row, time.monotonic() - begun_s)
    return row


def _tell(name: str, row: Row, took_s: float) -> None:
    lines = [f"{name}: {took_s:.0f} s", *row.notes, *row.faults[:_MOST_SHOWN]]
    more = len(row.faults) - _MOST_SHOWN
    sys.stdout.write("\n    ".join([*lines, *([f"and {more} more"] if more > 0 else [])]) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
