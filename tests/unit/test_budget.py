import math
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes import FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.budget import CREDITS_PER_CALL, DAY_S, Budget, Caps
from agent.flow import Prices

MB = 1e6
FRAME_BYTES = 50_000


@dataclass
class Machine:
    """A device with its state folder, its clocks and its boots."""

    folder: Path
    caps: Caps
    boots: int = 1
    synchronized: bool = True

    def __post_init__(self) -> None:
        self.clock = FakeClock(100.0)
        self.clock.synchronized = lambda: self.synchronized  # type: ignore[method-assign]
        self.start()

    def start(self) -> None:
        """A new process in the same boot; whatever ran before was killed."""
        boot = f"boot-{self.boots}"
        self.budget = Budget(self.caps, self.folder / "budget", clock=self.clock, boot_id=boot)

    def reboot(self, *, away_s: float, up_s: float = 5.0) -> None:
        """The power was off for `away_s`; the agent starts `up_s` after the kernel."""
        self.clock._now_s = up_s
        self.clock.wall_s += away_s + up_s
        self.boots += 1
        self.start()

    def live(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.clock.wall_s += seconds

    @property
    def prices(self) -> Prices:
        prices = self.budget.prices(self.clock.now())
        assert prices is not None
        return prices

    @property
    def left_mb(self) -> float:
        return self.prices.data_left_bytes / MB

    def spend(self, size_bytes: int = FRAME_BYTES) -> None:
        number = self.budget.reserve(size_bytes)
        self.budget.settle(number, metered_bytes=size_bytes)


def test_without_a_cap_nothing_is_priced_and_nothing_is_written(tmp_path: Path) -> None:
    budget = Budget(Caps(), tmp_path / "budget", clock=FakeClock(), boot_id="b")
    budget.settle(budget.reserve(10**9), metered_bytes=10**9)
    assert budget.prices(1000.0) is None
    budget.close()
    assert list(tmp_path.iterdir()) == []


def test_where_cost_is_preferred_even_an_unlimited_cloud_has_its_price(tmp_path: Path) -> None:
    thrifty = Budget(Caps(), tmp_path / "budget", clock=FakeClock(), boot_id="b", thrifty=True).prices(1000.0)
    assert thrifty is not None
    assert thrifty.per_mb == pytest.approx(0.5)
    assert thrifty.per_call > 0
    assert math.isinf(thrifty.data_left_bytes)


@settings(max_examples=40, deadline=None)
@given(
    spells=st.lists(st.tuples(st.floats(0.1, 20_000), st.integers(1, 200)), max_size=30),
    period=st.sampled_from(["day", "month"]),
)
def test_in_no_period_more_is_let_through_than_the_cap(
    tmp_path_factory: pytest.TempPathFactory, spells: list[tuple[float, int]], period: str
) -> None:
    machine = Machine(tmp_path_factory.mktemp("budget"), Caps(**{f"data_mb_per_{period}": 48.0}))
    period_s = DAY_S * (1 if period == "day" else 30)
    spent: list[tuple[float, int]] = []
    for pause_s, frames in spells:
        machine.live(pause_s)
        for _ in range(frames):
            if machine.prices.data_left_bytes >= FRAME_BYTES:
                machine.spend()
                spent.append((machine.clock.now(), FRAME_BYTES))
    for begin_s, _ in spent:
        within = sum(size for at_s, size in spent if begin_s <= at_s < begin_s + period_s)
        assert within <= 48.0 * MB + FRAME_BYTES


def test_of_several_caps_the_tightest_counts(tmp_path: Path) -> None:
    caps = Caps(data_mb_per_day=1000.0, data_mb_per_month=310.0, credits_per_day=2.5)
    prices = Machine(tmp_path, caps).prices
    assert prices.data_left_bytes == pytest.approx(10 * MB)
    assert prices.credits_left == pytest.approx(0.1)


def test_spending_ahead_of_the_allowance_raises_the_price_and_waiting_lowers_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Caps(data_mb_per_day=1500.0, credits_per_day=25.0))
    calm = machine.prices
    for _ in range(20):
        machine.spend()
    dear = machine.prices
    assert (dear.per_mb, dear.per_call) > (calm.per_mb, calm.per_call)
    machine.live(120.0)
    assert machine.prices.per_mb == pytest.approx(calm.per_mb)


def test_a_minutes_allowance_spent_ahead_makes_the_largest_gain_too_dear(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Caps(data_mb_per_day=1500.0))
    machine.spend(1_000_000)
    assert machine.prices.per_mb * 0.045 > 0.31


def test_an_upload_is_paid_for_before_it_begins_and_settled_by_what_it_took(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Caps(data_mb_per_day=1000.0, credits_per_day=10.0))
    before = machine.prices
    number = machine.budget.reserve(FRAME_BYTES)
    assert machine.prices.data_left_bytes < before.data_left_bytes - FRAME_BYTES
    machine.budget.settle(number, metered_bytes=61_000, billed_s=1.106)
    after = machine.prices
    assert before.data_left_bytes - after.data_left_bytes == pytest.approx(61_000)
    assert before.credits_left - after.credits_left == pytest.approx(1.106 / 500)
    machine.budget.settle(number, metered_bytes=10**9)
    assert machine.prices == after


