"""What is wanted for now: by whom, which of two wins, and that cameras and routes follow it at the next frame."""

import threading
from collections.abc import Callable

import pytest
from fakes import PICTURE, FakeClock, InstantCloud, InstantEngine, ListOutbox, ScriptedSource, a_ladder, an_uplink
from hypothesis import given
from hypothesis import strategies as st

from agent.admission import Admission
from agent.controls import BY, Controls
from agent.flow import Reason, Route
from agent.handoff import Bell
from agent.lanes import Lane
from agent.loop import Pulse
from agent.pipeline import Pipeline, Shared
from agent.record import Identity
from agent.router import Mode, Prefer, Router
from agent.view.shutter import Shutter

# What is wanted


def test_a_camera_stays_paused_until_everybody_has_resumed_it() -> None:
    controls = Controls()
    controls.pause("door", by="remote")
    controls.pause("door", by="power")
    controls.resume("door", by="remote")
    assert controls.paused("door")
    assert not controls.paused("yard")
    controls.resume("door", by="power")
    assert not controls.paused("door")


@given(st.dictionaries(st.sampled_from(BY), st.none() | st.floats(0.1, 100)))
def test_the_lowest_of_all_limits_holds(limits: dict[str, float | None]) -> None:
    controls = Controls()
    for by, fps in limits.items():
        controls.limit_fps("door", fps, by=by)
    assert controls.most_fps("door") == min((fps for fps in limits.values() if fps is not None), default=None)


def test_a_limit_that_is_lifted_leaves_that_of_the_other() -> None:
    controls = Controls()
    controls.limit_fps("door", 2.0, by="heat")
    controls.limit_fps("door", 5.0, by="remote")
    controls.limit_fps("door", None, by="heat")
    assert controls.most_fps("door") == 5.0


def test_a_person_far_away_beats_the_device_and_dear_data_beats_heat() -> None:
    controls = Controls()
    controls.steer(None, Prefer.COOL, by="heat")
    assert (controls.mode, controls.prefer) == (None, Prefer.COOL)
    controls.steer(None, Prefer.COST, by="data")
    assert controls.prefer is Prefer.COST
    controls.steer(Mode.LOCAL_ONLY, None, by="remote")
    assert (controls.mode, controls.prefer) == (Mode.LOCAL_ONLY, Prefer.COST)
    controls.steer(None, None, by="remote")
    assert controls.mode is None


def test_all_that_is_wanted_is_told_in_words() -> None:
    controls = Controls()
    controls.pause("yard", by="remote")
    controls.limit_fps("door", 5.12, by="heat", why="81 °C at cpu-thermal")
    controls.steer(Mode.LOCAL_ONLY, None, by="data", why="wwan0 is in use")
    assert [wish.words for wish in controls.reasons()] == [
        "camera yard is paused, by remote",
        "routing.mode is local_only, by data: wwan0 is in use",
        "camera door gives at most 5.12 frames a second, by heat: 81 °C at cpu-thermal",
    ]


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan")])
def test_a_limit_that_is_none_is_refused(fps: float) -> None:
    with pytest.raises(ValueError, match="give more than 0, or pause the camera"):
        Controls().limit_fps("door", fps, by="remote")


def test_a_stranger_may_want_nothing() -> None:
    with pytest.raises(ValueError, match="one of remote, data, heat, power"):
        Controls().pause("door", by="neighbour")


# What follows


