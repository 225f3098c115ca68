"""One frame's path, from camera to outbox. Read this first.

    capture ──► LatestFrame ──► admit ──► cloud lane ─┐
    (newest wins, size 1)         │                   ├──► Ticket ──► emit ──► every sink's outbox
                                  └─────► local lane ─┘   (one fate)  (capture order, by the deadline)

One Pipeline per camera. `capture` runs on its camera's thread, `admit` on the one admit thread, `_carry` on the lanes'
threads, `emit` on its own. Pixels end with the ticket, or with a witness of its result. Loops over failures, locks and
retries live elsewhere.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from traceback import format_exception

from agent.case import Candidate
from agent.clock import Clock
from agent.controls import Controls
from agent.errors import ConfigError, EngineBroken, EngineError, FrameUnreadable, SourceCrashed
from agent.flow import Answer, Decision, Fate, Frame, Result, Route
from agent.handoff import Bell, LatestFrame, OrderedResults
from agent.ladder import Ladder
from agent.lanes import Job, Lane
from agent.logs import Damper
from agent.loop import Pulse
from agent.numbers import Numbers
from agent.ports import Engine, Intake, Reporter, Source, Witness
from agent.presence import Presence
from agent.record import Identity, delivery_of
from agent.stake import Stakes
from agent.states import States
from agent.telemetry import CameraTelemetry
from agent.ticket import Ticket
from agent.uplink import Uplink
from agent.view.shutter import Held, Shutter

_log = logging.getLogger(__name__)
_IDLE_WAIT_S = 0.25
_HOURS_WAIT_S = 1.0
GIVE_UP_S = 8.0
GIVE_UP_DEADLINES = 3.0
"""A late upload is not cut off, which would cost the connection: it has 8 s or 3 deadlines, whichever is longer."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What all cameras have in common."""

    clock: Clock
    bell: Bell
    lanes: dict[Route, Lane]
    outboxes: Sequence[Intake]
    identity: Identity
    deadline_s: float
    local: Engine | None = None
    uplink: Uplink | None = None
    one_camera: bool = True
    witnesses: Sequence[Witness] = ()
    states: States = field(default_factory=States)
    controls: Controls = field(default_factory=Controls)
    numbers: Numbers = field(default_factory=Numbers)


