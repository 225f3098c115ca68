"""Whether a new version may answer in place of the running one: how far answers agree, and what is asked of it."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.flow import Answer, Keypoint, Prediction, Task, Timings
from agent.rollout.gate import Against, Measured, Outcome, Terms, agreement, judge, overlap

CAR = Prediction(100.0, 80.0, 40.0, 20.0, 0.9, "car", 2)
PERSON = Prediction(30.0, 40.0, 10.0, 30.0, 0.8, "person", 0)
NOTHING: tuple[Prediction, ...] = ()


def found(*predictions: Prediction, task: Task = Task.OBJECT_DETECTION) -> Answer:
    return Answer(predictions, "m", "e", Timings(), task=task)


def whole(name: str, confidence: float = 0.9) -> Prediction:
    """A class of the whole picture."""
    return Prediction(160.0, 120.0, 320.0, 240.0, confidence, name, 0)


# How far two answers agree


def test_the_same_objects_agree_and_so_do_two_answers_without_any() -> None:
    assert agreement(found(CAR, PERSON), found(PERSON, CAR)) == 1.0
    assert agreement(found(), found()) == 1.0


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        ((CAR, PERSON), (CAR,), 2 / 3),
        ((CAR,), NOTHING, 0.0),
        ((CAR,), (replace(CAR, class_name="truck"),), 0.0),
        ((CAR,), (replace(CAR, x=CAR.x + 10),), 1.0),  # IoU 0.6
        ((CAR,), (replace(CAR, x=CAR.x + 20),), 0.0),  # IoU 0.33
        ((CAR, CAR), (CAR,), 2 / 3),  # one object is counted for one other only
    ],
)
def test_objects_agree_by_f1_of_those_of_one_class_that_overlap_by_half(
    one: tuple[Prediction, ...], other: tuple[Prediction, ...], share: float
) -> None:
    assert agreement(found(*one), found(*other)) == pytest.approx(share)
    assert agreement(found(*other), found(*one)) == pytest.approx(share)


def test_a_pair_of_objects_whose_keypoints_are_elsewhere_is_none() -> None:
    points = tuple(Keypoint(25.0 + n, 30.0 + n, 0.9, name, n) for n, name in enumerate(("nose", "knee")))
    task, person = Task.KEYPOINT_DETECTION, replace(PERSON, keypoints=points)
    near = replace(PERSON, keypoints=tuple(replace(point, x=point.x + 0.5) for point in points))
    far = replace(PERSON, keypoints=tuple(replace(point, x=point.x + 8.0) for point in points))
    none = replace(PERSON, keypoints=())
    assert agreement(found(person, task=task), found(near, task=task)) == 1.0
    assert agreement(found(person, task=task), found(far, task=task)) == 0.0
    assert agreement(found(person, task=task), found(none, task=task)) == 0.0


def test_a_classifier_agrees_where_its_best_class_is_the_same() -> None:
    task = Task.CLASSIFICATION
    first = found(whole("cat"), whole("dog", 0.5), task=task)
    assert agreement(first, found(whole("cat", 0.6), task=task)) == 1.0
    assert agreement(first, found(whole("dog", 0.6), task=task)) == 0.0
    assert agreement(first, found(task=task)) == 0.0
    assert agreement(found(task=task), found(task=task)) == 1.0


def test_a_classifier_of_several_classes_agrees_by_the_share_of_them() -> None:
    task = Task.MULTI_LABEL_CLASSIFICATION
    assert agreement(found(whole("wet"), whole("dark"), task=task), found(whole("wet"), task=task)) == 0.5
    assert agreement(found(task=task), found(task=task)) == 1.0


def test_regions_agree_by_the_mean_overlap_of_each_class() -> None:
    task = Task.SEMANTIC_SEGMENTATION
    half = replace(CAR, x=CAR.x - 10, width=20)
    assert agreement(found(CAR, PERSON, task=task), found(half, PERSON, task=task)) == pytest.approx(0.75)
    assert agreement(found(CAR, task=task), found(PERSON, task=task)) == 0.0


@pytest.mark.parametrize("task", list(Task))
def test_where_one_model_has_no_class_names_the_numbers_of_the_classes_count(task: Task) -> None:
    nameless = tuple(replace(one, class_name=f"class_{one.class_id}") for one in (CAR, PERSON))
    one, other = found(CAR, PERSON, task=task), found(*nameless, task=task)
    assert agreement(one, other) == agreement(other, one) == 1.0
    another = replace(CAR, class_name="class_7", class_id=7)
    assert agreement(found(CAR, task=task), found(another, task=task)) == 0.0


def test_a_version_that_has_class_names_at_last_passes() -> None:
    nameless = found(replace(CAR, class_name="class_2"))
    assert judge(measured(nameless, found(CAR)), Terms(), hosted=False).outcome is Outcome.PASSED


def test_two_models_with_names_are_compared_by_them_and_not_by_their_numbers() -> None:
    assert agreement(found(CAR), found(replace(CAR, class_id=7))) == 1.0
    assert agreement(found(CAR), found(replace(CAR, class_name="truck"))) == 0.0


boxes = st.builds(
    Prediction,
    *(st.floats(0, 100), st.floats(0, 100), st.floats(0.1, 60), st.floats(0.1, 60), st.floats(0, 1)),
    st.sampled_from(["car", "person"]),
    st.just(0),
)
answers = st.builds(
    lambda predictions, task: Answer(tuple(predictions), "m", "e", Timings(), task=task),
    st.lists(boxes, max_size=5),
    st.sampled_from(Task),
)


@settings(max_examples=60)
@given(answers, answers)
def test_agreement_is_a_share_and_full_with_itself(one: Answer, other: Answer) -> None:
    assert 0.0 <= agreement(one, other) <= 1.0
    assert agreement(one, one) == pytest.approx(1.0)


@settings(max_examples=60)
@given(boxes, boxes)
def test_overlap_is_symmetric_and_at_most_one(one: Prediction, other: Prediction) -> None:
    assert 0.0 <= overlap(one, other) <= 1.0
    assert overlap(one, other) == pytest.approx(overlap(other, one))


# What the gate says


def measured(
    running: Answer | None = None,
    candidate: Answer | None = None,
    *,
    hosted: Answer | None = None,
    times_ms: tuple[float | None, float] = (20.0, 20.0),
    count: int = 8,
) -> list[Measured]:
    old_ms, new_ms = times_ms
    old_s = None if old_ms is None else old_ms / 1000
    answers = (found(CAR) if running is None else running, found(CAR) if candidate is None else candidate)
    return [Measured(answers[0], answers[1], hosted, old_s, new_ms / 1000)] * count


def test_a_version_that_agrees_and_is_as_fast_passes() -> None:
    verdict = judge(measured(), Terms(), hosted=False)
    assert verdict.outcome is Outcome.PASSED
    assert verdict.figures == {"agreement": 1.0, "median_ms": 20.0, "running_median_ms": 20.0}


def test_one_that_finds_something_else_is_refused_with_the_figure() -> None:
    verdict = judge(measured(candidate=found(PERSON)), Terms(), hosted=False)
    assert verdict.outcome is Outcome.FAILED
    assert verdict.reason == "agreement 0.00 with the running version, 0.8 is needed"


def test_the_mean_over_the_frames_counts() -> None:
    mixed = [*measured(count=6), *measured(candidate=found(PERSON), count=2)]
    assert judge(mixed, Terms(agreement=0.75), hosted=False).outcome is Outcome.PASSED
    assert judge(mixed, Terms(agreement=0.76), hosted=False).outcome is Outcome.FAILED


def test_the_hosted_api_overrules_a_running_version_that_does_not_agree() -> None:
    better = measured(found(PERSON), found(CAR), hosted=found(CAR))
    assert judge(better, Terms(), hosted=True).outcome is Outcome.PASSED
    assert judge(better, Terms(against=Against.HOSTED), hosted=True).outcome is Outcome.PASSED
    assert judge(better, Terms(against=Against.RUNNING), hosted=True).outcome is Outcome.FAILED
    worse = judge(measured(found(PERSON), found(CAR), hosted=found(PERSON)), Terms(), hosted=True)
    assert worse.outcome is Outcome.FAILED
    assert "0.00 with the running version and 0.00 with the hosted API" in worse.reason


def test_where_the_hosted_api_could_overrule_its_answers_are_waited_for() -> None:
    disagrees = measured(candidate=found(PERSON))
    assert judge(disagrees, Terms(), hosted=True).outcome is Outcome.UNDECIDED
    assert judge(disagrees, Terms(), hosted=False).outcome is Outcome.FAILED
    few = [*measured(candidate=found(PERSON), hosted=found(CAR), count=3), *disagrees]
    assert judge(few, Terms(), hosted=True).outcome is Outcome.UNDECIDED


def test_two_models_that_see_nothing_do_not_agree_they_say_nothing() -> None:
    blind = measured(found(), found())
    assert judge(blind, Terms(), hosted=False).outcome is Outcome.UNDECIDED
    assert judge([*blind, *measured(count=4)], Terms(), hosted=False).outcome is Outcome.PASSED


def test_one_that_sees_what_is_not_there_is_refused_by_the_frames_without_objects() -> None:
    ghosts = [*measured(count=8), *measured(found(), found(PERSON), count=3)]
    assert judge(ghosts, Terms(), hosted=False).outcome is Outcome.FAILED


@pytest.mark.parametrize(("new_ms", "outcome"), [(30.0, Outcome.PASSED), (40.0, Outcome.FAILED)])
def test_a_version_that_is_slower_than_allowed_is_refused(new_ms: float, outcome: Outcome) -> None:
    verdict = judge(measured(times_ms=(20.0, new_ms)), Terms(slower=1.5), hosted=False)
    assert verdict.outcome is outcome
    assert verdict.outcome is Outcome.PASSED or "take 40.0 ms (median), those of the version before it 20.0" in (
        verdict.reason
    )


def test_one_slow_run_is_no_slowness_nor_is_a_millisecond_of_a_quick_model() -> None:
    hiccup = [*measured(count=7), *measured(times_ms=(20.0, 400.0), count=1)]
    assert judge(hiccup, Terms(), hosted=False).outcome is Outcome.PASSED
    assert judge(measured(times_ms=(0.5, 1.5)), Terms(), hosted=False).outcome is Outcome.PASSED


def test_frames_on_which_the_running_version_failed_say_nothing_of_the_new_one() -> None:
    failed = [Measured(None, found(CAR), None, None, 0.02)] * 4
    assert judge([*failed, *measured()], Terms(), hosted=False).outcome is Outcome.PASSED
    assert judge(failed, Terms(), hosted=False).outcome is Outcome.UNDECIDED
