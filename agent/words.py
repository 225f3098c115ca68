"""Counts, sizes and tables for people. No state."""

from collections.abc import Collection, Sequence
from typing import Final

_THOUSAND: Final = 1000


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
