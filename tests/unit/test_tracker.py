import itertools
import math
import random
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.flow import Prediction
from agent.tracking.assignment import assign
from agent.tracking.tracker import Settings, Track, Tracker, TrackUpdate

SEEDED = random.Random
FLOATS = st.floats(allow_nan=True, allow_infinity=True)
ANYTHING = st.builds(Prediction, FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, st.sampled_from(["a", "b", ""]), st.just(0))
PLAUSIBLE = st.builds(
    Prediction,
    st.floats(0, 300),
    st.floats(0, 300),
    st.floats(10, 120),
    st.floats(10, 120),
    st.floats(0.3, 1),
    st.sampled_from(["person", "car"]),
    st.just(0),
)
STEPS = st.floats(0.01, 3.0)
STORIES = st.lists(st.tuples(STEPS, st.lists(ANYTHING | PLAUSIBLE, max_size=8)), max_size=15)


def thing(x: float, y: float = 200.0, *, confidence: float = 0.8, name: str = "person", size: float = 60) -> Prediction:
    return Prediction(x, y, size, size * 2, confidence, name, 0)


def told(tracker: Tracker, frames: Iterable[tuple[float, Sequence[Prediction]]]) -> list[TrackUpdate]:
    return [tracker.update(predictions, at_s) for at_s, predictions in frames]


def played(story: list[tuple[float, list[Prediction]]]) -> tuple[list[TrackUpdate], tuple[Track, ...]]:
    times = itertools.accumulate(step_s for step_s, _ in story)
    tracker = Tracker()
    return told(tracker, zip(times, (found for _, found in story), strict=True)), tracker.flush()


# Confirmation


def test_an_object_seen_twice_is_confirmed_and_began_when_it_was_first_seen() -> None:
    first, second = told(Tracker(), [(1.0, [thing(100)]), (1.1, [thing(103, confidence=0.7)])])
    assert first == TrackUpdate((None,), (), (), ())
    track = Track(1, thing(103, confidence=0.7), "person", 0.8, began_s=1.0, seen_s=1.1)
    assert second == TrackUpdate((1,), (track,), (track,), ())


def test_what_is_seen_once_is_never_told_of() -> None:
    tracker = Tracker()
    updates = told(tracker, [(0.0, [thing(100)]), (0.6, []), (1.2, [thing(100)]), (3.0, [])])
    assert all(update.seen == update.ended == () for update in updates)
    assert tracker.flush() == ()


def test_unsure_detections_begin_nothing_and_continue_what_is_known() -> None:
    unsure = thing(100, confidence=0.45)
    assert all(update.ids == (None,) for update in told(Tracker(), [(n / 10, [unsure]) for n in range(9)]))
    updates = told(Tracker(), [(0.0, [thing(100)]), (0.1, [thing(100)]), (0.2, [unsure])])
    assert updates[-1].ids == (1,)


def test_a_sure_detection_has_a_track_before_an_unsure_one_that_fits_as_well() -> None:
    tracker = Tracker()
    told(tracker, [(0.0, [thing(100)]), (0.1, [thing(100)])])
    assert tracker.update([thing(100, confidence=0.45), thing(106, confidence=0.6)], 0.2).ids == (None, 1)


# Gaps


def test_an_object_that_is_hidden_for_less_than_the_hold_keeps_its_id_where_its_motion_takes_it() -> None:
    walk = [(n / 10, [thing(100 + 12 * n)] if n < 15 or n > 29 else []) for n in range(40)]
    updates = told(Tracker(), walk)
    assert updates[-1].ids == (1,)
    assert [update.ended for update in updates] == [()] * 40


def test_an_object_that_is_away_for_longer_than_the_hold_has_ended_and_comes_back_as_another() -> None:
    updates = told(Tracker(Settings(hold_s=1.05)), [(n / 10, [] if 5 <= n < 20 else [thing(100)]) for n in range(25)])
    ended = [(n, track.id, track.seen_s) for n, update in enumerate(updates) for track in update.ended]
    assert ended == [(15, 1, 0.4)]
    assert updates[-1].ids == (2,)


def test_a_time_without_frames_is_no_absence_of_what_stands_where_it_stood() -> None:
    tracker = Tracker()
    told(tracker, [(0.0, [thing(100)]), (0.1, [thing(100)])])
    assert tracker.update([thing(101)], 60.0).ids == (1,)


