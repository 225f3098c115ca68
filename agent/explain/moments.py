"""What a person writes for a time -> seconds since the epoch, once the end of the file is known. No state."""

import argparse
import re
from dataclasses import dataclass

from agent.history import moment

FORMS = "a moment (2026-11-23T13:50:39, UTC without a zone), a time of day (13:50), or how long before the end (10m)"
_DAY_S = 86_400.0
_UNITS_S = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": _DAY_S}
_BEFORE_END = re.compile(r"-?(\d{1,9}(?:\.\d{1,9})?) ?(s|m|min|h|d)")
_OF_DAY = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d(?:\.\d{1,6})?))?Z?")


@dataclass(frozen=True, slots=True)
class Moment:
    """A time as it was written."""

    text: str
    at_s: float | None = None
    """Seconds since the epoch."""
    of_day_s: float | None = None
    """Seconds since midnight, UTC."""
    before_end_s: float = 0.0
    """Where neither is given."""

    def resolved(self, end_s: float) -> float:
        """Seconds since the epoch.

        Args:
            end_s: of the last frame; a time of day is the last such time up to then.
        """
        if self.at_s is not None:
            return self.at_s
        if self.of_day_s is None:
            return end_s - self.before_end_s
        return end_s - (end_s - self.of_day_s) % _DAY_S


def parse(text: str) -> Moment:
    """Read any of the FORMS. Raises argparse.ArgumentTypeError."""
    if found := _BEFORE_END.fullmatch(text):
        return Moment(text, before_end_s=float(found[1]) * _UNITS_S[found[2]])
    if found := _OF_DAY.fullmatch(text):
        return Moment(text, of_day_s=int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3] or 0))
    try:
        return Moment(text, at_s=moment(text).timestamp())
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; give {FORMS}") from error
