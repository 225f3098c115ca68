"""Where a frame changes hands: the slot of size one, and the order in which results leave.

Written by the capture, admit, lane and emit threads; each object has its own lock, and effects happen after it.
"""

import threading
from collections import deque

from agent.clock import Clock
from agent.flow import Frame, Result
from agent.ticket import Ticket


class Bell:
    """Rung when something may have room or work; the admit thread waits for it."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def ring(self) -> None:
        """Something changed. Any thread."""
        self._event.set()

    def wait(self, clock: Clock, timeout_s: float) -> None:
        """Until rung since the last wait, or `timeout_s`."""
        clock.wait(self._event, timeout_s)
        self._event.clear()


class LatestFrame:
    """Holds at most the newest frame of one camera."""

    def __init__(self, bell: Bell) -> None:
        self._lock = threading.Lock()
        self._frame: Frame | None = None
        self._emptied = threading.Event()
        self._emptied.set()
        self._bell = bell

    def put(self, frame: Frame) -> Frame | None:
        """Keep `frame`; the one it pushed out, if any."""
        with self._lock:
            lost, self._frame = self._frame, frame
            self._emptied.clear()
        self._bell.ring()
        return lost

    def peek(self) -> Frame | None:
        """The newest frame, left in place."""
        with self._lock:
            return self._frame

    def take(self, frame: Frame) -> bool:
        """Take `frame` out, if it is still the newest."""
        with self._lock:
            if self._frame is not frame:
                return False
            self._frame = None
            self._emptied.set()
        return True

    def wait_empty(self, clock: Clock, timeout_s: float) -> bool:
        """Whether the slot is empty, after waiting at most `timeout_s` for it."""
        return clock.wait(self._emptied, timeout_s)


class OrderedResults:
    """Tickets of one camera in capture order; results leave in that order, corrections after what they correct."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tickets: deque[Ticket] = deque()
        self._corrections: list[Result] = []
        self._closed = False

    def reserve(self, ticket: Ticket) -> None:
        """Give `ticket` its place in the order. Admit thread."""
        with self._changed:
            self._tickets.append(ticket)
            self._changed.notify()

    def correct(self, result: Result) -> None:
        """Queue a correction. Cloud lane threads."""
        with self._changed:
            self._corrections.append(result)
            self._changed.notify()

    def poke(self) -> None:
        """A ticket was settled."""
        with self._changed:
            self._changed.notify()

    def overdue(self, now_s: float) -> list[Ticket]:
        """Unsettled tickets that have come within HANDOVER_S of their deadline since the last call."""
        with self._changed:
            return [t for t in self._tickets if t.awaits_deadline and t.settle_s <= now_s]

    def release(self) -> list[tuple[Result, Frame | None]]:
        """The results whose turn it is, taken out; with its frame each that is no correction."""
        with self._changed:
            ready: list[tuple[Result, Frame | None]] = []
            while self._tickets and (result := self._tickets[0].result) is not None:
                ready.append((result, self._tickets.popleft().frame))
            waiting = {ticket.frame.seq for ticket in self._tickets}
            ready += [(correction, None) for correction in self._corrections if correction.seq not in waiting]
            self._corrections = [correction for correction in self._corrections if correction.seq in waiting]
            return ready

    def _has_work(self) -> bool:
        """Whether `release` would give something, or nothing more will come."""
        first = self._tickets[0] if self._tickets else None
        if self._closed or (first is not None and first.result is not None):
            return True
        return any(first is None or correction.seq < first.frame.seq for correction in self._corrections)

    def wait(self, now_s: float, at_most_s: float) -> None:
        """Until something changes, a deadline comes, or `at_most_s` has passed."""
        with self._changed:
            if self._has_work():
                return
            due_s = min((t.settle_s - now_s for t in self._tickets if t.awaits_deadline), default=at_most_s)
            self._changed.wait(max(0.001, min(due_s, at_most_s)))

    def close(self, now_s: float) -> None:
        """No more tickets come; those without an answer are given up."""
        with self._changed:
            for ticket in self._tickets:
                ticket.abandon(now_s)
            self._closed = True
            self._changed.notify()

    @property
    def in_flight(self) -> int:
        """Frames admitted and not yet released."""
        with self._changed:
            return len(self._tickets)

    @property
    def finished(self) -> bool:
        """Closed, and all released."""
        with self._changed:
            return self._closed and not self._tickets and not self._corrections

    def __repr__(self) -> str:
        return f"<OrderedResults {list(self._tickets)}>"