def test_what_is_elsewhere_after_a_time_without_frames_is_another() -> None:
    tracker = Tracker()
    told(tracker, [(0.0, [thing(100)]), (0.1, [thing(100)])])
    update = tracker.update([thing(400)], 60.0)
    assert (update.ids, [track.id for track in update.ended]) == ((None,), [1])


def test_a_slow_camera_confirms_too() -> None:
    assert told(Tracker(), [(5.0 * n, [thing(100)]) for n in range(4)])[-1].ids == (1,)


def test_flush_ends_all_by_id_and_the_next_have_new_ones() -> None:
    tracker = Tracker()
    two = [thing(100), thing(400)]
    told(tracker, [(0.0, two), (0.1, two)])
    assert [track.id for track in tracker.flush()] == [1, 2]
    assert tracker.flush() == ()
    assert [update.ids for update in told(tracker, [(0.2, two), (0.3, two)])] == [(None, None), (3, 4)]


# Motion


@pytest.mark.parametrize("seed", range(5))
def test_frames_at_irregular_times_do_not_change_who_is_who(seed: int) -> None:
    draw = SEEDED(seed)
    at_s, tracker, owners = 0.0, Tracker(), (set(), set())
    for n in range(60):
        at_s += 0.1 if n < 4 else draw.choice([0.03, 0.1, 0.4, 0.9])
        ids = tracker.update([thing(100 + 150 * at_s), thing(9000 - 150 * at_s, 420)], at_s).ids
        for owner, identity in zip(owners, ids, strict=True):
            owner.add(identity)
    assert [owner - {None} for owner in owners] in ([{1}, {2}], [{2}, {1}])


def test_two_that_cross_keep_their_ids() -> None:
    tracker = Tracker()
    ids = [tracker.update([thing(100 + 10 * n, 200), thing(500 - 10 * n, 215)], n / 10).ids for n in range(40)]
    assert ids[1:] == [ids[1]] * 39
    assert set(ids[1]) == {1, 2}


def test_what_may_have_moved_since_the_last_look_is_found_beside_its_last_box() -> None:
    tracker = Tracker()
    told(tracker, [(0.0, [thing(100)]), (0.1, [thing(100)])])
    assert tracker.update([thing(165)], 0.6).ids == (1,)


def test_who_was_just_seen_has_a_detection_before_one_that_was_lost() -> None:
    tracker = Tracker()
    lost, there = thing(100), thing(140)
    told(tracker, [(0.0, [lost, there]), (0.1, [lost, there])])
    (owner,) = tracker.update([there], 0.2).ids
    assert tracker.update([thing(118)], 0.3).ids == (owner,)


# Two models


@pytest.mark.parametrize("seed", range(5))
def test_a_change_of_route_changes_no_id(seed: int) -> None:
    draw, tracker, ids = SEEDED(seed), Tracker(), set()
    for n in range(120):
        x, y = 100 + 4 * n, 200 + n
        cloud = Prediction(x, y, 60, 120, 0.9, "truck", 7)
        local = Prediction(x + draw.uniform(-4, 4), y + draw.uniform(-6, 6), 54, 128, 0.45, "car", 2)
        is_cloud = n < 3 or draw.random() < 0.5
        ids.add(tracker.update([cloud if is_cloud else local], n / 10).ids[0])
    assert ids == {None, 1}


def test_the_class_is_that_of_most_evidence() -> None:
    kinds = [("car", 0.6), ("truck", 0.9), ("car", 0.6), ("truck", 0.9), ("truck", 0.3)]
    updates = told(
        Tracker(), [(n / 10, [thing(100, name=name, confidence=sure)]) for n, (name, sure) in enumerate(kinds)]
    )
    assert [track.class_name for update in updates for track in update.seen] == ["truck", "car", "truck", "truck"]
    assert [update.ids for update in updates[1:]] == [(1,)] * 4


def test_between_two_that_fit_alike_the_class_decides() -> None:
    tracker = Tracker()
    pair = [thing(100, name="person"), thing(110, name="bicycle")]
    told(tracker, [(0.0, pair), (0.1, pair)])
    assert tracker.update([thing(103, name="bicycle"), thing(107, name="person")], 0.2).ids == tuple(
        reversed(tracker.update(pair, 0.3).ids)
    )


