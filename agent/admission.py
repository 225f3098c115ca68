"""Lets frames in: the newest of each camera, in fair turns, when a lane has room. Owner of the router: admit thread."""

import logging
from collections.abc import Sequence

from agent import logs
from agent.clock import Clock
from agent.flow import Decision, Frame, Route
from agent.handoff import Bell
from agent.lanes import Lane
from agent.link import Link
from agent.loop import Pulse
from agent.pipeline import Pipeline
from agent.router import Load, Router

_log = logging.getLogger(__name__)
_IDLE_WAIT_S = 0.25


class Admission:
    """The turnstile all cameras share."""

    def __init__(
        self, pipelines: Sequence[Pipeline], router: Router, *, link: Link, lanes: dict[Route, Lane], clock: Clock
    ) -> None:
        self._waiting = list(pipelines)
        self._router = router
        self._link = link
        self._lanes = lanes
        self._clock = clock
        self._on_cloud = False
        self._damper = logs.Damper(_log.info, clock.now)

    def run(self, pulse: Pulse, *, bell: Bell, deadline_s: float) -> None:
        """Admit frames until told to stop."""
        while not pulse.stopping.is_set():
            pulse.beat()
            bell.wait(self._clock, _IDLE_WAIT_S)
            while self.step(self._clock.now(), deadline_s):
                pulse.beat()

    def step(self, now_s: float, deadline_s: float) -> bool:
        """One turn; whether a frame was admitted. The camera that had it goes to the end of the line."""
        for pipeline in tuple(self._waiting):
            frame = pipeline.latest.peek()
            if frame is None:
                continue
            decision = self._decide(frame, now_s, deadline_s)
            if decision is not None and pipeline.admit(frame, decision):
                self._waiting.remove(pipeline)
                self._waiting.append(pipeline)
                return True
        return False

    def _decide(self, frame: Frame, now_s: float, deadline_s: float) -> Decision | None:
        due_s = frame.captured_s + deadline_s
        decision = self._router.decide(due_s, link=self._link.view(), load=self._load(due_s, now_s), now_s=now_s)
        if self._router.on_cloud != self._on_cloud:
            self._on_cloud = self._router.on_cloud
            where = "the cloud serves: frames go there" if self._on_cloud else "frames are answered on the device"
            self._damper.note(where, f"{where} {logs.fields(reason=decision.reason.value if decision else None)}")
        return decision

    def _load(self, due_s: float, now_s: float) -> Load:
        cloud, local = self._lanes.get(Route.CLOUD), self._lanes.get(Route.LOCAL)
        return Load(
            in_flight=cloud.in_flight if cloud else 0,
            in_flight_limit=cloud.engine.width if cloud else 0,
            local_free=local.free if local else False,
            local_run_s=local.run_s if local else 0.0,
            local_fits=local.fits(due_s, now_s) if local else False,
        )
