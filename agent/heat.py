"""How hot this machine is, and what heat and power supply keep it from: as the kernel tells in /sys. Any thread.

Temperatures are those of the thermal zones, which a Raspberry Pi, a Jetson and most servers have. Why the processor is
slowed down is told by the Raspberry Pi's firmware alone: bits 0 to 3 of `get_throttled`, as `vcgencmd` names them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.clock import Clock

SYS: Final = Path("/sys")
_MOST_ZONES: Final = 32
_LEAST_CELSIUS, _MOST_CELSIUS = -40.0, 150.0
"""A sensor that is switched off, as some of a Jetson's are, tells nonsense beyond them."""
_FRESH_S: Final = 2.0
"""Some sensors take milliseconds to be read."""
_THROTTLED: Final = "devices/platform/soc/soc:firmware/get_throttled"
REASONS: Final = ("under_voltage", "frequency_capped", "throttled", "soft_temperature_limit")
"""By the number of their bit."""


@dataclass(frozen=True, slots=True)
class Heat:
    """The machine at one moment."""

    celsius: dict[str, float]
    """Temperature by the name of the thermal zone."""
    throttled: dict[str, bool] | None
    """Whether each of REASONS holds; None: this machine does not tell."""


class Thermometer:
    """Reads it now and then, however often it is asked."""

    def __init__(self, clock: Clock, sys: Path = SYS) -> None:
        self._clock = clock
        self._sys = sys
        self._read: tuple[float, Heat] | None = None

    def heat(self) -> Heat:
        """The machine as it was a moment ago at most."""
        now_s = self._clock.now()
        if self._read is None or now_s - self._read[0] >= _FRESH_S:
            self._read = now_s, measured(self._sys)
        return self._read[1]


def measured(sys: Path = SYS) -> Heat:
    """What the kernel tells now; what it does not tell is left out."""
    return Heat(dict(_zones(sys)), _throttled(sys))


def _zones(sys: Path) -> Iterator[tuple[str, float]]:
    """Two zones of one name have their numbers behind it."""
    zones = sorted(sys.glob("class/thermal/thermal_zone*"), key=lambda zone: (len(zone.name), zone.name))[:_MOST_ZONES]
    names = {zone: _text(zone / "type") or zone.name for zone in zones}
    for zone, name in names.items():
        celsius = _celsius(zone)
        if celsius is not None:
            twice = list(names.values()).count(name) > 1
            yield f"{name}-{zone.name.removeprefix('thermal_zone')}" if twice else name, celsius


def _celsius(zone: Path) -> float | None:
    try:
        celsius = int(_text(zone / "temp") or "") / 1000
    except ValueError:
        return None
    return celsius if _LEAST_CELSIUS <= celsius <= _MOST_CELSIUS and celsius else None


def _throttled(sys: Path) -> dict[str, bool] | None:
    try:
        bits = int(_text(sys / _THROTTLED) or "", 16)
    except ValueError:
        return None
    return {reason: bool(bits >> number & 1) for number, reason in enumerate(REASONS)}


def _text(path: Path) -> str | None:
    """A short file's content; a sensor that does not answer fails to be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
