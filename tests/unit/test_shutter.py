"""Which pictures become frames: by their number, by what moves, by the hour."""

import time
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from datetime import time as time_of_day
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeClock
from hypothesis import given
from hypothesis import strategies as st

from agent import imaging
from agent.flow import Pixels
from agent.view.hours import Hours, Period, Place, Sun
from agent.view.motion import MotionGate, Sensitivity
from agent.view.pace import Pace
from agent.view.shutter import Held, Shutter
from agent.view.sun import rise_and_set

# How many


def taken(pace: Pace, times_s: list[float]) -> list[float]:
    found = []
    for now_s in times_s:
        if not pace.wait_s(now_s):
            pace.take(now_s)
            found.append(now_s)
    return found


@given(st.floats(1, 30), st.floats(5, 120), st.lists(st.floats(0, 0.4), min_size=7, max_size=7))
def test_in_the_long_run_as_many_frames_are_taken_as_wanted_and_no_more(
    fps: float, camera_fps: float, jitter: list[float]
) -> None:
    seconds = 60
    times_s = [(n + jitter[n % 7]) / camera_fps for n in range(round(seconds * camera_fps))]
    count = len(taken(Pace(fps), times_s))
    wanted = seconds * min(fps, camera_fps)
    assert count <= seconds * fps + 2
    assert count >= 0.98 * wanted - 2 or fps > 0.9 * camera_fps


def test_a_limit_as_fast_as_the_camera_costs_no_frame() -> None:
    times_s = [n / 30 + 0.003 * (-1) ** n for n in range(1, 900)]
    assert len(taken(Pace(30), times_s)) >= 895


def test_after_a_pause_frames_do_not_come_in_a_rush() -> None:
    times_s = [0.0, 0.1, *[10 + n / 100 for n in range(100)]]
    assert len([t for t in taken(Pace(10), times_s) if t >= 10]) <= 11


def test_without_a_limit_every_frame_is_taken() -> None:
    assert Pace(None).wait_s(5.0) == 0.0


# What moves


NOISE = np.random.default_rng(0).normal(0, 1, (24, 240, 320, 3)).astype(np.float16)


def scene(brightness: int = 100, seed: int = 0, *, noise: float = 4.0) -> Pixels:
    """A still scene as a cheap sensor has it."""
    ground = brightness + 40 * np.sin(np.arange(320, dtype=np.float32) / 20)[None, :, None]
    pixels: Pixels = np.clip(ground + noise * NOISE[seed % len(NOISE)], 0, 255).astype(np.uint8)
    return pixels


def with_person(pixels: Pixels, x: int) -> Pixels:
    """Someone far off: 12 by 30 pixels of 320 by 240."""
    pixels = pixels.copy()
    pixels[100:130, x : x + 12] = 20
    return pixels


def gate(*, hold_s: float = 1.0, heartbeat_s: float = 30.0) -> MotionGate:
    return MotionGate(Sensitivity(hold_s=hold_s, heartbeat_s=heartbeat_s), imaging.small_grey)


def passed(watch: MotionGate, pictures: Iterator[Pixels] | list[Pixels], *, begin_s: float = 0.0) -> list[bool]:
    return [watch.passes(pixels, begin_s + n / 10) for n, pixels in enumerate(pictures)]


def test_a_still_scene_gives_its_heartbeats_alone() -> None:
    found = passed(gate(heartbeat_s=5.0), [scene(seed=n) for n in range(200)])
    assert sum(found[20:]) == pytest.approx(180 / 50, abs=1)


def test_someone_who_walks_by_is_seen_all_the_way_and_a_second_longer() -> None:
    still = [scene(seed=n) for n in range(30)]
    walk = [with_person(scene(seed=n), 10 + 7 * n) for n in range(40)]
    found = passed(gate(), [*still, *walk, *[scene(seed=n) for n in range(100, 300)]])
    assert not any(found[15:30])
    assert all(found[30:70])
    assert not any(found[250:])


def test_a_change_of_light_is_no_motion() -> None:
    bright = [scene(100 + n, seed=n) for n in range(60)]
    assert not any(passed(gate(), [*[scene(seed=n) for n in range(20)], *bright])[12:])


