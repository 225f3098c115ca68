"""One admitted frame until it has its fate. Both lanes' threads and the emit thread report to it; one lock.

Which answer is published, by what has happened when the last of these events came:

    cloud      local               before the deadline      at the deadline and after
    ---------  ------------------  -----------------------  --------------------------------------------
    answered   any                 the cloud's              the cloud's; a correction if one is out already
    pending    answered            waits for the cloud      the local one
    pending    running             waits                    waits for the local one, which is late then
    pending    waiting (a hedge)   waits                    none: failed
    pending    none or failed      waits for the cloud      none: failed
    failed     answered            the local one            the local one
    failed     running, waiting    waits; the hedge starts  running: waits; waiting: failed
    failed     none or failed      none: failed             none: failed
    none       any but failed      the local one, when it comes, however late

A frame that waits for the wire has a cloud run that is pending; a newer frame that takes its place ends the wait, and
the cloud's part is none then. Where the first answer is wanted promptly, the local one does not wait for the cloud's.
"""

import threading
from dataclasses import replace
from enum import Enum

from agent.errors import EngineError
from agent.flow import Answer, Decision, Fate, Frame, Hedge, Result, Route

HANDOVER_S = 0.010
"""A frame is settled this much before its deadline, so that its result has left when the deadline comes."""


class _Run(str, Enum):
    """One engine's work on one frame."""

    NONE = "none"
    WAITING = "waiting"
    RUNNING = "running"
    ANSWERED = "answered"
    FAILED = "failed"


class Ticket:
    """Where the outcomes of one frame meet. `result` is set once."""

    def __init__(self, frame: Frame, decision: Decision, *, admitted_s: float) -> None:
        self.frame = frame
        self.decision = decision
        self.result: Result | None = None
        self._admitted_s = admitted_s
        self._lock = threading.Lock()
        self._cloud = _Run.WAITING if decision.route is Route.CLOUD or decision.waits else _Run.NONE
        self._local = _Run.NONE if decision.local_start_s is None else _Run.WAITING
        self._held: Result | None = None
        self._expired = False
        self._failure: str | None = None

    @property
    def settle_s(self) -> float:
        """When the frame is settled with what there is, monotonic."""
        return self.decision.deadline_s - HANDOVER_S

    @property
    def awaits_deadline(self) -> bool:
        """Whether the deadline still has something to decide."""
        return self.result is None and not self._expired

    @property
    def awaits_wire(self) -> bool:
        """Whether an upload would still be of use."""
        return self.decision.waits and self._cloud is _Run.WAITING and not self._expired

    def upload(self, decision: Decision) -> bool:
        """The wire is free: the frame goes to the cloud after all, unless that is too late. Its local run stays."""
        with self._lock:
            if not self.awaits_wire:
                return False
            self.decision = replace(decision, local_start_s=self.decision.local_start_s)
            return True

    def withdraw(self, now_s: float) -> None:
        """A newer frame waits for the wire in its place."""
        with self._lock:
            if self.awaits_wire:
                self._cloud = _Run.NONE
                self._settle(now_s)

    def start(self, route: Route) -> bool:
        """An engine is about to begin; False when its answer is no longer wanted."""
        with self._lock:
            if self.result is not None and not (route is Route.CLOUD and self.decision.prompt):
                return False
            if route is Route.CLOUD:
                self._cloud = _Run.RUNNING
            else:
                self._local = _Run.RUNNING
            return True

    def answered(self, route: Route, answer: Answer, *, started_s: float, now_s: float) -> Result | None:
        """An engine answered. Returns a correction when the cloud's answer came after the frame was settled."""
        with self._lock:
            mine = self._build(route, answer, started_s=started_s, now_s=now_s)
            if route is Route.LOCAL:
                self._local, self._held = _Run.ANSWERED, mine
                self._settle(now_s)
                return None
            self._cloud = _Run.ANSWERED
            if self.result is not None:
                return replace(mine, revision=1, supersedes=None if self.result.answer is None else 0)
            self.result = mine
            return None

    def failed(self, route: Route, error: EngineError, *, now_s: float) -> bool:
        """An engine failed. True when the local run is still to come and should start at once."""
        with self._lock:
            self._failure = f"{error.cause.value}: {error}"
            if route is Route.CLOUD:
                self._cloud = _Run.FAILED
            else:
                self._local = _Run.FAILED
            self._settle(now_s)
            return self.result is None and self._local is _Run.WAITING

    def expire(self, now_s: float) -> None:
        """The deadline has come."""
        with self._lock:
            self._expired = True
            self._settle(now_s)

    def abandon(self, now_s: float) -> None:
        """The agent stops: what has no answer by now has none."""
        with self._lock:
            if self.result is None:
                self._failure = self._failure or "the agent stopped"
                self.result = self._held or self._build(None, None, started_s=None, now_s=now_s)

    def _settle(self, now_s: float) -> None:
        """Publish the local answer, or nothing, if the table above says so."""
        if self.result is not None:
            return
        waits = self._cloud in (_Run.WAITING, _Run.RUNNING) and not self._expired
        if self._held is not None and (self.decision.prompt or not waits):
            self.result = replace(self._held, answered_s=now_s, decision=self.decision, hedge=self._hedge)
        elif not waits and not self._local_to_come():
            self._failure = self._failure or "no answer by the deadline"
            self.result = self._build(None, None, started_s=None, now_s=now_s)

    def _local_to_come(self) -> bool:
        # A frame routed here was admitted because the lane was free: its run is about to begin. A hedge that has not
        # begun by the deadline has a busy lane before it, and its answer would be stale.
        waits = self._local is _Run.WAITING and (not self._expired or self.decision.route is Route.LOCAL)
        return waits or self._local is _Run.RUNNING

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
            hedge=self._hedge,
        )

    @property
    def _hedge(self) -> Hedge:
        start_s = self.decision.local_start_s
        if start_s is None or self.decision.route is Route.LOCAL:
            return Hedge.NONE
        if self._local is _Run.WAITING:
            return Hedge.SKIPPED
        return Hedge.NOW if start_s <= self._admitted_s else Hedge.LATE

    def __repr__(self) -> str:
        state = "settled" if self.result else f"cloud {self._cloud.value} local {self._local.value}"
        return f"<Ticket {self.frame.camera}/{self.frame.seq} {state}>"
