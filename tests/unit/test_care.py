"""How the agent takes care of its machine: when it holds back, how far, and that it always comes back."""

import itertools
import logging
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import FakeClock
from hypothesis import given
from hypothesis import strategies as st

from agent.care import way_out
from agent.care.care import Care, Senses
from agent.care.governor import LOWER_S, MOST_LOWER_S, RAISE_S, Governor
from agent.care.metered import EASE_S, Metered, WhenMetered
from agent.care.relief import BEST_S, RATE_S, Policy, Rates, Relief
from agent.care.strain import BEYOND_C, Limits, of_heat, of_power
from agent.care_options import CareConfig
from agent.controls import Controls
from agent.heat import REASONS, Heat, measured
from agent.loop import Pulse
from agent.router import Mode, Prefer

HYSTERESIS_C = 5.0
STEP_S = 2.0
COURSES = st.lists(st.tuples(st.floats(-20, 20), st.integers(1, 60)), max_size=12)
"""Degrees over the limit, and for how many looks."""


def looks(course: list[tuple[float, int]]) -> Iterator[float]:
    for over_c, count in course:
        yield from itertools.repeat(over_c, count)


# When, and how many steps


@given(COURSES, st.integers(0, 12))
def test_the_level_changes_by_one_and_never_twice_within_ten_seconds(
    course: list[tuple[float, int]], most: int
) -> None:
    governor, changed_s, before = Governor(HYSTERESIS_C), -math.inf, 0
    for number, over_c in enumerate(looks(course)):
        now_s = number * STEP_S
        changed = governor.note(over_c, now_s, most=most)
        assert changed == (governor.level != before)
        assert 0 <= governor.level <= most
        if changed:
            assert abs(governor.level - before) == 1
            assert now_s - changed_s >= (RAISE_S if governor.level > before else LOWER_S)
            changed_s, before = now_s, governor.level


@given(COURSES)
def test_whatever_happened_it_is_back_at_nothing_once_it_has_been_cool_for_long_enough(
    course: list[tuple[float, int]],
) -> None:
    governor, now_s = Governor(HYSTERESIS_C), 0.0
    for over_c in looks(course):
        governor.note(over_c, now_s, most=12)
        now_s += STEP_S
    until_s = now_s + MOST_LOWER_S + governor.level * (LOWER_S + STEP_S)
    while now_s <= until_s:
        governor.note(-HYSTERESIS_C, now_s, most=12)
        now_s += STEP_S
    assert governor.level == 0


@given(COURSES)
def test_a_little_below_the_limit_nothing_changes(course: list[tuple[float, int]]) -> None:
    governor, now_s = Governor(HYSTERESIS_C), 0.0
    for over_c in looks(course):
        governor.note(over_c, now_s, most=12)
        now_s += STEP_S
    level = governor.level
    for _ in range(600):
        assert not governor.note(-0.5, now_s, most=12)
        now_s += STEP_S
    assert governor.level == level


def levels(overs_c: list[float]) -> list[int]:
    governor = Governor(HYSTERESIS_C)
    return [governor.level for n, over_c in enumerate(overs_c) if governor.note(over_c, n * STEP_S, most=9) or True]


def test_it_takes_the_first_step_at_once_and_no_further_while_it_is_cooling_down() -> None:
    assert levels([1.0])[-1] == 1
    assert levels([10 - n / 10 for n in range(60)])[-1] == 1
    assert levels([3.0] * 16)[-1] == 4, "and where it stays hot a step every ten seconds"


def test_at_the_edge_of_its_limit_it_changes_a_few_times_an_hour() -> None:
    governor, over_c, changes = Governor(HYSTERESIS_C), 0.0, list[float]()
    for number in range(round(6 * 3600 / STEP_S)):
        if governor.note(over_c, number * STEP_S, most=1):
            changes.append(number * STEP_S)
        # One step is too much, and none too little: it settles 8 degrees below, or 4 above, within a minute or two.
        target_c = -8.0 if governor.level else 4.0
        over_c += (target_c - over_c) * STEP_S / 60
    assert len([at_s for at_s in changes if at_s > 3 * 3600]) <= 3 * 8


# What is hot


def a_zone(sys: Path, number: int, name: str, celsius: float, **trips_c: float) -> None:
    folder = sys / f"class/thermal/thermal_zone{number}"
    folder.mkdir(parents=True)
    (folder / "type").write_text(f"{name}\n")
    (folder / "temp").write_text(f"{celsius * 1000:.0f}\n")
    for place, (kind, at_c) in enumerate(trips_c.items()):
        (folder / f"trip_point_{place}_type").write_text(f"{kind.rstrip('_')}\n")
        (folder / f"trip_point_{place}_temp").write_text(f"{at_c * 1000:.0f}\n")


