"""A picture's name: its place in the order, when it was taken, and the way back to its result. No state.

`000000042-20260731T101500Z-1f0c2e5a-123456789-0` is the 42nd picture, taken at that time (UTC) by a frame whose result
has the id AGENT/CAMERA/1f0c2e5a-…/123456789/0. The number alone gives the order, whatever the clock says; the time is
for people, and `-unsynced` stands behind one that was not known to be right. The files of one picture:

    NAME.jpg         with boxes
    NAME.clean.jpg   as captured
    NAME.json        the result's record
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Final

from agent.flow import Result

BOXES: Final = ".jpg"
CLEAN: Final = ".clean.jpg"
RECORD: Final = ".json"
FORMS: Final = (RECORD, CLEAN, BOXES)
"""In the order in which they are written; removed in reverse: a picture that is there has its record beside it."""
BESIDE: Final = ".new"
"""Behind the name of a file that is being written."""
_TIME: Final = "%Y%m%dT%H%M%SZ"
_BOOT_LETTERS: Final = 8
_NAME: Final = re.compile(
    r"(?P<number>[0-9]{9,15})-(?P<time>[0-9]{8}T[0-9]{6}Z)(?P<unsynced>-unsynced)?"
    r"-(?P<boot>[0-9A-Za-z]{1,8})-(?P<seq>[0-9]{1,18})-(?P<revision>[0-9]{1,9})"
)
_FILE: Final = re.compile(rf"(?P<name>{_NAME.pattern})(?P<form>\.jpg|\.clean\.jpg|\.json)(?P<beside>\.new)?")


@dataclass(frozen=True, slots=True)
class Caption:
    """What a name says."""

    number: int
    taken_wall_s: float
    """Seconds since the epoch, whole ones."""
    synced: bool
    """Whether that time was known to be right."""
    boot: str
    """The first letters of the boot id."""
    seq: int
    revision: int

    @property
    def name(self) -> str:
        """The files' name, without its ending."""
        at = datetime.fromtimestamp(self.taken_wall_s, tz=timezone.utc)
        unsynced = "" if self.synced else "-unsynced"
        return f"{self.number:09d}-{at.strftime(_TIME)}{unsynced}-{self.boot}-{self.seq}-{self.revision}"


def caption_of(number: int, result: Result, boot_id: str) -> Caption:
    """The name of the picture of `result`, whose frame was taken in this boot."""
    boot = "".join(letter for letter in boot_id if letter.isascii() and letter.isalnum())[:_BOOT_LETTERS]
    wall_s, synced = float(int(result.captured_wall_s)), result.clock_synchronized
    return Caption(number, wall_s, synced, boot or "unknown", result.seq, result.revision)


@dataclass(frozen=True, slots=True)
class Known:
    """What the name of one of our files says."""

    caption: Caption
    half: bool
    """The agent was ended while it was written."""


def parsed(file_name: str) -> Known | None:
    """What the name of a file says; None: the file is not ours."""
    found = _FILE.fullmatch(file_name)
    if found is None:
        return None
    try:
        at = datetime.strptime(found["time"], _TIME).replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    seq, revision = int(found["seq"]), int(found["revision"])
    caption = Caption(int(found["number"]), at.timestamp(), not found["unsynced"], found["boot"], seq, revision)
    return Known(caption, bool(found["beside"])) if caption.name == found["name"] else None


def files(name: str) -> Iterator[str]:
    """The names of all files that may belong to one picture, in the order in which they are removed."""
    for form in reversed(FORMS):
        yield name + form
        yield name + form + BESIDE
