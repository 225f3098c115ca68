"""The oracle's judgement over ledgers and receipts that are written here by hand."""

from collections.abc import Sequence

import pytest
from faults.oracle import Ledger, Obligation, Receipt, Verdict, judge, most_in_a_minute


def owed(count: int, *, run: int = 0, start: int = 0) -> Ledger:
    obligations = [Obligation(str(n), "gate", f"sum{n}", float(n), run) for n in range(start, start + count)]
    return Ledger(obligations, {each.id: each.checksum for each in obligations})


def got(*numbers: int, session: int = 0) -> list[Receipt]:
    return [Receipt(str(n), f"sum{n}", session) for n in numbers]


def verdict(ledger: Ledger, receipts: Sequence[Receipt], **more: object) -> Verdict:
    return judge(ledger, receipts, **more)  # type: ignore[arg-type]


def test_all_that_was_owed_and_came_is_well() -> None:
    assert verdict(owed(3), got(0, 1, 2)).faults() == []


def test_what_did_not_come_is_lost() -> None:
    assert verdict(owed(3), got(0, 2)).lost == ["1"]


def test_what_came_shortly_before_a_death_may_be_lost_but_nothing_older() -> None:
    ended = verdict(owed(10), got(*range(7)), deaths=[9.5], window_s=2.0)
    assert (ended.lost, ended.excused, ended.oldest_excused_s) == (["7"], 2, 1.5)


def test_what_a_process_accepted_that_was_not_killed_may_not_be_lost() -> None:
    assert verdict(owed(2), got(0), deaths=[None], window_s=5.0).lost == ["1"]


def test_a_body_that_changed_on_the_way_is_damaged() -> None:
    assert verdict(owed(1), [Receipt("0", "other", 0)]).damaged == ["0"]


def test_what_was_never_sent_is_no_result_of_ours() -> None:
    assert verdict(owed(1), [*got(0), Receipt("7", "sum7", 0)]).damaged == ["7"]


def test_what_was_in_flight_when_the_session_broke_may_come_twice() -> None:
    ended = verdict(owed(6), [*got(0, 1, 2, 3), *got(2, 3, 4, 5, session=1)], in_flight=2)
    assert (ended.faults(), ended.duplicates, ended.longest_duplicates) == ([], 2, 2)


def test_what_had_come_before_that_may_not() -> None:
    assert verdict(owed(6), [*got(0, 1, 2, 3), *got(1, 4, 5, session=1)], in_flight=2).stray == ["1"]


def test_nothing_may_come_twice_in_one_session() -> None:
    assert verdict(owed(2), got(0, 1, 1)).stray == ["1"]


def test_nothing_may_come_twice_after_a_session_that_ended_well() -> None:
    assert verdict(owed(3), [*got(0, 1), *got(1, 2, session=1)], ended_well={0}).stray == ["1"]


def test_first_receipts_keep_the_order_of_each_camera() -> None:
    assert verdict(owed(3), got(0, 2, 1)).disordered == ["1"]
    assert verdict(owed(3), got(0, 2, 1)).faults(order=False) == []


def test_without_a_fresh_result_afterwards_nothing_is_well() -> None:
    faults = verdict(owed(3), got(0, 1), deaths=[2.0], window_s=1.0).faults()
    assert faults == ["no fresh result came afterwards"]


@pytest.mark.parametrize(("times_s", "most"), [((), 0), ((0, 59, 60, 61), 3), ((0, 10, 20, 100, 110), 3)])
def test_attempts_are_counted_in_the_worst_minute(times_s: tuple[float, ...], most: int) -> None:
    assert most_in_a_minute(times_s) == most
