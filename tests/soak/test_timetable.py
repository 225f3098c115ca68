"""The timetable: every fault in its turn, no gap, calm in the rests, and the same for the same seed."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from soak.timetable import VIEWERS, Timetable, draw

FAULTS = tuple(f"fault {number}" for number in range(21))
durations = st.floats(10, 50_000)


@settings(max_examples=30)
@given(durations, st.integers(0, 1000))
def test_slots_follow_each_other_from_the_beginning_to_the_end(total_s: float, seed: int) -> None:
    slots = draw(total_s, FAULTS, seed=seed).slots
    assert slots[0].begin_s == 0
    assert slots[-1].end_s == pytest.approx(total_s)
    assert all(before.end_s == after.begin_s for before, after in pairwise(slots))
    assert all(slot.begin_s <= slot.over_s < slot.end_s for slot in slots)
    assert {slot.viewer for slot in slots} <= set(VIEWERS)


@settings(max_examples=30)
@given(durations, st.integers(0, 1000))
def test_what_counts_begins_with_one_rest_and_ends_with_the_other(total_s: float, seed: int) -> None:
    table = draw(total_s, FAULTS, seed=seed)
    first, last = table.rests
    assert first.begin_s == table.warm_s
    assert last == table.slots[-1]
    assert any(slot.fault for slot in table.slots if slot.begin_s > table.warm_s)
    assert min(0.1 * total_s, 1800) < table.warm_s <= 0.45 * total_s
    assert not any(slot.fault or slot.viewer for slot in table.rests)


@settings(max_examples=30)
@given(durations)
def test_no_fault_strikes_again_before_all_others_have(total_s: float) -> None:
    struck = [slot.fault for slot in draw(total_s, FAULTS, seed=1).slots if slot.fault]
    decks = [struck[at : at + len(FAULTS)] for at in range(0, len(struck), len(FAULTS))]
    assert all(len(set(deck)) == len(deck) for deck in decks)


def test_half_an_hour_warms_up_with_each_fault_and_meets_each_again() -> None:
    table = draw(1800, FAULTS, seed=1)
    assert {slot.fault for slot in table.slots if slot.end_s <= table.warm_s} == set(FAULTS)
    assert {slot.fault for slot in table.slots if slot.begin_s >= table.warm_s} == {*FAULTS, ""}


def test_a_seed_is_a_timetable() -> None:
    def drawn(seed: int) -> Timetable:
        return draw(600, FAULTS, seed=seed)

    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)
