"""Decides each frame's route. Pure: measurements and the time in, a decision and its reason out. Owner: admit thread.

The rule: send a frame, in the size that gains most accuracy per second of link, when the share of recent requests that
would have met its deadline is high enough, with hysteresis, and the gain is worth its price. Run the on-device model so
that its answer is there at the deadline if the cloud's is not (the hedge). Keep one upload on the wire; the newest
frame waits for it. While the cloud does not serve, ask again ever more rarely: a dead link by dialling, a slow one with
real frames. Reasons are the closed set of flow.Reason; docs/architecture.md has the constants and their sensitivity.
"""

import math
from dataclasses import dataclass
from enum import Enum

from agent.case import Candidate, Case, Choice, Load, choose, shut, why_low
from agent.errors import Cause
from agent.evidence import LinkView
from agent.flow import Decision, Prices, Reason, Route

P_SURE = 0.9
"""Below it the local run starts at once, which spreads the load; above it the run is usually spared."""
PROBE_SHARE = 0.1
PROBE_MIN_S = 0.5
PROBE_MAX_S = 60.0
"""Ask again after 10 % of the time since the cloud last served, so an outage is prolonged by a tenth at most."""
DIAL_MAX_S = 1.0
"""Dialling costs a hundred bytes where nobody answers, and no credit."""
ERRAND_BYTES = 5_000
"""What a connection with TLS takes, nearly always."""
MOST_IN_FLIGHT = 10

_HANDSHAKES = (Cause.TLS, Cause.TLS_EXPIRED, Cause.TLS_HOST)
"""Somebody answers, and costs kilobytes each time, but a person must act."""


class Mode(str, Enum):
    """Which routes the router may use."""

    AUTO = "auto"
    LOCAL_ONLY = "local_only"
    CLOUD_ONLY = "cloud_only"


class Prefer(str, Enum):
    """What matters most where both routes would do."""

    ACCURACY = "accuracy"
    LATENCY = "latency"
    COST = "cost"
    COOL = "cool"
    """The device's model rests wherever the cloud's answer is likely to do."""


class Errand(str, Enum):
    """What else than a frame is to be sent now."""

    DIAL = "dial"
    KNOCK = "knock"


@dataclass(frozen=True, slots=True)
class Threshold:
    """What p must reach."""

    p_send: float
    hysteresis: float


THRESHOLDS = {
    # With the hedge a late answer costs bytes only, so "more likely than not" is enough.
    Prefer.ACCURACY: Threshold(0.5, 0.1),
    Prefer.LATENCY: Threshold(0.8, 0.0),
    Prefer.COST: Threshold(0.7, 0.1),
    Prefer.COOL: Threshold(0.5, 0.1),
}