def test_a_lamp_that_is_switched_on_is_no_motion_for_long() -> None:
    found = passed(gate(), [*[scene(60, seed=n) for n in range(20)], *[scene(110, seed=n) for n in range(60)]])
    assert not any(found[35:])


def test_what_comes_and_stays_becomes_part_of_the_scene() -> None:
    there = [with_person(scene(seed=n), 150) for n in range(250)]
    found = passed(gate(heartbeat_s=1000.0), [*[scene(seed=n) for n in range(20)], *there])
    assert all(found[20:40])
    assert not any(found[240:])


def test_a_camera_that_changes_its_size_is_looked_at_anew() -> None:
    watch = gate()
    passed(watch, [scene(seed=n) for n in range(30)])
    assert watch.passes(scene()[:120], 3.0)


def test_people_in_a_real_video_are_let_through(shared: Path) -> None:
    video = imaging.open_video(shared / "media" / "vtest.avi")
    pictures = [pixels for _ in range(100) if (pixels := video.read()) is not None]
    video.close()
    assert all(passed(gate(), pictures))


# When

MIDSUMMER = datetime(2026, 6, 21, tzinfo=timezone.utc)


@pytest.fixture(autouse=True)
def _time_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Vienna")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at(text: str) -> float:
    """Wall seconds of a local time."""
    return datetime.fromisoformat(text).astimezone().timestamp()


@pytest.mark.parametrize(
    ("day", "place", "rise", "set_"),
    [
        # As published by national almanacs, in UTC.
        (date(2026, 6, 21), Place(51.5, -0.13), "03:43", "20:21"),
        (date(2026, 12, 21), Place(51.5, -0.13), "08:04", "15:53"),
        (date(2026, 6, 21), Place(40.71, -74.01), "09:25", "00:31"),
        (date(2026, 3, 20), Place(-0.18, -78.47), "11:18", "23:25"),
    ],
)
def test_the_sun_rises_and_sets_as_published(day: date, place: Place, rise: str, set_: str) -> None:
    found = rise_and_set(day, latitude=place.latitude, longitude=place.longitude)
    for when, published in zip(found, (rise, set_), strict=True):
        clock = datetime.combine(when.date(), time_of_day.fromisoformat(published), tzinfo=timezone.utc)
        assert abs(when - clock) < timedelta(minutes=4)


def test_beyond_the_polar_circle_the_sun_stays_up_or_down_all_day() -> None:
    rise, set_ = rise_and_set(date(2026, 6, 21), latitude=78.2, longitude=15.6)
    assert set_ - rise == timedelta(hours=24)
    rise, set_ = rise_and_set(date(2026, 12, 21), latitude=78.2, longitude=15.6)
    assert set_ == rise


def test_a_period_begins_and_ends_by_the_local_clock() -> None:
    hours = Hours([Period(time_of_day(7), time_of_day(19))])
    assert [hours.now(at(f"2026-11-25 {clock}")) is not None for clock in ("06:59", "07:00", "18:59", "19:00")] == [
        False,
        True,
        True,
        False,
    ]


def test_a_period_over_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    friday_night = Hours([Period(time_of_day(22), time_of_day(6), frozenset({4}))])
    assert friday_night.now(at("2026-11-27 23:00")) is not None
    assert friday_night.now(at("2026-11-28 05:59")) is not None
    assert friday_night.now(at("2026-11-28 23:00")) is None
    assert friday_night.now(at("2026-11-27 05:00")) is None


def test_from_one_time_to_the_same_is_a_whole_day() -> None:
    assert Hours([Period(time_of_day(0), time_of_day(0))]).now(at("2026-11-25 23:59")) is not None


def test_night_and_day_by_the_sun_share_the_day_between_them() -> None:
    vienna = Place(48.2, 16.4)
    day, night = Hours([Period(Sun.RISE, Sun.SET)], vienna), Hours([Period(Sun.SET, Sun.RISE)], vienna)
    for minute in range(0, 3 * 1440, 7):
        wall_s = at("2026-06-20 00:00") + 60 * minute
        assert (day.now(wall_s) is None) != (night.now(wall_s) is None)
    assert day.now(at("2026-06-21 12:00")) is not None
    assert night.now(at("2026-06-21 23:30")) is not None


