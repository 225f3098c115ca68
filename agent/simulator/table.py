"""The scores as text. No state."""

import math
import statistics
from collections.abc import Iterable, Sequence

from agent.simulator.contest import Heat
from agent.simulator.score import Bucket, Score
from agent.words import table

LEAST_IN_BUCKET = 20
"""Predictions in a bucket with fewer say nothing."""
NOTHING = "-"
BOUND = "bound"

_HEAD = (
    "policy",
    "of bound",
    "on time",
    "cloud",
    "MB/min",
    "waste",
    "probes",
    "switch",
    "flip",
    "duty",
    "missed s",
    "return s",
    "gap s",
    "p off",
)
_LEGEND = """\
In brackets: the worst. of bound: utility over that of a policy that knows the future. on time: frames answered by
the deadline. cloud: frames answered there. waste: bytes whose answer came too late. probes: bytes of dials and late
probes. switch, flip: how often a minute the policy changed its mind, and published frames their source. duty: share of
the time the device was busy. missed: after a link death, until frames are answered again. return: from its end until
the cloud answers. gap: the longest between two publications. p off: by how much the predicted share in time was wrong.
bound: the utility of that policy which knows the future.
threshold: a circuit breaker. ewma: a moving average of answer times. sw-ucb: a bandit. +hedge: with the router's hedge,
an on-device run in time for the deadline."""
_OVERLOADED = """\
The device cannot answer every frame here. The bound spends its time wherever that gains most, as if every run could
wait for its turn, so nobody may come near it."""


def report(heats: Sequence[Heat], *, overloaded: bool = False) -> str:
    """Everything: for each deadline the policies, then each scenario.

    Args:
        heats: all.
        overloaded: the device cannot answer every frame.
    """
    parts = []
    for deadline_s in dict.fromkeys(heat.deadline_s for heat in heats):
        some = [heat for heat in heats if heat.deadline_s == deadline_s]
        title = f"Deadline {deadline_s * 1000:g} ms, {len(some)} scenario{'s' if len(some) > 1 else ''}"
        parts.append("\n".join((title, "", *overview(some), "", *by_scenario(some))))
    return "\n\n".join((*parts, f"{_LEGEND}\n{_OVERLOADED}" if overloaded else _LEGEND))


def overview(heats: Sequence[Heat]) -> list[str]:
    """A row for each policy, over all scenarios with one deadline."""
    rows = [_row(policy, heats) for policy in heats[0].scores]
    return table(_HEAD, rows, left=(0,))


def by_scenario(heats: Sequence[Heat]) -> list[str]:
    """A row for each scenario: the bound's utility, and of each policy the share of it and of frames in time."""
    policies = list(heats[0].scores)
    rows = [("scenario", BOUND, *policies)]
    for heat in heats:
        shares = (f"{heat.ratio(name):.3f} ({heat.scores[name].on_time:.2f})" for name in policies)
        rows.append((heat.scenario, f"{heat.bound:.3f}", *shares))
    return table(rows[0], rows[1:], left=(0,))


def _row(policy: str, heats: Sequence[Heat]) -> tuple[str, ...]:
    scores = [heat.scores[policy] for heat in heats]
    ratios = [heat.ratio(policy) for heat in heats]
    on_time = [score.on_time for score in scores]
    missed_s = [score.missed_s for score in scores if score.missed_s is not None]
    returns_s = [seconds for score in scores for seconds in score.returns_s]
    return (
        policy,
        f"{statistics.median(ratios):.3f} ({min(ratios):.3f})",
        f"{statistics.mean(on_time):.3f} ({min(on_time):.3f})",
        f"{_mean(score.cloud_share for score in scores):.3f}",
        f"{_mean(score.mb_per_min for score in scores):.1f}",
        f"{_mean(score.wasted_share for score in scores):.2f}",
        f"{_mean(score.overhead_share for score in scores):.3f}",
        f"{_mean(score.switches_per_min for score in scores):.1f}",
        f"{_mean(score.flips_per_min for score in scores):.0f}",
        f"{_mean(score.local_duty for score in scores):.2f}",
        f"{max(missed_s):.2f}" if missed_s else NOTHING,
        f"{_span(statistics.median(returns_s))} ({_span(max(returns_s))})" if returns_s else NOTHING,
        f"{max(score.longest_gap_s for score in scores):.2f}",
        _calibration(scores),
    )


def _mean(values: Iterable[float]) -> float:
    return statistics.mean(values)


def _span(seconds: float) -> str:
    return f"{seconds:.1f}" if math.isfinite(seconds) else "never"


def pooled(scores: Sequence[Score]) -> list[Bucket]:
    """The buckets of all, those with enough in them."""
    sums = (sum(buckets, Bucket()) for buckets in zip(*(score.buckets for score in scores), strict=True))
    return [bucket for bucket in sums if bucket.count >= LEAST_IN_BUCKET]


def _calibration(scores: Sequence[Score]) -> str:
    errors = [bucket.error for bucket in pooled(scores)]
    return f"{max(errors):.2f}" if errors else NOTHING
