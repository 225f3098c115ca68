"""The slope: what it finds, what it leaves out of account, and how sure it says it is."""

import math
import random
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from soak.trend import LEAST_POINTS, trend

TIMES = [number / 60 for number in range(40)]
"""Hours."""
DRAWS = 120


def noise(seed: int, size: float) -> list[float]:
    dice = random.Random(seed)  # noqa: S311 - not a secret
    return [dice.gauss(0, size) for _ in TIMES]


@settings(max_examples=30)
@given(st.floats(-100, 100), st.floats(-1000, 1000))
def test_points_of_a_line_have_its_slope(slope: float, offset: float) -> None:
    found = trend(TIMES, [offset + slope * time for time in TIMES])
    assert found.slope == pytest.approx(slope, abs=1e-6)
    assert found.low == pytest.approx(slope, abs=1e-6)
    assert found.high == pytest.approx(slope, abs=1e-6)


def test_a_quarter_of_the_points_may_be_anything() -> None:
    values = [50 + 2 * time + (40 if number % 4 == 1 else 0) for number, time in enumerate(TIMES)]
    assert trend(TIMES, values).slope == pytest.approx(2.0, abs=0.01)


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_the_interval_holds_the_slope(seed: int) -> None:
    found = trend(TIMES, noise(seed, 0.3))
    assert found.low <= found.slope <= found.high


def test_the_true_slope_is_in_the_interval_about_as_often_as_is_said() -> None:
    held = sum(
        found.low <= 2.0 <= found.high
        for seed in range(DRAWS)
        for found in [trend(TIMES, [v + 2 * t for t, v in zip(TIMES, noise(seed, 0.5), strict=True)])]
    )
    assert 0.9 < held / DRAWS <= 1.0


def test_a_walk_that_goes_nowhere_is_not_told_as_growth_as_often_as_its_points_alone_would_say() -> None:
    def surely_grows(values: list[float]) -> bool:
        found = trend(TIMES, values)
        return found.low > 0 or found.high < 0

    assert sum(surely_grows(reverting(seed)) for seed in range(DRAWS)) / DRAWS < 0.2


def reverting(seed: int) -> list[float]:
    """Each point is 0.6 of the one before it, and something new."""
    return list(accumulate(noise(seed, 1.0), lambda before, new: 0.6 * before + new))


def test_too_few_points_say_nothing() -> None:
    few = LEAST_POINTS - 1
    found = trend(TIMES[:few], TIMES[:few])
    assert math.isnan(found.slope)
    assert (found.low, found.high) == (-math.inf, math.inf)
