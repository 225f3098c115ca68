"""Lets frames in: the newest of each camera, in fair turns, when a lane has room. Owner of the router: admit thread."""

import logging
from collections import deque
from collections.abc import Sequence

from agent import logs
from agent.case import Candidate, Load
from agent.evidence import LinkView
from agent.flow import Decision, Frame, Reason, Route
from agent.loop import Pulse
from agent.pipeline import Pipeline, Shared
from agent.router import Prefer, Router, in_flight_limit

_log = logging.getLogger(__name__)
_IDLE_WAIT_S = 0.25
_ASSUMED_FPS = 10.0
_RECENT_FRAMES = 30
_FULL = 1.05
"""Runs a second times seconds a run: above it the device cannot keep up."""


class _Pace:
    """How many frames a second all cameras give."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, str, int]] = deque(maxlen=_RECENT_FRAMES)

    def note(self, frame: Frame) -> None:
        """A frame waits to be admitted, perhaps not for the first time."""
        entry = (frame.captured_s, frame.camera, frame.seq)
        if entry not in self._seen:
            self._seen.append(entry)

    @property
    def known(self) -> bool:
        """Whether enough frames were seen to tell."""
        return len(self._seen) == _RECENT_FRAMES

    @property
    def fps(self) -> float:
        """Over the last frames."""
        if len(self._seen) < 2:  # noqa: PLR2004 - a rate needs two
            return _ASSUMED_FPS
        times = [at_s for at_s, _, _ in self._seen]
        span_s = max(times) - min(times)
        return (len(times) - 1) / span_s if span_s > 0 else _ASSUMED_FPS


class Admission:
    """The turnstile all cameras share."""

    def __init__(self, pipelines: Sequence[Pipeline], router: Router, shared: Shared) -> None:
        self._line = list(pipelines)
        self._router = router
        self._lanes = shared.lanes
        self._uplink = shared.uplink
        self._deadline_s = shared.deadline_s
        self._bell = shared.bell
        self._clock = shared.clock
        self._controls = shared.controls
        self._configured = router.policy
        self._pace = _Pace()
        self._on_cloud = False
        self._device_judged = False
        self._damper = logs.Damper(_log.info, shared.clock.now)

    def run(self, pulse: Pulse) -> None:
        """Admit frames until told to stop."""
        while not pulse.stopping.is_set():
            pulse.beat()
            self._bell.wait(self._clock, _IDLE_WAIT_S)
            while self.step():
                pulse.beat()

    def step(self) -> bool:
        """One turn; whether a frame was admitted, or got the wire. The camera that had it goes to the end of the line.

        New frames come before those that are answered already and wait for the wire.
        """
        self._follow()
        self._run_errand()
        for turn in (self._admit, self._upload):
            for pipeline in tuple(self._line):
                if turn(pipeline):
                    self._line.remove(pipeline)
                    self._line.append(pipeline)
                    return True
        return False

    def _admit(self, pipeline: Pipeline) -> bool:
        frame = pipeline.latest.peek()
        if frame is None:
            return False
        self._pace.note(frame)
        decision = self._decide(pipeline.candidate(frame))
        if decision is None:
            return False
        if not pipeline.admit(frame, decision):
            self._router.forgo(decision)
            return False
        self._tell(decision)
        self._judge_device()
        if decision.reason is Reason.STALLED and Route.LOCAL in self._lanes:
            self._lanes[Route.LOCAL].hurry_all(self._clock.now())
        return True

    def _upload(self, pipeline: Pipeline) -> bool:
        frame = pipeline.waiting
        decision = None if frame is None else self._decide(pipeline.candidate(frame, waiting=True))
        if decision is not None:
            pipeline.upload(decision)
        return decision is not None

    def _decide(self, frame: Candidate) -> Decision | None:
        link = self._uplink.view() if self._uplink else LinkView(self._clock.now())
        prices = self._uplink.prices() if self._uplink else None
        return self._router.decide(frame, link=link, load=self._load(frame.deadline_s), prices=prices)

    def _follow(self) -> None:
        """Route as somebody wants it for now. With one engine there is no other mode to choose."""
        mode, prefer = self._configured
        if len(self._lanes) > 1:
            mode = self._controls.mode or mode
        prefer = self._controls.prefer or prefer
        if (mode, prefer) != self._router.policy:
            self._router.follow(mode, prefer)
        if self._uplink is not None:
            self._uplink.budget.thrifty = prefer is Prefer.COST

    def _run_errand(self) -> None:
        uplink, lane = self._uplink, self._lanes.get(Route.CLOUD)
        if uplink is None or lane is None or not lane.opened.is_set():
            return
        errand = self._router.errand(uplink.view(), uplink.prices())
        if errand is not None and uplink.begin_errand():
            now_s = self._clock.now()
            lane.start(lambda: uplink.run(errand), start_s=now_s, deadline_s=now_s)

    def _load(self, due_s: float) -> Load:
        local, now_s = self._lanes.get(Route.LOCAL), self._clock.now()
        return Load(
            fps=self._pace.fps,
            in_flight_limit=in_flight_limit(self._deadline_s, self._pace.fps),
            local_free=local.free if local else False,
            local_run_s=local.run_s if local else 0.0,
            local_fits=local.fits(due_s, now_s) if local else False,
            hedge_fits=local.fits(due_s, now_s, last=True) if local else False,
        )

    def _tell(self, decision: Decision) -> None:
        """Say so when the route of frames turns."""
        if self._router.on_cloud != self._on_cloud:
            self._on_cloud = self._router.on_cloud
            where = "the cloud serves: frames go there" if self._on_cloud else "frames are answered on the device"
            self._damper.note(where, f"{where} {logs.fields(reason=decision.reason.value)}")

    def _judge_device(self) -> None:
        """Say once, as soon as it is known, what the on-device model cannot do alone."""
        lane = self._lanes.get(Route.LOCAL)
        run_s = lane.run_s if lane else 0.0
        if self._device_judged or not run_s or not self._pace.known:
            return
        self._device_judged = True
        fps, run_ms = self._pace.fps, f"{run_s * 1000:.0f} ms"
        if run_s > self._deadline_s:
            _log.warning("the on-device model takes %s, longer than routing.deadline_ms: its answers are late", run_ms)
        elif run_s * fps > _FULL:
            covered = f"{1 / run_s:.1f} of {fps:.1f} frames a second"
            rest = "the rest depend on the link" if self._uplink else "the rest are overwritten by newer ones"
            _log.warning("the on-device model takes %s and covers %s; %s", run_ms, covered, rest)
