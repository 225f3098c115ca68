"""Pictures on disk that wait for a second look: bounded by bytes, age and number, the oldest dropped first.

One file each, written beside, synced, then renamed; its name is its number and its next step. In memory is an index
alone. A file that is torn is dropped at the start, or when it is read. A disk that fails costs pictures, never the
agent. Owner: the back-fill's thread; the counts are read by others.
"""

import logging
import os
import re
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from agent import logs
from agent.backfill import kept
from agent.backfill.kept import Kept
from agent.clock import Clock
from agent.folder import make_folder, write_whole
from agent.stamp import Stamp, elapsed_s

_log = logging.getLogger(__name__)
MOST_PICTURES: Final = 20_000
"""The index has about 200 bytes for each."""
_BESIDE: Final = ".new"
_NAME: Final = re.compile(r"(?P<number>\d{12})\.(?P<step>ask|give|new)")


class Step(str, Enum):
    """What a picture waits for: the ending of its file's name."""

    ASK = "ask"
    """The hosted model's answer."""
    GIVE = "give"
    """To become a training image; its correction is out."""

    @property
    def reached(self) -> str:
        """What it is when that is done: the word of counters and logs."""
        return "corrected" if self is Step.ASK else "given"


class Loss(str, Enum):
    """Why a picture was dropped."""

    FULL = "full"
    OLD = "old"
    TORN = "torn"
    DISK = "disk"
    FAILED = "failed"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be kept at most."""

    size_bytes: int
    age_s: float
    pictures: int = MOST_PICTURES


@dataclass(slots=True)
class Entry:
    """One picture in the index."""

    number: int
    step: Step
    size_bytes: int
    """Of the picture; the file has a line more, which counts as well."""
    file_bytes: int
    taken: Stamp
    failures: int = 0
    """Requests with it that failed, in this run."""

    @property
    def name(self) -> str:
        """The file's."""
        return f"{self.number:012d}.{self.step.value}"


