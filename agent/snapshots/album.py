"""Pictures for people in one folder: bounded by bytes, age, number and the room on the disk, the oldest dropped first.

They lie in FOLDER/CAMERA, named by their Caption; each file is written beside, synced, then renamed. In memory is an
index alone, made from the names at the start. A file with any other name is never touched. Folders that are removed
come back, and a disk that fails costs pictures, never the agent. Owner: the snapshots' thread; others read the counts.
"""

import contextlib
import errno
import logging
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from math import inf
from pathlib import Path
from typing import Final, TypeAlias

from agent import logs
from agent.clock import Clock
from agent.flow import Result
from agent.snapshots import caption, picture_files
from agent.snapshots.caption import Caption
from agent.snapshots.numbering import Numbers

_log = logging.getLogger(__name__)
MOST_PICTURES: Final = 50_000
"""The index has about 300 bytes for each."""
_TRUST_S: Final = 600.0
"""Pictures may be removed by others: before one is dropped for want of room, the folder is looked at again if that was
longer ago."""
_SAY_EVERY_S: Final = 600.0


_Key: TypeAlias = tuple[int, str, str]
"""Number, camera and name. Numbers give the order; two pictures have the same one only where files were brought in."""


class Loss(str, Enum):
    """Why a picture was not written, or is no longer there."""

    FULL = "full"
    """It gave way: for a newer one, or for room on the disk."""
    OLD = "old"
    LARGE = "large"
    """It alone has more bytes than all may have."""
    DISK = "disk"


@dataclass(frozen=True, slots=True)
class Limits:
    """What may lie in the folder at most."""

    size_bytes: float
    """As the files lie on the disk."""
    age_s: float = inf
    keep_free_bytes: float = 0.0
    """Of the filesystem."""
    pictures: int = MOST_PICTURES


@dataclass(slots=True)
class _Entry:
    """One picture in the index."""

    folder: Path
    caption: Caption
    size_bytes: int
    taken_s: float | None
    """Monotonic; None: in an earlier run."""

    @property
    def key(self) -> _Key:
        """By which it stands in the index."""
        return self.caption.number, self.folder.name, self.caption.name

    @property
    def files(self) -> list[Path]:
        """All that may belong to it."""
        return [self.folder / name for name in caption.files(self.caption.name)]


