"""Numbers that only grow, also where all that had one is gone: the next is kept in a file. Owner: the album's thread.

So pictures that are collected from a device again and again, and removed there, still sort by time where they are
collected. The file is written once for BLOCK numbers, which a restart skips at most.
"""

from pathlib import Path
from typing import Final

from agent.snapshots import picture_files

BLOCK: Final = 1000
_LONGEST: Final = 15
"""Digits that are believed."""


class Numbers:
    """The numbers of one folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next = 1
        self._reserved = 0
        """Numbers below it are this run's, by the file."""

    def resume(self, highest: int) -> None:
        """Go on above `highest`, which is there, and above all that the file says were given. Raises OSError."""
        kept = self._kept()
        self._next = max(self._next, highest + 1)
        if kept != self._reserved:
            self._next = max(self._next, kept)
            self._reserved = 0

    def take(self) -> int:
        """The next number. Raises OSError."""
        if self._next >= self._reserved:
            picture_files.write(self._path, b"%d\n" % (self._next + BLOCK))
            self._reserved = self._next + BLOCK
        self._next += 1
        return self._next - 1

    def _kept(self) -> int:
        try:
            text = self._path.read_bytes().strip()
        except FileNotFoundError:
            return 0
        return int(text) if text.isdigit() and len(text) <= _LONGEST else 0

    def __repr__(self) -> str:
        return f"<Numbers {self._path} next {self._next}>"
