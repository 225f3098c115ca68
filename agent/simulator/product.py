"""The agent's own router and link in the simulated world, as its admission uses them. One thread."""

from agent.budget import Budget
from agent.case import Candidate, Load
from agent.clock import Clock
from agent.errors import Cause, EngineUnavailable
from agent.evidence import LinkView
from agent.flow import Decision, Prices, Reading, Reason, Route
from agent.link import Link, RequestKey
from agent.pipeline import GIVE_UP_DEADLINES, GIVE_UP_S
from agent.router import Errand, Mode, Router, in_flight_limit
from agent.simulator.scenario import LADDER
from agent.simulator.uplink import Upload
from agent.simulator.world import Policy, Shot, World

_CAMERA = "simulated"
_LATE_READINGS_S = 0.1
"""Between readings of an upload that makes no progress; the agent's come more often."""


class Product(Policy):
    """What the agent does."""

    def __init__(
        self, world: World, *, router: Router | None = None, budget: Budget | None = None, clock: Clock | None = None
    ) -> None:
        super().__init__(world)
        self.decide_s: list[float] = []
        """What each decision took, all that it goes by included, where there is a clock to tell."""
        self._router = router or Router(Mode.AUTO)
        self._link = Link(world.now_s)
        self._budget = budget
        self._clock = clock
        self._slot: Shot | None = None
        """The newest frame, which has no decision yet."""
        self._waiting: Shot | None = None
        """The frame that is answered here for now, and uploaded yet when the wire is free."""
        self._receipts: dict[int, int] = {}
        camera = world.camera
        self._limit = in_flight_limit(camera.deadline_s, camera.fps)
        self._give_up_s = max(GIVE_UP_S, GIVE_UP_DEADLINES * camera.deadline_s)

    def on_frame(self, shot: Shot) -> None:
        """The newest frame displaces the one that was not admitted."""
        self._slot = shot
        self._turn()

    def on_worker_free(self) -> None:
        """There may be room for the frame in the slot."""
        self._turn()

    def on_dialled(self) -> None:
        """The link is back."""
        self._link.note_dialled(self.world.now_s)
        self._turn()

    def on_begun(self, upload: Upload) -> None:
        """The first reading, before anything is acknowledged."""
        self._read(upload)

    def on_ack(self, upload: Upload) -> None:
        """A reading, and perhaps a free wire."""
        self._read(upload)
        self._turn()

    def on_answer(self, upload: Upload) -> None:
        """The last reading, and what the answer tells of the link."""
        self._read(upload)
        now_s = self.world.now_s
        on_time = now_s <= self.world.shots[upload.seq].settle_s
        self._link.note_answer(_key(upload), now_s=now_s, on_time=on_time, cold_start=upload.cold_start)
        self._settle(upload, billed=True)
        self._turn()

    def _read(self, upload: Upload) -> None:
        """Tell the link how an upload stands; close it when the link has given it up."""
        world = self.world
        reading = Reading(
            at_s=upload.progress_s if upload.acked_bytes else world.now_s,
            acked_bytes=upload.acked_bytes,
            unacked_bytes=upload.unacked_bytes,
            rtt_s=world.conditions.rtt_s(world.now_s),
            metered_bytes=upload.metered_bytes,
        )
        if not self._link.note_reading(_key(upload), reading, now_s=world.now_s):
            self._drop(upload)

    def _drop(self, upload: Upload) -> None:
        if upload.open:
            self.world.cancel(upload)
            gone = EngineUnavailable("the upload was given up", Cause.TIMEOUT)
            self._link.note_failure(_key(upload), gone, now_s=self.world.now_s)
            self._settle(upload, billed=upload.unacked_bytes == 0)
            self.world.worker.hurry([upload.seq])

    def _settle(self, upload: Upload, *, billed: bool) -> None:
        if self._budget is not None:
            receipt = self._receipts.pop(upload.seq)
            self._budget.settle(receipt, metered_bytes=upload.metered_bytes, billed=billed)

    def _turn(self) -> None:
        """Dial if it is time to. The frame without a decision comes first, then the one that waits for the wire."""
        if self._router.errand(self.view, self._prices) is Errand.DIAL:
            size_bytes = self.world.dial()
            if self._budget is not None:
                self._budget.note_overhead(size_bytes)
        while self._admit() or self._upload():
            pass

    def _admit(self) -> bool:
        shot = self._slot
        decision = None if shot is None else self._decide(shot, waiting=False)
        if shot is None or decision is None:
            return False
        self._slot = None
        if self._waiting is not None:
            self._waiting.held_until_s = min(self._waiting.held_until_s, self.world.now_s)
            self.world.worker.hurry([self._waiting.seq])
            self._waiting = None
        shot.wanted = Route.CLOUD if self._router.on_cloud else Route.LOCAL
        shot.reason, shot.p = decision.reason.value, decision.p
        if decision.outlook is not None:
            shot.uplink_mbit_s = decision.outlook.uplink_mbit_s
        if decision.local_start_s is not None:
            self.world.worker.promise(shot, decision.local_start_s, hedge=decision.route is Route.CLOUD)
        if decision.waits:
            self._waiting, shot.held_until_s = shot, shot.settle_s
        elif decision.route is Route.CLOUD:
            self._send(shot, decision)
        if decision.reason is Reason.STALLED:
            self.world.worker.hurry()
        return True

    def _upload(self) -> bool:
        shot = self._waiting
        if shot is None or self.world.now_s >= shot.settle_s or not self.view.wire_free:
            return False  # with a busy wire the router would say the same, at ten times the cost
        decision = self._decide(shot, waiting=True)
        if decision is None:
            return False
        self._waiting, shot.reason, shot.p = None, decision.reason.value, decision.p
        shot.hedged = True
        self._send(shot, decision)
        return True

    def _decide(self, shot: Shot, *, waiting: bool) -> Decision | None:
        begun_s = None if self._clock is None else self._clock.now()
        frame = Candidate(_CAMERA, shot.deadline_s, LADDER, waiting=waiting)
        decision = self._router.decide(frame, link=self.view, load=self._load(shot), prices=self._prices)
        if self._clock is not None and begun_s is not None:
            self.decide_s.append(self._clock.now() - begun_s)
        return decision

    @property
    def _prices(self) -> Prices | None:
        return None if self._budget is None else self._budget.prices(self.world.now_s)

    def _load(self, shot: Shot) -> Load:
        worker = self.world.worker
        return Load(
            fps=self.world.camera.fps,
            in_flight_limit=self._limit,
            local_free=worker.free,
            local_run_s=worker.run_s,
            local_fits=worker.fits(shot.deadline_s),
            hedge_fits=worker.fits(shot.deadline_s, last=True),
        )

    def _send(self, shot: Shot, decision: Decision) -> None:
        if decision.rung is None:
            return
        world = self.world
        upload = world.upload(shot, decision.rung, probe=decision.reason is Reason.PROBE)
        if self._budget is not None:
            self._receipts[shot.seq] = self._budget.reserve(upload.size_bytes)
        if decision.prompt:
            shot.held_until_s = 0.0
        self._link.note_sent(_key(upload), size_bytes=upload.size_bytes, now_s=world.now_s, due_s=shot.settle_s)
        world.agenda.at(shot.settle_s, self._watch_late, upload)
        world.agenda.at(world.now_s + self._give_up_s, self._drop, upload)

    def _watch_late(self, upload: Upload) -> None:
        """The frame is settled without the cloud; readings go on, and end the upload when it has stalled."""
        if upload.open and upload.acked_s is None:
            if upload.began_s is not None:
                self._read(upload)
            self.world.agenda.at(self.world.now_s + _LATE_READINGS_S, self._watch_late, upload)

    @property
    def view(self) -> LinkView:
        """What is known of the link."""
        return self._link.view(self.world.now_s)


def _key(upload: Upload) -> RequestKey:
    return _CAMERA, upload.seq
