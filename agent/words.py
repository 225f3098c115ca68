"""Counts, sizes, tables and the reasons of the operating system for people. No state."""

import errno
import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

_THOUSAND: Final = 1000
_ROOM: Final = "make room there"
_REMEDIES: Final[Mapping[int | None, str]] = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: _ROOM,
    errno.EROFS: "that disk is for reading only: name a place on another",
    errno.ENOTDIR: "a file stands where a folder has to be: take it away, or name another place",
    errno.EEXIST: "a file stands where a folder has to be: take it away, or name another place",
}
"""What helps where a file cannot be written, whoever writes it and wherever."""


def plural(count: int, noun: str) -> str:
    """So many of them."""
    return f"{count} {noun}{'s' if count != 1 else ''}"


def size(size_bytes: float) -> str:
    """In kB, MB or GB."""
    value = size_bytes / _THOUSAND
    for unit in ("kB", "MB"):
        if value < _THOUSAND:
            return f"{value:.1f} {unit}"
        value /= _THOUSAND
    return f"{value:.1f} GB"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: Collection[int] | None = None) -> list[str]:
    """A line for each row, in columns; only those whose numbers are in `left` begin at the left, None: all do."""
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]

    def cell(place: int, text: str) -> str:
        begins = left is None or place in left
        return text.ljust(widths[place]) if begins else text.rjust(widths[place])

    return ["  ".join(cell(*numbered) for numbered in enumerate(row)).rstrip() for row in (head, *rows)]


def printable(text: str) -> str:
    """`text` in one line that no terminal obeys: escape codes, line ends and bytes that are no text by their number."""
    return "".join(sign if sign.isprintable() else f"\\u{ord(sign):04x}" for sign in text)


def reason(error: OSError) -> str:
    """Why the operating system refuses; what a library raises in its stead may have a text alone."""
    return error.strerror or str(error) or type(error).__name__


def unwritable(place: Path | str, error: OSError, *, otherwise: str) -> str:
    """That `place` cannot be written, why, and what helps: `otherwise` where the reason alone does not tell."""
    return f"{place} cannot be written: {reason(error)}; {_REMEDIES.get(error.errno, otherwise)}"


def pip_install(requirement: str) -> str:
    """The command that brings a library to the environment of this program, whichever of them is active."""
    return f"{sys.executable} -m pip install {shlex.quote(requirement)}"
