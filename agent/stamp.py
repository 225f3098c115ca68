"""When something was, so that its age can be told after a restart and after steps of the wall clock. No state."""

from dataclasses import dataclass
from pathlib import Path

from agent.clock import Clock


@dataclass(frozen=True, slots=True)
class Stamp:
    """A moment by both clocks."""

    boot_id: str
    monotonic_s: float
    """Seconds since that boot."""
    wall_s: float | None
    """Seconds since the epoch; None: the clock was not known to be right."""


def stamp(clock: Clock, boot_id: str) -> Stamp:
    """This moment."""
    return Stamp(boot_id, clock.now(), clock.wall() if clock.synchronized() else None)


def elapsed_s(since: Stamp, clock: Clock, boot_id: str) -> float:
    """How long ago `since` is, or was at least.

    Within one boot the monotonic clock tells. Across boots it is the wall clock, where that was right at both ends;
    else only the time since this boot is certain.
    """
    now_s = clock.now()
    if since.boot_id == boot_id:
        return max(0.0, now_s - since.monotonic_s)
    if since.wall_s is not None and clock.synchronized():
        return max(now_s, clock.wall() - since.wall_s)
    return now_s


def boot_id() -> str:
    """This boot of the machine; `unknown` where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"
