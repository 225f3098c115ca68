"""Fields of JSON that nobody vouches for: each is what it should be, or Unfit says what it is. No state."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

_FURTHEST_PX: Final = 1e7
"""No picture is so large; what lies further out is no place in one."""
_LARGEST_ID: Final = 2**31 - 1
_ROUNDING: Final = 1e-3
"""By which a score may lie outside of 0..1."""
_LONGEST_NAME: Final = 1_000
_SHOWN: Final = 60


class Unfit(ValueError):
    """It is something else; the text says what."""


def section(value: object, what: str) -> Mapping[str, Any]:
    """An object of JSON."""
    if not isinstance(value, dict):
        raise Unfit(f"{what} is {_shown(value)}, not an object")
    return value


def items(value: object, name: str) -> Sequence[Any]:
    """A list of JSON."""
    if not isinstance(value, list):
        raise Unfit(f"{name} is {_shown(value)}, not a list")
    return value


def number(fields: Mapping[str, Any], name: str, least: float, most: float, *, default: float | None = None) -> float:
    """A number from `least` to `most`; without a `default` it must be there."""
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unfit(f"{name} is {_shown(value)}, not a number")
    if not least <= value <= most:  # NaN is not, either
        raise Unfit(f"{name} is {_shown(value)}, not from {least:g} to {most:g}")
    return float(value)


def coordinate(fields: Mapping[str, Any], name: str, *, least: float = -_FURTHEST_PX) -> float:
    """Pixels."""
    return number(fields, name, least, _FURTHEST_PX)


def confidence(fields: Mapping[str, Any]) -> float:
    """A score, 0..1."""
    return min(max(number(fields, "confidence", -_ROUNDING, 1 + _ROUNDING), 0.0), 1.0)


def whole(fields: Mapping[str, Any], name: str, *, default: int, least: int = -1) -> int:
    """A whole number, such as a class has."""
    return int(number(fields, name, least, _LARGEST_ID, default=default))


def text(fields: Mapping[str, Any], name: str, *, longest: int = _LONGEST_NAME) -> str:
    """Words, or a number in their place."""
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Unfit(f"{name} is {_shown(value)}, not a text")
    return cleaned(str(value), longest=longest)


def cleaned(value: str, *, longest: int = _LONGEST_NAME) -> str:
    """`value` as UTF-8 can have it: JSON allows halves of characters."""
    if len(value) > longest:
        raise Unfit(f"a text of {len(value)} letters begins with {value[:_SHOWN]!r}")
    return value.encode("utf-8", "replace").decode("utf-8")


def _shown(value: object) -> str:
    if isinstance(value, list | dict):
        return f"a {'list' if isinstance(value, list) else 'object'} of {len(value)}"
    shown = "missing" if value is None else repr(value[:_SHOWN] if isinstance(value, str) else value)
    return shown[:_SHOWN]
