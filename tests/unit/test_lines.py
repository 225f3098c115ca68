"""Who crosses a line, and which way."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.polygon import Point
from agent.states import Direction
from agent.tracking.lines import Line, Passage
from agent.tracking.spot import Spot

IN, OUT = Direction.IN, Direction.OUT
GATE = Line("gate", Point(0.2, 0.5), Point(0.8, 0.5))
"""From left to right in the picture, so that its left side is above it."""


def follow(*places: tuple[float, float], line: Line = GATE, margin: float = 0.01) -> list[Direction]:
    passage = Passage(line)
    ways = [passage.note(Spot(x, y, margin, margin)) for x, y in places]
    return [way for way in ways if way is not None]


@pytest.mark.parametrize(
    ("begin", "end", "left", "right"),
    [
        ((0.2, 0.5), (0.8, 0.5), (0.5, 0.3), (0.5, 0.7)),
        ((0.8, 0.5), (0.2, 0.5), (0.5, 0.7), (0.5, 0.3)),
        ((0.5, 0.8), (0.5, 0.2), (0.3, 0.5), (0.7, 0.5)),
        ((0.2, 0.2), (0.8, 0.8), (0.7, 0.3), (0.3, 0.7)),
    ],
)
def test_in_is_from_the_left_to_the_right_of_who_looks_from_its_begin_to_its_end(
    begin: tuple[float, float], end: tuple[float, float], left: tuple[float, float], right: tuple[float, float]
) -> None:
    line = Line("gate", Point(*begin), Point(*end))
    assert follow(left, right, line=line) == [IN]
    assert follow(right, left, line=line) == [OUT]


def test_there_and_back_is_once_each_way() -> None:
    assert follow((0.5, 0.4), (0.5, 0.6), (0.5, 0.4), (0.5, 0.6)) == [IN, OUT, IN]


def test_who_wavers_on_the_line_crosses_it_once() -> None:
    wavering = [(0.5, 0.5 + (-1) ** n * 0.009) for n in range(50)]
    assert follow((0.5, 0.4), *wavering, (0.5, 0.6)) == [IN]
    assert follow((0.5, 0.4), *wavering, (0.5, 0.4)) == []


def test_who_begins_on_the_line_has_not_crossed_it() -> None:
    assert follow((0.5, 0.495), (0.5, 0.505), (0.5, 0.6)) == []
    assert follow((0.5, 0.5), (0.5, 0.6), (0.5, 0.4)) == [OUT]


def test_who_goes_around_its_end_has_not_crossed_it() -> None:
    assert follow((0.1, 0.4), (0.1, 0.6)) == []
    assert follow((0.5, 0.4), (0.9, 0.4), (0.9, 0.6), (0.5, 0.6)) == []


def test_where_it_went_through_counts_and_not_where_it_was_seen_then() -> None:
    assert follow((0.5, 0.4), (0.75, 0.505), (0.95, 0.9)) == [IN]
    assert follow((0.5, 0.4), (0.9, 0.495), (0.9, 0.505), (0.5, 0.9)) == []


def test_a_step_over_the_line_counts_however_long_it_is() -> None:
    assert follow((0.5, 0.0), (0.5, 1.0)) == [IN]


def test_a_line_without_length_is_refused() -> None:
    with pytest.raises(ValueError, match="begins and ends at the same point; give two different ones"):
        Line("gate", Point(0.5, 0.5), Point(0.5, 0.5))


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=60), st.floats(0.001, 0.2))
def test_across_the_whole_picture_the_ways_alternate_and_differ_as_the_sides_do(
    places: list[tuple[float, float]], margin: float
) -> None:
    ways = follow(*places, line=Line("gate", Point(0, 0.5), Point(1, 0.5)), margin=margin)
    assert all(one is not other for one, other in pairwise(ways))
    certain = [y > 0.5 for _, y in places if abs(y - 0.5) / margin >= 1]
    sides = certain[-1] - certain[0] if certain else 0
    assert ways.count(IN) - ways.count(OUT) == sides


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=40))
def test_a_reversed_line_tells_the_other_way(places: list[tuple[float, float]]) -> None:
    # A point exactly on a line is on its right, which is the other side of the reversed one.
    places = [(x, y) for x, y in places if y != 0.5]
    back = Line("gate", GATE.end, GATE.begin)
    other = {IN: OUT, OUT: IN}
    assert [other[way] for way in follow(*places, line=back)] == follow(*places)