def test_a_period_that_the_sun_ends_before_it_begins_is_none_that_day() -> None:
    vienna = Place(48.2, 16.4)
    dark_morning = Hours([Period(time_of_day(5), Sun.RISE)], vienna)
    assert dark_morning.now(at("2026-12-21 06:00")) is not None
    assert not any(dark_morning.now(at("2026-06-21 00:00") + 600 * n) for n in range(144))
    evening = Hours([Period(Sun.SET, time_of_day(20))], vienna)
    assert evening.now(at("2026-12-21 18:00")) is not None
    assert not any(evening.now(at("2026-06-21 00:00") + 600 * n) for n in range(144))


def test_from_sunset_to_the_morning_is_over_midnight() -> None:
    night = Hours([Period(Sun.SET, time_of_day(6))], Place(48.2, 16.4))
    assert night.now(at("2026-06-22 05:59")) is not None
    assert night.now(at("2026-06-22 06:00")) is None


def test_a_night_without_a_sunrise_is_night_all_day() -> None:
    far_north = Place(78.2, 15.6)
    assert Hours([Period(Sun.RISE, Sun.SET)], far_north).now(at("2026-12-21 12:00")) is None
    assert Hours([Period(Sun.RISE, Sun.SET)], far_north).now(at("2026-06-21 00:30")) is not None


def test_the_day_on_which_the_clocks_change_has_its_hours_too() -> None:
    hours = Hours([Period(time_of_day(1), time_of_day(5))])
    spring = at("2026-03-29 00:30")
    open_minutes = sum(hours.now(spring + 60 * minute) is not None for minute in range(8 * 60))
    assert open_minutes == 3 * 60, "from 02:00 to 03:00 there is no such time that day"


def test_the_first_period_that_holds_gives_its_pace() -> None:
    clock = FakeClock()
    day, night = Period(time_of_day(7), time_of_day(19)), Period(time_of_day(19), time_of_day(7), fps=1)
    shutter = Shutter(fps=10, hours=Hours([day, night]))
    for wall, wait_s in (("2026-11-25 12:00", 0.1), ("2026-11-25 23:00", 1.0), ("2026-11-26 12:00", 0.1)):
        clock.wall_s = at(wall)
        assert shutter.open_now(clock)
        shutter.expose(scene(), clock.now())
        assert shutter.wait_s(clock.now()) == pytest.approx(wait_s)


def test_outside_its_hours_a_camera_rests() -> None:
    clock = FakeClock()
    clock.wall_s = at("2026-11-25 23:00")
    assert not Shutter(hours=Hours([Period(time_of_day(7), time_of_day(19))])).open_now(clock)


def test_while_the_clock_may_be_wrong_no_camera_rests(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    clock.wall_s = at("2026-11-25 23:00")
    monkeypatch.setattr(clock, "synchronized", lambda: False)
    shutter = Shutter(hours=Hours([Period(time_of_day(7), time_of_day(19))]))
    assert shutter.open_now(clock)
    assert shutter.open_now(clock)
    assert caplog.text.count("clock is not known to be right") == 1


def test_a_clock_that_was_right_once_is_good_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    clock.wall_s = at("2026-11-25 12:00")
    shutter = Shutter(hours=Hours([Period(time_of_day(7), time_of_day(19))]))
    assert shutter.open_now(clock)
    monkeypatch.setattr(clock, "synchronized", lambda: False)  # hours without the network
    clock.wall_s = at("2026-11-25 23:00")
    assert not shutter.open_now(clock)


def test_a_clock_that_somebody_trusts_closes_a_camera_though_nothing_vouches_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = FakeClock()
    clock.wall_s = at("2026-11-25 23:00")
    monkeypatch.setattr(clock, "synchronized", lambda: False)
    by_day = Hours([Period(time_of_day(7), time_of_day(19))])
    assert not Shutter(hours=by_day, trust_clock=True).open_now(clock)


def test_a_picture_in_which_nothing_moves_is_held_back() -> None:
    shutter = Shutter(gate=gate(hold_s=0.0))
    shown = [shutter.expose(scene(seed=n), n / 10) for n in range(30)]
    assert not isinstance(shown[0], Held)
    assert shown[-1] is Held.STILL
