"""The user's pictures: found, read, and named where they cannot be. No state."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.errors import FrameUnreadable
from agent.flow import Pixels
from agent.imaging import read_image

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
_NAMED = 5
"""Unreadable pictures that are named; the others are counted."""


@dataclass(frozen=True, slots=True)
class Album:
    """The pictures of a folder that can be read."""

    readable: tuple[Path, ...]
    unreadable: tuple[Path, ...]

    def pictures(self) -> Iterator[Pixels]:
        """Each in turn: (height, width, 3) uint8 BGR."""
        return (read_image(path) for path in self.readable)

    @property
    def complaint(self) -> str:
        """Which pictures cannot be read; empty when all can."""
        if not self.unreadable:
            return ""
        names = ", ".join(path.name for path in self.unreadable[:_NAMED])
        more = f" and {len(self.unreadable) - _NAMED} more" if len(self.unreadable) > _NAMED else ""
        return f"{len(self.unreadable)} unreadable pictures are left out: {names}{more}"


def album(folder: Path, most: int) -> Album:
    """At most `most` pictures of `folder` and the folders in it, spread evenly over their names in order."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    readable: list[Path] = []
    unreadable: list[Path] = []
    for path in spread(paths, most):
        (readable if _is_readable(path) else unreadable).append(path)
    return Album(tuple(readable), tuple(unreadable))


def spread(paths: list[Path], most: int) -> list[Path]:
    """`most` of `paths`, evenly: frames of one recording are alike, those of its parts are not."""
    count = min(most, len(paths))
    return [paths[row * len(paths) // count] for row in range(count)]


def _is_readable(path: Path) -> bool:
    try:
        read_image(path)
    except FrameUnreadable:
        return False
    return True
