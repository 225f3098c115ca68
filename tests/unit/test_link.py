"""Evidence from acknowledged bytes: each story is told as the uploads of a link whose rate and round trip are known."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import Cause, EngineError, EngineRefused, EngineUnavailable
from agent.evidence import HALF_LIFE_S
from agent.flow import Reading, Reason
from agent.link import (
    GUESSED_SERVER_S,
    LATE_STALL_MIN_S,
    LONGEST_PAUSE_S,
    PORTAL_PAUSE_S,
    RATE_LIMITED_PAUSE_S,
    REFUSED_PAUSE_S,
    STALL_MIN_S,
    Link,
    RequestKey,
)

FPS = 10.0
DEADLINE_S = 0.5


def key(seq: int) -> RequestKey:
    return ("cam", seq)


def upload(
    link: Link,
    seq: int,
    *,
    at_s: float = 0.0,
    size_bytes: int = 50_000,
    rate_bytes_s: float = 1e6,
    rtt_s: float = 0.1,
    connect_s: float = 0.0,
    until_s: float = float("inf"),
    due_in_s: float = DEADLINE_S,
) -> float:
    """A request over a link of that rate: acknowledged piece by piece, as far as `until_s`; when its last byte was."""
    link.note_sent(key(seq), size_bytes=size_bytes, now_s=at_s, due_s=at_s + due_in_s)
    begin_s = at_s + connect_s
    link.note_reading(key(seq), Reading(begin_s, 0, size_bytes, rtt_s, 0), now_s=begin_s)
    piece, acked_s = 1448, begin_s
    for acked in [*range(piece, size_bytes, piece), size_bytes]:
        acked_s = begin_s + rtt_s + acked / rate_bytes_s
        if acked_s <= until_s:
            link.note_reading(key(seq), Reading(acked_s, acked, size_bytes - acked, rtt_s, acked), now_s=acked_s)
    return acked_s


def answer(link: Link, seq: int, *, server_s: float = 0.2, on_time: bool = True, **how: float) -> float:
    now_s = upload(link, seq, **how) + server_s  # type: ignore[arg-type]
    link.note_answer(key(seq), now_s=now_s, on_time=on_time)
    return now_s


def test_no_evidence_is_no_chance_and_one_good_answer_is_a_good_one() -> None:
    link = Link(0.0)
    assert link.view(0.0).chance(50_000, 0.5, fps=FPS, sent_fps=FPS).p == 0.0
    now_s = answer(link, 1)
    assert link.view(now_s).chance(50_000, 0.5, fps=FPS, sent_fps=FPS).p == pytest.approx(0.8)


def test_evidence_counts_half_after_its_half_life() -> None:
    link = Link(0.0)
    now_s = answer(link, 1)
    assert link.view(now_s + HALF_LIFE_S).chance(50_000, 0.5, fps=FPS, sent_fps=FPS).p == pytest.approx(0.5 / 0.75)


def test_each_part_of_a_request_is_told_apart() -> None:
    link = Link(0.0)
    now_s = answer(link, 1, rate_bytes_s=250_000, rtt_s=0.08, server_s=0.15, connect_s=0.16)
    (item,) = link.view(now_s).evidence
    assert item.rtt_s == pytest.approx(0.08)
    assert item.server_s == pytest.approx(0.15)
    assert 1 / item.s_per_byte == pytest.approx(250_000, rel=0.02)
    outlook = link.view(now_s).outlook(100_000)
    assert outlook is not None
    assert outlook.upload_s == pytest.approx(0.4, rel=0.02)
    assert outlook.uplink_mbit_s == pytest.approx(2.0, rel=0.02)


def test_a_large_picture_is_less_likely_in_time_than_a_small_one() -> None:
    link = Link(0.0)
    now_s = answer(link, 1, rate_bytes_s=250_000, rtt_s=0.08, server_s=0.15)  # 0.23 s and 4 ms for a kilobyte
    chances = [link.view(now_s).chance(size, 0.5, fps=FPS, sent_fps=FPS).p for size in (20_000, 45_000, 90_000)]
    assert chances == pytest.approx([0.8, 0.8, 0.0])


def test_a_rate_that_carries_half_of_the_frames_counts_half_in_the_sustained_chance() -> None:
    link = Link(0.0)
    now_s = answer(link, 1, rate_bytes_s=250_000, rtt_s=0.0, server_s=0.1)
    chance = link.view(now_s).chance(50_000, 0.5, fps=FPS, sent_fps=FPS)  # 0.2 s each, while a frame comes every 0.1 s
    assert chance.sustained == pytest.approx(chance.p / 2, rel=0.02)


def test_uploads_that_share_the_wire_measure_the_rate_of_the_wire_and_not_their_share_of_it() -> None:
    link, rate_bytes_s, size = Link(0.0), 250_000, 40_000
    for seq in (1, 2):
        link.note_sent(key(seq), size_bytes=size, now_s=0.0, due_s=0.5)
        link.note_reading(key(seq), Reading(0.0, 0, size, 0.1, 0), now_s=0.0)
    acked = {1: 0, 2: 0}
    for n in range(80):
        seq, at_s = 1 + n % 2, 0.1 + (n + 1) * 1000 / rate_bytes_s
        acked[seq] += 1000
        link.note_reading(key(seq), Reading(at_s, acked[seq], size - acked[seq], 0.1, 0), now_s=at_s)
    for seq in (1, 2):
        link.note_answer(key(seq), now_s=0.6, on_time=True)
    for item in link.view(0.6).evidence:
        assert 1 / item.s_per_byte == pytest.approx(rate_bytes_s, rel=0.05)


@given(rate_mbit_s=st.floats(0.2, 50), rtt_s=st.floats(0.005, 0.6), size_bytes=st.integers(15_000, 200_000))
def test_the_time_of_a_steady_link_is_predicted_for_every_size(
    rate_mbit_s: float, rtt_s: float, size_bytes: int
) -> None:
    link, rate_bytes_s = Link(0.0), rate_mbit_s * 125_000
    answer(link, 1, rate_bytes_s=rate_bytes_s, rtt_s=rtt_s, server_s=0.1, due_in_s=20.0)
    (item,) = link.view(10.0).evidence
    true_s = rtt_s + 0.1 + size_bytes / rate_bytes_s
    assert item.time_s(size_bytes) == pytest.approx(true_s, rel=0.06, abs=0.003)


def test_the_wire_is_free_when_what_is_unacknowledged_takes_no_more_than_a_round_trip() -> None:
    link = Link(0.0)
    answer(link, 1, rate_bytes_s=100_000, rtt_s=0.1)
    upload(link, 2, at_s=2.0, rate_bytes_s=100_000, rtt_s=0.1, until_s=2.3)
    assert not link.view(2.3).wire_free
    upload(link, 3, at_s=3.0, rate_bytes_s=100_000, rtt_s=0.1, until_s=3.55)
    link.note_ended(key(2))
    assert link.view(3.55).unacked_bytes > 0
    assert link.view(3.55).wire_free


def test_an_upload_at_its_deadline_is_known_to_be_at_least_that_slow() -> None:
    link = Link(0.0)
    upload(link, 1, rate_bytes_s=50_000, until_s=0.5)
    (item,) = link.view(0.5).evidence
    assert 1 / item.s_per_byte == pytest.approx(50_000, rel=0.1)
    assert link.view(0.5).chance(50_000, 0.5, fps=FPS, sent_fps=FPS).p == 0.0


def test_a_server_silent_at_the_deadline_is_known_to_take_longer_until_its_answer_says_how_long() -> None:
    link = Link(0.0)
    acked_s = upload(link, 1)
    (item,) = link.view(0.5).evidence
    assert item.server_s >= 0.5 - acked_s
    link.note_answer(key(1), now_s=0.8, on_time=False)
    (item,) = link.view(0.8).evidence
    assert item.server_s == pytest.approx(0.8 - acked_s)


def test_a_cold_start_is_no_evidence_but_shows_that_the_cloud_lives() -> None:
    link = Link(0.0)
    upload(link, 1)
    link.note_answer(key(1), now_s=4.0, on_time=False, cold_start=True)
    view = link.view(4.0)
    assert view.evidence == ()
    assert view.answered_s == 4.0


def test_an_upload_without_any_acknowledgement_has_stalled() -> None:
    link = Link(0.0)
    upload(link, 1, rate_bytes_s=50_000, until_s=0.3)
    assert not link.view(0.3 + STALL_MIN_S).stalled
    assert link.view(0.31 + max(STALL_MIN_S, 0.3)).stalled


def test_a_server_that_thinks_is_not_a_stall() -> None:
    link = Link(0.0)
    acked_s = upload(link, 1)
    assert not link.view(acked_s + 5).stalled


def test_a_stalled_upload_is_given_up_at_its_deadline_and_the_link_is_dead_until_a_connection_comes_about() -> None:
    link = Link(0.0)
    answer(link, 1)
    upload(link, 2, at_s=1.0, rate_bytes_s=50_000, until_s=1.15)
    view = link.view(1.5)
    assert view.dead
    assert (view.in_flight, view.unacked_bytes) == (0, 0)
    assert not link.note_reading(key(2), Reading(1.51, 9_000, 41_000, 0.1, 0), now_s=1.51)
    assert link.view(1.6).dead
    link.note_dialled(2.0)
    view = link.view(2.0)
    assert not view.dead
    assert view.evidence == ()


def test_an_upload_that_is_merely_slow_is_left_alone() -> None:
    link = Link(0.0)
    upload(link, 1, rate_bytes_s=50_000, until_s=0.5)
    assert not link.view(0.5).dead
    assert link.note_reading(key(1), Reading(0.6, 25_000, 25_000, 0.1, 0), now_s=0.6)


def test_a_dial_over_a_living_link_forgets_nothing() -> None:
    link = Link(0.0)
    answer(link, 1)
    link.note_dialled(1.0)
    assert len(link.view(1.0).evidence) == 1


@pytest.mark.parametrize(
    ("error", "reason", "pause_s", "refused"),
    [
        (EngineRefused("", Cause.AUTH), Reason.HTTP_AUTH, REFUSED_PAUSE_S, True),
        (EngineRefused("", Cause.CREDITS), Reason.HTTP_AUTH, REFUSED_PAUSE_S, True),
        (EngineRefused("", Cause.PAUSED), Reason.HTTP_AUTH, REFUSED_PAUSE_S, True),
        (EngineRefused("", Cause.NOT_FOUND), Reason.HTTP_ERROR, REFUSED_PAUSE_S, True),
        (EngineUnavailable("", Cause.CAPTIVE_PORTAL), Reason.HTTP_ERROR, PORTAL_PAUSE_S, True),
        (EngineUnavailable("", Cause.RATE_LIMITED, retry_after_s=7), Reason.HTTP_RATE_LIMITED, 7, False),
        (EngineUnavailable("", Cause.RATE_LIMITED), Reason.HTTP_RATE_LIMITED, RATE_LIMITED_PAUSE_S, False),
        (EngineUnavailable("", Cause.SERVER, retry_after_s=1), Reason.HTTP_ERROR, 1, False),
    ],
)
def test_a_refusal_closes_the_cloud_for_its_time_and_is_no_sign_of_slowness(
    error: EngineError, reason: Reason, pause_s: float, refused: bool
) -> None:
    link = Link(0.0)
    upload(link, 1)
    link.note_failure(key(1), error, now_s=10.0)
    view = link.view(10.0)
    assert view.evidence == ()
    assert (view.closed_reason, view.refused, view.in_flight) == (reason, refused, 0)
    assert view.closed_until_s == 10.0 + pause_s
    assert view.closed
    assert not link.view(10.1 + pause_s).closed


def test_a_failed_knock_closes_the_cloud_again_and_a_welcome_one_opens_it() -> None:
    link = Link(0.0)
    link.note_unwelcome(EngineRefused("", Cause.AUTH), 5.0)
    assert link.view(5.0).refused
    link.note_unwelcome(EngineRefused("", Cause.AUTH), 200.0)
    assert link.view(201.0).closed
    link.note_welcome(400.0)
    view = link.view(400.0)
    assert not view.closed
    assert not view.refused


def test_a_broken_connection_is_a_bad_sample_and_closes_nothing() -> None:
    link = Link(0.0)
    upload(link, 1)
    link.note_failure(key(1), EngineUnavailable("", Cause.NETWORK), now_s=10.0)
    view = link.view(10.0)
    assert [item.cause for item in view.evidence] == [Cause.NETWORK]
    assert view.chance(1, 1e9, fps=FPS, sent_fps=FPS).p == 0.0
    assert not view.closed
    assert view.outlook(1) is None


@pytest.mark.parametrize("cause", [Cause.DNS, Cause.CONNECT, Cause.TLS, Cause.TLS_EXPIRED, Cause.TLS_HOST])
def test_a_connection_that_does_not_come_about_makes_the_link_dead(cause: Cause) -> None:
    link = Link(0.0)
    link.note_sent(key(1), size_bytes=1000, now_s=0.0, due_s=0.5)
    link.note_failure(key(1), EngineUnavailable("", cause), now_s=1.0)
    view = link.view(1.0)
    assert view.dead
    assert view.evidence == ()


@pytest.mark.parametrize("then_s", [0.9, 8.0])
def test_an_upload_that_falls_silent_only_after_its_deadline_is_given_up_too(then_s: float) -> None:
    link = Link(0.0)
    upload(link, 1, rate_bytes_s=50_000, until_s=0.6)
    assert not link.view(0.7).dead
    assert not link.view(1.55).dead
    assert link.view(0.6 + LATE_STALL_MIN_S + then_s).dead


def test_a_connection_that_takes_three_round_trips_to_open_is_not_taken_for_a_dead_link() -> None:
    link = Link(0.0)
    link.note_sent(key(1), size_bytes=20_000, now_s=0.0, due_s=0.5)
    for at_s in (0.3, 0.49, 0.5, 0.75):
        assert not link.view(at_s).dead
    assert link.note_reading(key(1), Reading(0.75, 0, 20_000, 0.25, 0), now_s=0.75)


@pytest.mark.parametrize("wait_s", [0.0, 0.4])
def test_a_request_to_wait_for_no_time_is_one_to_wait_a_little(wait_s: float) -> None:
    link = Link(0.0)
    link.note_failure(key(1), EngineUnavailable("", Cause.RATE_LIMITED, retry_after_s=wait_s), now_s=0.0)
    assert link.view(0.0).closed_until_s == 1.0


def test_a_knock_in_vain_leaves_a_cloud_that_refused_alone_for_a_while() -> None:
    link = Link(0.0)
    link.note_failure(key(1), EngineRefused("", Cause.CREDITS), now_s=0.0)
    link.note_unwelcome(EngineUnavailable("", Cause.TIMEOUT), REFUSED_PAUSE_S + 1)
    assert link.view(REFUSED_PAUSE_S + 2).closed
    assert link.view(REFUSED_PAUSE_S + 2).refused


def test_a_camera_with_a_frame_a_minute_can_trust_a_good_link() -> None:
    link = Link(0.0)
    for seq in range(20):
        now_s = answer(link, seq, at_s=60.0 * seq)
    view = link.view(now_s + 60.0)
    assert view.chance(50_000, 0.5, fps=1 / 60, sent_fps=1 / 60).p > 0.9
    assert view.chance(50_000, 0.5, fps=FPS, sent_fps=FPS).p < 0.1


def test_a_request_counts_once_against_the_cloud_however_often_it_is_late() -> None:
    link = Link(0.0)
    upload(link, 1)
    link.note_failure(key(1), EngineUnavailable("", Cause.TIMEOUT), now_s=8.0)
    assert len(link.view(8.0).evidence) == 1


def test_after_failures_an_upload_that_is_not_over_at_its_deadline_leaves_a_finite_outlook() -> None:
    link = Link(0.0)
    for seq in range(3):
        link.note_sent(key(seq), size_bytes=50_000, now_s=float(seq), due_s=seq + DEADLINE_S)
        link.note_failure(key(seq), EngineUnavailable("it broke", Cause.SERVER), now_s=seq + 0.1)
    upload(link, 3, at_s=10.0, until_s=10.12)
    outlook = link.view(11.0).outlook(50_000)
    assert outlook is not None
    assert outlook.server_s == GUESSED_SERVER_S


def test_only_the_newest_evidence_is_kept() -> None:
    link = Link(0.0)
    for seq in range(100):
        answer(link, seq, at_s=float(seq))
    view = link.view(100.0)
    assert len(view.evidence) == 64
    assert view.evidence[0].at_s > 36


def test_an_answer_to_a_request_sent_before_the_refusal_does_not_open_the_cloud_again() -> None:
    link = Link(0.0)
    upload(link, 1, at_s=9.8)
    link.note_failure(key(2), EngineUnavailable("", Cause.RATE_LIMITED, retry_after_s=30), now_s=10.0)
    link.note_answer(key(1), now_s=10.1, on_time=True)
    assert link.view(10.1).closed_until_s == 40.0
    answer(link, 3, at_s=11.0)
    assert not link.view(12.0).closed


def test_no_server_closes_the_cloud_for_longer_than_ten_minutes() -> None:
    link = Link(0.0)
    link.note_failure(key(1), EngineUnavailable("", Cause.RATE_LIMITED, retry_after_s=1e9), now_s=0.0)
    assert link.view(0.0).closed_until_s == LONGEST_PAUSE_S


def test_an_overdue_request_whose_answer_came_this_moment_is_no_failure() -> None:
    link = Link(0.0)
    now_s = answer(link, 1)
    before = link.view(now_s).evidence
    assert link.view(now_s).evidence == before


def test_the_real_size_of_the_picture_takes_the_place_of_the_expected_one() -> None:
    link = Link(0.0)
    link.note_sent(key(1), size_bytes=20_000, now_s=0.0, due_s=0.5)
    link.note_size(key(1), 30_000)
    assert link.view(0.0).unacked_bytes == 30_000


def test_where_acknowledgements_cannot_be_seen_the_whole_time_is_split_between_server_and_bytes() -> None:
    link = Link(0.0, measures=False)
    link.note_sent(key(1), size_bytes=50_000, now_s=0.0, due_s=0.5)
    assert link.view(0.1).wire_free
    assert not link.view(0.49).stalled
    link.note_answer(key(1), now_s=0.4, on_time=True)
    (item,) = link.view(0.4).evidence
    assert item.time_s(50_000) == pytest.approx(0.4)
    assert item.time_s(100_000) == pytest.approx(0.6)
    link.note_sent(key(2), size_bytes=50_000, now_s=1.0, due_s=1.5)
    assert link.view(1.5).evidence[-1].time_s(50_000) > 0.5
    assert not link.view(1.5).dead


def test_a_view_does_not_change_when_the_link_does() -> None:
    link = Link(0.0)
    answer(link, 1)
    view = link.view(1.0)
    kept = replace(view)
    answer(link, 2, at_s=1.0)
    assert view == kept
