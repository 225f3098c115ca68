"""One frame before the router: all that its decision goes by, and what each size of picture would be worth. No state.

The formulas are those of docs/architecture.md, "Routing".
"""

from dataclasses import dataclass, replace

from agent.budget import CREDITS_PER_CALL
from agent.errors import Cause
from agent.evidence import Chance, LinkView
from agent.flow import Decision, Prices, Reason, Route, Rung

MARGIN_S = 0.010
"""An answer this close to the deadline counts as late."""
HEDGE_RUNS = 2.2
HEDGE_SLACK_S = 0.015
"""The hedge starts 2.2 local runs and 15 ms ahead: its own run and one that cannot be interrupted before it."""
LOCAL_WORTH = 37.3 / 53.9
"""Accuracy of the on-device answer as a share of the hosted one's: mAP50-95 of YOLOv8n and YOLOv8x at 640 px (COCO, as
Ultralytics publishes them)."""
_SAID = (Cause.SERVER, Cause.BAD_REQUEST, Cause.BAD_ANSWER)
"""Failures in which something answered: an error, not silence."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A frame that asks for its route."""

    camera: str
    deadline_s: float
    """Monotonic; when its answer is stale."""
    ladder: tuple[Rung, ...]
    """The pictures that could be sent of it, the smallest first."""
    stake: float = 1.0
    """How much more than usual the cloud could tell of it."""
    waiting: bool = False
    """It is answered here already, and asks again because the wire may be free."""


@dataclass(frozen=True, slots=True)
class Load:
    """How busy the agent is."""

    fps: float
    """Frames per second of all cameras."""
    in_flight_limit: int
    local_free: bool
    """The on-device model could start this moment."""
    local_run_s: float
    """What a local run takes, nearly always (p99)."""
    local_fits: bool
    """A local run for this frame, begun in its turn, would end by its deadline."""
    hedge_fits: bool = True
    """So would one that is promised for the deadline, after all promises before it."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A size worth sending."""

    rung: Rung
    p: float
    value: float


@dataclass(frozen=True, slots=True)
class Case:
    """All that one decision goes by."""

    frame: Candidate
    link: LinkView
    load: Load
    prices: Prices
    budgeted: bool
    threshold: float
    prompt: bool
    """The first answer is wanted at once."""
    sparing: bool = False
    """The device's model is to run only where the cloud does not answer."""

    def chance(self, rung: Rung) -> Chance:
        """How likely a picture of that size is answered in time."""
        budget_s = self.frame.deadline_s - self.link.now_s - MARGIN_S
        return self.link.chance(rung.size_bytes, budget_s, fps=self.load.fps, sent_fps=self.sent_fps(rung))

    def sent_fps(self, rung: Rung) -> float:
        """How many frames a second may be sent at most, of those there are."""
        return min(self.load.fps, self.prices.data_bytes_s / rung.size_bytes, self.prices.credits_s / CREDITS_PER_CALL)

    def gain(self, rung: Rung) -> float:
        """Accuracy won over the on-device answer, or over none where the device has no room, or is to be spared."""
        covered = (self.load.hedge_fits or self.frame.waiting) and not self.sparing
        return self.frame.stake * (rung.worth - (LOCAL_WORTH if covered else 0.0))

    def cost(self, rung: Rung) -> float:
        """What sending it costs, in the same units."""
        return self.prices.per_mb * rung.size_bytes / 1e6 + self.prices.per_call

    def short(self, rung: Rung) -> Reason | None:
        """The budget that has not enough left for it."""
        if self.prices.data_left_bytes < rung.size_bytes:
            return Reason.BUDGET_DATA
        return Reason.BUDGET_CREDITS if self.prices.credits_left < CREDITS_PER_CALL else None

    def unaffordable(self, rung: Rung) -> Reason | None:
        """The budget for which it is too much, however likely its answer."""
        return self.short(rung) or (self.dearest(rung) if self.cost(rung) > self.gain(rung) else None)

    def dearest(self, rung: Rung) -> Reason:
        """The budget that makes most of its price."""
        data_is = self.prices.per_mb * rung.size_bytes / 1e6 >= self.prices.per_call
        return Reason.BUDGET_DATA if data_is else Reason.BUDGET_CREDITS

    @property
    def local_takes(self) -> bool:
        """Whether the device can answer: now, or by the deadline where it can keep up with the cameras at all."""
        keeps_up = self.load.local_run_s * self.load.fps <= 1.0
        return self.load.local_free or (keeps_up and self.load.local_fits)

    @property
    def hedge_s(self) -> float:
        """The last safe moment for the on-device run to begin; now, while nothing is known of its time."""
        if not self.load.local_run_s:
            return self.link.now_s
        last_s = self.frame.deadline_s - HEDGE_RUNS * self.load.local_run_s - HEDGE_SLACK_S
        return max(self.link.now_s, last_s)

    def cloud(self, reason: Reason, rung: Rung, local_start_s: float | None, *, p: float | None) -> Decision:
        """To the cloud in this size; `local_start_s`: when the device begins all the same."""
        return self._decision(Route.CLOUD, reason, rung, local_start_s=local_start_s, p=p)

    def here(self, reason: Reason, *, p: float | None, waits: bool = False) -> Decision | None:
        """To the device; None when it has no room, or has answered it. `waits`: for the wire, besides."""
        if self.frame.waiting or not self.local_takes:
            return None
        start_s = self.hedge_s if waits and self.sparing and self.load.hedge_fits else self.link.now_s
        local = self._decision(Route.LOCAL, reason, self.frame.ladder[0], local_start_s=start_s, p=p)
        return replace(local, rung=None, waits=waits)

    def _decision(
        self, route: Route, reason: Reason, rung: Rung, *, local_start_s: float | None, p: float | None
    ) -> Decision:
        return Decision(
            route,
            reason,
            self.frame.deadline_s,
            local_start_s,
            p,
            None if p is None else self.threshold,
            rung=rung,
            outlook=self.link.outlook(rung.size_bytes),
            prices=self.prices if self.budgeted else None,
            prompt=self.prompt,
        )


def shut(link: LinkView) -> Reason | None:
    """Why no frame may be sent at all."""
    if link.closed or link.refused:
        return link.closed_reason
    if link.dead:
        return Reason.DEAD
    return Reason.STALLED if link.stalled else None


def choose(case: Case) -> Choice | Reason | None:
    """The size that gains most; the budget's name when one would be in time but is too dear; else None."""
    best: Choice | None = None
    too_dear: Reason | None = None
    for rung in case.frame.ladder:
        chance = case.chance(rung)
        if chance.p < case.threshold:
            continue
        value = chance.sustained * (case.gain(rung) - case.cost(rung) / chance.p)
        short = case.short(rung)
        if short is not None or value <= 0:
            too_dear = too_dear or short or case.dearest(rung)
        elif best is None or value > best.value:
            best = Choice(rung, chance.p, value)
    return best or too_dear


def why_low(case: Case) -> Reason:
    """What the time goes to, or that too little is known."""
    link = case.link
    if link.newest_cause in _SAID:
        return Reason.HTTP_ERROR
    outlook = link.outlook(case.frame.ladder[0].size_bytes)
    if outlook is None or link.certainty(case.sent_fps(case.frame.ladder[0])) < case.threshold:
        return Reason.NO_EVIDENCE
    parts = {
        Reason.P_LOW_BANDWIDTH: outlook.upload_s,
        Reason.P_LOW_RTT: outlook.rtt_s,
        Reason.P_LOW_SERVER: outlook.server_s,
    }
    return max(parts, key=lambda reason: parts[reason])