class Router:
    """One router for all cameras: the link is theirs in common."""

    def __init__(self, mode: Mode, prefer: Prefer = Prefer.ACCURACY) -> None:
        self._mode = mode
        self._prefer = prefer
        self._good_s: float | None = None
        self._next_probe_s = float("-inf")
        self._seen_s = float("-inf")
        self._on_cloud: set[str] = set()
        """The cameras whose frames the cloud is thought to serve, in mode auto."""

    @property
    def policy(self) -> tuple[Mode, Prefer]:
        """By what it decides."""
        return self._mode, self._prefer

    def follow(self, mode: Mode, prefer: Prefer) -> None:
        """Decide by these from now on; what is known of the cloud stays known."""
        if mode is Mode.LOCAL_ONLY:
            self._on_cloud.clear()
        self._mode, self._prefer = mode, prefer

    @property
    def on_cloud(self) -> bool:
        """Whether the cloud is thought to serve any camera."""
        return bool(self._on_cloud)

    def decide(self, frame: Candidate, *, link: LinkView, load: Load, prices: Prices | None = None) -> Decision | None:
        """The route of one frame, or None when no lane has room for it now, or it goes on waiting for the wire.

        Args:
            frame: which frame, and the pictures that could be sent of it.
            link: what is known of the cloud now.
            load: how busy the agent is.
            prices: what uploading costs; None where there is no budget.
        """
        if self._mode is Mode.LOCAL_ONLY:
            can = load.local_free and not frame.waiting
            return Decision(Route.LOCAL, Reason.LOCAL_ONLY, frame.deadline_s, link.now_s) if can else None
        self._learn(link)
        case = Case(
            frame,
            link,
            load,
            prices or Prices(),
            budgeted=prices is not None,
            threshold=self._threshold(frame.camera),
            prompt=self._prefer is Prefer.LATENCY,
            sparing=self._prefer is Prefer.COOL,
        )
        return _always_cloud(case) if self._mode is Mode.CLOUD_ONLY else self._weigh(case)

    def errand(self, link: LinkView, prices: Prices | None = None) -> Errand | None:
        """Whether to dial, or to knock, now. To be told so begins the pause until the next."""
        self._learn(link)
        wanted = Errand.KNOCK if link.refused else Errand.DIAL if link.dead else None
        waits = link.in_flight and not link.dead  # for an answer, which a dead link will not bring
        if self._mode is Mode.LOCAL_ONLY or link.closed or waits or link.now_s < self._next_probe_s:
            return None
        if wanted is None or (prices is not None and prices.data_left_bytes < ERRAND_BYTES):
            return None
        pause_s = self._pause_s(link.now_s)
        cheap = wanted is Errand.DIAL and link.dead_cause not in _HANDSHAKES
        self._next_probe_s = link.now_s + (min(DIAL_MAX_S, pause_s) if cheap else pause_s)
        return wanted

    def forgo(self, decision: Decision) -> None:
        """The frame was gone when its decision was there: what was to be a probe is still due."""
        if decision.reason is Reason.PROBE:
            self._next_probe_s = float("-inf")

    def _threshold(self, camera: str) -> float:
        """What p must reach for a frame to be sent."""
        threshold = THRESHOLDS[self._prefer]
        return threshold.p_send + (-threshold.hysteresis if camera in self._on_cloud else threshold.hysteresis)

    def _learn(self, link: LinkView) -> None:
        """Follow up at once an answer in time, and a connection after none.

        One lucky probe moves the clock of the probes only half-way, or borderline links would be probed for ever.
        """
        if self._good_s is None:
            self._good_s = link.now_s
        if link.on_time_s > self._seen_s:
            self._good_s = link.on_time_s if self.on_cloud else (self._good_s + link.on_time_s) / 2
        if max(link.on_time_s, link.dialled_s) > self._seen_s:
            self._next_probe_s = link.now_s
        self._seen_s = max(self._seen_s, link.on_time_s, link.dialled_s)

    def _pause_s(self, now_s: float) -> float:
        """How long after one probe the next may come."""
        silent_s = 0.0 if self._good_s is None else now_s - self._good_s
        return min(PROBE_MAX_S, max(PROBE_MIN_S, PROBE_SHARE * silent_s))

    def _weigh(self, case: Case) -> Decision | None:
        closed = shut(case.link)
        choice = closed or choose(case)
        if not case.frame.waiting:
            act = self._on_cloud.add if isinstance(choice, Choice) else self._on_cloud.discard
            act(case.frame.camera)
        if isinstance(choice, Choice):
            return _send(choice, case)
        smallest = case.frame.ladder[0]
        p = None if closed else case.chance(smallest).p
        if choice is None and self._probe_due(case):
            self._next_probe_s = case.link.now_s + self._pause_s(case.link.now_s)
            return case.cloud(Reason.PROBE, smallest, case.link.now_s, p=p)
        return case.here(choice or case.unaffordable(smallest) or why_low(case), p=p)

    def _probe_due(self, case: Case) -> bool:
        """Whether to ask with a real frame. A cloud that the budget cannot pay for is not asked."""
        smallest = case.frame.ladder[0]
        if case.frame.waiting or case.link.in_flight or case.link.now_s < self._next_probe_s:
            return False
        return case.local_takes and case.unaffordable(smallest) is None


def in_flight_limit(deadline_s: float, fps: float) -> int:
    """How many requests may be under way: those of one deadline and one more, 4 to 10."""
    return min(MOST_IN_FLIGHT, max(4, math.ceil(deadline_s * fps) + 1))


def _send(choice: Choice, case: Case) -> Decision | None:
    """To the cloud, if the wire is free; else the frame is answered here, and waits for the wire besides."""
    if case.link.in_flight >= case.load.in_flight_limit:
        return case.here(Reason.INFLIGHT_FULL, p=choice.p)
    if not case.link.wire_free:
        return case.here(Reason.UPLINK_BUSY, p=choice.p, waits=True)
    if not case.load.hedge_fits and not case.frame.waiting:
        now_s = case.link.now_s if case.load.local_free else None  # perhaps too late, but better than nothing
        return case.cloud(Reason.LOCAL_OVERLOADED, choice.rung, now_s, p=choice.p)
    soon = (choice.p < P_SURE and not case.sparing) or case.prompt
    return case.cloud(Reason.P_OK, choice.rung, case.link.now_s if soon else case.hedge_s, p=choice.p)


def _always_cloud(case: Case) -> Decision | None:
    """Mode cloud_only: the size most worth sending, one upload on the wire, no on-device run."""
    link = case.link
    if shut(link) or link.in_flight >= case.load.in_flight_limit or not link.wire_free:
        return None
    affordable = [rung for rung in case.frame.ladder if case.unaffordable(rung) is None]
    if case.frame.waiting or not affordable:
        return None
    best = max(affordable, key=lambda rung: case.chance(rung).sustained * rung.worth)
    return case.cloud(Reason.CLOUD_ONLY, best, None, p=case.chance(best).p)