class Keep:
    """The pictures in one folder."""

    def __init__(self, folder: Path, limits: Limits, *, clock: Clock, boot_id: str) -> None:
        self.kept = 0
        """Pictures that were put in, by this run."""
        self.lost: Counter[Loss] = Counter(dict.fromkeys(Loss, 0))
        self.boot_id = boot_id
        self._folder = folder
        self._limits = limits
        self._clock = clock
        self._entries: dict[Step, dict[int, Entry]] = {step: {} for step in Step}
        """By number, so that the first of each step is its oldest."""
        self._bytes = 0
        self._next = 1
        self._damper = logs.Damper(_log.warning, clock.now)

    def open(self) -> None:
        """Find what earlier runs have left; what is torn goes."""
        try:
            make_folder(self._folder, 0o700)
            found = sorted(path for path in self._folder.iterdir() if path.is_file())
        except OSError as error:
            self._say(error)
            return
        for path in found:
            self._take_in(path)
        self._bound()
        if self.waiting:
            detail = logs.fields(count=self.waiting, path=self._folder)
            _log.info("pictures of an earlier run wait for the hosted model %s", detail)

    def _take_in(self, path: Path) -> None:
        known = _NAME.fullmatch(path.name)
        if known is None:
            return
        self._next = max(self._next, int(known["number"]) + 1)
        try:
            self._add(_entry(path, int(known["number"]), known["step"]))
        except OSError as error:
            self._note_disk(error)
        except kept.Torn as error:
            self._note_torn(path, error)

    def put(self, picture: Kept) -> bool:
        """Keep `picture`; the oldest give way. False when the disk does not take it, which is counted."""
        content = kept.pack(picture)
        entry = Entry(self._next, Step.ASK, len(picture.picture.data), len(content), picture.stamp)
        self._next += 1
        path = self._folder / entry.name
        try:
            make_folder(self._folder, 0o700)
            write_whole(path, content, beside=path.with_suffix(_BESIDE), mode=0o600)
        except OSError as error:
            self._note_disk(error)
            self._remove(path.with_suffix(_BESIDE))
            return False
        self.kept += 1
        self._add(entry)
        self._bound()
        return True

    def oldest(self, step: Step) -> Entry | None:
        """The picture that has waited longest for `step`. What is too old is dropped on the way."""
        self._bound()
        return next(iter(self._entries[step].values()), None)

    def read(self, entry: Entry) -> Kept | None:
        """The picture itself; None when it cannot be read, and is dropped."""
        path = self._folder / entry.name
        try:
            return kept.unpack(path.read_bytes())
        except OSError as error:
            self._note_disk(error)
            self._forget(entry)
        except kept.Torn as error:
            self._note_torn(path, error)
            self._forget(entry)
        return None

    def advance(self, entry: Entry, step: Step | None) -> None:
        """The picture's step is done: it waits for another, or with None for nothing more."""
        if not self._has(entry):
            return
        if step is None:
            self._forget(entry)
            return
        path = self._folder / entry.name
        self._take_out(entry)
        entry.step = step
        self._add(entry)
        try:
            path.rename(self._folder / entry.name)
        except OSError as error:
            self._note_disk(error)
            self._forget(entry)

    def drop(self, entry: Entry, loss: Loss) -> None:
        """The picture is of no use any more."""
        if self._has(entry):
            self.lost[loss] += 1
            self._forget(entry)

    def age_s(self, taken: Stamp) -> float:
        """How old a picture is, at least."""
        return elapsed_s(taken, self._clock, self.boot_id)

    @property
    def waiting(self) -> int:
        """Pictures that are kept now."""
        return sum(len(entries) for entries in self._entries.values())

    def _has(self, entry: Entry) -> bool:
        return entry.number in self._entries[entry.step]

    def _add(self, entry: Entry) -> None:
        self._entries[entry.step][entry.number] = entry
        self._bytes += entry.file_bytes

    def _take_out(self, entry: Entry) -> None:
        del self._entries[entry.step][entry.number]
        self._bytes -= entry.file_bytes

    def _bound(self) -> None:
        """Hold the limits, from the oldest on."""
        while self.waiting:
            firsts = [next(iter(entries.values())) for entries in self._entries.values() if entries]
            entry = min(firsts, key=lambda first: first.number)
            if self._bytes > self._limits.size_bytes or self.waiting > self._limits.pictures:
                self.drop(entry, Loss.FULL)
            elif self.age_s(entry.taken) > self._limits.age_s:
                self.drop(entry, Loss.OLD)
            else:
                return

    def _forget(self, entry: Entry) -> None:
        self._take_out(entry)
        self._remove(self._folder / entry.name)

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self._damper.note("remove", f"{path} cannot be removed: {error.strerror}; remove it by hand")

    def _note_disk(self, error: OSError) -> None:
        self.lost[Loss.DISK] += 1
        self._say(error)

    def _say(self, error: OSError) -> None:
        cure = "free some space, and check the rights of the state folder"
        self._damper.note("disk", f"a doubtful frame cannot be kept in {self._folder}: {error.strerror}; {cure}")

    def _note_torn(self, path: Path, error: kept.Torn) -> None:
        self.lost[Loss.TORN] += 1
        _log.warning("a kept picture is damaged and was dropped %s", logs.fields(path=path, cause=error))
        self._remove(path)

    def __repr__(self) -> str:
        return f"<Keep {self._folder} {self.waiting} pictures, {self._bytes} bytes>"


def _entry(path: Path, number: int, step: str) -> Entry:
    """What the index says of a file, by its first line and its length. Raises OSError, Torn."""
    if f".{step}" == _BESIDE:
        raise kept.Torn("the agent was ended while it was written")
    with path.open("rb") as file:
        line = file.readline(kept.LONGEST_LINE_BYTES)
        file_bytes = os.fstat(file.fileno()).st_size
    size_bytes, taken = kept.head_of(line.removesuffix(b"\n"))
    if file_bytes != len(line) + size_bytes:
        raise kept.Torn("it has another length than it states")
    return Entry(number, Step(step), size_bytes, file_bytes, taken)
