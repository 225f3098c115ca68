"""What other agents do, to compare with: each knows what a real agent can see. One thread.

A policy may have a hedge: the on-device run that begins in time to be ready at the deadline if the cloud's answer is
not. Without it, a frame that was sent has the cloud's answer or none.
"""

import math
from collections import deque
from collections.abc import Callable

from agent.case import HEDGE_RUNS, HEDGE_SLACK_S, LOCAL_WORTH
from agent.flow import Route
from agent.simulator.scenario import LADDER
from agent.simulator.uplink import Upload
from agent.simulator.world import MakePolicy, Policy, Shot, World

_MOST_IN_FLIGHT = 6
_TIMEOUT_S = 5.0
_LARGE = LADDER[2]
_MIDDLE = LADDER[1]


class _Local(Policy):
    """Answers on the device; of the frames that it has no room for, the newest waits."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._next: Shot | None = None

    def _here(self, shot: Shot) -> None:
        worker, camera = self.world.worker, self.world.camera
        keeps_up = worker.run_s * camera.fps <= 1.0
        if worker.free or (keeps_up and worker.fits(shot.deadline_s)):
            self._next = None
            worker.promise(shot, self.world.now_s)
        else:
            self._next = shot

    def on_worker_free(self) -> None:
        """See Policy."""
        if self._next is not None and self._next is self.world.shots[-1]:
            self._here(self._next)


class AlwaysLocal(_Local):
    """Every frame is answered on the device."""

    def on_frame(self, shot: Shot) -> None:
        """See Policy."""
        self._here(shot)


class _Sender(_Local):
    """What they have in common that send frames."""

    def __init__(self, world: World, *, hedged: bool) -> None:
        super().__init__(world)
        self._hedged = hedged

    @property
    def _full(self) -> bool:
        return len(self.world.in_flight) >= _MOST_IN_FLIGHT

    def _hedge(self, shot: Shot) -> None:
        camera = self.world.camera
        if self._hedged:
            start_s = shot.deadline_s - HEDGE_RUNS * camera.local_s - HEDGE_SLACK_S
            self.world.worker.promise(shot, start_s, hedge=True)


class AlwaysCloud(_Sender):
    """A plain loop: 90 kB pictures, six requests under way, 5 s for each; a frame that finds no room is lost."""

    def on_frame(self, shot: Shot) -> None:
        """See Policy."""
        shot.wanted = Route.CLOUD
        if not self._full:
            upload = self.world.upload(shot, _LARGE)
            self.world.agenda.at(self.world.now_s + _TIMEOUT_S, self.world.cancel, upload)


class Threshold(_Sender):
    """A circuit breaker: three late answers in a row, then ten seconds without the cloud, then one frame to try."""

    _LATE_ALLOWED = 3
    _PAUSE_S = 10.0

    def __init__(self, world: World, *, hedged: bool) -> None:
        super().__init__(world, hedged=hedged)
        self._late = 0
        self._open_until_s: float | None = None
        self._trying = False

    def on_frame(self, shot: Shot) -> None:
        """See Policy."""
        world = self.world
        paused = self._open_until_s is not None and world.now_s < self._open_until_s
        if paused or self._full or (self._trying and world.in_flight):
            self._here(shot)
            return
        if self._open_until_s is not None:
            self._open_until_s, self._trying = None, True
        shot.wanted = Route.CLOUD
        upload = world.upload(shot, _LARGE)
        self._hedge(shot)
        world.agenda.at(shot.deadline_s, self._judge, upload)
        world.agenda.at(world.now_s + _TIMEOUT_S, world.cancel, upload)

    def on_answer(self, upload: Upload) -> None:
        """See Policy."""
        if self.world.now_s <= self.world.shots[upload.seq].deadline_s:
            self._late, self._trying = 0, False

    def _judge(self, upload: Upload) -> None:
        if not upload.open:
            return
        self._late += 1
        if self._trying or self._late >= self._LATE_ALLOWED:
            self._open_until_s = self.world.now_s + self._PAUSE_S
            self._late, self._trying = 0, False


class Ewma(_Sender):
    """A moving average of the time from request to answer: the cloud while it is below the deadline; else a try in 5 s.

    It comes back at 0.8 of the deadline, and what has no answer after two deadlines counts as that and is cut off.
    """

    _NEWEST = 0.2
    _BACK_AT = 0.8
    _PAUSE_S = 5.0

    def __init__(self, world: World, *, hedged: bool) -> None:
        super().__init__(world, hedged=hedged)
        self._average_s: float | None = None
        self._on_cloud = True
        self._next_try_s = 0.0

    def on_frame(self, shot: Shot) -> None:
        """See Policy."""
        if self._on_cloud and not self._full:
            shot.wanted = Route.CLOUD
            self._send(shot, probe=False)
            self._hedge(shot)
            return
        if not self._on_cloud and not self.world.in_flight and self.world.now_s >= self._next_try_s:
            self._next_try_s = self.world.now_s + self._PAUSE_S
            self._send(shot, probe=True)
        self._here(shot)

    def _send(self, shot: Shot, *, probe: bool) -> None:
        upload = self.world.upload(shot, _MIDDLE, probe=probe)
        self.world.agenda.at(self.world.now_s + 2 * self.world.camera.deadline_s, self._cut, upload)

    def on_answer(self, upload: Upload) -> None:
        """See Policy."""
        self._note(self.world.now_s - upload.sent_s)

    def _cut(self, upload: Upload) -> None:
        if upload.open:
            self.world.cancel(upload)
            self._note(2 * self.world.camera.deadline_s)

    def _note(self, took_s: float) -> None:
        before_s = took_s if self._average_s is None else self._average_s
        self._average_s = before_s + self._NEWEST * (took_s - before_s)
        deadline_s = self.world.camera.deadline_s
        if self._on_cloud and self._average_s > deadline_s:
            self._on_cloud = False
            self._next_try_s = self.world.now_s + self._PAUSE_S
        elif self._average_s < self._BACK_AT * deadline_s:
            self._on_cloud = True


class Bandit(_Sender):
    """Sliding-window UCB over the device and four sizes; an arm's reward is the worth of the frame's answer."""

    _WINDOW = 300
    _OPTIMISM = 0.15

    def __init__(self, world: World, *, hedged: bool) -> None:
        super().__init__(world, hedged=hedged)
        self._pulls: deque[tuple[int, float]] = deque()
        self._counts = [0] * (len(LADDER) + 1)
        self._sums = [0.0] * (len(LADDER) + 1)

    def on_frame(self, shot: Shot) -> None:
        """See Policy."""
        arm = max(range(len(self._counts)), key=self._hope)
        if arm and self._full:
            self._here(shot)
            return
        self.world.agenda.at(shot.deadline_s, self._reward, arm, shot)
        if not arm:
            self._here(shot)
            return
        shot.wanted = Route.CLOUD
        upload = self.world.upload(shot, LADDER[arm - 1])
        self._hedge(shot)
        self.world.agenda.at(self.world.now_s + 2 * self.world.camera.deadline_s, self.world.cancel, upload)

    def _hope(self, arm: int) -> float:
        """What the arm gave, and what it may give beyond that; an arm not known is tried, the device first."""
        count = self._counts[arm]
        if not count:
            return math.inf
        return self._sums[arm] / count + self._OPTIMISM * math.sqrt(math.log(len(self._pulls)) / count)

    def _reward(self, arm: int, shot: Shot) -> None:
        answered = shot.cloud_s is not None
        otherwise = LOCAL_WORTH if shot.local_s is not None or (self._hedged and arm) else 0.0
        worth = LADDER[arm - 1].worth if arm and answered else otherwise
        self._pulls.append((arm, worth))
        self._counts[arm] += 1
        self._sums[arm] += worth
        if len(self._pulls) > self._WINDOW:
            oldest, gave = self._pulls.popleft()
            self._counts[oldest] -= 1
            self._sums[oldest] -= gave


def _hedging(kind: Callable[..., Policy], *, hedged: bool) -> MakePolicy:
    return lambda world: kind(world, hedged=hedged)


BASELINES: dict[str, MakePolicy] = {
    "always-local": AlwaysLocal,
    "always-cloud": _hedging(AlwaysCloud, hedged=False),
    "threshold": _hedging(Threshold, hedged=False),
    "ewma": _hedging(Ewma, hedged=False),
    "threshold+hedge": _hedging(Threshold, hedged=True),
    "ewma+hedge": _hedging(Ewma, hedged=True),
    "sw-ucb+hedge": _hedging(Bandit, hedged=True),
}
"""Name -> how it is made."""
