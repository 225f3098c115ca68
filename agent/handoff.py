"""Where a frame changes hands: the slot of size one, the ticket of a frame under way, and the order results leave in.

Written by the capture, admit, lane and emit threads; each object has its own lock, and effects happen after it.
"""

import threading
from collections import deque
from dataclasses import replace
from enum import Enum

from agent.clock import Clock
from agent.errors import EngineError
from agent.flow import Answer, Decision, Fate, Frame, Result, Route

HANDOVER_S = 0.010
"""A frame is settled this much before its deadline, so that its result has left when the deadline comes."""


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


class _Run(str, Enum):
    """One engine's work on one frame."""

    NONE = "none"
    WAITING = "waiting"
    RUNNING = "running"
    ANSWERED = "answered"
    FAILED = "failed"


class Ticket:
    """One admitted frame until its fate is settled. Both lanes and the emit thread report to it; settled once."""

    def __init__(self, frame: Frame, decision: Decision) -> None:
        self.frame = frame
        self.decision = decision
        self.result: Result | None = None
        self.expired = False
        self._lock = threading.Lock()
        self._cloud = _Run.WAITING if decision.route is Route.CLOUD else _Run.NONE
        self._local = _Run.NONE if decision.local_start_s is None else _Run.WAITING
        self._held: tuple[Answer, float, float] | None = None
        self._failure: str | None = None

    @property
    def cloud_pending(self) -> bool:
        """Whether the request is still without an outcome."""
        return self._cloud in (_Run.WAITING, _Run.RUNNING)

    @property
    def settle_s(self) -> float:
        """When the frame is settled with what there is, monotonic."""
        return self.decision.deadline_s - HANDOVER_S

    @property
    def awaits_deadline(self) -> bool:
        """Whether the deadline still has something to decide."""
        return self.result is None and not self.expired

    def start(self, route: Route) -> bool:
        """An engine is about to begin; False when its answer is no longer wanted."""
        with self._lock:
            if route is Route.CLOUD:
                self._cloud = _Run.RUNNING
            elif self.result is None:
                self._local = _Run.RUNNING
            return self.result is None

    def answered(self, route: Route, answer: Answer, *, started_s: float, now_s: float) -> Result | None:
        """An engine answered. Returns a correction when the cloud's answer came after another was published."""
        with self._lock:
            if route is Route.CLOUD:
                self._cloud = _Run.ANSWERED
                if self.result is not None:
                    correction = self._build(Route.CLOUD, answer, started_s=started_s, now_s=now_s)
                    return replace(correction, revision=1, supersedes=None if self.result.answer is None else 0)
                self.result = self._build(Route.CLOUD, answer, started_s=started_s, now_s=now_s)
                return None
            self._local = _Run.ANSWERED
            self._held = (answer, started_s, now_s)
            if self.result is None and not (self.cloud_pending and now_s < self.settle_s):
                self._settle_with_local(now_s)
            return None

    def failed(self, route: Route, error: EngineError, *, now_s: float) -> bool:
        """An engine failed. True when the local run is still to come and should start at once."""
        with self._lock:
            self._failure = f"{error.cause.value}: {error}"
            if route is Route.CLOUD:
                self._cloud = _Run.FAILED
            else:
                self._local = _Run.FAILED
            if self.result is not None:
                return False
            if self._held is not None and not self.cloud_pending:
                self._settle_with_local(now_s)
            elif not self.cloud_pending and self._local in (_Run.NONE, _Run.FAILED):
                self.result = self._build(None, None, started_s=None, now_s=now_s)
            return self.result is None and self._local is _Run.WAITING

    def expire(self, now_s: float) -> bool:
        """The deadline has come. True when this call settled the frame.

        A local run that has begun is waited for: its late answer is worth more than none. One that has not is dropped.
        """
        with self._lock:
            self.expired = True
            if self.result is not None:
                return False
            if self._held is not None:
                self._settle_with_local(now_s)
            elif self._local is not _Run.RUNNING:
                self._failure = self._failure or "no answer by the deadline"
                self.result = self._build(None, None, started_s=None, now_s=now_s)
            return self.result is not None

    def abandon(self, now_s: float) -> None:
        """The agent stops: what has no answer by now has none."""
        with self._lock:
            if self.result is None and self._held is not None:
                self._settle_with_local(now_s)
            elif self.result is None:
                self._failure = self._failure or "the agent stopped"
                self.result = self._build(None, None, started_s=None, now_s=now_s)

    def _settle_with_local(self, now_s: float) -> None:
        if self._held is not None:
            answer, started_s, ready_s = self._held
            local = self._build(Route.LOCAL, answer, started_s=started_s, now_s=now_s)
            self.result = replace(local, late=ready_s > self.decision.deadline_s)

    def _build(self, route: Route | None, answer: Answer | None, *, started_s: float | None, now_s: float) -> Result:
        frame = self.frame
        return Result(
            camera=frame.camera,
            seq=frame.seq,
            revision=0,
            captured_s=frame.captured_s,
            captured_wall_s=frame.captured_wall_s,
            clock_synchronized=frame.clock_synchronized,
            width=frame.width,
            height=frame.height,
            decision=self.decision,
            fate=Fate.FAILED if answer is None else Fate.DONE,
            published=route,
            answer=answer,
            late=now_s > self.decision.deadline_s,
            started_s=started_s,
            answered_s=now_s,
            failure=self._failure,
        )

    def __repr__(self) -> str:
        state = "settled" if self.result else f"cloud {self._cloud.value} local {self._local.value}"
        return f"<Ticket {self.frame.camera}/{self.frame.seq} {state}>"


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

    def release(self) -> list[Result]:
        """The results whose turn it is, taken out."""
        with self._changed:
            ready: list[Result] = []
            while self._tickets and (result := self._tickets[0].result) is not None:
                self._tickets.popleft()
                ready.append(result)
            waiting = {ticket.frame.seq for ticket in self._tickets}
            ready += [correction for correction in self._corrections if correction.seq not in waiting]
            self._corrections = [correction for correction in self._corrections if correction.seq in waiting]
            return ready

    def wait(self, now_s: float, at_most_s: float) -> None:
        """Until something changes, a deadline comes, or `at_most_s` has passed."""
        with self._changed:
            if self._tickets and self._tickets[0].result is not None:
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
