"""What a person may write behind `vedette outbox`. No state."""

import argparse
from pathlib import Path
from typing import Final, TypeAlias

from agent.backlog import spans
from agent.backlog.places import SERVICE_STATE

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - it has no other name
_SINK: Final = "as `vedette outbox list` calls it: AGENT/SINK, or SINK alone where that is enough"
MEMORY: Final = (
    "What a running agent has in memory is not seen: results younger than its commit interval (a second), and more of "
    "them while its disk fails."
)


def add_state(parser: argparse.ArgumentParser) -> None:
    """Which state folder it is about."""
    parser.add_argument(
        "--state",
        type=Path,
        metavar="DIR",
        help="the agent's state folder; left out: the user's own (or $STATE_DIRECTORY), or, where that has no "
        f"outboxes, the service's {SERVICE_STATE}",
    )


def add_list(commands: Commands) -> argparse.ArgumentParser:
    """`vedette outbox list`."""
    one = commands.add_parser(
        "list",
        help="say what waits for each sink, since when, and whether an agent runs",
        description="Say what waits for each sink: how many records, when the frames of the oldest and the newest were "
        f"taken and how long they have been on disk (at least), what was rejected, what is damaged. {MEMORY}",
    )
    one.add_argument("--json", action="store_true", help="for programs: one JSON object")
    return one


def add_export(commands: Commands) -> argparse.ArgumentParser:
    """`vedette outbox export`."""
    one = commands.add_parser(
        "export",
        help="write the records that wait as JSON lines; nothing is taken out",
        description="Write records as JSON lines, the oldest first; nothing is taken out of the outbox. From a damaged "
        f"file, as much as can be read; the rest is counted on standard error. {MEMORY}",
    )
    one.add_argument("sink", metavar="SINK", help=f"{_SINK}; or the path of a file that was moved aside as damaged")
    part = one.add_mutually_exclusive_group()
    part.add_argument("--rejected", action="store_true", help="what the sink rejected, in place of what waits")
    part.add_argument("--damaged", action="store_true", help="what can be got out of damaged groups, in place of that")
    one.add_argument(
        "--to", type=Path, metavar="FILE", help="a new file, whole or not at all; left out: standard output"
    )
    return one


def add_replay(commands: Commands) -> argparse.ArgumentParser:
    """`vedette outbox replay`."""
    one = commands.add_parser(
        "replay",
        usage="%(prog)s [-h] [--state DIR] SINK (--rejected | --from OTHERSINK | FILE)",
        help="let records wait again, to be sent again",
        description="Let records wait at the end of a sink's queue, all of them or none, with their ids unchanged; "
        "those that wait already are not put there twice. A running agent sees them within 5 s. They count as new: "
        "max_age_hours begins again, and what is too much for max_mb gives way as when_full says.",
    )
    one.add_argument("sink", metavar="SINK", help=f"where they will wait, {_SINK}")
    source = one.add_mutually_exclusive_group(required=True)
    source.add_argument("--rejected", action="store_true", help="what this sink rejected; it leaves the rejected ones")
    source.add_argument(
        "--from", dest="other", metavar="OTHERSINK", help="a copy of what waits for another sink, configured or not"
    )
    source.add_argument(
        "file",
        type=Path,
        nargs="?",
        metavar="FILE",
        help="JSON lines, as `vedette outbox export` and a sink of type jsonl write them; or a damaged file that was "
        "moved aside, of which damaged groups are left out",
    )
    return one


def add_purge(commands: Commands) -> argparse.ArgumentParser:
    """`vedette outbox purge`."""
    one = commands.add_parser(
        "purge",
        help="throw records away, once you agree",
        description="Throw away what waits, or what was rejected or is damaged, in one go; it says how much that is, "
        "and asks. What the sink has in hand at that moment may still arrive.",
    )
    one.add_argument("sink", metavar="SINK", help=_SINK)
    one.add_argument("--older-than", type=spans.span_s, metavar="SPAN", help="only what has waited so long: 12h, 7d")
    one.add_argument("--camera", metavar="NAME", help="only the records of this camera")
    one.add_argument("--rejected", action="store_true", help="what the sink rejected, in place of what waits")
    one.add_argument("--damaged", action="store_true", help="damaged groups and files, in place of what waits")
    one.add_argument("--yes", action="store_true", help="do not ask")
    return one
