import pytest
from fakes import FakeClock, InstantEngine, ListOutbox, ScriptedSource

from agent.admission import Admission
from agent.errors import FrameUnreadable, SourceLost
from agent.flow import Fate, Route
from agent.handoff import Bell
from agent.lanes import Lane
from agent.link import Link
from agent.loop import Pulse
from agent.pipeline import Pipeline, Shared
from agent.record import Identity
from agent.router import Mode, Router

DEADLINE_S = 0.5


class Yard:
    """Cameras before one on-device engine, without threads."""

    def __init__(self, *sources: ScriptedSource) -> None:
        self.clock = FakeClock()
        bell, link = Bell(), Link(self.clock.now())
        self.engine = InstantEngine()
        self.lane = Lane("local", self.engine, self.clock, on_room=bell.ring)
        self.lane.opened.set()
        self.outbox = ListOutbox()
        lanes = {Route.LOCAL: self.lane}
        shared = Shared(self.clock, bell, link, lanes, [self.outbox], Identity("a", "boot"), DEADLINE_S)
        self.pipelines = [Pipeline(f"cam{n}", source, shared) for n, source in enumerate(sources)]
        self.admission = Admission(self.pipelines, Router(Mode.LOCAL_ONLY), link=link, lanes=lanes, clock=self.clock)

    def turn(self) -> None:
        self.admission.step(self.clock.now(), DEADLINE_S)
        self.lane.step()


def test_cameras_take_turns_when_every_one_has_a_frame() -> None:
    yard = Yard(ScriptedSource(), ScriptedSource(), ScriptedSource())
    for _ in range(9):
        for pipeline in yard.pipelines:
            pipeline.capture_one()
        yard.turn()
    assert [frame.camera for frame in yard.engine.frames] == ["cam0", "cam1", "cam2"] * 3


def test_a_camera_without_a_frame_does_not_hold_up_the_others() -> None:
    yard = Yard(ScriptedSource(), ScriptedSource())
    for _ in range(3):
        yard.pipelines[1].capture_one()
        yard.turn()
    assert [frame.camera for frame in yard.engine.frames] == ["cam1"] * 3


def test_the_newest_frame_is_admitted_and_the_older_ones_are_counted() -> None:
    yard = Yard(ScriptedSource())
    (pipeline,) = yard.pipelines
    for _ in range(5):
        pipeline.capture_one()
    yard.turn()
    pipeline.emit_ready()
    status = pipeline.telemetry.status()
    assert status.fates == {Fate.OVERWRITTEN: 4, Fate.DONE: 1}
    assert yard.engine.frames[0].seq - yard.clock.now() * 1000 == 4


def test_no_frame_is_admitted_while_the_engine_is_busy() -> None:
    yard = Yard(ScriptedSource(), ScriptedSource())
    for pipeline in yard.pipelines:
        pipeline.capture_one()
    assert yard.admission.step(yard.clock.now(), DEADLINE_S)
    assert not yard.admission.step(yard.clock.now(), DEADLINE_S)
    yard.lane.step()
    assert yard.admission.step(yard.clock.now(), DEADLINE_S)


def test_a_picture_that_cannot_be_read_is_counted_and_is_no_frame() -> None:
    yard = Yard(ScriptedSource([FrameUnreadable("torn.jpg is no picture")]))
    (pipeline,) = yard.pipelines
    pipeline.capture_one()
    status = pipeline.telemetry.status()
    assert (status.captured, status.unreadable) == (0, 1)
    assert pipeline.latest.peek() is None


def test_a_camera_is_closed_however_its_loop_ends() -> None:
    source = ScriptedSource([SourceLost("gone")])
    (pipeline,) = Yard(source).pipelines
    with pytest.raises(SourceLost):
        pipeline.capture(Pulse(FakeClock()))
    assert (source.opened, source.closed) == (1, 1)
