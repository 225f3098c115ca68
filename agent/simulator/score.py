"""What one run of a policy was worth: the figures of the table. No state."""

import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from agent.flow import Reason, Route
from agent.simulator.scenario import Span
from agent.simulator.world import Shot, World

LEAST_OUTAGE_S = 3.0
"""Shorter ones say little of how a policy comes back."""
_AFTER_OUTAGE_S = 5.0
"""An outage that ends this close to the end leaves no time to come back."""
P_EDGES = (0.0, 0.4, 0.6, 0.8, 0.9, 1.0)
"""Predictions are judged by the bucket."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Uploads for which about the same p was predicted."""

    count: int = 0
    predicted: float = 0.0
    """Sum of p."""
    on_time: int = 0

    def __add__(self, other: "Bucket") -> "Bucket":
        return Bucket(self.count + other.count, self.predicted + other.predicted, self.on_time + other.on_time)

    @property
    def error(self) -> float:
        """By how much the share in time differs from the mean p."""
        return abs(self.predicted - self.on_time) / self.count if self.count else 0.0


@dataclass(frozen=True, slots=True)
class Score:
    """One policy in one scenario with one deadline."""

    frames: int
    cloud: int
    """Frames answered by the cloud in time."""
    local: int
    """Frames answered by the device in time."""
    utility: float
    """Mean worth of a frame's answer, 0..1."""
    mb_per_min: float
    """All that was sent, what went into nothing included."""
    wasted_share: float
    """Of the bytes: not part of a picture whose answer came in time."""
    overhead_share: float
    """Of the bytes: dials, and probes whose answer came too late."""
    calls_per_min: float
    switches_per_min: float
    """How often the policy changed its mind about where frames go."""
    flips_per_min: float
    """How often the published frames changed source."""
    local_duty: float
    """Share of the time that the device was busy."""
    missed_s: float | None
    """The longest time after a link death until frames are answered again; None without outages."""
    returns_s: tuple[float, ...]
    """From the end of each outage until the first frame answered by the cloud; infinite when none was."""
    longest_gap_s: float
    """Between two publications."""
    buckets: tuple[Bucket, ...]
    """One for each two neighbours in P_EDGES."""

    @property
    def on_time(self) -> float:
        """Share of the frames that got an answer in time."""
        return (self.cloud + self.local) / self.frames if self.frames else 0.0

    @property
    def cloud_share(self) -> float:
        """Share of the frames that the cloud answered in time."""
        return self.cloud / self.frames if self.frames else 0.0


def score(world: World) -> Score:
    """The figures of a run that has ended."""
    shots, minutes = world.shots, world.conditions.seconds / 60
    sent_bytes, useful_bytes, overhead_bytes = _bytes(world)
    outages = _judged(world)
    published = [shot for shot in shots if shot.answered_by is not None]
    routes = [shot.answered_by for shot in published]
    return Score(
        frames=len(shots),
        cloud=routes.count(Route.CLOUD),
        local=routes.count(Route.LOCAL),
        utility=sum(shot.worth for shot in shots) / max(1, len(shots)),
        mb_per_min=sent_bytes / 1e6 / minutes,
        wasted_share=1 - useful_bytes / sent_bytes if sent_bytes else 0.0,
        overhead_share=overhead_bytes / sent_bytes if sent_bytes else 0.0,
        calls_per_min=len(world.uploads) / minutes,
        switches_per_min=_changes(shot.wanted for shot in shots) / minutes,
        flips_per_min=_changes(routes) / minutes,
        local_duty=world.worker.busy_s / world.conditions.seconds,
        missed_s=max((_missed_s(shots, outage) for outage in outages), default=None),
        returns_s=tuple(_return_s(shots, end_s) for _, end_s in outages),
        longest_gap_s=_longest_gap_s(shots),
        buckets=_buckets(shots),
    )


def _bytes(world: World) -> tuple[int, int, int]:
    """All that was sent; of that, pictures answered in time; and of the rest, dials and probes."""
    useful = {shot.seq for shot in world.shots if shot.answered_by is Route.CLOUD}
    useful_bytes = sum(upload.size_bytes for upload in world.uploads if upload.seq in useful)
    probed_bytes = sum(upload.metered_bytes for upload in world.uploads if upload.probe and upload.seq not in useful)
    sent_bytes = sum(upload.metered_bytes for upload in world.uploads)
    return sent_bytes + world.dialled_bytes, useful_bytes, probed_bytes + world.dialled_bytes


def _judged(world: World) -> list[Span]:
    """The outages long enough, and early enough, to be judged by."""
    latest_s = world.conditions.seconds - _AFTER_OUTAGE_S
    spans = world.conditions.scenario.outages
    return [(begin_s, end_s) for begin_s, end_s in spans if end_s - begin_s >= LEAST_OUTAGE_S and end_s <= latest_s]


def _missed_s(shots: list[Shot], outage: Span) -> float:
    """From the link's death until the last deadline of a frame that got no answer for it."""
    begin_s, end_s = outage
    hit = [s.deadline_s for s in shots if s.deadline_s >= begin_s and s.captured_s < end_s and s.answered_by is None]
    return max(hit) - begin_s if hit else 0.0


def _return_s(shots: list[Shot], end_s: float) -> float:
    back = (shot.captured_s for shot in shots if shot.captured_s >= end_s and shot.answered_by is Route.CLOUD)
    return next(back, math.inf) - end_s


def _longest_gap_s(shots: list[Shot]) -> float:
    """Frames are published in the order of their capture."""
    times = [shot.published_s for shot in shots]
    ordered_s: list[float] = []
    for at_s in times:
        if at_s is not None:
            ordered_s.append(max(at_s, ordered_s[-1]) if ordered_s else at_s)
    return max((after - before for before, after in pairwise(ordered_s)), default=0.0)


def _changes(series: Iterable[object]) -> int:
    return sum(before is not after for before, after in pairwise(series))


def _buckets(shots: list[Shot]) -> tuple[Bucket, ...]:
    """Judged by what was predicted of the frames that were sent for their answer's sake."""
    buckets = [Bucket() for _ in pairwise(P_EDGES)]
    for shot in shots:
        if shot.p is not None and shot.reason == Reason.P_OK.value:
            place = bisect_right(P_EDGES, min(shot.p, 1 - 1e-9)) - 1
            buckets[place] += Bucket(1, shot.p, int(shot.answered_by is Route.CLOUD))
    return tuple(buckets)
