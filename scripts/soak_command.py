"""The agent for hours among faults of everything around it: does it grow, and does it lose anything?

    scripts/soak --hours N [--seed S] [--json FILE] [--picture FILE] [--keep FOLDER] [--agent COMMAND]

A real agent process with two cameras (RTSP from a real server, a video file), both engines (the shipped model, the
emulated API over a link that changes), a real MQTT broker over TLS, a file of results, snapshots, back-fill, events and
a page with viewers. The seed draws which fault strikes when. docs/soak.md says what is measured, and how to read it.
Ends with 1 when a bar is missed, with 2 when none is and the run was too short to tell for one of them.
"""

import argparse
import json
import logging
import os
import platform
import shlex
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

from soak import surroundings, verdict  # noqa: E402 - the checkout goes first on the path
from soak.run import Plan, as_json, soak  # noqa: E402
from soak.subject import PRODUCT  # noqa: E402
from soak.verdict import Seen, Standing  # noqa: E402

_HELD, _FAILED, _OPEN = 0, 1, 2


def main() -> int:
    """Run it; the exit code."""
    arguments = _arguments()
    if reason := surroundings.lacks():
        sys.stderr.write(f"{reason}\n")
        return _OPEN
    logging.getLogger("agent").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="vedette-soak-") as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        program = shlex.split(arguments.agent) if arguments.agent else PRODUCT
        plan = Plan(folder.resolve(), arguments.hours * 3600, seed=arguments.seed, program=program, tell=_tell)
        seen = soak(plan)
    lines = verdict.judge(seen)
    if arguments.json:
        arguments.json.write_text(json.dumps(as_json(plan, seen, lines), indent=1) + "\n")
    if arguments.picture:
        from soak import picture  # a second for matplotlib, and no need of it otherwise

        picture.draw(seen, arguments.picture)
    sys.stdout.write(f"{_about(arguments, seen)}\n{verdict.table(lines)}\n")
    standings = {line.standing for line in lines}
    return _FAILED if Standing.FAILED in standings else _OPEN if Standing.OPEN in standings else _HELD


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, required=True, help="how long; fewer than 0.5 tell only large leaks")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="all samples, the timetable and the verdict")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="a chart, .png or .svg")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave logs and results here, a new folder")
    parser.add_argument("--agent", metavar="COMMAND", help="another vedette than this checkout's, as a command line")
    return parser.parse_args()


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _about(arguments: argparse.Namespace, seen: Seen) -> str:
    """Machine, run, and what it cost."""
    struck = sum(bool(slot.fault) for slot in seen.timetable.slots)
    first, last = seen.samples[0], seen.samples[-1]
    share = (last.holding.cpu_s - first.holding.cpu_s) / (last.at_s - first.at_s)
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}, {' '.join(platform.libc_ver())}, "
        f"Python {platform.python_version()}; {arguments.hours:g} h, seed {arguments.seed}: {struck} faults, "
        f"{len(seen.samples)} samples, {len(seen.calm())} of them count; the agent took {share:.0%} of a core"
    )


if __name__ == "__main__":
    sys.exit(main())