class Album:
    """The pictures of one agent."""

    def __init__(self, folder: Path, limits: Limits, *, clock: Clock, boot_id: str) -> None:
        self.written = 0
        """Pictures, by this run."""
        self.lost: Counter[Loss] = Counter(dict.fromkeys(Loss, 0))
        self._folder = folder
        self._limits = limits
        self._clock = clock
        self._boot_id = boot_id
        self._entries: dict[_Key, _Entry] = {}
        self._bytes = 0
        self._numbers = Numbers(folder / "next-number")
        self._place: tuple[int, int] | None = None
        """Which folder was looked into; None: it could not be."""
        self._began_s = self._looked_s = clock.now()
        self._failing = False
        self._damper = logs.Damper(_log.warning, clock.now, interval_s=_SAY_EVERY_S)

    def open(self) -> None:
        """Find what earlier runs have left; half written files go."""
        with contextlib.suppress(OSError):  # said when a picture is to be written there
            self._look()
        if self._entries:
            _log.info("pictures of earlier runs %s", logs.fields(count=len(self._entries), path=self._folder))
        self.tidy()

    def put(self, result: Result, forms: Mapping[str, bytes]) -> bool:
        """Write the picture of `result`; the oldest give way. False when it is lost, which is counted.

        `forms`: the content of each file, by the ending of its name.
        """
        size_bytes = sum(picture_files.foreseen(len(content)) for content in forms.values())
        if size_bytes > self._limits.size_bytes:
            self._lose(Loss.LARGE, f"a picture takes {size_bytes / 1e6:.1f} MB, more than all may; raise max_mb")
            return False
        try:
            entry = self._entry(result, size_bytes)
            self._make_room(size_bytes)
            self._write(entry, forms)
        except OSError as error:
            self._failing = True
            self._lose(Loss.DISK, f"a picture cannot be written into {self._folder}: {_sentence(error)}")
            return False
        if self._failing:
            _log.info("pictures are written again %s", logs.fields(path=self._folder))
        self._failing = False
        self.written += 1
        self.tidy()
        return True

    def _entry(self, result: Result, size_bytes: int) -> _Entry:
        """The next picture, and the folder that it goes into. Raises OSError."""
        folder = self._folder / result.camera
        is_new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        if is_new or picture_files.place_of(self._folder) != self._place:
            self._look()
        name = caption.caption_of(self._numbers.take(), result, self._boot_id)
        return _Entry(folder, name, size_bytes, result.captured_s)

    def _write(self, entry: _Entry, forms: Mapping[str, bytes]) -> None:
        """Write its files, or none of them. Raises OSError."""
        try:
            entry.size_bytes = sum(
                picture_files.write(entry.folder / (entry.caption.name + form), forms[form])
                for form in caption.FORMS
                if form in forms
            )
        except OSError:
            for path in entry.files:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            raise
        self._entries[entry.key] = entry
        self._bytes += entry.size_bytes

    def tidy(self) -> None:
        """Hold the limits where nothing new comes: ages grow, and others fill the disk."""
        if not self._entries:
            return
        try:
            self._make_room(0)
        except OSError as error:
            self._damper.note("tidy", f"old pictures in {self._folder} stay: {_sentence(error)}")

    def _make_room(self, size_bytes: int) -> None:
        """Drop what is in the way of so many bytes more. Raises OSError when there is still no room."""
        self._bound(size_bytes)
        if not self._limits.keep_free_bytes:
            return
        missing = self._limits.keep_free_bytes + size_bytes - shutil.disk_usage(self._folder).free
        if missing > self._bytes:  # others have filled the disk: without our pictures it would be too full still
            raise OSError(errno.ENOSPC, f"less than keep_free_mb ({self._limits.keep_free_bytes / 1e6:g}) is free")
        while missing > 0 and (entry := self._oldest) is not None:
            missing -= entry.size_bytes
            self._drop(entry, Loss.FULL)

    def _bound(self, size_bytes: int) -> None:
        """Hold the limits of bytes, number and age, with so many bytes more. Raises OSError."""
        if self._is_over(size_bytes) and self._clock.now() - self._looked_s > _TRUST_S:
            self._look()
        while (entry := self._oldest) is not None:
            if self._is_over(size_bytes):
                self._drop(entry, Loss.FULL)
            elif self._age_s(entry) > self._limits.age_s:
                self._drop(entry, Loss.OLD)
            else:
                return

    def _is_over(self, size_bytes: int) -> bool:
        over = self._bytes + size_bytes > self._limits.size_bytes
        return over or len(self._entries) + bool(size_bytes) > self._limits.pictures

    @property
    def _oldest(self) -> _Entry | None:
        return next(iter(self._entries.values()), None)

    def _age_s(self, entry: _Entry) -> float:
        """How old a picture is; one of an earlier run, by a clock that was not right, is at least so old."""
        now_s = self._clock.now()
        if entry.taken_s is not None:
            return now_s - entry.taken_s
        least_s = now_s - self._began_s
        if entry.caption.synced and self._clock.synchronized():
            return max(least_s, self._clock.wall() - entry.caption.taken_wall_s)
        return least_s

    def _look(self) -> None:
        """Make the index of what is there; what is half written goes. Raises OSError."""
        found: dict[_Key, _Entry] = {}
        for path in picture_files.find(self._folder):
            known = caption.parsed(path.name)
            if known is None:
                continue
            if known.half:
                path.unlink(missing_ok=True)
                continue
            entry = _Entry(path.parent, known.caption, 0, None)
            entry = found.setdefault(entry.key, entry)
            entry.size_bytes += picture_files.size_of(path)
        for key in found.keys() & self._entries.keys():
            found[key].taken_s = self._entries[key].taken_s
        self._entries = dict(sorted(found.items()))
        self._bytes = sum(entry.size_bytes for entry in found.values())
        self._numbers.resume(max((number for number, *_ in found), default=0))
        self._place, self._looked_s = picture_files.place_of(self._folder), self._clock.now()

    def _drop(self, entry: _Entry, loss: Loss) -> None:
        """Remove a picture. Raises OSError when it cannot be, and stays."""
        for path in entry.files:
            path.unlink(missing_ok=True)
        self.lost[loss] += 1
        del self._entries[entry.key]
        self._bytes -= entry.size_bytes

    def _lose(self, loss: Loss, sentence: str) -> None:
        self.lost[loss] += 1
        self._damper.note(loss.value, sentence)

    @property
    def held(self) -> int:
        """Pictures that are there."""
        return len(self._entries)

    @property
    def held_bytes(self) -> int:
        """What they take on the disk."""
        return self._bytes

    def __repr__(self) -> str:
        return f"<Album {self._folder} {self.held} pictures, {self.held_bytes} bytes>"


def _sentence(error: OSError) -> str:
    return f"{error.strerror}; pictures are dropped and counted until that is mended, results go on"
