import json
from pathlib import Path

import pytest
from fakes import FakeClock
from hypothesis import given
from hypothesis import strategies as st

from agent.backfill.quota import Caps, Quota

HOUR_S, DAY_S = 3600.0, 86_400.0


class Machine:
    """A quota on a machine that is restarted and whose clock is set."""

    def __init__(self, folder: Path, caps: Caps) -> None:
        self.clock = FakeClock(50_000.0)
        self.right = True
        self.clock.synchronized = lambda: self.right  # type: ignore[method-assign]
        self._store, self._caps, self._boots = folder / "quota", caps, 0
        self.quota = self._made()

    def _made(self) -> Quota:
        return Quota(self._caps, self._store, clock=self.clock, boot_id=f"boot {self._boots}")

    def live(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.clock.wall_s += seconds

    def restart(self) -> None:
        self.quota.close()
        self.quota = self._made()

    def reboot(self, away_s: float) -> None:
        self.quota.close()
        self._boots += 1
        self.clock.advance(-self.clock.now() + 5.0)
        self.clock.wall_s += away_s
        self.quota = self._made()

    def take_all(self) -> int:
        count = 0
        while self.quota.has_room:
            self.quota.take()
            count += 1
        return count


def test_an_hour_takes_its_cap_and_the_next_one_its_own(tmp_path: Path) -> None:
    it = Machine(tmp_path, Caps(per_hour=5, per_day=100))
    assert it.take_all() == 5
    it.live(HOUR_S - 1)
    assert it.take_all() == 0
    it.live(62)
    assert it.take_all() == 5


def test_a_day_takes_its_cap_whatever_the_hours_allow(tmp_path: Path) -> None:
    it = Machine(tmp_path, Caps(per_hour=5, per_day=12))
    taken = []
    for _ in range(24):
        taken.append(it.take_all())
        it.live(HOUR_S + 60)
    assert sum(taken) == 12
    it.live(2 * HOUR_S)
    assert it.take_all() == 5


@given(
    steps=st.lists(st.tuples(st.floats(0, 7200), st.sampled_from(["live", "restart", "reboot", "wrong"])), max_size=40)
)
def test_no_hour_gets_more_than_its_cap_through_restarts_and_boots(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[float, str]]
) -> None:
    it = Machine(tmp_path_factory.mktemp("quota"), Caps(per_hour=3, per_day=20))
    true_s, taken = 0.0, []
    for seconds, what in steps:
        it.right = what != "wrong"
        true_s += seconds
        if what == "reboot":
            it.reboot(seconds)
        else:
            it.live(seconds)
            if what == "restart":
                it.restart()
        taken += [true_s] * it.take_all()
        assert sum(at_s > true_s - HOUR_S for at_s in taken) <= 3
        assert sum(at_s > true_s - DAY_S for at_s in taken) <= 20


def test_a_restart_grants_nothing_and_a_kill_in_an_upload_does_not_forget_it(tmp_path: Path) -> None:
    it = Machine(tmp_path, Caps(per_hour=2, per_day=10))
    it.take_all()
    it.restart()
    assert it.take_all() == 0


@pytest.mark.parametrize("right", [True, False])
def test_a_step_of_the_clock_grants_nothing(tmp_path: Path, *, right: bool) -> None:
    it = Machine(tmp_path, Caps(per_hour=2, per_day=10))
    it.take_all()
    it.right = right
    it.clock.wall_s += 100 * DAY_S
    it.restart()
    assert it.take_all() == 0


def test_a_boot_with_a_wrong_clock_counts_from_the_boot_on(tmp_path: Path) -> None:
    it = Machine(tmp_path, Caps(per_hour=2, per_day=10))
    it.take_all()
    it.right = False
    it.reboot(100 * DAY_S)
    assert it.take_all() == 0
    it.live(HOUR_S + 61)
    assert it.take_all() == 2


def test_what_was_not_taken_after_all_is_given_back(tmp_path: Path) -> None:
    it = Machine(tmp_path, Caps(per_hour=1, per_day=10))
    it.quota.take()
    assert not it.quota.has_room
    it.quota.give_back()
    assert it.quota.has_room


@pytest.mark.parametrize("record", [{}, {"since": 1, "at_s": 2, "hour": {}, "day": {}}, {"since": {}, "at_s": "x"}])
def test_a_record_of_another_shape_counts_as_none(tmp_path: Path, record: dict[str, object]) -> None:
    it = Machine(tmp_path, Caps(per_hour=2, per_day=10))
    it.quota._ledger.write(json.loads(json.dumps(record)))
    it.restart()
    assert it.take_all() == 2


def test_the_largest_caps_fit_into_the_file(tmp_path: Path) -> None:
    it = Machine(tmp_path, Caps(per_hour=10_000, per_day=100_000))
    for _ in range(3000):
        for _ in range(7):
            it.quota.take()
        it.live(60)
    assert (tmp_path / "quota").stat().st_size == 8192
