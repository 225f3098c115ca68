"""Faults of cameras and of what reads them: how soon the agent notices, and how soon frames come again.

    scripts/cameras [--seed N] [--part] [CASE...]

Without a case, all of them, one after the other: about twenty minutes; --part is what the test run does. Ends with 1
when a fault was noticed late or not at all, frames did not come again in time, one came twice or was too old, something
was left behind, or the other cameras were disturbed. docs/cameras.md says what the cases are.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests"), str(REPOSITORY / "tests" / "real")]

from cameras.finding import Finding, World, table  # noqa: E402 - the checkout goes first on the path
from cameras.suite import CASES, lacks  # noqa: E402
from cameras.trial import Missed  # noqa: E402


def main() -> int:
    """Run what was asked for; the exit code."""
    arguments = _arguments()
    findings: list[Finding] = []
    with tempfile.TemporaryDirectory(prefix="vedette-cameras-") as folder:
        for name in arguments.case or list(CASES):
            findings += _run(name, Path(folder), arguments)
    sys.stdout.write(table(findings) + "\n")
    return int(not findings or any(finding.faults for finding in findings))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*", choices=[*CASES, []], metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", action="store_true", help="as in the test run: two minutes in all")
    return parser.parse_args()


def _run(name: str, folder: Path, arguments: argparse.Namespace) -> list[Finding]:
    case, begun_s = CASES[name], time.monotonic()
    if reason := lacks(case):
        sys.stdout.write(f"{name}: not run; {reason}\n")
        return []
    home = folder / name
    home.mkdir()
    try:
        findings = (case.part if arguments.part else case.full)(World(home, arguments.seed))
    except Missed as missed:
        findings = [Finding(name, faults=[str(missed)])]
    faults = [fault for finding in findings for fault in finding.faults]
    sys.stdout.write("\n    ".join([f"{name}: {time.monotonic() - begun_s:.0f} s", *faults[:5]]) + "\n")
    sys.stdout.flush()
    return findings


if __name__ == "__main__":
    sys.exit(main())
