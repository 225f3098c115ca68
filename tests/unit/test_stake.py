from hypothesis import given
from hypothesis import strategies as st

from agent.flow import Prediction, Route
from agent.stake import LEAST, MOST, Stakes, doubt


def thing(confidence: float, size_px: float = 300.0) -> Prediction:
    return Prediction(320.0, 240.0, size_px, size_px, confidence, "person", 0)


PREDICTIONS = st.lists(st.builds(thing, st.floats(0, 1), st.floats(0, 4000, allow_nan=False)), max_size=40)


def test_a_score_in_the_grey_band_is_doubted_more_than_a_sure_one() -> None:
    assert doubt([thing(0.5)], 640, 480) > doubt([thing(0.75)], 640, 480) > doubt([thing(0.99)], 640, 480)


def test_small_objects_are_doubted_more_than_large_ones_by_their_share_of_the_picture() -> None:
    assert doubt([thing(0.9, 20)], 640, 480) > doubt([thing(0.9, 200)], 640, 480)
    assert doubt([thing(0.9, 40)], 1280, 960) == doubt([thing(0.9, 20)], 640, 480)


def test_a_crowd_is_doubted_more_than_one_alone() -> None:
    assert doubt([thing(0.8)] * 9, 640, 480) > doubt([thing(0.8)], 640, 480)


def test_an_empty_frame_after_crowded_ones_has_a_low_stake_and_a_crowd_after_empty_ones_a_high_one() -> None:
    stakes = Stakes()
    for _ in range(50):
        stakes.note(Route.LOCAL, [thing(0.5)] * 5, width=640, height=480)
    assert stakes.next == 1.0
    stakes.note(Route.LOCAL, [], width=640, height=480)
    assert stakes.next < 0.6
    stakes = Stakes()
    for _ in range(50):
        stakes.note(Route.LOCAL, [], width=640, height=480)
    stakes.note(Route.LOCAL, [thing(0.5)] * 5, width=640, height=480)
    assert stakes.next == MOST


def test_what_goes_on_becomes_usual() -> None:
    stakes = Stakes()
    stakes.note(Route.LOCAL, [], width=640, height=480)
    for _ in range(400):
        stakes.note(Route.LOCAL, [thing(0.5)] * 5, width=640, height=480)
    assert 0.95 < stakes.next < 1.05


def test_what_is_usual_for_the_cloud_says_nothing_of_the_device() -> None:
    stakes = Stakes()
    for _ in range(50):
        stakes.note(Route.LOCAL, [thing(0.5)], width=640, height=480)
        stakes.note(Route.CLOUD, [thing(0.5)] * 6, width=640, height=480)
        assert stakes.next == 1.0
    stakes.note(Route.LOCAL, [thing(0.5)] * 6, width=640, height=480)
    assert stakes.next == MOST


@given(frames=st.lists(PREDICTIONS, max_size=20))
def test_the_stake_stays_within_its_bounds(frames: list[list[Prediction]]) -> None:
    stakes = Stakes()
    for predictions in frames:
        stakes.note(Route.LOCAL, predictions, width=640, height=480)
        assert LEAST <= stakes.next <= MOST
