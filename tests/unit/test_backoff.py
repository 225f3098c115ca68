"""Pauses: they grow, are drawn, begin anew after a stable minute, and leave at most six attempts a minute."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.backoff import CRASHED, DISK, LOST, REFUSED, REMOTE, STABLE_S, Backoff, Pauses
from agent.errors import SourceLost, SourceRefused

draws = st.floats(0, 1)


@given(st.sampled_from([CRASHED, DISK]), st.lists(st.floats(0, STABLE_S - 1), min_size=1, max_size=20), draws)
def test_pauses_grow_to_their_limit_and_a_stable_minute_makes_them_short_again(
    pauses: Pauses, runs_s: list[float], draw: float
) -> None:
    backoff, now_s, pauses_s = Backoff(lambda: draw), 0.0, []
    for ran_s in runs_s:
        backoff.begin(now_s)
        pauses_s.append(backoff.pause_s(pauses, now_s=now_s + ran_s))
        now_s += ran_s + pauses_s[-1]
    assert pauses_s == sorted(pauses_s)
    assert all(pauses.first_s / 2 <= pause_s <= pauses.last_s for pause_s in pauses_s)
    backoff.begin(now_s)
    assert backoff.pause_s(pauses, now_s=now_s + STABLE_S + 1e-6) <= pauses.first_s


@given(st.lists(st.tuples(st.floats(0, 100), draws), min_size=8, max_size=60))
def test_a_broker_sees_at_most_six_attempts_in_any_minute_however_long_each_connection_lasted(
    runs: list[tuple[float, float]],
) -> None:
    draw = iter([draw for _, draw in runs])
    backoff, now_s, begun_s = Backoff(lambda: next(draw)), 0.0, []
    for ran_s, _ in runs:
        backoff.begin(now_s)
        begun_s.append(now_s)
        now_s += ran_s
        now_s += backoff.pause_s(REMOTE, now_s=now_s)
    assert all(later - earlier >= 60 - 1e-6 for earlier, later in zip(begun_s, begun_s[6:], strict=False))


def test_who_asks_for_a_long_pause_gets_no_shorter_one() -> None:
    backoff = Backoff(lambda: 0.0)
    backoff.begin(0.0)
    assert backoff.pause_s(REMOTE, now_s=0.1, least_s=60.0) == 60.0


def test_two_of_a_fleet_do_not_come_back_in_step() -> None:
    def pauses(draw: float) -> list[float]:
        backoff = Backoff(lambda: draw)
        return [backoff.pause_s(REMOTE, now_s=0.0) for _ in range(4)]

    assert pauses(0.0) == pytest.approx([0.5, 1, 2, 4])
    assert pauses(1.0) == pytest.approx([1, 2, 4, 8])


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans(), draws), min_size=2, max_size=40))
def test_a_refused_password_is_tried_again_a_minute_later_at_the_earliest(
    runs: list[tuple[float, bool, float]],
) -> None:
    draw = iter([draw for _, _, draw in runs])
    backoff, now_s = Backoff(lambda: next(draw)), 0.0
    for ran_s, refused, _ in runs:
        backoff.begin(now_s)
        now_s += ran_s
        pauses, error = (REFUSED, SourceRefused) if refused else (LOST, SourceLost)
        pause_s = backoff.pause_s(pauses, now_s=now_s, least_s=error.least_pause_s)
        assert pause_s >= 60 if refused else pause_s <= LOST.last_s
        now_s += pause_s
