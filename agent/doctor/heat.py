"""Temperature, throttling and the power supply of a board: what makes it slow after a while, or stop. No state."""

import re
from collections.abc import Iterator
from typing import Final

from agent.check import Finding
from agent.doctor.finding import doubt, fine
from agent.doctor.machine import Machine

TEMPERATURE: Final = "temperature"
POWER: Final = "power"
HOT_C: Final = 80.0
"""From here on a Raspberry Pi slows down (its documentation, "Frequency management and thermal control"), and others
soon do."""
_NEAR_C: Final = 5.0
_LEAST_C, _MOST_C = -30.0, 140.0
"""What a sensor of a board can mean; others say that it is off."""
_NO_SENSOR: Final = re.compile("pmic", re.IGNORECASE)
"""A Jetson's PMIC-Die says 100 degrees, always."""
_SLOWING: Final = re.compile(r"cpufreq|devfreq|throttle|hot-surface", re.IGNORECASE)
"""Cooling devices (types in sysfs) that cool by slowing down, unlike fans."""
_COOLER: Final = "give it a heat sink, a fan or shade, or lower the cameras' fps"
_SUPPLY: Final = (
    "use the board's own power supply and a short, thick cable, and power USB devices by a hub of their own"
)
BITS: Final = {
    0: (POWER, f"the voltage is too low now: frames are lost and the SD card is at risk; {_SUPPLY}"),
    1: (TEMPERATURE, f"the processor's clock is capped now; {_COOLER}"),
    2: (TEMPERATURE, f"the processor is throttled now; {_COOLER}"),
    3: (TEMPERATURE, f"the soft temperature limit slows it down now; {_COOLER}"),
    16: (POWER, f"the voltage was too low since the boot; {_SUPPLY}"),
    17: (TEMPERATURE, f"the processor's clock was capped since the boot; {_COOLER}"),
    18: (TEMPERATURE, f"the processor was throttled since the boot; {_COOLER}"),
    19: (TEMPERATURE, f"the soft temperature limit slowed it down since the boot; {_COOLER}"),
}
"""What each bit of a Raspberry Pi's get_throttled means (its documentation, "vcgencmd"); 16 and on: it has happened."""
_SINCE_BOOT: Final = 16


def findings(machine: Machine) -> Iterator[Finding]:
    """Of every kind of board: what does not apply here says nothing."""
    yield from _temperature(machine)
    slowed = [*_slowed(machine), *_pi(machine)]
    yield from slowed
    yield from _jetson(machine)
    if _throttled(machine) == 0 and not slowed:
        yield fine(POWER, "neither throttled nor short of voltage since the boot")


def zones(machine: Machine) -> dict[str, float]:
    """Degrees Celsius by the name of the sensor; those that say nothing of use are left out."""
    found = {}
    for folder in machine.find("/sys/class/thermal/thermal_zone*"):
        name = machine.read(f"{folder}/type")
        thousandths = machine.number(f"{folder}/temp")
        if thousandths is not None and not _NO_SENSOR.search(name) and _LEAST_C < thousandths / 1000 < _MOST_C:
            found[name or folder.rpartition("/")[2]] = thousandths / 1000
    return found


def _temperature(machine: Machine) -> Iterator[Finding]:
    found = zones(machine)
    if not found:
        yield fine(TEMPERATURE, "this machine shows no sensor")
        return
    name = max(found, key=found.__getitem__)
    limit_c = _limit_c(machine, name)
    said = f"{found[name]:.0f} °C at {name}, the warmest of {len(found)}"
    if found[name] >= limit_c - _NEAR_C:
        yield doubt(TEMPERATURE, f"{said}; from {limit_c:.0f} °C on it slows down; {_COOLER}")
    else:
        yield fine(TEMPERATURE, said)


def _limit_c(machine: Machine, name: str) -> float:
    """Where that sensor's zone begins to slow the board down, by its own trip points (the lowest passive one)."""
    limits = []
    for folder in machine.find("/sys/class/thermal/thermal_zone*"):
        if machine.read(f"{folder}/type") == name:
            for kind in machine.find(f"{folder}/trip_point_*_type"):
                at = machine.number(kind.replace("_type", "_temp"))
                if machine.read(kind) in ("passive", "hot") and at is not None and at > 0:
                    limits.append(at / 1000)
    return min(limits, default=HOT_C)


def _slowed(machine: Machine) -> Iterator[Finding]:
    """The kernel's own cooling by slowing down, on every board."""
    at_work = [
        machine.read(f"{folder}/type")
        for folder in machine.find("/sys/class/thermal/cooling_device*")
        if _SLOWING.search(machine.read(f"{folder}/type")) and (machine.number(f"{folder}/cur_state") or 0) > 0
    ]
    if at_work:
        yield doubt(TEMPERATURE, f"the kernel slows it down to cool it ({', '.join(at_work)}); {_COOLER}")


def _throttled(machine: Machine) -> int | None:
    """The bits of a Raspberry Pi's firmware; None: it is none, or does not tell."""
    for name in machine.find("/sys/devices/platform/*/*firmware/get_throttled"):
        said = machine.read(name)
        if re.fullmatch(r"(0x)?[0-9a-fA-F]+", said):
            return int(said, 16)
    told = re.search(r"throttled=0x([0-9a-fA-F]+)", machine.ask("vcgencmd", "get_throttled") or "")
    return int(told[1], 16) if told else None


def _pi(machine: Machine) -> Iterator[Finding]:
    bits = _throttled(machine) or 0
    for bit, (part, text) in BITS.items():
        if bits >> bit & 1 and not (bit >= _SINCE_BOOT and bits >> (bit - _SINCE_BOOT) & 1):  # now says it, too
            yield doubt(part, text)
    for name in machine.find("/sys/class/hwmon/hwmon*/in0_lcrit_alarm"):  # the kernel's raspberrypi-hwmon
        if machine.number(name) == 1 and not bits & (1 | 1 << _SINCE_BOOT):
            yield doubt(POWER, f"the kernel has seen too low a voltage; {_SUPPLY}")


def _jetson(machine: Machine) -> Iterator[Finding]:
    mode = re.search(r"NV Power Mode: *(\S+)", machine.ask("nvpmodel", "-q") or "")
    if mode:
        yield fine(POWER, f"power mode {mode[1]}; nvpmodel -p --verbose lists the others, sudo nvpmodel -m N chooses")
    events = sum(machine.number(name) or 0 for name in machine.find("/sys/class/hwmon/hwmon*/oc*_event_cnt"))
    if events:
        yield doubt(
            POWER,
            f"throttled {events} times since the boot, for it drew too much current; use a stronger power supply, or a "
            "lower power mode: sudo nvpmodel -m N",
        )