def test_a_zone_slows_the_machine_down_at_its_highest_passive_trip_point(tmp_path: Path) -> None:
    a_zone(tmp_path, 0, "cpu-thermal", 60, active=45, passive=70, passive_=99, hot=103, critical=105)
    a_zone(tmp_path, 1, "acpitz", 60, critical=105)
    a_zone(tmp_path, 2, "x86_pkg_temp", 60, passive=-274)
    assert measured(tmp_path).limits_c == {"cpu-thermal": 99.0}


def test_a_raspberry_pi_which_tells_no_trip_point_slows_down_at_80_degrees(tmp_path: Path) -> None:
    a_zone(tmp_path, 0, "cpu-thermal", 60, critical=110)
    firmware = tmp_path / "devices/platform/soc@107c000000/soc@107c000000:firmware"
    firmware.mkdir(parents=True)
    (firmware / "get_throttled").write_text("0\n")
    assert measured(tmp_path).limits_c == {"cpu-thermal": 80.0}


def test_where_only_the_kernel_tells_of_a_low_voltage_that_is_known(tmp_path: Path) -> None:
    alarm = tmp_path / "class/hwmon/hwmon1"
    alarm.mkdir(parents=True)
    (alarm / "name").write_text("rpi_volt\n")
    (alarm / "in0_lcrit_alarm").write_text("1\n")
    assert measured(tmp_path).throttled == {"under_voltage": True}


JETSON = Heat(
    {"cpu-thermal": 96.0, "gpu-thermal": 90.0, "PMIC-Die": 100.0}, None, {"cpu-thermal": 97.0, "PMIC-Die": 50}
)
PI = Heat({"cpu-thermal": 70.0}, dict.fromkeys(REASONS, False), {"cpu-thermal": 80.0})


@pytest.mark.parametrize(
    ("heat", "limits", "over_c"),
    [
        (JETSON, Limits(), 96 - (97 + BEYOND_C)),
        (JETSON, Limits(zones=("gpu*",)), -math.inf),
        (JETSON, Limits(hot_c=85), 96 - 85),
        (JETSON, Limits(hot_c=85, zones=("gpu*",)), 90 - 85),
        (PI, Limits(), 70 - (80 + BEYOND_C)),
        (Heat({}, None), Limits(hot_c=85), -math.inf),
    ],
)
def test_it_is_hot_by_its_own_limits_or_by_the_one_that_is_given(heat: Heat, limits: Limits, over_c: float) -> None:
    assert of_heat(heat, limits).over_c == pytest.approx(over_c)


def test_a_low_voltage_is_told_apart_from_a_processor_that_is_slowed_down() -> None:
    slowed = replace(PI, throttled={**dict.fromkeys(REASONS, False), "throttled": True})
    weak = replace(PI, throttled={**dict.fromkeys(REASONS, False), "throttled": True, "under_voltage": True})
    assert (of_power(weak).over_c, of_power(slowed).over_c, of_power(JETSON).over_c) == (0, -math.inf, -math.inf)


def test_the_words_say_where_it_is_how_hot_and_from_when_on_that_matters() -> None:
    assert of_heat(PI, Limits()).words == "70 °C at cpu-thermal, this machine slows itself down at 80 °C"
    assert of_heat(PI, Limits(hot_c=65)).words == "70 °C at cpu-thermal, care.hot_c is 65 °C"


# What is held back


@given(
    st.sampled_from(Policy),
    st.floats(0.1, 30),
    st.dictionaries(st.sampled_from(["door", "yard"]), st.floats(0.01, 60)),
    st.lists(st.integers(0, 30), max_size=6),
)
def test_no_camera_is_ever_held_below_the_least_nor_when_it_gives_less_and_nothing_stays_behind(
    policy: Policy, least_fps: float, best_fps: dict[str, float], steps: list[int]
) -> None:
    controls = Controls()
    relief = Relief(policy, least_fps, controls)
    most = relief.most(best_fps)
    for level in [*(min(step, most) for step in steps), most]:
        relief.apply(level, best_fps, by="heat", why="hot")
        for camera, fps in best_fps.items():
            limit = controls.most_fps(camera)
            assert limit is None or (policy.lowers and least_fps <= limit < fps)
        assert (controls.prefer is Prefer.COOL) == (policy.shifts and level > 0)
        assert controls.mode is None
    if policy.lowers:
        assert all(controls.most_fps(each) == least_fps for each, fps in best_fps.items() if fps > least_fps)
    relief.apply(0, best_fps, by="heat", why="cool")
    assert controls.reasons() == ()


