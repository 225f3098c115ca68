from dataclasses import replace

import pytest
from fakes import a_frame, an_answer

from agent.backfill.doubt import BAD_LINK, Doubt, Judge, deserves
from agent.backfill.sieve import Sieve
from agent.flow import Answer, Decision, Fate, Prediction, Reason, Result, Route, Timings

DOUBT = Doubt(below=0.6)


def seen(*scores: float) -> Answer:
    found = tuple(Prediction(10.0, 10.0, 4.0, 4.0, score, "thing", 0) for score in scores)
    return Answer(found, "fake", "fake", Timings())


def a_result(
    reason: Reason = Reason.DEAD, answer: Answer | None = None, *, seq: int = 0, at_s: float = 1000.0
) -> Result:
    frame = a_frame(seq, captured_s=at_s)
    return Result(
        camera=frame.camera,
        seq=seq,
        revision=0,
        captured_s=at_s,
        captured_wall_s=frame.captured_wall_s,
        clock_synchronized=True,
        width=64,
        height=48,
        decision=Decision(Route.LOCAL, reason, at_s + 0.5, at_s, 0.1, 0.5),
        fate=Fate.DONE,
        published=Route.LOCAL,
        answer=seen(0.5) if answer is None else answer,
        late=False,
        started_s=at_s,
        answered_s=at_s + 0.1,
    )


@pytest.mark.parametrize(
    ("scores", "judge", "empty", "has"),
    [
        ((0.59,), Judge.LOWEST, False, True),
        ((0.6,), Judge.LOWEST, False, False),
        ((0.9, 0.41), Judge.LOWEST, False, True),
        ((0.9, 0.41), Judge.HIGHEST, False, False),
        ((0.5, 0.41), Judge.HIGHEST, False, True),
        ((), Judge.LOWEST, False, False),
        ((), Judge.HIGHEST, True, True),
        ((0.9,), Judge.LOWEST, True, False),
    ],
)
def test_a_frame_is_doubtful_by_its_least_or_its_most_certain_object(
    scores: tuple[float, ...], judge: Judge, *, empty: bool, has: bool
) -> None:
    assert Doubt(0.6, judge, empty).has(seen(*scores).predictions) is has


@pytest.mark.parametrize("reason", Reason)
def test_a_frame_is_kept_only_where_the_link_was_bad(reason: Reason) -> None:
    assert deserves(a_result(reason), DOUBT) is (reason in BAD_LINK)


def test_what_the_user_or_the_budget_decided_is_no_bad_link() -> None:
    assert not BAD_LINK & {
        Reason.LOCAL_ONLY,
        Reason.BUDGET_DATA,
        Reason.BUDGET_CREDITS,
        Reason.HTTP_AUTH,
        Reason.UPLINK_BUSY,
        Reason.INFLIGHT_FULL,
        Reason.P_OK,
        Reason.PROBE,
    }


def test_a_frame_that_was_sent_is_not_kept_for_its_own_answer_may_come_yet() -> None:
    it = a_result()
    sent = replace(it, decision=replace(it.decision, route=Route.CLOUD))
    waits = replace(it, decision=replace(it.decision, waits=True))
    assert [deserves(each, DOUBT) for each in (it, sent, waits)] == [True, False, False]


def test_a_correction_and_a_failure_are_not_kept() -> None:
    it = a_result()
    assert not deserves(replace(it, revision=1), DOUBT)
    assert not deserves(replace(it, answer=None, published=None), DOUBT)
    assert not deserves(replace(it, answer=an_answer(), published=Route.CLOUD), DOUBT)


# The sieve


def test_a_camera_gives_one_frame_every_so_many_seconds_and_another_camera_its_own() -> None:
    sieve = Sieve(DOUBT, every_s=10.0)
    caught = []
    for tenth in range(250):
        at_s = 1000 + tenth / 10
        for camera in ("east", "west"):
            sieve.see(a_frame(tenth, captured_s=at_s, camera=camera), replace(a_result(at_s=at_s), camera=camera))
        while (pair := sieve.take()) is not None:
            caught.append((pair[0].camera, pair[0].captured_s))
    assert sorted(caught) == [(camera, at_s) for camera in ("east", "west") for at_s in (1000.0, 1010.0, 1020.0)]


def test_one_frame_of_a_camera_is_held_at_most_however_long_nobody_takes_it() -> None:
    sieve = Sieve(DOUBT, every_s=1.0)
    for second in range(100):
        sieve.see(a_frame(second, captured_s=1000.0 + second), a_result(at_s=1000.0 + second))
    first = sieve.take()
    assert first is not None
    assert first[0].seq == 0
    assert sieve.take() is None


def test_a_frame_that_is_caught_wakes_the_thread_that_takes_it_and_no_other_does() -> None:
    sieve = Sieve(DOUBT, every_s=1.0)
    sieve.see(a_frame(), a_result(Reason.LOCAL_ONLY))
    assert not sieve.stirred.is_set()
    sieve.see(a_frame(), a_result())
    assert sieve.stirred.is_set()
