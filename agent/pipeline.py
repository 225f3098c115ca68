"""One frame's path, from camera to outbox. Read this first.

    capture ──► LatestFrame ──► admit ──► cloud lane ─┐
    (newest wins, size 1)         │                   ├──► Ticket ──► emit ──► every sink's outbox
                                  └─────► local lane ─┘   (one fate)  (capture order, by the deadline)

One Pipeline per camera. `capture` runs on its camera's thread, `admit` on the one admit thread, `_carry` on the lanes'
threads, `emit` on its own. Pixels end with the ticket. Loops over failures, locks and retries live elsewhere.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from traceback import format_exception

from agent.clock import Clock
from agent.errors import ConfigError, EngineBroken, EngineError, FrameUnreadable, SourceLost
from agent.flow import Answer, Decision, Fate, Frame, Result, Route
from agent.handoff import Bell, LatestFrame, OrderedResults
from agent.lanes import Job, Lane
from agent.link import Link
from agent.logs import Damper
from agent.loop import Pulse
from agent.outbox import Outbox
from agent.ports import Source
from agent.record import Identity, delivery_of
from agent.telemetry import CameraTelemetry
from agent.ticket import Ticket

_log = logging.getLogger(__name__)
_IDLE_WAIT_S = 0.25
GIVE_UP_S = 8.0
GIVE_UP_DEADLINES = 3.0
"""A late upload is not cut off, which would cost the connection: it has 8 s or 3 deadlines, whichever is longer."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What all cameras have in common."""

    clock: Clock
    bell: Bell
    link: Link
    lanes: dict[Route, Lane]
    outboxes: Sequence[Outbox]
    identity: Identity
    deadline_s: float
    one_camera: bool = True


