"""The two clocks, never mixed: monotonic for ages and deadlines, wall time only as data. No state."""

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Time as the agent sees it; tests pass one that they move by hand."""

    def now(self) -> float:
        """Monotonic seconds; only differences mean anything."""

    def wall(self) -> float:
        """Seconds since the Unix epoch; may jump, so never compared."""

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait until `event` is set or `timeout_s` has passed; True if it is set."""


class SystemClock:
    """The machine's own clocks. CLOCK_MONOTONIC does not move when NTP steps the wall time."""

    def now(self) -> float:
        """See Clock."""
        return time.monotonic()

    def wall(self) -> float:
        """See Clock."""
        return time.time()

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """See Clock."""
        return event.wait(max(0.0, timeout_s))
