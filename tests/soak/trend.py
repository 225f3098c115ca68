"""How fast something grows, from samples that jump about: Theil and Sen's slope, and how sure it is. No state."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

_Z = 1.959964
"""Of the normal distribution, for 95 %."""
_ROUNDING = 1e-9
"""Rests that are smaller are no noise."""
LEAST_POINTS = 6
"""Fewer of them say nothing of a trend: with five the interval is as wide as the widest two points make it."""


@dataclass(frozen=True, slots=True)
class Trend:
    """Growth per unit of time, and the interval that holds the true one at 95 %."""

    slope: float
    low: float
    high: float


UNKNOWN = Trend(math.nan, -math.inf, math.inf)


def trend(times: Sequence[float], values: Sequence[float]) -> Trend:
    """The median of the slopes between all pairs of points; a third of the points may be anything.

    The interval is Sen's (P. K. Sen, Estimates of the regression coefficient based on Kendall's tau, 1968): the slopes
    at ranks around the middle one, as far as Kendall's statistic varies by chance. Neighbouring points of a process are
    alike, which tells less than as many independent ones would; so its variance is multiplied by (1 + r) / (1 - r), r
    being the correlation of neighbours around the line where it is positive, as for the mean of such a series.

    Args:
        times: of the points, in any unit, no two alike.
        values: at those times.
    """
    count = len(times)
    if count < LEAST_POINTS:
        return UNKNOWN
    pairs = ((i, j) for i in range(count) for j in range(i + 1, count))
    slopes = sorted((values[j] - values[i]) / (times[j] - times[i]) for i, j in pairs)
    slope = statistics.median(slopes)
    alike = _alike([value - slope * time for time, value in zip(times, values, strict=True)])
    variance = count * (count - 1) * (2 * count + 5) / 18 * (1 + alike) / (1 - alike)
    reach = _Z * math.sqrt(variance)
    low, high = math.floor((len(slopes) - reach) / 2) - 1, math.ceil((len(slopes) + reach) / 2)
    return Trend(
        slope,
        slopes[low] if low >= 0 else -math.inf,
        slopes[high] if high < len(slopes) else math.inf,
    )


def _alike(rests: Sequence[float]) -> float:
    """How far neighbours are alike, 0 to 0.95."""
    mean = statistics.fmean(rests)
    spread = sum((rest - mean) ** 2 for rest in rests)
    if spread <= len(rests) * (_ROUNDING * max(1.0, abs(mean))) ** 2:
        return 0.0
    together = sum((a - mean) * (b - mean) for a, b in pairwise(rests))
    return min(0.95, max(0.0, together / spread))