# Whatever comes


@given(STORIES)
def test_every_id_begins_once_and_ends_once_and_is_never_used_again(
    story: list[tuple[float, list[Prediction]]],
) -> None:
    updates, flushed = played(story)
    begun = [track.id for update in updates for track in update.begun]
    ended = [track.id for update in updates for track in update.ended] + [track.id for track in flushed]
    assert begun == list(range(1, len(begun) + 1))
    assert sorted(ended) == begun
    gone: set[int] = set()
    for update in updates:
        gone.update(track.id for track in update.ended)
        assert gone.isdisjoint(update.ids)


@given(STORIES)
def test_an_update_tells_of_each_track_once_and_of_each_prediction(story: list[tuple[float, list[Prediction]]]) -> None:
    updates, _ = played(story)
    for update, (_, predictions) in zip(updates, story, strict=True):
        named = {identity: index for index, identity in enumerate(update.ids) if identity is not None}
        assert len(update.ids) == len(predictions)
        assert len(named) == sum(identity is not None for identity in update.ids)
        assert {track.id: track.prediction for track in update.seen} == {
            identity: predictions[index] for identity, index in named.items()
        }
        assert set(update.begun) <= set(update.seen)
        assert all(track.began_s <= track.seen_s for track in update.seen)


@given(STORIES, st.randoms(use_true_random=False))
def test_the_order_of_predictions_tells_nothing(
    story: list[tuple[float, list[Prediction]]], draw: random.Random
) -> None:
    story = [(step_s, list({repr(one): one for one in found}.values())) for step_s, found in story]
    shuffled = [(step_s, draw.sample(found, len(found))) for step_s, found in story]
    for one, other in zip(played(story)[0], played(shuffled)[0], strict=True):
        assert (one.begun, one.seen, one.ended) == (other.begun, other.seen, other.ended)


@pytest.mark.parametrize("at_s", [0.1, 0.05, -1.0, math.nan, math.inf, -math.inf])
def test_a_time_that_does_not_go_on_is_ignored(at_s: float) -> None:
    tracker = Tracker()
    told(tracker, [(0.0, [thing(100)]), (0.1, [thing(100)])])
    assert tracker.update([thing(100), thing(300)], at_s) == TrackUpdate((None, None), (), (), ())
    assert tracker.update([thing(100)], 0.2).ids == (1,)


@pytest.mark.parametrize(
    "bad",
    [
        thing(math.nan),
        thing(math.inf),
        thing(1e300),
        thing(100, confidence=math.nan),
        thing(100, size=0),
        thing(100, size=-5),
        thing(100, size=math.inf),
    ],
    ids=repr,
)
def test_a_box_that_is_none_is_passed_over_and_harms_nothing(bad: Prediction) -> None:
    updates = told(Tracker(), [(n / 10, [bad, thing(100)]) for n in range(5)])
    assert [update.ids for update in updates] == [(None, None)] + [(None, 1)] * 4


def test_thousands_of_boxes_are_held_to_a_bound_and_the_surest_are_looked_at() -> None:
    tracker, draw = Tracker(), SEEDED(1)
    for n in range(4):
        crowd = [thing(draw.uniform(0, 9e5), draw.uniform(0, 9e5), confidence=0.6) for _ in range(5000)]
        update = tracker.update([*crowd, thing(50)], n / 10)
        assert len(update.ids) == 5001
        assert repr(tracker).startswith("<Tracker 300" if n == 0 else "<Tracker ")
    assert update.ids[-1] == 1
    assert int(repr(tracker).split()[1]) <= 600


# The assignment


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_the_assignment_has_the_highest_sum(rows: int, columns: int, seed: int) -> None:
    similarity = np.random.default_rng(seed).integers(-4, 8, (rows, columns)) / 4
    pairs = assign(similarity)
    wide = np.maximum(similarity if rows <= columns else similarity.T, 0)
    orders = itertools.permutations(range(wide.shape[1]), wide.shape[0])
    best = max(sum(wide[row, column] for row, column in enumerate(order)) for order in orders)
    assert sum(similarity[pair] for pair in pairs) == pytest.approx(best)
    assert all(similarity[pair] > 0 for pair in pairs)
    assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
