"""A loop is what one thread runs. The supervisor owns the threads; a loop shows its progress and sees when to stop."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.clock import Clock


class Pulse:
    """One loop's heartbeat and stop sign. Beaten by its own thread, read by the main thread."""

    def __init__(self, clock: Clock) -> None:
        self.stopping = threading.Event()
        self.begun = False
        """It has come round at least once."""
        self._clock = clock
        self._beaten = clock.now(), 0.0
        """When, and what the step since then may take."""

    def beat(self, *, longest_step_s: float = 0.0) -> None:
        """The loop has come round again; its next step may take so long, where that is more than others may."""
        self.begun = True
        self._beaten = self._clock.now(), longest_step_s

    def age_s(self) -> float:
        """Seconds since the last beat."""
        return self._clock.now() - self._beaten[0]

    def is_late(self, limit_s: float) -> bool:
        """Whether the step that it is at takes longer than `limit_s`, and than it may."""
        beaten_s, longest_step_s = self._beaten
        return self._clock.now() - beaten_s > max(limit_s, longest_step_s)

    def rest(self, duration_s: float, *, beat_every_s: float = 1.0) -> bool:
        """Wait, beating; True when it is time to stop."""
        until_s = self._clock.now() + duration_s
        while (left_s := until_s - self._clock.now()) > 0 and not self.stopping.is_set():
            self.beat()
            self._clock.wait(self.stopping, min(left_s, beat_every_s))
        return self.stopping.is_set()


@dataclass(frozen=True, slots=True)
class Loop:
    """A named thread body. It returns when it is done, and raises SourceLost or SinkUnavailable to be tried again."""

    name: str
    run: Callable[[Pulse], None]
    longest_step_s: float = 0.0
    """What one step may take without a heartbeat, where that is more than the supervisor's limit."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Loops that start and stop together."""

    name: str
    loops: tuple[Loop, ...]
    stop_within_s: float
    """How long a stop may take before the threads are left behind."""
    on_stop: Callable[[], None] = field(default=lambda: None)
    """Called once the loops have been told to stop: wakes those that wait."""