def test_both_shifts_before_it_lowers() -> None:
    controls = Controls()
    relief = Relief(Policy.BOTH, 1.0, controls)
    relief.apply(1, {"door": 10.0}, by="heat", why="hot")
    assert (controls.prefer, controls.most_fps("door")) == (Prefer.COOL, None)
    relief.apply(2, {"door": 10.0}, by="heat", why="hot")
    assert (controls.prefer, controls.most_fps("door")) == (Prefer.COOL, 8.0)


def test_a_camera_is_held_back_from_what_it_gave_at_its_best() -> None:
    rates = Rates()
    for now_s, count in ((0, 0), (5, 90), (10, 100), (20, 130), (31, 460)):
        rates.note({"door": count}, float(now_s))
    assert rates.best_fps == {"door": pytest.approx(330 / 11)}


@given(st.lists(st.tuples(st.integers(0, 500), st.booleans()), max_size=200))
def test_the_best_is_that_of_the_last_ten_minutes_in_which_nothing_was_held_back(
    course: list[tuple[int, bool]],
) -> None:
    rates, count, now_s, free = Rates(), 0, 0.0, list[int]()
    rates.note({"door": 0}, now_s)
    for frames, held in course:
        before = rates.best_fps.get("door", 0.0)
        count, now_s = count + frames, now_s + RATE_S
        rates.note({"door": count}, now_s, held=held)
        best = rates.best_fps.get("door", 0.0)
        if held and frames / RATE_S <= before:
            assert best == before, "what is held back is there all the same"
            continue
        free.append(frames)
        assert best == pytest.approx(max(free[-round(BEST_S / RATE_S) :]) / RATE_S)


def test_a_burst_that_is_long_over_takes_no_step_away() -> None:
    controls, rates, count = Controls(), Rates(), 0
    for tick in range(1000):
        count += 200 if tick < 30 else 20
        rates.note({"door": count}, tick * STEP_S)
    Relief(Policy.LOWER_FPS, 1.0, controls).apply(1, rates.best_fps, by="heat", why="hot")
    assert controls.most_fps("door") == pytest.approx(8.0)


class Patient:
    """A camera of ten frames a second on a Raspberry Pi whose temperature the test sets."""

    def __init__(self, policy: Policy = Policy.LOWER_FPS, limits: Limits | None = None) -> None:
        self.clock, self.controls, self.heat = FakeClock(0.0), Controls(), PI
        senses = Senses(lambda: self.heat, lambda: {"door": round(10 * self.clock.now())})
        self.care = Care(Relief(policy, 1.0, self.controls), limits or Limits(), senses, clock=self.clock)

    def spend(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP_S)):
            self.clock.advance(STEP_S)
            self.care.step()

    def warm(self, celsius: float, **throttled: bool) -> None:
        told = {**dict.fromkeys(REASONS, False), **throttled}
        self.heat = replace(PI, celsius={"cpu-thermal": celsius}, throttled=told)


def test_each_step_is_logged_and_says_why_and_what_follows(caplog: pytest.LogCaptureFixture) -> None:
    patient = Patient()
    with caplog.at_level(logging.INFO, "agent.care"):
        patient.spend(20)
        patient.warm(82.4)
        patient.spend(4)
        patient.warm(70.0)
        patient.spend(120)
    limit, fewer = "this machine slows itself down at 80 °C", "cameras keep 80% of their frames, at least 1 a second"
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", f"82 °C at cpu-thermal, {limit}: {fewer}"),
        ("INFO", f"70 °C at cpu-thermal, {limit}: nothing is held back for it any more"),
    ]


def test_too_low_a_voltage_halves_the_frames_and_no_more() -> None:
    patient = Patient()
    patient.spend(20)
    patient.warm(50.0, under_voltage=True)
    patient.spend(300)
    assert patient.controls.most_fps("door") == pytest.approx(5.12, rel=0.02)
    assert {wish.by for wish in patient.controls.reasons()} == {"power"}
    patient.warm(50.0)
    patient.spend(300)
    assert patient.controls.most_fps("door") is None


def test_without_a_policy_nothing_is_held_back_however_hot_it_is() -> None:
    patient = Patient(Policy.NONE)
    patient.warm(99.0, under_voltage=True)
    patient.spend(300)
    assert patient.controls.reasons() == ()


