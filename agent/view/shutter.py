"""Which pictures of a camera become frames, and how: by the hour, by their number, by what moves, behind its masks.

Somebody may want it otherwise for now: none at all, or fewer (agent/controls.py).

While the machine's clock has never been known to be right, as on a Pi that was off and has no network yet, a schedule
is not followed: a burglar missed is worse than a frame too many. One that was right goes on well enough, though the
kernel doubts it after nine hours without the network. Owner: the camera's thread.
"""

import logging
from enum import Enum

from agent.clock import Clock
from agent.controls import Controls
from agent.flow import Pixels
from agent.view.hours import Hours
from agent.view.motion import MotionGate
from agent.view.pace import Pace
from agent.view.view import View

_log = logging.getLogger(__name__)


class Held(str, Enum):
    """Why a picture was held back. It is no frame, and has no fate."""

    SURPLUS = "surplus"
    """More than `fps` of them came."""
    STILL = "still"
    """Nothing moved."""


class Shutter:
    """One camera's."""

    def __init__(
        self,
        view: View | None = None,
        *,
        fps: float | None = None,
        gate: MotionGate | None = None,
        hours: Hours | None = None,
        trust_clock: bool = False,
    ) -> None:
        """Without any of them every picture is a frame, as it is. `trust_clock`: the wall time is right in any case."""
        self.closed_why = ""
        """Why the camera is not used now."""
        self._controls, self._camera = Controls(), ""
        self._view = view
        self._fps = fps
        self._pace = Pace(fps)
        self._paced_fps = fps
        self._gate = gate
        self._hours = hours
        self._clock_known = trust_clock
        self._told = False
        self._second: int | None = None
        self._open = True
        self._period_fps = fps

    def heed(self, controls: Controls, camera: str) -> None:
        """From now on `controls` may pause this camera, or want fewer frames of it. Before its thread runs."""
        self._controls, self._camera = controls, camera

    def open_now(self, clock: Clock) -> bool:
        """Whether the camera is used now."""
        paused_by = self._controls.paused_by(self._camera)
        if paused_by:
            self.closed_why = f"paused, by {' and '.join(paused_by)}"
            return False
        in_hours = self._in_hours(clock)
        self.closed_why = "" if in_hours else "outside its schedule"
        limits = [fps for fps in (self._period_fps, self._controls.most_fps(self._camera)) if fps is not None]
        self._set_pace(min(limits, default=None))
        return in_hours

    def _in_hours(self, clock: Clock) -> bool:
        """Whether this is an hour in which it is used; if so, the pace of that hour is noted."""
        if self._hours is None:
            return True
        self._clock_known = self._clock_known or clock.synchronized()
        if not self._clock_known:
            if not self._told:
                _log.warning(
                    "this machine's clock is not known to be right: a camera with a schedule is used until it is; "
                    "if it can be trusted, set schedule.trust_clock to true"
                )
            self._told = True
            return True
        wall_s = clock.wall()
        if int(wall_s) != self._second:
            self._second = int(wall_s)
            period = self._hours.now(wall_s)
            self._period_fps = self._fps if period is None or period.fps is None else period.fps
            self._open = period is not None
        return self._open

    def _set_pace(self, fps: float | None) -> None:
        if fps != self._paced_fps:
            self._pace, self._paced_fps = Pace(fps), fps

    def wait_s(self, now_s: float) -> float:
        """Seconds until the next picture is wanted; 0: now."""
        return self._pace.wait_s(now_s)

    def expose(self, pixels: Pixels, now_s: float) -> Pixels | Held:
        """The picture as everything else sees it, or why it is held back. Raises FrameUnreadable."""
        self._pace.take(now_s)
        if self._view is not None:
            pixels = self._view.of(pixels)
        if self._gate is not None and not self._gate.passes(pixels, now_s):
            return Held.STILL
        return pixels