@pytest.mark.parametrize(("billed_s", "credits_"), [(None, CREDITS_PER_CALL), (0.03, CREDITS_PER_CALL), (0.25, 0.0005)])
def test_a_call_is_billed_a_tenth_of_a_second_at_least(tmp_path: Path, billed_s: float | None, credits_: float) -> None:
    machine = Machine(tmp_path, Caps(credits_per_day=10.0))
    before = machine.prices.credits_left
    machine.budget.settle(machine.budget.reserve(1), metered_bytes=1, billed_s=billed_s)
    assert before - machine.prices.credits_left == pytest.approx(credits_)


def test_what_was_never_sent_or_was_refused_costs_no_credits(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Caps(data_mb_per_day=1000.0, credits_per_day=10.0))
    before = machine.prices
    machine.budget.settle(machine.budget.reserve(FRAME_BYTES), metered_bytes=0, billed=False)
    assert machine.prices.credits_left == pytest.approx(before.credits_left)
    assert machine.prices.data_left_bytes == pytest.approx(before.data_left_bytes)


def test_dialling_is_paid_for_too(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Caps(data_mb_per_day=1000.0))
    before = machine.prices.data_left_bytes
    machine.budget.note_overhead(1200)
    assert before - machine.prices.data_left_bytes == pytest.approx(1200)


@pytest.mark.parametrize("step_s", [-10 * 365 * DAY_S, 25.0, 10 * 365 * DAY_S])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_step_of_the_wall_clock_neither_grants_nor_loses_anything(
    tmp_path: Path, step_s: float, *, restarts: bool
) -> None:
    machine = Machine(tmp_path, Caps(data_mb_per_day=480.0))
    for _ in range(100):
        machine.spend()
    before_mb = machine.left_mb
    machine.clock.wall_s += step_s
    if restarts:
        machine.start()
    assert machine.left_mb == pytest.approx(before_mb)


def test_a_kill_at_any_moment_neither_grants_nor_loses_more_than_the_frame_under_way(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Caps(data_mb_per_day=480.0))
    for _ in range(50):
        machine.spend()
        before_mb = machine.left_mb
        machine.start()
        assert machine.left_mb == pytest.approx(before_mb)
        machine.budget.reserve(FRAME_BYTES)
        reserved_mb = machine.left_mb
        machine.start()
        assert machine.left_mb == pytest.approx(reserved_mb)
        machine.live(1.0)


def test_time_in_which_the_agent_did_not_run_fills_the_bucket(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Caps(data_mb_per_day=480.0))
    for _ in range(300):
        machine.spend()
    before_mb = machine.left_mb
    machine.live(600.0)
    machine.start()
    assert machine.left_mb - before_mb == pytest.approx(480 / 25 / 6)


def test_a_reboot_counts_the_time_away_where_the_clock_is_right(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Caps(data_mb_per_day=480.0))
    for _ in range(300):
        machine.spend()
    before_mb = machine.left_mb
    machine.reboot(away_s=300.0)
    assert machine.left_mb - before_mb == pytest.approx(480 / 25 / 3600 * 305)


def test_after_a_reboot_with_a_wrong_clock_only_the_time_since_counts_until_the_clock_is_right(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Caps(data_mb_per_day=480.0))
    for _ in range(300):
        machine.spend()
    before_mb, per_s = machine.left_mb, 480 / 25 / 3600
    true_wall_s = machine.clock.wall_s
    machine.synchronized, machine.clock.wall_s = False, 0.0
    machine.reboot(away_s=0.0, up_s=7.0)
    assert machine.left_mb - before_mb == pytest.approx(7 * per_s)
    machine.live(10.0)
    machine.spend()
    machine.start()  # and again before anyone knew the time
    assert machine.left_mb - before_mb + FRAME_BYTES / MB == pytest.approx(17 * per_s)
    machine.synchronized, machine.clock.wall_s = True, true_wall_s + 400.0
    assert machine.left_mb - before_mb + FRAME_BYTES / MB == pytest.approx(400 * per_s)


def test_two_boots_with_a_wrong_clock_lose_no_time_either(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Caps(data_mb_per_day=480.0))
    for _ in range(300):
        machine.spend()
    before_mb, per_s, true_wall_s = machine.left_mb, 480 / 25 / 3600, machine.clock.wall_s
    machine.synchronized = False
    for _ in range(2):
        machine.reboot(away_s=0.0, up_s=7.0)
        machine.budget.note_overhead(0)
    machine.synchronized, machine.clock.wall_s = True, true_wall_s + 300.0
    assert machine.left_mb - before_mb == pytest.approx(300 * per_s)


def test_a_cap_that_was_lowered_takes_away_what_is_above_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Caps(data_mb_per_day=480.0))
    machine.spend()
    machine.caps = Caps(data_mb_per_day=48.0)
    machine.start()
    assert machine.left_mb == pytest.approx(48 / 25)


def test_a_damaged_store_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "budget").write_text("{}" * 500)
    assert Machine(tmp_path, Caps(data_mb_per_day=480.0)).left_mb == pytest.approx(480 / 25)


def test_a_record_with_nonsense_in_it_does_no_harm(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Caps(data_mb_per_day=480.0))
    machine.spend()
    ledger = machine.budget._ledger
    assert ledger is not None
    ledger.write({"data_day": "much", "monotonic_s": None, "boot_id": 7, "wall_s": True, "ahead_data": math.pi})
    machine.start()
    assert 0 < machine.left_mb <= 480 / 25
