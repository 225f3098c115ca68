"""Sizes and tables for people. No state."""

from collections.abc import Sequence
from typing import Final

_THOUSAND: Final = 1000


def size(size_bytes: float) -> str:
    """In kB, MB or GB."""
    value = size_bytes / _THOUSAND
    for unit in ("kB", "MB"):
        if value < _THOUSAND:
            return f"{value:.1f} {unit}"
        value /= _THOUSAND
    return f"{value:.1f} GB"


def plural(count: int, noun: str) -> str:
    """So many of them."""
    return f"{count} {noun}{'s' if count != 1 else ''}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned columns, all to the left."""
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    return ["  ".join(text.ljust(widths[place]) for place, text in enumerate(row)).rstrip() for row in (head, *rows)]
