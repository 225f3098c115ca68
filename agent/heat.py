"""How hot this machine is, and what heat and power supply keep it from: as the kernel tells in /sys.

Read by the thread `care` alone, for a sensor may hang in its driver; told to any thread. Temperatures are those of the
thermal zones, which a Raspberry Pi, a Jetson and most servers have. Why the processor is slowed down is told by the
Raspberry Pi's firmware alone: bits 0 to 3 of `get_throttled`, as `vcgencmd` names them.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Final

from agent.clock import Clock

SYS: Final = Path("/sys")
_MOST_ZONES: Final = 32
_LEAST_CELSIUS, _MOST_CELSIUS = -40.0, 150.0
"""A sensor that is switched off, as some of a Jetson's are, tells nonsense beyond them."""
RECENT_S: Final = 30.0
"""What was read longer ago is not told any more: the sensor hangs."""
_THROTTLED: Final = "devices/platform/*/*firmware/get_throttled"
_ALARM: Final = "class/hwmon/hwmon*/in0_lcrit_alarm"
"""Of the kernel's raspberrypi-hwmon: too low a voltage within the last two seconds."""
UNDER_VOLTAGE: Final = "under_voltage"
REASONS: Final = (UNDER_VOLTAGE, "frequency_capped", "throttled", "soft_temperature_limit")
"""By the number of their bit."""
_PI_LIMIT_C: Final = 80.0
"""Where a Raspberry Pi's firmware begins to slow it down (its documentation, "Frequency management and thermal
control"); its kernel does not tell."""
_SLOWING: Final = "passive"
"""Trip points at which the kernel slows a machine down; at active ones a fan begins to turn."""


@dataclass(frozen=True, slots=True)
class Heat:
    """The machine at one moment."""

    celsius: dict[str, float]
    """Temperature by the name of the thermal zone."""
    throttled: dict[str, bool] | None
    """Whether each of REASONS holds, as far as it is known; None: this machine does not tell."""
    limits_c: dict[str, float] = field(default_factory=dict)
    """Where zones slow the machine down, by name; those that do not tell are left out."""


class Thermometer:
    """What was read last."""

    def __init__(self, clock: Clock, sys: Path = SYS) -> None:
        self._clock = clock
        self._sys = sys
        self._read = -inf, Heat({}, None)
        """When, and what."""

    def read(self) -> Heat:
        """The machine now. A sensor may take milliseconds, or hang: for one thread alone."""
        heat = measured(self._sys)
        self._read = self._clock.now(), heat
        return heat

    def heat(self) -> Heat:
        """The machine as it was read last; nothing of it, unless that was a moment ago. Any thread, at once."""
        read_s, heat = self._read
        return heat if self._clock.now() - read_s <= RECENT_S else Heat({}, None)


def measured(sys: Path = SYS) -> Heat:
    """What the kernel tells now; what it does not tell is left out."""
    throttled, zones = _throttled(sys), dict(_zones(sys))
    celsius = {name: found for name, zone in zones.items() if (found := _celsius(zone / "temp")) is not None}
    limits_c = {name: _limit_c(zones[name], otherwise=None if throttled is None else _PI_LIMIT_C) for name in celsius}
    return Heat(celsius, throttled, {name: limit for name, limit in limits_c.items() if limit is not None})


def _zones(sys: Path) -> Iterator[tuple[str, Path]]:
    """Two zones of one name have their numbers behind it."""
    zones = sorted(sys.glob("class/thermal/thermal_zone*"), key=lambda zone: (len(zone.name), zone.name))[:_MOST_ZONES]
    names = {zone: _text(zone / "type") or zone.name for zone in zones}
    for zone, name in names.items():
        twice = list(names.values()).count(name) > 1
        yield f"{name}-{zone.name.removeprefix('thermal_zone')}" if twice else name, zone


def _limit_c(zone: Path, *, otherwise: float | None) -> float | None:
    """The highest of its passive trip points; at lower ones a machine may be slowed down a little, to be kept there."""
    kinds = zone.glob("trip_point_*_type")
    temps = [kind.with_name(kind.name.replace("_type", "_temp")) for kind in kinds if _text(kind) == _SLOWING]
    limits = [limit for temp in temps if (limit := _celsius(temp)) is not None and limit > 0]
    return max(limits, default=otherwise)


def _celsius(path: Path) -> float | None:
    try:
        celsius = int(_text(path) or "") / 1000
    except ValueError:
        return None
    return celsius if _LEAST_CELSIUS <= celsius <= _MOST_CELSIUS and celsius else None


def _throttled(sys: Path) -> dict[str, bool] | None:
    """Where only the kernel's word on the voltage is to be had, that alone."""
    for path in sys.glob(_THROTTLED):
        with contextlib.suppress(ValueError):
            bits = int(_text(path) or "", 16)
            return {reason: bool(bits >> number & 1) for number, reason in enumerate(REASONS)}
    alarms = [_text(path) for path in sys.glob(_ALARM) if _text(path.with_name("name")) == "rpi_volt"]
    return {UNDER_VOLTAGE: "1" in alarms} if alarms else None


def _text(path: Path) -> str | None:
    """A short file's content; a sensor that does not answer fails to be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
