"""How times are spread: counts by size, as Prometheus's histograms have them. Its owner has the lock."""

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper ends: the ones that Prometheus's clients begin with. What is longer has no end."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution at one moment."""

    up_to: tuple[int, ...]
    """How many were at most as long as each of BOUNDS_S; last, how many there were."""
    sum_s: float


class Distribution:
    """Counts times."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._sum_s = 0.0

    def note(self, seconds: float) -> None:
        """One more; below nothing counts as nothing."""
        seconds = max(0.0, seconds)
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self._sum_s += seconds

    def spread(self) -> Spread:
        """An immutable copy."""
        return Spread(tuple(accumulate(self._counts)), self._sum_s)
