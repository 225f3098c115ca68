"""Which results become pictures: by camera, class, confidence and interval, whatever the wall clock says."""

from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.test_doubt import a_result

from agent.flow import Answer, Prediction, Reason, Result, Timings
from agent.snapshots.trigger import Rule, Trigger


def shows(*found: tuple[str, float], camera: str = "gate", at_s: float = 1000.0) -> Result:
    """A result with these classes and confidences."""
    predictions = tuple(Prediction(10, 10, 4, 4, score, name, 0) for name, score in found)
    answer = Answer(predictions, "fake", "fake", Timings())
    return replace(a_result(Reason.LOCAL_ONLY, answer, at_s=at_s), camera=camera)


@pytest.mark.parametrize(
    ("rule", "found", "met"),
    [
        (Rule(), [("person", 0.5)], True),
        (Rule(), [("person", 0.49)], False),
        (Rule(), [], False),
        (Rule(classes=frozenset({"person"})), [("car", 0.9)], False),
        (Rule(classes=frozenset({"person"}), confidence=0.8), [("person", 0.7), ("car", 0.9)], False),
        (Rule(classes=frozenset({"person", "car"}), confidence=0.8), [("person", 0.7), ("car", 0.9)], True),
        (Rule(cameras=frozenset({"yard"})), [("person", 0.9)], False),
        (Rule(cameras=frozenset({"yard", "gate"})), [("person", 0.9)], True),
        (Rule(classes=frozenset({"Größe 人"})), [("Größe 人", 0.9)], True),
    ],
)
def test_one_object_has_to_meet_all_that_a_rule_says(rule: Rule, found: list[tuple[str, float]], *, met: bool) -> None:
    assert rule.is_met(shows(*found)) is met


def test_a_frame_that_failed_meets_no_rule() -> None:
    assert not Rule().is_met(replace(shows(("person", 0.9)), answer=None))


EVERY_S = (0.0, 1.0, 2.5, 10.0)
EVENTS = st.lists(
    st.tuples(st.floats(0.0, 4.0), st.sampled_from(["gate", "yard"]), st.sampled_from(["person", "car", "dog"])),
    max_size=60,
)


@given(events=EVENTS, wall_s=st.lists(st.floats(0, 4e9), min_size=60, max_size=60))
def test_a_rule_is_followed_as_soon_as_its_interval_is_over_and_never_sooner_for_each_camera_apart(
    events: list[tuple[float, str, str]], wall_s: list[float]
) -> None:
    rules = [Rule(every_s=every_s) for every_s in EVERY_S]
    rules += [Rule(classes=frozenset({"person"}), every_s=3.0), Rule(cameras=frozenset({"yard"}), every_s=3.0)]
    trigger, now_s, last_s = Trigger(rules), 0.0, defaultdict[tuple[int, str], float](lambda: -1e9)
    for (pause_s, camera, name), jumping_s in zip(events, wall_s, strict=False):
        now_s += pause_s
        result = replace(shows((name, 0.9), camera=camera, at_s=now_s), captured_wall_s=jumping_s)
        due = trigger.pull(result)
        for number, rule in enumerate(rules):
            meets = rule.is_met(result)
            is_due = meets and now_s - last_s[number, camera] >= rule.every_s
            assert (number in due) == is_due
            if is_due:
                last_s[number, camera] = now_s
    assert trigger.met[0] == len(events)


def test_a_rule_whose_picture_was_lost_wants_the_next_one() -> None:
    trigger = Trigger([Rule(every_s=10.0), Rule(every_s=10.0)])
    assert trigger.pull(shows(("person", 0.9), at_s=1.0)) == (0, 1)
    trigger.release("gate", [1])
    trigger.release("gate", [1])
    assert trigger.pull(shows(("person", 0.9), at_s=2.0)) == (1,)
    assert trigger.pull(shows(("person", 0.9), at_s=3.0)) == ()
