"""Numbers and times in words. No state."""

import math
from datetime import datetime, timezone
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from agent.history import Floats

Rows: TypeAlias = NDArray[np.bool_]
NOTHING = "-"
"""In place of a number that is not known."""


def median(values: Floats) -> float:
    """Of what is known; NaN where nothing is."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else math.nan


def highest(values: Floats) -> float:
    """Of what is known; NaN where nothing is."""
    known = values[np.isfinite(values)]
    return float(np.max(known)) if len(known) else math.nan


def number(value: float, digits: int) -> str:
    """With so many digits after the point."""
    return f"{value:.{digits}f}" if math.isfinite(value) else NOTHING


def brief(value: float) -> str:
    """Two figures, or as many as there are before the point."""
    return number(value, 0 if abs(value) >= 10 else 1 if abs(value) >= 1 else 2)  # noqa: PLR2004 - two figures


def share(rows: Rows) -> str:
    """How many of the rows are true."""
    return percent(float(np.mean(rows)))


def percent(part: float) -> str:
    """One digit, or two where one would round the last exceptions away."""
    if 0.9995 <= part < 1:  # noqa: PLR2004 - would be 100.0 %
        return f"{math.floor(part * 10_000) / 100:.2f} %"
    if 0 < part < 0.0005:  # noqa: PLR2004 - would be 0.0 %
        return f"{math.ceil(part * 10_000) / 100:.2f} %"
    return f"{part * 100:.1f} %"


def counted(some: int, of: int) -> tuple[str, str]:
    """How many, and which part of all."""
    return str(some), percent(some / of)


def length(seconds: float) -> str:
    """A time span in the two largest units it has."""
    if seconds < 59.95:  # noqa: PLR2004 - what is shown as less than a minute
        return f"{seconds:.1f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    hours, rest_minutes = divmod(minutes, 60)
    return f"{hours} h {rest_minutes} min" if hours else f"{minutes} min {rest_s} s"


def date(at_s: float) -> str:
    """The day, UTC."""
    return _utc(at_s).strftime("%Y-%m-%d")


def time(at_s: float) -> str:
    """The time of day, UTC."""
    return _utc(at_s).strftime("%H:%M:%S")


def period(begin_s: float, end_s: float) -> str:
    """From when to when, the second day only where it is another."""
    begin, end = date(begin_s), date(end_s)
    return f"{begin} {time(begin_s)} to {time(end_s) if begin == end else f'{end} {time(end_s)}'} UTC"


def _utc(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, tz=timezone.utc)
