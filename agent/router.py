"""Decides each frame's route. Pure: measurements and the time in, a decision and its reason out. Owner: admit thread.

The rule: send a frame when the share of recent requests that would have met its deadline is high enough, with
hysteresis; run the on-device model so that its answer is there at the deadline if the cloud's is not (the hedge); ask
again with real frames, ever more rarely, while the cloud does not serve. Reasons are the closed set of flow.Reason.
"""

import math
from dataclasses import dataclass
from enum import Enum

from agent.errors import Cause
from agent.flow import Decision, Reason, Route
from agent.link import LinkView

P_SEND = 0.5
"""With the hedge a late answer costs bytes only, so "more likely than not" is enough."""
HYSTERESIS = 0.1
P_SURE = 0.9
"""Below it the local run starts at once, which spreads the load; above it the run is usually spared."""
MARGIN_S = 0.010
"""An answer this close to the deadline counts as late."""
HEDGE_RUNS = 2.2
HEDGE_SLACK_S = 0.015
"""The hedge starts 2.2 local runs and 15 ms ahead: its own run and one that cannot be interrupted before it."""
DEAD_AFTER_S = 1.0
DEAD_AFTER_ANSWERS = 3.0
"""A cloud silent for a second and three of its usual answers is called dead, not slow."""
PROBE_SHARE = 0.1
PROBE_MIN_S = 0.5
PROBE_MAX_S = 60.0
"""Ask again after 10 % of the time since the cloud last answered, so an outage is prolonged by a tenth at most."""

_SAID = (Cause.SERVER, Cause.BAD_REQUEST, Cause.BAD_ANSWER, Cause.CAPTIVE_PORTAL)
"""Failures in which something answered: an error, not silence."""


class Mode(str, Enum):
    """Which routes the router may use."""

    AUTO = "auto"
    LOCAL_ONLY = "local_only"
    CLOUD_ONLY = "cloud_only"


@dataclass(frozen=True, slots=True)
class Load:
    """How busy the lanes are."""

    in_flight: int
    """Requests without an answer yet."""
    in_flight_limit: int
    local_free: bool
    """The on-device model could start this moment."""
    local_run_s: float
    """What a local run takes, nearly always (p99)."""
    local_fits: bool
    """A local run for this frame could be finished by its deadline, after all that are promised already."""


class Router:
    """One router for all cameras: the link is theirs in common."""

    def __init__(self, mode: Mode) -> None:
        self._mode = mode
        self.on_cloud = False
        """Whether the cloud is thought to serve, in mode auto."""

    def decide(self, deadline_s: float, *, link: LinkView, load: Load, now_s: float) -> Decision | None:
        """The route of one frame, or None when no lane has room for it now.

        Args:
            deadline_s: when its answer is stale, monotonic.
            link: what is known of the cloud.
            load: how busy the lanes are.
            now_s: monotonic.
        """
        if self._mode is Mode.LOCAL_ONLY:
            return _local(Reason.LOCAL_ONLY, deadline_s, load, now_s)
        if self._mode is Mode.CLOUD_ONLY:
            full = load.in_flight >= load.in_flight_limit or now_s < link.closed_until_s
            return None if full else Decision(Route.CLOUD, Reason.CLOUD_ONLY, deadline_s, None)
        return self._weigh(deadline_s, link, load, now_s)

    def _weigh(self, deadline_s: float, link: LinkView, load: Load, now_s: float) -> Decision | None:
        p = link.chance(deadline_s - now_s - MARGIN_S, now_s)
        threshold = P_SEND + (-HYSTERESIS if self.on_cloud else HYSTERESIS)
        open_ = now_s >= link.closed_until_s
        self.on_cloud = open_ and p >= threshold
        if not open_:
            return _local(link.closed_reason, deadline_s, load, now_s, p=p, threshold=threshold)
        if not self.on_cloud:
            if load.local_free and load.in_flight == 0 and _probe_due(link, now_s):
                return Decision(Route.CLOUD, Reason.PROBE, deadline_s, now_s, p, threshold)
            return _local(_why_low(link, now_s), deadline_s, load, now_s, p=p, threshold=threshold)
        if load.in_flight >= load.in_flight_limit:
            reason = Reason.DEAD if _silent(link, now_s) else Reason.INFLIGHT_FULL
            return _local(reason, deadline_s, load, now_s, p=p, threshold=threshold)
        if not load.local_fits:
            return Decision(Route.CLOUD, Reason.LOCAL_OVERLOADED, deadline_s, None, p, threshold)
        hedge_s = deadline_s - HEDGE_RUNS * load.local_run_s - HEDGE_SLACK_S
        return Decision(
            Route.CLOUD, Reason.P_OK, deadline_s, max(now_s, hedge_s) if p >= P_SURE else now_s, p, threshold
        )


def _local(
    reason: Reason,
    deadline_s: float,
    load: Load,
    now_s: float,
    *,
    p: float | None = None,
    threshold: float | None = None,
) -> Decision | None:
    return Decision(Route.LOCAL, reason, deadline_s, now_s, p, threshold) if load.local_free else None


def _probe_due(link: LinkView, now_s: float) -> bool:
    pause_s = min(PROBE_MAX_S, max(PROBE_MIN_S, PROBE_SHARE * (now_s - link.last_good_s)))
    return now_s - link.last_sent_s >= pause_s


def _why_low(link: LinkView, now_s: float) -> Reason:
    """Names what the time goes to, or that nothing is known."""
    if not link.samples:
        return Reason.NO_EVIDENCE
    if link.newest_cause in _SAID:
        return Reason.HTTP_ERROR
    if _silent(link, now_s):
        return Reason.DEAD
    return Reason.P_LOW_SERVER if link.server_share > 0.5 else Reason.P_LOW_BANDWIDTH  # noqa: PLR2004 - the larger part


def _silent(link: LinkView, now_s: float) -> bool:
    """Whether the cloud has not answered for longer than its usual answers explain."""
    typical_s = link.typical_s
    return typical_s is None or now_s - link.last_good_s > max(DEAD_AFTER_S, DEAD_AFTER_ANSWERS * typical_s)


def in_flight_limit(deadline_s: float, fps: float = 10.0) -> int:
    """How many requests may be under way: those of one deadline and one more, 4 to 10."""
    return min(10, max(4, math.ceil(deadline_s * fps) + 1))
