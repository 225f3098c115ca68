"""Whether the wall clock is right, and what keeps it so. No state."""

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Final

from agent.check import Finding
from agent.doctor.finding import doubt, fault, fine
from agent.doctor.machine import Machine

PART: Final = "clock"
_LEAST_YEAR: Final = 2025
"""This program is younger."""
TIMESYNCD: Final = "systemd-timesyncd"
_DAEMONS: Final = {"systemd-timesyn": TIMESYNCD, "chronyd": "chrony", "ntpd": "ntpd", "ntpsec": "ntpsec"}
"""By the name of their process, which the kernel cuts after 15 letters; the service sees the first one's word alone."""
_NTP: Final = "sudo apt install systemd-timesyncd"


def findings(
    machine: Machine, wall_s: float, *, synchronized: bool, service_asks_kernel: bool | None
) -> Iterator[Finding]:
    """What is to be said of the clock.

    Args:
        machine: the device.
        wall_s: its time, seconds since the Unix epoch.
        synchronized: whether the kernel or systemd-timesyncd calls it right.
        service_asks_kernel: whether the unit lets the agent ask the kernel; None: there is no unit.
    """
    now = datetime.fromtimestamp(wall_s, timezone.utc)
    daemon, shown = _daemon(machine), now.strftime("%Y-%m-%d %H:%M:%S UTC")
    if now.year < _LEAST_YEAR:
        yield fault(PART, f"it is {shown} here, so no certificate is valid yet; let it be set by NTP: {_cure(daemon)}")
    elif not synchronized:
        yield doubt(PART, f"{shown} may be wrong, as nothing has confirmed it; results say so; {_cure(daemon)}")
    elif daemon != TIMESYNCD and service_asks_kernel is False:
        yield doubt(
            PART,
            f"{shown}, kept right by {daemon or 'a program that is not known here'}, which the service cannot see: its "
            'results say that the clock may be wrong; add the drop-in of systemd/README.md, "Clock"',
        )
    else:
        yield fine(PART, f"{shown}, kept right by {daemon or 'the machine around this container'}")
    yield from _battery(machine)


def _cure(daemon: str) -> str:
    if not daemon:
        return _NTP
    return f"{daemon} runs, so look whether UDP port 123 is let through, and which servers it asks"


def _daemon(machine: Machine) -> str:
    """What sets the clock here; empty: nothing that is known."""
    running = {machine.read(name) for name in machine.find("/proc/[0-9]*/comm")}
    return next((name for process, name in _DAEMONS.items() if process in running), "")


def _battery(machine: Machine) -> Iterator[Finding]:
    """A clock that runs on without power; what the wall clock begins with after it was cut."""
    clocks = machine.find("/sys/class/rtc/rtc*")
    times = [machine.number(f"{name}/since_epoch") for name in clocks]
    if not clocks:
        yield fine(PART, "no clock with a battery: after a power cut the time is wrong until NTP answers")
    elif all(told is None or datetime.fromtimestamp(told, timezone.utc).year < _LEAST_YEAR for told in times):
        yield doubt(
            PART, "the clock with a battery was never set, or its battery is empty; replace it, then hwclock -w"
        )