class Post:
    """One camera with both engines, without threads."""

    def __init__(self, *routes: Route, mode: Mode = Mode.AUTO, clock: FakeClock | None = None) -> None:
        self.clock, self.source, bell = clock or FakeClock(), ScriptedSource(), Bell()
        routes = routes or (Route.LOCAL, Route.CLOUD)
        local, cloud = InstantEngine(), InstantCloud(self.clock, width=6)
        self.lanes = {
            route: Lane(route.value, engine, self.clock, on_room=bell.ring)
            for route, engine in ((Route.LOCAL, local), (Route.CLOUD, cloud))
            if route in routes
        }
        for lane in self.lanes.values():
            lane.opened.set()
        self.uplink = an_uplink(cloud, self.clock) if Route.CLOUD in routes else None
        shared = Shared(
            self.clock,
            bell,
            self.lanes,
            [ListOutbox()],
            Identity("a", "boot"),
            0.5,
            local=local if Route.LOCAL in routes else None,
            uplink=self.uplink,
        )
        self.controls = shared.controls
        self.pipeline = Pipeline("door", self.source, shared, ladder=a_ladder(), shutter=Shutter(fps=10))
        self.admission = Admission([self.pipeline], Router(mode), shared)

    def frame(self) -> Reason | None:
        """Why the next frame goes where it goes; None: it waits."""
        self.pipeline.capture_one()
        if not self.admission.step():
            return None
        for _ in range(2):
            for lane in self.lanes.values():
                lane.step()
        self.clock.advance(0.1)
        self.pipeline.emit_ready()
        newest = self.pipeline.telemetry.status().newest
        return None if newest is None else newest.decision.reason


def test_a_route_that_is_wanted_is_taken_from_the_next_frame_on_and_left_again() -> None:
    post = Post()
    assert post.frame() is Reason.PROBE
    for _ in range(10):
        post.frame()
    assert post.frame() is Reason.P_OK
    post.controls.steer(Mode.LOCAL_ONLY, None, by="remote")
    assert post.frame() is Reason.LOCAL_ONLY
    post.controls.steer(None, None, by="remote")
    assert post.frame() is Reason.P_OK


def test_a_mode_for_which_there_is_no_engine_is_not_followed() -> None:
    here, there = Post(Route.LOCAL, mode=Mode.LOCAL_ONLY), Post(Route.CLOUD, mode=Mode.CLOUD_ONLY)
    for post, asked, reason in (
        (here, Mode.CLOUD_ONLY, Reason.LOCAL_ONLY),
        (here, Mode.AUTO, Reason.LOCAL_ONLY),
        (there, Mode.LOCAL_ONLY, Reason.CLOUD_ONLY),
    ):
        post.controls.steer(asked, None, by="remote")
        assert post.frame() is reason


def test_while_cost_is_preferred_uploads_are_dearer() -> None:
    post = Post()
    uplink = post.uplink
    assert uplink is not None
    post.frame()
    assert uplink.prices() is None
    post.controls.steer(None, Prefer.COST, by="data")
    post.frame()
    prices = uplink.prices()
    assert prices is not None
    assert prices.per_call > 0
    post.controls.steer(None, None, by="data")
    post.frame()
    assert uplink.prices() is None


def test_fewer_frames_are_taken_while_fewer_are_wanted() -> None:
    controls, clock, shutter = Controls(), FakeClock(), Shutter(fps=10)
    shutter.heed(controls, "door")
    for limit, fps in ((None, 10), (2.0, 2), (20.0, 10), (None, 10)):
        controls.limit_fps("door", limit, by="heat")
        taken = 0
        for _ in range(500):
            clock.advance(0.02)
            if shutter.open_now(clock) and not shutter.wait_s(clock.now()):
                shutter.expose(PICTURE, clock.now())
                taken += 1
        assert taken / 10 == pytest.approx(fps, abs=0.2)


class Hand(FakeClock):
    """Its time passes while the loop waits, and at some of the seconds something is done."""

    def __init__(self, doing: dict[int, Callable[[], None]]) -> None:
        super().__init__(0.0)
        self.doing = doing

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        super().wait(event, timeout_s)
        for second in [second for second in self.doing if second <= self.now()]:
            self.doing.pop(second)()
        return event.is_set()


def test_a_paused_camera_is_closed_and_rests_until_it_is_resumed() -> None:
    hand = Hand({})
    post, pulse, seen = Post(clock=hand), Pulse(hand), list[tuple[bool, int, int]]()
    pipeline, source = post.pipeline, post.source

    def look() -> None:
        seen.append((pipeline.resting, source.opened, source.closed))

    hand.doing |= {
        1: lambda: post.controls.pause("door", by="remote"),
        5: look,
        10: lambda: post.controls.resume("door", by="remote"),
        12: look,
        13: pulse.stopping.set,
    }
    pipeline.capture(pulse)
    assert seen == [(True, 1, 1), (False, 2, 1)]
