"""Whether a version on trial does worse than the one before it did. Pure; no state."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Final

from agent.rollout.gate import Measured, rise
from agent.rollout.switch import Tally, p95

LEAST_RUNS: Final = 30
"""With fewer, a version on trial is not confirmed, however long it takes."""
_ENOUGH_RUNS: Final = 20
"""From so many on their times mean something."""
_FAILED_RUNS: Final = 3
_FAILED_SHARE: Final = 0.1
"""More failed runs than before: at least three, and a tenth of the newest."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """How the version before it did."""

    failed_share: float
    median_s: float
    p95_s: float


def baseline(tally: Tally, measured_s: Sequence[float]) -> Baseline:
    """What a version on trial is held against.

    Args:
        tally: of the version before it, in its daily work.
        measured_s: what its runs took when both were measured, for where the cloud left it little work.
    """
    took_s = tally.took_s if len(tally.took_s) >= _ENOUGH_RUNS or not measured_s else tuple(measured_s)
    return Baseline(tally.failed_share, median(took_s) if took_s else 0.0, p95(took_s))


def failing(now: Tally, before: Baseline) -> str | None:
    """In words, where it fails more often than the one before it; None: it does not."""
    if now.failed < _FAILED_RUNS or now.failed_share <= before.failed_share + _FAILED_SHARE:
        return None
    return f"{now.failed} of its last {now.recent} runs failed"


def is_slower(measured: Sequence[Measured], slower: float) -> bool:
    """Whether the new version takes longer where both ran in turn, by the median or by the mean, which shows stalls."""
    pairs = [(each.running_s, each.candidate_s) for each in measured if each.running_s is not None]
    if not pairs:
        return True
    old_s, new_s = ([pair[which] for pair in pairs] for which in (0, 1))
    return any(rise("", usual(new_s), usual(old_s), slower) is not None for usual in (median, _mean_but_one))


def _mean_but_one(took_s: Sequence[float]) -> float:
    """Without the longest: one run that was held up by something else says nothing."""
    *most, longest_s = sorted(took_s)
    return fmean(most or [longest_s])


def slowing(now: Tally, before: Baseline, slower: float) -> str | None:
    """In words, where its runs take longer; None: they do not, or there are too few of them to tell."""
    if len(now.took_s) < _ENOUGH_RUNS or not before.median_s:
        return None
    return rise("median", now.median_s, before.median_s, slower) or rise("p95", now.p95_s, before.p95_s, slower)