def test_what_it_wants_ends_with_it() -> None:
    patient = Patient()
    pulse, clock = Pulse(patient.clock), patient.clock
    patient.spend(20)
    patient.warm(90.0)
    held = []

    def answered() -> dict[str, int]:
        held.append(patient.controls.most_fps("door"))
        if clock.now() > 60:
            pulse.stopping.set()
        return {"door": round(10 * clock.now())}

    patient.care._senses = Senses(lambda: patient.heat, answered)
    patient.care.run(pulse)
    assert held[-1] is not None
    assert patient.controls.reasons() == ()


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(zones=("soc*",)), "care.zones names no thermal zone with a limit; there are: cpu-thermal"),
        (Limits(zones=("soc*",), hot_c=70), "care.zones names no thermal zone with a limit; there are: cpu-thermal"),
    ],
)
def test_zones_that_are_not_there_are_missed_once(limits: Limits, said: str, caplog: pytest.LogCaptureFixture) -> None:
    Patient(limits=limits).spend(60)
    (record,) = caplog.records
    assert said in record.getMessage()


# Data


def routes(proc: Path, *lines: str, six: str = "") -> None:
    (proc / "net").mkdir(parents=True, exist_ok=True)
    head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"
    (proc / "net/route").write_text("\n".join([head, *lines]) + "\n")
    (proc / "net/ipv6_route").write_text(six)


ETHERNET = "eth0\t00000000\t0102000A\t0003\t0\t0\t100\t00000000\t0\t0\t0"
MODEM = "wwan0\t00000000\t00000000\t0001\t0\t0\t700\t00000000\t0\t0\t0"
NEAR = "wlan0\t0002000A\t00000000\t0001\t0\t0\t10\t00FFFFFF\t0\t0\t0"
DOWN = "wlan0\t00000000\t0102000A\t0000\t0\t0\t1\t00000000\t0\t0\t0"


def six(metric: str, flags: str, name: str) -> str:
    zero = "0" * 32
    return f"{zero} 00 {zero} 00 fe800000000000000000000000000001 {metric} 00000001 00000000 {flags} {name}\n"


def test_the_way_out_is_the_default_route_of_the_lowest_metric(tmp_path: Path) -> None:
    assert way_out.interface(tmp_path) is None
    routes(tmp_path, NEAR, MODEM, ETHERNET, DOWN)
    assert way_out.interface(tmp_path) == "eth0"
    routes(tmp_path, NEAR, MODEM, DOWN)
    assert way_out.interface(tmp_path) == "wwan0"
    routes(tmp_path, NEAR, six=six("ffffffff", "00200200", "lo") + six("00000400", "00000003", "ppp0"))
    assert way_out.interface(tmp_path) == "ppp0"
    routes(tmp_path, NEAR)
    assert way_out.interface(tmp_path) is None


@pytest.mark.parametrize(
    ("act", "mode", "prefer"),
    [(WhenMetered.COST, None, Prefer.COST), (WhenMetered.LOCAL_ONLY, Mode.LOCAL_ONLY, None)],
)
def test_while_a_metered_link_leads_out_data_is_spared_and_a_minute_longer(
    act: WhenMetered, mode: Mode | None, prefer: Prefer | None
) -> None:
    controls, names = Controls(), ["eth0"]
    metered = Metered(["wwan*", "ppp0"], act, controls, interface=lambda: names[0])
    metered.step(0.0)
    assert (controls.mode, controls.prefer, controls.spares_data) == (None, None, False)
    names[0] = "wwan1"
    metered.step(2.0)
    assert (controls.mode, controls.prefer, controls.spares_data) == (mode, prefer, True)
    names[0] = "eth0"
    metered.step(2.0 + EASE_S - 1)
    assert controls.spares_data
    metered.step(2.0 + EASE_S)
    assert controls.reasons() == ()


# The keys


@pytest.mark.parametrize(
    ("options", "mode", "engines", "said"),
    [
        ({"policy": "both"}, Mode.AUTO, (True, False), "needs both engines and routing.mode auto"),
        ({"policy": "shift_to_cloud"}, Mode.LOCAL_ONLY, (True, True), "needs both engines and routing.mode auto"),
        ({"metered": ("wwan0",)}, Mode.AUTO, (True, False), "no engines.cloud whose data could be spared"),
        ({"metered": ("wwan0",), "when_metered": "local_only"}, Mode.AUTO, (False, True), "no engines.local"),
    ],
)
def test_what_an_engine_is_missing_for_is_refused(
    options: dict[str, object], mode: Mode, engines: tuple[bool, bool], said: str
) -> None:
    local, cloud = engines
    with pytest.raises(ValueError, match=said):
        CareConfig.model_validate(options).ensure_possible(mode, local=local, cloud=cloud)
    CareConfig.model_validate(options).ensure_possible(Mode.AUTO, local=True, cloud=True)
