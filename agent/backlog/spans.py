"""Times and time spans in words; and what a person writes for a time span. No state."""

import argparse
import json
import re
from typing import Final

_UNITS_S: Final = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_SPAN: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?(s|m|min|h|d|w)")
_DAY_S: Final = 86_400


def span_s(text: str) -> float:
    """Seconds of a time span such as 90s, 15m, 12h or 7d. Raises argparse.ArgumentTypeError."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time span; write 90s, 15m, 12h, 7d or 2w")
    return float(found[1]) * _UNITS_S[found[2]]


def span(seconds: float) -> str:
    """In its two largest units."""
    whole = round(seconds)
    days, hours, minutes = whole // _DAY_S, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{whole} s"


def captured_at(body: bytes) -> str | None:
    """When the frame of a record was taken, RFC 3339; None: it does not say."""
    try:
        record = json.loads(body)
        return str(record["captured_at"] if "captured_at" in record else record["at"])
    except (ValueError, TypeError, KeyError):
        return None
