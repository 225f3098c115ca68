"""From the camera into the slot: in which hours it is open, and what is held back there."""

from datetime import datetime, time

import numpy as np
from fakes import FakeClock, ListOutbox, ScriptedSource

from agent.flow import Pixels
from agent.handoff import Bell
from agent.loop import Pulse
from agent.pipeline import Pipeline, Shared
from agent.record import Identity
from agent.view.hours import Hours, Period
from agent.view.motion import MotionGate, Sensitivity
from agent.view.shutter import Held, Shutter


class Day(FakeClock):
    """Its wall time goes on with it, from 06:59 of a day on."""

    def wall(self) -> float:
        return datetime(2026, 11, 25, 6, 59).astimezone().timestamp() + self.now() - 1000


class Watched(ScriptedSource):
    """Notes at what time it is opened, read and closed, counted from 06:59."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.read_s: list[float] = []
        self.opened_s: list[float] = []
        self.closed_s: list[float] = []
        self._clock = clock

    def open(self) -> None:
        self.opened_s.append(self._clock.now() - 1000)

    def read(self) -> Pixels:
        self.read_s.append(self._clock.now() - 1000)
        self._clock.advance(0.01)
        return np.full((48, 64, 3), 90, np.uint8)

    def close(self) -> None:
        self.closed_s.append(self._clock.now() - 1000)


class Ending(Day):
    """A day that is over at some time."""

    def __init__(self, until_s: float) -> None:
        super().__init__()
        self.pulse = Pulse(self)
        self._until_s = 1000 + until_s

    def now(self) -> float:
        now_s = super().now()
        if hasattr(self, "pulse") and now_s >= self._until_s:
            self.pulse.stopping.set()
        return now_s


def camera(shutter: Shutter, clock: FakeClock) -> tuple[Watched, Pipeline]:
    source = Watched(clock)
    shared = Shared(clock, Bell(), {}, [ListOutbox()], Identity("a", "boot"), 0.5)
    return source, Pipeline("gate", source, shared, shutter=shutter)


def captured(shutter: Shutter, *, until_s: float) -> tuple[Watched, Pipeline]:
    """What became of a camera from 06:59 on."""
    clock = Ending(until_s)
    source, pipeline = camera(shutter, clock)
    pipeline.capture(clock.pulse)
    return source, pipeline


def until(minute: int, *, fps: float | None = None) -> Hours:
    return Hours([Period(time(7), time(7, minute), fps=fps)])


def test_a_camera_is_open_in_its_hours_and_closed_in_all_others() -> None:
    source, pipeline = captured(Shutter(fps=1, hours=until(2)), until_s=300)
    assert len(source.opened_s) == len(source.closed_s) == 1
    assert 60 <= source.opened_s[0] <= 62
    assert 180 <= source.closed_s[0] <= 182
    assert 60 <= min(source.read_s) <= max(source.read_s) < 180
    assert not pipeline.telemetry.status().online


def test_a_camera_that_is_seldom_read_is_still_closed_in_time_and_gives_no_picture_afterwards() -> None:
    source, _ = captured(Shutter(hours=until(1, fps=0.01)), until_s=300)
    assert len(source.read_s) == 1
    assert 120 <= source.closed_s[0] <= 122


def test_of_a_live_camera_no_more_pictures_are_asked_for_than_are_wanted() -> None:
    source, pipeline = captured(Shutter(fps=5), until_s=60)
    assert 298 <= len(source.read_s) <= 302
    assert pipeline.telemetry.status().captured == len(source.read_s)


def test_a_camera_in_whose_pictures_nothing_moves_is_online_and_says_how_many_were_held_back() -> None:
    gate = MotionGate(Sensitivity(hold_s=0, heartbeat_s=86_400), lambda pixels: pixels[..., 0])
    gate.passes(np.full((48, 64, 3), 90, np.uint8), 999.0)  # it was open before
    _, pipeline = camera(Shutter(gate=gate), FakeClock())
    pipeline.capture_one()
    status = pipeline.telemetry.status()
    assert status.online
    assert status.captured == 0
    assert status.held == {Held.STILL: 1}