class Pipeline:
    """The path of one camera's frames."""

    def __init__(self, camera: str, source: Source, shared: Shared) -> None:
        self.camera = camera
        self.telemetry = CameraTelemetry()
        self.latest = LatestFrame(shared.bell)
        self.ordered = OrderedResults()
        self._source = source
        self._shared = shared
        self._clock = shared.clock
        # Milliseconds since boot: a restart within one boot never repeats a sequence number, nor an id.
        self._seq = int(shared.clock.now() * 1000)
        self._damper = Damper(_log.warning, shared.clock.now)

    def capture(self, pulse: Pulse) -> None:
        """Read frames until told to stop. Raises SourceLost, SourceEnded."""
        try:
            self._source.open()
            _log.info("camera %s open", self.camera)
            due_s = self._clock.now()
            while not pulse.stopping.is_set():
                pulse.beat()
                due_s = self._await_turn(due_s, pulse)
                if self._source.live or self.latest.wait_empty(self._clock, _IDLE_WAIT_S):
                    self.capture_one()
        except ConfigError as error:
            if self._shared.one_camera and self.telemetry.status().captured == 0:
                raise
            raise SourceLost(str(error)) from error  # one camera's fault ends no other's work
        finally:
            self._source.close()

    def _await_turn(self, due_s: float, pulse: Pulse) -> float:
        """Wait until `due_s` where the runtime sets the pace; when the next frame is due."""
        if not self._source.pace_fps:
            return due_s
        now_s = self._clock.now()
        if due_s > now_s:
            pulse.rest(due_s - now_s)
        return max(due_s, now_s - 1 / self._source.pace_fps) + 1 / self._source.pace_fps

    def capture_one(self) -> None:
        """Read one frame into the slot; what it pushes out ends there."""
        try:
            pixels = self._source.read()
        except FrameUnreadable as error:
            self.telemetry.note_unreadable()
            self._damper.note("unreadable", f"camera {self.camera}: {error}; counted and left out")
            return
        clock = self._clock
        frame = Frame(self.camera, self._seq, clock.now(), clock.wall(), clock.synchronized(), pixels)
        self._seq += 1
        self.telemetry.note_captured()
        if self.latest.put(frame) is not None:
            self.telemetry.note_dropped(Fate.OVERWRITTEN)

    def admit(self, frame: Frame, decision: Decision) -> bool:
        """Put `frame` on its way; False when a newer one has taken its place meanwhile."""
        if not self.latest.take(frame):
            return False
        ticket = Ticket(frame, decision)
        self.ordered.reserve(ticket)
        hedge = None
        if decision.local_start_s is not None:
            hedge = self._start(Route.LOCAL, ticket, decision.local_start_s, None)
        if decision.route is Route.CLOUD:
            self._start(Route.CLOUD, ticket, self._clock.now(), hedge)
        return True

    def _start(self, route: Route, ticket: Ticket, start_s: float, hedge: Job | None) -> Job:
        lane, deadline_s = self._shared.lanes[route], ticket.decision.deadline_s
        return lane.start(lambda: self._carry(route, ticket, hedge), start_s=start_s, deadline_s=deadline_s)

    def _carry(self, route: Route, ticket: Ticket, hedge: Job | None) -> bool:
        """One engine's run for one frame. Every outcome goes to the ticket; False when the run was not wanted."""
        if not ticket.start(route):
            return False
        started_s = self._clock.now()
        give_up_s = started_s + max(GIVE_UP_S, GIVE_UP_DEADLINES * self._shared.deadline_s)
        if route is Route.CLOUD:
            self._shared.link.note_sent(started_s)
        try:
            answer = self._shared.lanes[route].engine.infer(ticket.frame, give_up_s)
        except EngineError as error:
            self._note_failure(route, ticket, error, started_s=started_s, hedge=hedge)
        except Exception as error:  # noqa: BLE001 - the lane job: a fault in an engine costs a frame, not the agent
            self._damper.note(f"fault {route.value}", "a fault in the agent: " + "".join(format_exception(error)))
            broken = EngineBroken(f"{type(error).__name__}: {error}")
            self._note_failure(route, ticket, broken, started_s=started_s, hedge=hedge)
        else:
            self._note_answer(route, ticket, answer, started_s=started_s, hedge=hedge)
        self.ordered.poke()
        return True

    def _note_answer(
        self, route: Route, ticket: Ticket, answer: Answer, *, started_s: float, hedge: Job | None
    ) -> None:
        now_s = self._clock.now()
        if hedge is not None:
            self._shared.lanes[Route.LOCAL].cancel(hedge)
        if route is Route.CLOUD:
            self._shared.link.note_answer(_key(ticket), answer, took_s=now_s - started_s, now_s=now_s)
        correction = ticket.answered(route, answer, started_s=started_s, now_s=now_s)
        if correction is not None:
            self.ordered.correct(correction)

    def _note_failure(
        self, route: Route, ticket: Ticket, error: EngineError, *, started_s: float, hedge: Job | None
    ) -> None:
        now_s = self._clock.now()
        self._damper.note(f"{route.value} {error.cause.value}", f"{route.value} engine: {error}")
        if route is Route.CLOUD:
            self._shared.link.note_failure(_key(ticket), error, took_s=now_s - started_s, now_s=now_s)
        if ticket.failed(route, error, now_s=now_s) and hedge is not None:
            self._shared.lanes[Route.LOCAL].hurry(hedge, now_s)

    def emit(self, pulse: Pulse) -> None:
        """Let results go in capture order, each by its deadline, until closed and empty."""
        while not self.ordered.finished:
            pulse.beat()
            self.emit_ready()
            self.ordered.wait(self._clock.now(), _IDLE_WAIT_S)

    def emit_ready(self) -> None:
        """Settle what is overdue and hand over what is ready."""
        now_s = self._clock.now()
        for ticket in self.ordered.overdue(now_s):
            ticket.expire(now_s)
            if ticket.cloud_pending:
                waited_s = now_s - ticket.frame.captured_s
                self._shared.link.note_overdue(_key(ticket), waited_s=waited_s, now_s=now_s)
        for result in self.ordered.release():
            self._publish(result)

    def _publish(self, result: Result) -> None:
        self.telemetry.note_result(result)
        self._shared.bell.ring()
        if result.answer is None:
            self._damper.note("failed", f"camera {self.camera}: a frame got no answer: {result.failure}")
            return
        delivery = delivery_of(result, self._shared.identity)
        for outbox in self._shared.outboxes:
            outbox.put(delivery)

    @property
    def idle(self) -> bool:
        """No frame waits or is under way."""
        return self.latest.peek() is None and self.ordered.in_flight == 0

    def close(self) -> None:
        """No more frames will be admitted; what is under way gets its fate now."""
        frame = self.latest.peek()
        if frame is not None and self.latest.take(frame):
            self.telemetry.note_dropped(Fate.SKIPPED)
        self.ordered.close(self._clock.now())

    def __repr__(self) -> str:
        return f"<Pipeline {self.camera} {self.ordered}>"


def _key(ticket: Ticket) -> tuple[str, int]:
    return ticket.frame.camera, ticket.frame.seq
