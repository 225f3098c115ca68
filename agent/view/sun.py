"""When the sun rises and sets, to a minute or two. No state.

After the equations of NOAA's solar calculator (gml.noaa.gov/grad/solcalc/solareqns.PDF): the fractional year gives the
equation of time and the declination, and these the hour angle at which the sun's upper edge is on the horizon.
"""

import math
from datetime import date, datetime, timedelta, timezone
from typing import Final

_ZENITH: Final = math.radians(90.833)
"""Of the sun's centre when its edge is on the horizon, with the air's refraction."""
_DAYS: Final = 365.0


def rise_and_set(day: date, *, latitude: float, longitude: float) -> tuple[datetime, datetime]:
    """UTC times of that day at that place; degrees, north and east positive.

    Where the sun does not set that day, they are 24 hours apart; where it does not rise, they are equal.
    """
    year = 2 * math.pi / _DAYS * (day.timetuple().tm_yday - 1)
    equation_min = 229.18 * (
        0.000075
        + 0.001868 * math.cos(year)
        - 0.032077 * math.sin(year)
        - 0.014615 * math.cos(2 * year)
        - 0.040849 * math.sin(2 * year)
    )
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=timezone.utc)
    noon -= timedelta(minutes=4 * longitude + equation_min)
    half = timedelta(minutes=4 * math.degrees(_hour_angle(year, math.radians(latitude))))
    return noon - half, noon + half


def _hour_angle(year: float, latitude: float) -> float:
    """Of sunset, in radians: 0 where the sun does not rise, pi where it does not set."""
    declination = (
        0.006918
        - 0.399912 * math.cos(year)
        + 0.070257 * math.sin(year)
        - 0.006758 * math.cos(2 * year)
        + 0.000907 * math.sin(2 * year)
        - 0.002697 * math.cos(3 * year)
        + 0.00148 * math.sin(3 * year)
    )
    cosine = math.cos(_ZENITH) / (math.cos(latitude) * math.cos(declination)) - math.tan(latitude) * math.tan(
        declination
    )
    return math.acos(min(1.0, max(-1.0, cosine)))