class Pipeline:
    """The path of one camera's frames."""

    def __init__(
        self,
        camera: str,
        source: Source,
        shared: Shared,
        *,
        ladder: Ladder | None = None,
        reporter: Reporter | None = None,
        shutter: Shutter | None = None,
    ) -> None:
        """The camera is not opened yet.

        Args:
            camera: its name.
            source: where its pictures come from.
            shared: what it has in common with the others.
            ladder: in which sizes its frames can be uploaded.
            reporter: follows what it sees; None: by class, as the first run of an agent does.
            shutter: which pictures become frames, and how; None: all, as they are.
        """
        self.camera = camera
        self.resting = False
        """It is closed, as its schedule wants it."""
        self.telemetry = CameraTelemetry()
        self.latest = LatestFrame(shared.bell)
        self.ordered = OrderedResults()
        self._waiting: tuple[Ticket, Job | None] | None = None
        self.source = source
        self._shared = shared
        self._ladder = ladder
        self._shutter = shutter or Shutter()
        self._shutter.heed(shared.controls, camera)
        self._stakes = Stakes()
        self._reporter = reporter or Presence(shared.identity)
        self._clock = shared.clock
        self._damper = Damper(_log.warning, shared.clock.now)

    def capture(self, pulse: Pulse) -> None:
        """Read frames until told to stop, in the hours that the camera is used. Raises SourceLost, SourceEnded."""
        while not pulse.stopping.is_set():
            if self._shutter.open_now(self._clock):
                self.resting = False
                self._watch(pulse)
                continue
            if not self.resting:
                _log.info("camera %s is closed: %s", self.camera, self._shutter.closed_why)
            self.resting = True
            pulse.rest(_HOURS_WAIT_S)

    def _watch(self, pulse: Pulse) -> None:
        """Open the camera and read it, until told to stop or its hours are over."""
        try:
            self.source.open()
            due_s = self._clock.now()
            while not pulse.stopping.is_set() and self._shutter.open_now(self._clock):
                pulse.beat()
                due_s = self._await_turn(due_s, pulse)
                if self._is_due() and (self.source.live or self.latest.wait_empty(self._clock, _IDLE_WAIT_S)):
                    self.capture_one()
        except ConfigError as error:
            if self._shared.one_camera and self.telemetry.status().captured == 0:
                raise
            raise SourceCrashed(str(error)) from error  # one camera's fault ends no other's work, and costs little
        finally:
            self.telemetry.note_online(online=False)
            self.source.close()

    def _await_turn(self, due_s: float, pulse: Pulse) -> float:
        """Wait until `due_s` where the runtime sets the pace; when the next frame is due."""
        if not self.source.pace_fps:
            pulse.rest(min(self._shutter.wait_s(self._clock.now()), _HOURS_WAIT_S))  # its hours may end meanwhile
            return due_s
        now_s = self._clock.now()
        if due_s > now_s:
            pulse.rest(due_s - now_s)
        return max(due_s, now_s - 1 / self.source.pace_fps) + 1 / self.source.pace_fps

    def _is_due(self) -> bool:
        """Whether to read now. What the runtime paces is read in any case: its scene goes on, whoever looks."""
        due = bool(self.source.pace_fps) or not self._shutter.wait_s(self._clock.now())
        return due and self._shutter.open_now(self._clock)  # its hours may have ended while it waited

    def capture_one(self) -> None:
        """Read one frame into the slot, if there is one; what it pushes out ends there."""
        try:
            frame = self._frame()
        except FrameUnreadable as error:
            self.telemetry.note_unreadable()
            self._damper.note("unreadable", f"camera {self.camera}: {error}; counted and left out")
            return
        if frame is None:
            return
        self.telemetry.note_captured()
        if self.latest.put(frame) is not None:
            self.telemetry.note_dropped(Fate.OVERWRITTEN)

    def _frame(self) -> Frame | None:
        """The next picture that is to be a frame, as everything but this function sees it. Raises SourceError."""
        pixels = self.source.read()
        if pixels is None:
            return None
        clock = self._clock
        now_s, wall_s = clock.now(), clock.wall()  # before masks and motion take their time
        if self.telemetry.note_online(online=True):
            _log.info("camera %s gives pictures of %dx%d", self.camera, pixels.shape[1], pixels.shape[0])
        surplus = self.source.pace_fps and self._shutter.wait_s(now_s)
        seen = Held.SURPLUS if surplus else self._shutter.expose(pixels, now_s)
        if isinstance(seen, Held):
            self.telemetry.note_held(seen)
            return None
        seq = self._shared.numbers.next(self.camera, now_s)
        return Frame(self.camera, seq, now_s, wall_s, clock.synchronized(), seen)

    def candidate(self, frame: Frame, *, waiting: bool = False) -> Candidate:
        """What the router needs to know of `frame`."""
        rungs = self._ladder.rungs if self._ladder is not None else ()
        deadline_s = frame.captured_s + self._shared.deadline_s
        return Candidate(self.camera, deadline_s, rungs, stake=self._stakes.next, waiting=waiting)

    def admit(self, frame: Frame, decision: Decision) -> bool:
        """Put `frame` on its way; False when a newer one has taken its place meanwhile."""
        if not self.latest.take(frame):
            return False
        now_s = self._clock.now()
        ticket = Ticket(frame, decision, admitted_s=now_s)
        self.ordered.reserve(ticket)
        self._displace(now_s)
        hedge = self._start_local(ticket, decision.local_start_s)
        if decision.waits:
            self._waiting = (ticket, hedge)
        elif decision.route is Route.CLOUD:
            self._start_cloud(ticket, hedge)
        return True

    @property
    def waiting(self) -> Frame | None:
        """The frame that is answered here for now, and goes to the cloud yet when the wire is free. Admit thread."""
        if self._waiting is not None and not self._waiting[0].awaits_wire:
            self._waiting = None
        return None if self._waiting is None else self._waiting[0].frame

    def upload(self, decision: Decision) -> None:
        """The frame that waits for the wire has it."""
        if self._waiting is not None:
            (ticket, hedge), self._waiting = self._waiting, None
            if ticket.upload(decision):
                self._start_cloud(ticket, hedge)

    def _displace(self, now_s: float) -> None:
        """A newer frame is here: the one that waits for the wire is published as it is answered here."""
        if self._waiting is not None:
            (ticket, hedge), self._waiting = self._waiting, None
            ticket.withdraw(now_s)
            if hedge is not None:
                self._shared.lanes[Route.LOCAL].hurry(hedge, now_s)
            self.ordered.poke()

    def _start_local(self, ticket: Ticket, start_s: float | None) -> Job | None:
        engine = self._shared.local
        if start_s is None or engine is None:
            return None

        def work() -> bool:
            return self._carry(Route.LOCAL, ticket, lambda give_up_s: engine.infer(ticket.frame, give_up_s), None)

        return self._shared.lanes[Route.LOCAL].start(work, start_s=start_s, deadline_s=ticket.decision.deadline_s)

    def _start_cloud(self, ticket: Ticket, hedge: Job | None) -> None:
        decision, uplink, ladder = ticket.decision, self._shared.uplink, self._ladder
        if uplink is None or ladder is None or decision.rung is None:
            return
        upload = uplink.begin(ticket.frame, decision.rung, ladder=ladder, due_s=ticket.settle_s)

        def work() -> bool:
            try:
                return self._carry(Route.CLOUD, ticket, upload.carry, hedge)
            finally:
                upload.end()

        now_s = self._clock.now()
        self._shared.lanes[Route.CLOUD].start(work, start_s=now_s, deadline_s=decision.deadline_s)

    def _carry(self, route: Route, ticket: Ticket, infer: Callable[[float], Answer], hedge: Job | None) -> bool:
        """One engine's run for one frame. Every outcome goes to the ticket; whether there is an answer."""
        if not ticket.start(route):
            return False
        started_s = self._clock.now()
        try:
            answer = infer(started_s + max(GIVE_UP_S, GIVE_UP_DEADLINES * self._shared.deadline_s))
        except EngineError as error:
            self._note_failure(route, ticket, error, hedge=hedge)
        except Exception as error:  # noqa: BLE001 - the lane job: a fault in an engine costs a frame, not the agent
            self._damper.note(f"fault {route.value}", "a fault in the agent: " + "".join(format_exception(error)))
            broken = EngineBroken(f"{type(error).__name__}: {error}")
            self._note_failure(route, ticket, broken, hedge=hedge)
        else:
            self._note_answer(route, ticket, answer, started_s=started_s, hedge=hedge)
            return True
        finally:
            self.ordered.poke()
        return False

    def _note_answer(
        self, route: Route, ticket: Ticket, answer: Answer, *, started_s: float, hedge: Job | None
    ) -> None:
        now_s = self._clock.now()
        if hedge is not None:
            self._shared.lanes[Route.LOCAL].cancel(hedge)
        correction = ticket.answered(route, answer, started_s=started_s, now_s=now_s)
        if correction is not None:
            self.ordered.correct(correction)

    def _note_failure(self, route: Route, ticket: Ticket, error: EngineError, *, hedge: Job | None) -> None:
        now_s = self._clock.now()
        if not self.ordered.finished:  # what was left behind by a stop is no news
            self._damper.note(f"{route.value} {error.cause.value}", f"{route.value} engine: {error}")
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
        for result, frame in self.ordered.release():
            self._publish(result, frame)

    def _publish(self, result: Result, frame: Frame | None) -> None:
        self.telemetry.note_result(result)
        self._shared.bell.ring()
        if result.answer is None or result.published is None:
            self._damper.note("failed", f"camera {self.camera}: a frame got no answer: {result.failure}")
            return
        if not result.revision:  # a correction tells of a frame long past
            self._stakes.note(result.published, result.answer.predictions, width=result.width, height=result.height)
        report = self._reporter.note(result)
        result = report.result
        for state in report.states:
            self._shared.states.put(state)
        for delivery in (delivery_of(result, self._shared.identity), *report.events):
            for outbox in self._shared.outboxes:
                outbox.put(delivery)
        if frame is not None:
            for witness in self._shared.witnesses:
                witness.see(frame, result)

    @property
    def wants_wire(self) -> bool:
        """Whether a frame would use the wire if it were free. Any thread."""
        waiting = self._waiting
        return self.latest.peek() is not None or (waiting is not None and waiting[0].awaits_wire)

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
