"""Who enters, stays in and leaves a zone."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agent.flow import Prediction
from agent.polygon import Point, Polygon
from agent.tracking.incident import Cause
from agent.tracking.spot import Anchor, Spot, spot_of
from agent.tracking.zones import Stay, Zone
from agent.view.crop import Crop

DOOR = Zone("door", Polygon((Point(0.4, 0.4), Point(0.6, 0.4), Point(0.6, 1.0), Point(0.4, 1.0))), dwell_s=5.0)
INSIDE, EDGE, OUTSIDE = 0.5, 0.605, 0.7
"""Places across; the second is outside by less than the margin."""


def spot(x: float, y: float = 0.7) -> Spot:
    return Spot(x, y, 0.01, 0.01)


def follow(*sightings: tuple[float, float], zone: Zone = DOOR) -> list[tuple[float, Cause]]:
    """What is told of who was seen at these times and places across, and when."""
    stay = Stay(zone)
    return [(at_s, incident.cause) for at_s, x in sightings for incident in stay.note(spot(x), at_s)]


def test_two_sightings_in_a_row_make_an_entry_and_two_make_an_exit() -> None:
    way = [(0, OUTSIDE), (1, INSIDE), (2, INSIDE), (3, OUTSIDE), (4, OUTSIDE), (5, OUTSIDE)]
    assert follow(*way) == [(2, Cause.ENTERED), (4, Cause.LEFT)]


def test_one_bad_box_changes_nothing() -> None:
    assert follow((0, OUTSIDE), (1, INSIDE), (2, OUTSIDE), (3, INSIDE), (4, OUTSIDE)) == []
    assert follow((0, INSIDE), (1, OUTSIDE), (2, INSIDE), (3, OUTSIDE), (4, INSIDE)) == [(0, Cause.ENTERED)]


def test_who_is_inside_when_its_track_is_confirmed_has_entered() -> None:
    assert follow((7, INSIDE)) == [(7, Cause.ENTERED)]


def test_who_stands_on_the_edge_does_not_come_and_go() -> None:
    way = [(n / 10, (INSIDE, INSIDE, EDGE, EDGE)[n % 4]) for n in range(40)]
    assert follow(*way) == [(0, Cause.ENTERED)]


def test_who_leaves_along_an_edge_has_left() -> None:
    stay = Stay(DOOR)
    assert [incident.cause for at_s in (0, 1) for incident in stay.note(spot(0.5, 0.41), at_s)] == [Cause.ENTERED]
    along = [incident.cause for at_s in (2, 3) for incident in stay.note(spot(0.9, 0.4), at_s)]
    assert along == [Cause.LEFT]


def test_dwelling_is_told_once_a_stay_and_counts_from_the_first_sighting_inside() -> None:
    way = [(0, OUTSIDE), (1, INSIDE), (2, INSIDE), (5.9, INSIDE), (6, INSIDE), (60, INSIDE)]
    assert follow(*way) == [(2, Cause.ENTERED), (6, Cause.DWELT)]
    again = [(61, OUTSIDE), (62, OUTSIDE), (63, INSIDE), (64, INSIDE), (68, INSIDE)]
    assert follow(*way, *again)[2:] == [(62, Cause.LEFT), (64, Cause.ENTERED), (68, Cause.DWELT)]


def test_a_camera_of_one_frame_in_a_while_tells_the_same_at_its_times() -> None:
    assert follow((0, OUTSIDE), (30, INSIDE), (60, INSIDE)) == [(60, Cause.ENTERED), (60, Cause.DWELT)]


def test_how_long_a_stay_was_goes_from_the_first_sighting_inside_to_the_first_outside() -> None:
    stay = Stay(DOOR)
    for at_s, x in ((0, OUTSIDE), (1, INSIDE), (2, INSIDE), (4, OUTSIDE)):
        stay.note(spot(x), at_s)
    (left,) = stay.note(spot(OUTSIDE), 9)
    assert left.dwell_s == 3


def test_who_ends_inside_leaves_and_who_ends_outside_does_not() -> None:
    stay = Stay(DOOR)
    assert stay.leave(1) == []
    stay.note(spot(INSIDE), 2)
    (left,) = stay.leave(4)
    assert (left.cause, left.zone, left.dwell_s) == (Cause.LEFT, "door", 2)
    assert stay.leave(5) == []


def test_a_person_cut_off_by_the_edge_of_the_picture_stands_in_a_zone_that_reaches_the_edge() -> None:
    for height in (200.0, 210.0):  # a box may end a little beyond the picture
        feet = spot_of(
            Prediction(320, 380, 60, height, 0.9, "person", 0), Anchor.BOTTOM, crop=Crop(), width=640, height=480
        )
        assert DOOR.holds(feet)


def test_a_zone_stays_where_it_is_when_the_crop_changes() -> None:
    whole = spot_of(Prediction(300, 200, 40, 80, 0.9, "p", 0), Anchor.BOTTOM, crop=Crop(), width=800, height=400)
    part = Crop(0.25, 0.5, 0.75, 1.0)
    cropped = spot_of(Prediction(100, 0, 40, 80, 0.9, "p", 0), Anchor.BOTTOM, crop=part, width=400, height=200)
    assert whole == cropped
    assert (whole.x, whole.y) == (300 / 800, 240 / 400)


def test_the_anchor_is_the_middle_of_the_lower_edge_or_of_the_box() -> None:
    box = Prediction(50, 40, 10, 20, 0.9, "p", 0)
    places = [spot_of(box, anchor, crop=Crop(), width=100, height=100) for anchor in (Anchor.BOTTOM, Anchor.CENTRE)]
    assert [(place.x, place.y) for place in places] == [(0.5, 0.5), (0.5, 0.4)]


@given(
    st.lists(st.tuples(st.floats(0.01, 20), st.floats(0, 1)), max_size=40),
    st.sampled_from([None, 1.0]),
)
def test_enters_and_leaves_alternate_and_dwelling_lies_between(
    steps: list[tuple[float, float]], dwell_s: float | None
) -> None:
    stay, at_s, told = Stay(Zone("door", DOOR.polygon, dwell_s=dwell_s)), 0.0, list[Cause]()
    for step_s, x in steps:
        at_s += step_s
        told += [incident.cause for incident in stay.note(spot(x), at_s)]
        bare = [cause for cause in told if cause is not Cause.DWELT]
        assert bare == [Cause.ENTERED, Cause.LEFT] * (len(bare) // 2) + [Cause.ENTERED] * (stay.since_s is not None)
    told += [incident.cause for incident in stay.leave(at_s)]
    for before, cause in pairwise(told):
        assert cause is not Cause.DWELT or before is Cause.ENTERED
