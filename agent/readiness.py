"""Whether the agent lives, is ready, and what it does without: three questions with three answers.

alive     every loop makes progress
ready     alive, its engines are open, and a camera gives frames (or rests, as its schedule wants it)
degraded  ready, and something that should work does not: it goes on without it

Asked by the page's thread; what is asked has its own locks.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from agent.clock import Clock
from agent.controls import Controls
from agent.courier import Courier
from agent.flow import Fate, Route
from agent.heat import Heat
from agent.lanes import Lane
from agent.logs import redact
from agent.pipeline import Pipeline
from agent.uplink import Uplink

RECENT_S: Final = 300.0
"""What went wrong within this counts as going wrong: a counter that moved says no more than that it moved."""
_START_S: Final = 30.0
"""A sink or a camera that has not come yet is not missed before."""


class Trouble(str, Enum):
    """What the agent does without: the closed vocabulary of readyz, page and metrics."""

    CAMERA_OFFLINE = "camera_offline"
    FRAMES_UNANSWERED = "frames_unanswered"
    SINK_AWAY = "sink_away"
    RESULTS_DROPPED = "results_dropped"
    RESULTS_EXPOSED = "results_exposed"
    CLOUD_REFUSED = "cloud_refused"
    CLOUD_UNREACHED = "cloud_unreached"
    BUDGET_SPENT = "budget_spent"
    THROTTLED = "throttled"
    HELD_BACK = "held_back"


@dataclass(frozen=True, slots=True)
class Complaint:
    """One trouble, in words."""

    trouble: Trouble
    words: str


@dataclass(frozen=True, slots=True)
class Condition:
    """The answers at one moment."""

    stuck: tuple[str, ...]
    """Loops that make no progress."""
    missing: tuple[str, ...]
    """What it still waits for, in words."""
    complaints: tuple[Complaint, ...]

    @property
    def alive(self) -> bool:
        """Every loop makes progress."""
        return not self.stuck

    @property
    def ready(self) -> bool:
        """It does its work."""
        return self.alive and not self.missing


@dataclass(frozen=True, slots=True)
class Watched:
    """What there is to look at."""

    agent: str
    clock: Clock
    pipelines: Sequence[Pipeline]
    couriers: Sequence[Courier]
    lanes: dict[Route, Lane]
    uplink: Uplink | None
    stuck: Callable[[], Sequence[str]]
    """Names of the loops that make no progress."""
    trouble: Callable[[str], str | None]
    """Why the loop of a name was last begun anew."""
    pings: Callable[[], int]
    """How often all were found to make progress."""
    heat: Callable[[], Heat]
    controls: Controls = field(default_factory=Controls)


class Readiness:
    """Looks at all of it. Counters are compared with what they were at earlier looks, so one is due now and then."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._begun_s = watched.clock.now()
        self._moved: dict[str, tuple[int, float]] = {}

    def condition(self) -> Condition:
        """How it stands now."""
        return Condition(tuple(self._watched.stuck()), tuple(self._missing()), tuple(self._complaints()))

    def _missing(self) -> Iterator[str]:
        watched = self._watched
        for lane in watched.lanes.values():
            if not lane.opened.is_set():
                yield f"the {lane.name} engine is not open yet{': ' if lane.opening else ''}{lane.opening}"
        if not any(pipeline.resting or pipeline.telemetry.status().online for pipeline in watched.pipelines):
            yield "no camera gives frames"

    def _complaints(self) -> Iterator[Complaint]:
        settled = self._watched.clock.now() - self._begun_s >= _START_S
        yield from self._of_cameras(settled=settled)
        yield from self._of_sinks(settled=settled)
        if self._watched.uplink is not None:
            yield from self._of_cloud(self._watched.uplink)
        yield from self._of_care()
        held = [reason for reason, holds in (self._watched.heat().throttled or {}).items() if holds]
        if held:
            yield Complaint(Trouble.THROTTLED, f"the machine is slowed down: {', '.join(held).replace('_', ' ')}")

    def _of_care(self) -> Iterator[Complaint]:
        """What the machine's heat or power supply takes from the work. What a person wants is no trouble."""
        for by, why in {wish.by: wish.why for wish in self._watched.controls.reasons()}.items():
            if by in ("heat", "power"):
                yield Complaint(Trouble.HELD_BACK, f"less is done for the machine's {by}: {why}")

    def _of_cameras(self, *, settled: bool) -> Iterator[Complaint]:
        for pipeline in self._watched.pipelines:
            name, status = pipeline.camera, pipeline.telemetry.status()
            if not (status.online or pipeline.resting) and (settled or status.openings):
                yield Complaint(Trouble.CAMERA_OFFLINE, f"camera {name} is offline{self._why(f'capture-{name}')}")
            if self._moves(f"failed {name}", status.fates.get(Fate.FAILED, 0)):
                yield Complaint(Trouble.FRAMES_UNANSWERED, f"frames of camera {name} got no answer")

    def _of_sinks(self, *, settled: bool) -> Iterator[Complaint]:
        for courier in self._watched.couriers:
            name, status = courier.name, courier.outbox.status()
            if not courier.connected and settled:
                what = f"sink {name} is away, {status.waiting} results wait for it{self._why(f'sink-{name}')}"
                yield Complaint(Trouble.SINK_AWAY, what)
            if self._moves(f"dropped {name}", status.dropped):
                yield Complaint(Trouble.RESULTS_DROPPED, f"results for sink {name} gave way unsent")
            if status.exposed:
                what = f"{status.exposed} results for sink {name} wait in memory only: its outbox cannot be written"
                yield Complaint(Trouble.RESULTS_EXPOSED, what)

    def _why(self, loop: str) -> str:
        trouble = self._watched.trouble(loop)
        return "" if trouble is None else f": {redact(trouble)}"

    def _of_cloud(self, uplink: Uplink) -> Iterator[Complaint]:
        view, prices = uplink.view(), uplink.prices()
        if view.closed:
            yield Complaint(Trouble.CLOUD_REFUSED, f"the hosted API says no: {view.closed_reason.value}")
        elif view.dead:
            why = "" if view.dead_cause is None else f": {view.dead_cause.value}"
            yield Complaint(Trouble.CLOUD_UNREACHED, f"the hosted API cannot be reached{why}")
        if prices is not None and min(prices.data_left_bytes, prices.credits_left) <= 0:
            yield Complaint(Trouble.BUDGET_SPENT, "the budget for the hosted API is spent for now")

    def _moves(self, name: str, count: int) -> bool:
        """Whether a counter has grown lately."""
        now_s = self._watched.clock.now()
        before, moved_s = self._moved.get(name, (0, -math.inf))
        if count > before:
            moved_s = now_s
        self._moved[name] = count, moved_s
        return now_s - moved_s < RECENT_S
