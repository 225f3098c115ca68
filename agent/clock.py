"""The two clocks, never mixed: monotonic for ages and deadlines, wall time only as data. No state."""

import ctypes
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

_ASK_EVERY_S = 60.0
_LOOK_S = 0.01
_TIMESYNCD = Path("/run/systemd/timesync/synchronized")
_TIME_ERROR = 5
"""What adjtimex(2) returns while the clock is not synchronised; below it the clock is right."""
_TIMEX_BYTES = 512
"""More than any kernel's struct timex; all zero means: change nothing, only tell."""


class Clock(Protocol):
    """Time as the agent sees it; tests pass one that they move by hand."""

    def now(self) -> float:
        """Monotonic seconds; only differences mean anything."""

    def wall(self) -> float:
        """Seconds since the Unix epoch; may jump, so never compared."""

    def synchronized(self) -> bool:
        """Whether the wall time is known to be right."""

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait until `event` is set or `timeout_s` has passed; True if it is set."""


class SystemClock:
    """The machine's own clocks. CLOCK_MONOTONIC does not move when NTP steps the wall time."""

    def __init__(self) -> None:
        self._asked_s = float("-inf")
        self._synchronized = False

    def now(self) -> float:
        """See Clock."""
        return time.monotonic()

    def wall(self) -> float:
        """See Clock."""
        return time.time()

    def synchronized(self) -> bool:
        """The kernel's word, which any NTP client sets; else systemd-timesyncd's. Asked at most once a minute."""
        now_s = self.now()
        if now_s - self._asked_s > _ASK_EVERY_S:
            self._asked_s = now_s
            self._synchronized = _TIMESYNCD.exists() or _kernel_clock_state() in range(_TIME_ERROR)
        return self._synchronized

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """See Clock."""
        return event.wait(max(0.0, timeout_s))


def wait_until(done: Callable[[], bool], limit_s: float, clock: Clock) -> bool:
    """Ask `done` every 10 ms until it is true, or `limit_s` has passed; what it said last."""
    until_s, never = clock.now() + limit_s, threading.Event()
    while not (is_done := done()) and clock.now() < until_s:
        clock.wait(never, _LOOK_S)
    return is_done


def _kernel_clock_state() -> int:
    """The return value of adjtimex(2): 0 to 4 synchronised, 5 not, -1 not allowed to ask."""
    try:
        return int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))
    except (OSError, AttributeError):
        return -1
