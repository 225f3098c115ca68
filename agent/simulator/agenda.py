"""What is to happen when: the heart of a discrete-event simulation. Owned by the one thread that runs it."""

import heapq
import itertools
import threading
from collections.abc import Callable
from typing import Any


class Agenda:
    """Events in the order of their times; those of one time in the order they were noted."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._events: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._numbers = itertools.count()

    def at(self, when_s: float, do: Callable[..., object], *what: object) -> None:
        """Call `do(*what)` then; at once when that time has passed."""
        heapq.heappush(self._events, (max(when_s, self.now_s), next(self._numbers), do, what))

    def run(self, until_s: float) -> None:
        """Let everything happen that does so by `until_s`."""
        events = self._events
        while events and events[0][0] <= until_s:
            self.now_s, _, do, what = heapq.heappop(events)
            do(*what)


class AgendaClock:
    """The simulated time for what takes a clock. It was never set, and nobody waits by it."""

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda

    def now(self) -> float:
        """See Clock."""
        return self._agenda.now_s

    def wall(self) -> float:
        """See Clock."""
        return self._agenda.now_s

    def synchronized(self) -> bool:
        """See Clock."""
        return False

    def wait(self, event: threading.Event, _timeout_s: float) -> bool:
        """See Clock."""
        return event.is_set()
