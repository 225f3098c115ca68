"""How far the machine is over what it bears, and in which words. Pure; no state."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from agent.heat import UNDER_VOLTAGE, Heat

BEYOND_C: Final = 2.0
"""So much hotter than where the machine slows itself down means that this is not enough. Before, it costs less than any
step here does: a slower clock needs a lower voltage, so that a board at a given temperature computes more with it."""
_NO_SENSOR: Final = "pmic"
"""A Jetson's PMIC-Die says 100 degrees, always."""


@dataclass(frozen=True, slots=True)
class Limits:
    """From when on a machine is too hot."""

    hot_c: float | None = None
    """None: BEYOND_C above the temperature at which it slows itself down, for each zone that tells."""
    hysteresis_c: float = 5.0
    """It is cool again so many degrees below."""
    zones: tuple[str, ...] | None = None
    """Names of thermal zones, * for any letters; None: all that tell where they slow the machine down."""


@dataclass(frozen=True, slots=True)
class Strain:
    """How far it is over a limit."""

    over_c: float
    """Degrees; below 0: it is under it. Minus infinity: nothing is known that could be over one."""
    words: str


def of_heat(heat: Heat, limits: Limits) -> Strain:
    """By the zone that is furthest over its limit."""
    return max(_zones(heat, limits), key=lambda strain: strain.over_c, default=Strain(-math.inf, "nothing is measured"))


def of_power(heat: Heat) -> Strain:
    """By the firmware's word on the voltage."""
    if (heat.throttled or {}).get(UNDER_VOLTAGE):
        return Strain(0.0, "the voltage is too low, look at the power supply and its cable")
    return Strain(-math.inf, "the voltage is right")


def watched(heat: Heat, limits: Limits) -> dict[str, float]:
    """The limit of each zone that is looked at, in degrees Celsius."""
    found = {}
    for name in heat.celsius:
        wanted = _matches(name, limits.zones) if limits.zones is not None else _NO_SENSOR not in name.lower()
        limit_c = limits.hot_c if limits.hot_c is not None else heat.limits_c.get(name, math.nan) + BEYOND_C
        if wanted and not math.isnan(limit_c):
            found[name] = limit_c
    return found


def _zones(heat: Heat, limits: Limits) -> Iterator[Strain]:
    for name, limit_c in watched(heat, limits).items():
        celsius = heat.celsius[name]
        bound = "care.hot_c is" if limits.hot_c is not None else "this machine slows itself down at"
        at_c = limit_c if limits.hot_c is not None else heat.limits_c[name]
        yield Strain(celsius - limit_c, f"{celsius:.0f} °C at {name}, {bound} {at_c:.0f} °C")


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
