import pytest
from fakes import an_answer

from agent.errors import Cause, EngineRefused, EngineUnavailable
from agent.flow import Reason
from agent.link import HALF_LIFE_S, LONGEST_PAUSE_S, RATE_LIMITED_PAUSE_S, REFUSED_PAUSE_S, Link


def key(seq: int) -> tuple[str, int]:
    return ("cam", seq)


def test_no_evidence_is_no_chance_and_one_good_answer_is_a_good_one() -> None:
    link = Link(0.0)
    assert link.view().chance(0.5, 0.0) == 0.0
    link.note_answer(key(1), an_answer(), took_s=0.2, now_s=1.0)
    assert link.view().chance(0.5, 1.0) == pytest.approx(0.8)


def test_evidence_counts_half_after_its_half_life() -> None:
    link = Link(0.0)
    link.note_answer(key(1), an_answer(), took_s=0.2, now_s=0.0)
    assert link.view().chance(0.5, HALF_LIFE_S) == pytest.approx(0.5 / 0.75)


def test_an_answer_slower_than_the_budget_counts_against_the_cloud() -> None:
    link = Link(0.0)
    link.note_answer(key(1), an_answer(), took_s=0.6, now_s=0.0)
    assert link.view().chance(0.5, 0.0) == 0.0
    assert link.view().chance(0.7, 0.0) == pytest.approx(0.8)


def test_an_overdue_request_counts_against_the_cloud_until_its_answer_says_how_long_it_took() -> None:
    link = Link(0.0)
    link.note_overdue(key(1), waited_s=0.5, now_s=0.5)
    assert [sample.answered for sample in link.view().samples] == [False]
    link.note_answer(key(1), an_answer(), took_s=0.8, now_s=0.8)
    assert [(sample.answered, sample.total_s) for sample in link.view().samples] == [(True, 0.8)]


def test_a_cold_start_is_no_evidence_but_shows_that_the_cloud_lives() -> None:
    link = Link(0.0)
    link.note_answer(key(1), an_answer(cold=True), took_s=4.0, now_s=4.0)
    assert link.view().samples == ()
    assert link.view().last_good_s == 4.0


@pytest.mark.parametrize(
    ("error", "reason", "pause_s"),
    [
        (EngineRefused("", Cause.AUTH), Reason.HTTP_AUTH, REFUSED_PAUSE_S),
        (EngineRefused("", Cause.CREDITS), Reason.HTTP_AUTH, REFUSED_PAUSE_S),
        (EngineRefused("", Cause.NOT_FOUND), Reason.HTTP_ERROR, REFUSED_PAUSE_S),
        (EngineUnavailable("", Cause.RATE_LIMITED, retry_after_s=7), Reason.HTTP_RATE_LIMITED, 7),
        (EngineUnavailable("", Cause.RATE_LIMITED), Reason.HTTP_RATE_LIMITED, RATE_LIMITED_PAUSE_S),
        (EngineUnavailable("", Cause.SERVER, retry_after_s=1), Reason.HTTP_ERROR, 1),
    ],
)
def test_a_refusal_closes_the_cloud_for_its_time_and_is_no_sign_of_slowness(
    error: EngineRefused | EngineUnavailable, reason: Reason, pause_s: float
) -> None:
    link = Link(0.0)
    link.note_failure(key(1), error, took_s=0.1, now_s=10.0)
    view = link.view()
    assert view.samples == ()
    assert view.closed_reason is reason
    assert view.closed_until_s == 10.0 + pause_s


def test_a_time_out_is_a_bad_sample_and_closes_nothing() -> None:
    link = Link(0.0)
    link.note_failure(key(1), EngineUnavailable("", Cause.TIMEOUT), took_s=8.0, now_s=10.0)
    view = link.view()
    assert [sample.answered for sample in view.samples] == [False]
    assert view.closed_until_s < 10.0


def test_the_uplink_rate_leaves_out_the_servers_time() -> None:
    link = Link(0.0)
    link.note_answer(key(1), an_answer(), took_s=0.05 + 0.1, now_s=1.0)  # 1000 bytes, the server took 50 ms
    assert link.view().uplink_mbit_s == pytest.approx(1000 * 8e-6 / 0.1)


def test_only_the_newest_evidence_is_kept() -> None:
    link = Link(0.0)
    for seq in range(100):
        link.note_answer(key(seq), an_answer(), took_s=0.1, now_s=float(seq))
    assert [sample.key[1] for sample in link.view().samples] == list(range(36, 100))


def test_an_answer_to_a_request_sent_before_the_refusal_does_not_open_the_cloud_again() -> None:
    link = Link(0.0)
    link.note_failure(key(2), EngineUnavailable("", Cause.RATE_LIMITED, retry_after_s=30), took_s=0.1, now_s=10.0)
    link.note_answer(key(1), an_answer(), took_s=0.5, now_s=10.1)
    assert link.view().closed_until_s == 40.0
    link.note_answer(key(3), an_answer(), took_s=0.2, now_s=11.0)
    assert link.view().closed_until_s < 11.0


def test_no_server_closes_the_cloud_for_longer_than_ten_minutes() -> None:
    link = Link(0.0)
    link.note_failure(key(1), EngineUnavailable("", Cause.RATE_LIMITED, retry_after_s=1e9), took_s=0.1, now_s=0.0)
    assert link.view().closed_until_s == LONGEST_PAUSE_S


def test_an_overdue_request_whose_answer_came_this_moment_is_no_failure() -> None:
    link = Link(0.0)
    link.note_answer(key(1), an_answer(), took_s=0.5, now_s=0.5)
    link.note_overdue(key(1), waited_s=0.5, now_s=0.5)
    assert [sample.answered for sample in link.view().samples] == [True]
