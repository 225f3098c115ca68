"""Areas in a picture."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.polygon import Point, Polygon

SQUARE = Polygon((Point(0.2, 0.2), Point(0.8, 0.2), Point(0.8, 0.8), Point(0.2, 0.8)))


def polygon(*points: tuple[float, float]) -> Polygon:
    return Polygon(tuple(Point(x, y) for x, y in points))


def test_a_point_is_inside_or_it_is_not() -> None:
    assert SQUARE.contains(0.5, 0.5)
    assert not SQUARE.contains(0.1, 0.5)
    hook = polygon((0, 0), (1, 0), (1, 1), (0.6, 1), (0.6, 0.4), (0.4, 0.4), (0.4, 1), (0, 1))
    assert hook.contains(0.2, 0.9)
    assert not hook.contains(0.5, 0.9)
    assert hook.contains(0.5, 0.2)


@given(st.floats(0, 1), st.floats(0, 1))
def test_of_two_areas_that_share_an_edge_exactly_one_holds_a_point(x: float, y: float) -> None:
    left, right = polygon((0, 0), (0.5, 0), (0.5, 1), (0, 1)), polygon((0.5, 0), (1, 0), (1, 1), (0.5, 1))
    assert left.contains(x, y) + right.contains(x, y) == (1 if x < 1 and y < 1 else 0)


def test_its_bounds_are_the_rectangle_around_it() -> None:
    assert polygon((0.1, 0.5), (0.5, 0.2), (0.9, 0.7)).bounds == (0.1, 0.2, 0.9, 0.7)


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (((0, 0), (1, 1)), "needs at least three points, and has 2"),
        (((0, 0), (1.5, 0), (0, 1)), r"\(1.5, 0\) lies outside of the picture; give fractions of it"),
        (((0, 0), (1, 1), (1, 0), (0, 1)), r"the edge from \(0, 0\) to \(1, 1\) meets the one from \(1, 0\)"),
        (((0, 0), (0, 0), (1, 1), (1, 0)), "comes twice in a row"),
        (((0, 0), (1, 0), (0.5, 0)), "in the order in which one walks around the area"),
    ],
)
def test_what_is_no_area_is_refused(points: tuple[tuple[float, float], ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        polygon(*points)
