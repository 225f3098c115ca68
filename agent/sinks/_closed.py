"""The closed files beside the active one: their names, and which of them stay. Owned by the thread of the sink.

Beside `results.jsonl` lie `results.00000001-20260731T101500Z.jsonl`, or the same with `.gz`. The number alone gives the
order: it is one more than the highest that is there, whatever the clock says. The time at which the file was closed is
for people, and keeps names apart where files are collected and removed. All sort before the active file.
"""

import contextlib
import os
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

GZIP: Final = ".gz"
UNFINISHED: Final = ".gz.new"
_SIZE_AT_END: Final = struct.Struct("<I")
"""How a gzip file ends: the size of what it holds, modulo 2**32."""


@dataclass(frozen=True, slots=True)
class Closed:
    """One closed file; under way from plain to compressed, it may be there in both forms."""

    number: int
    path: Path
    """Of the plain form, there or not."""
    forms: tuple[str, ...]
    """What is there: "", GZIP, UNFINISHED."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """All that belongs to it."""
        return tuple(with_ending(self.path, form) for form in self.forms)


class ClosedFiles:
    """All closed files of one active file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        stem, suffix = re.escape(path.stem), re.escape(path.suffix)
        self._pattern = re.compile(rf"({stem}\.(\d{{8,}})-\d{{8}}T\d{{6}}Z{suffix})(\.gz|\.gz\.new|)")
        self._last = 0

    @property
    def next_number(self) -> int:
        """That of the active file, once it is closed."""
        return self._last + 1

    def closed(self) -> list[Closed]:
        """What is there, the oldest first. Raises OSError."""
        forms: dict[str, list[str]] = {}
        numbers: dict[str, int] = {}
        for path in self._path.parent.iterdir():
            if (found := self._pattern.fullmatch(path.name)) is not None:
                forms.setdefault(found[1], []).append(found[3])
                numbers[found[1]] = int(found[2])
        every = [Closed(numbers[name], self._path.with_name(name), tuple(sorted(forms[name]))) for name in numbers]
        every.sort(key=lambda each: (each.number, each.path))
        self._last = max([self._last, *numbers.values()])
        return every

    def next_path(self, wall_s: float) -> Path:
        """A name that no file has yet. Raises OSError."""
        self.closed()
        at = datetime.fromtimestamp(wall_s, tz=timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        return self._path.with_name(f"{self._path.stem}.{self.next_number:08d}-{at}{self._path.suffix}")

    def tidy(self) -> None:
        """Remove what a kill left behind: half a compressed file, and a plain one whose compressed form is finished.

        Raises:
            OSError: a file cannot be removed.
        """
        for each in self.closed():
            if UNFINISHED in each.forms:
                remove(with_ending(each.path, UNFINISHED))
            if "" in each.forms and GZIP in each.forms and _is_finished(each.path):
                remove(each.path)

    def plain(self) -> list[Path]:
        """What is not compressed yet, the oldest first. Raises OSError."""
        return [each.path for each in self.closed() if "" in each.forms]

    def prune(self, keep: int, keep_bytes: float) -> list[Closed]:
        """Remove the oldest until at most `keep` and `keep_bytes` are left (0: any); what was removed.

        The newest stays: its number is the one that the next one's is made from.

        Raises:
            OSError: a file cannot be looked at or removed.
        """
        every = self.closed()
        gone = _too_many(every, keep, keep_bytes)
        for each in gone:
            for path in each.paths:
                remove(path)
        return list(gone)


def _too_many(every: Sequence[Closed], keep: int, keep_bytes: float) -> Sequence[Closed]:
    left_bytes = keep_bytes or float("inf")
    for kept, each in enumerate(reversed(every)):
        left_bytes -= sum(_size_bytes(path) for path in each.paths)
        if kept and (left_bytes < 0 or (keep and kept >= keep)):
            return every[: len(every) - kept]
    return ()


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # somebody collects them
        return 0


def with_ending(path: Path, ending: str) -> Path:
    """The same file in another form."""
    return path.with_name(path.name + ending)


def _is_finished(path: Path) -> bool:
    """Whether the compressed form holds as much as the plain one: gzip(1) writes to the final name from the start."""
    with with_ending(path, GZIP).open("rb") as file:
        file.seek(-min(_SIZE_AT_END.size, os.fstat(file.fileno()).st_size), os.SEEK_END)
        return file.read() == _SIZE_AT_END.pack(path.stat().st_size & 0xFFFFFFFF)


def remove(path: Path) -> None:
    """Remove a file, unless somebody else has. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
