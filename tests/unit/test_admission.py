import pytest
from fakes import FakeClock, InstantCloud, InstantEngine, ListOutbox, ScriptedSource, a_ladder, an_uplink

from agent.admission import Admission
from agent.errors import Cause, EngineRefused, EngineUnavailable, FrameUnreadable, SourceLost
from agent.flow import Fate, Reading, Route
from agent.handoff import Bell
from agent.lanes import Lane
from agent.loop import Pulse
from agent.pipeline import Pipeline, Shared
from agent.record import Identity
from agent.router import Mode, Router

DEADLINE_S = 0.5


class Yard:
    """Cameras before one on-device engine, without threads."""

    def __init__(self, *sources: ScriptedSource) -> None:
        self.clock = FakeClock()
        bell = Bell()
        self.engine = InstantEngine()
        self.lane = Lane("local", self.engine, self.clock, on_room=bell.ring)
        self.lane.opened.set()
        self.outbox = ListOutbox()
        lanes = {Route.LOCAL: self.lane}
        identity = Identity("a", "boot")
        shared = Shared(self.clock, bell, lanes, [self.outbox], identity, DEADLINE_S, local=self.engine)
        self.pipelines = [Pipeline(f"cam{n}", source, shared) for n, source in enumerate(sources)]
        self.admission = Admission(self.pipelines, Router(Mode.LOCAL_ONLY), shared)

    def turn(self) -> None:
        self.admission.step()
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
    assert yard.admission.step()
    assert not yard.admission.step()
    yard.lane.step()
    assert yard.admission.step()


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


class Bridge:
    """One camera, both engines, and a link whose wire the test holds; no threads."""

    def __init__(self) -> None:
        self.clock, self.outbox, bell = FakeClock(), ListOutbox(), Bell()
        local, self.cloud = InstantEngine(), InstantCloud(self.clock, width=6)
        self.lanes = {
            Route.LOCAL: Lane("local", local, self.clock, on_room=bell.ring),
            Route.CLOUD: Lane("cloud", self.cloud, self.clock, on_room=bell.ring),
        }
        for lane in self.lanes.values():
            lane.opened.set()
        self.uplink = an_uplink(self.cloud, self.clock, on_progress=bell.ring)
        self.link = self.uplink.link
        identity = Identity("a", "boot")
        shared = Shared(
            self.clock, bell, self.lanes, [self.outbox], identity, DEADLINE_S, local=local, uplink=self.uplink
        )
        self.pipeline = Pipeline("cam", ScriptedSource(), shared, ladder=a_ladder())
        self.admission = Admission([self.pipeline], Router(Mode.AUTO), shared)

    def frame(self) -> None:
        """A frame comes, is admitted, and the device has looked at it if it was to."""
        self.pipeline.capture_one()
        assert self.admission.step()
        self.lanes[Route.LOCAL].step()

    def serve(self) -> None:
        """The hosted model answers what has been sent."""
        while self.lanes[Route.CLOUD].step():
            self.clock.advance(0.03)
        self.pipeline.emit_ready()

    def earn_trust(self) -> None:
        for _ in range(5):
            self.frame()
            self.serve()
            self.clock.advance(0.1)

    def hold_wire(self, size_bytes: int = 500_000) -> None:
        """Another camera's picture is on the wire."""
        self.link.note_sent(("other", 1), size_bytes=size_bytes, now_s=self.clock.now(), due_s=self.clock.now() + 60)
        self.link.note_reading(
            ("other", 1), Reading(self.clock.now(), 0, size_bytes, 0.04, metered_bytes=0), now_s=self.clock.now()
        )

    def published(self) -> list[str]:
        self.pipeline.emit_ready()
        return [delivery.body.decode().split('"published":"')[1].split('"')[0] for delivery in self.outbox.deliveries]


def test_a_link_that_is_not_known_yet_is_probed_with_the_first_frame_while_the_device_answers_it_too() -> None:
    bridge = Bridge()
    bridge.frame()
    assert bridge.lanes[Route.CLOUD].in_flight == 1
    bridge.serve()
    assert bridge.published() == ["cloud"]


def test_a_frame_that_finds_the_wire_busy_is_answered_here_and_sent_yet_when_it_is_free() -> None:
    bridge = Bridge()
    bridge.earn_trust()
    bridge.hold_wire()
    bridge.frame()
    assert bridge.pipeline.waiting is not None
    assert not bridge.admission.step()
    bridge.link.note_reading(
        ("other", 1), Reading(bridge.clock.now(), 500_000, 0, 0.04, metered_bytes=0), now_s=bridge.clock.now()
    )
    assert bridge.admission.step()
    assert bridge.pipeline.waiting is None
    bridge.serve()
    assert bridge.published()[-1] == "cloud"


def test_a_newer_frame_takes_the_place_of_the_one_that_waits_for_the_wire() -> None:
    bridge = Bridge()
    bridge.earn_trust()
    bridge.hold_wire()
    before = len(bridge.published())
    bridge.frame()
    assert len(bridge.published()) == before
    bridge.clock.advance(0.1)
    bridge.frame()
    assert bridge.published()[before:] == ["local"]
    waiting = bridge.pipeline.waiting
    assert waiting is not None
    assert waiting.captured_s == bridge.clock.now()


def test_a_dead_link_is_dialled_and_no_frame_is_sent_until_that_succeeds() -> None:
    bridge = Bridge()
    bridge.earn_trust()
    bridge.link.note_unwelcome(EngineUnavailable("no name", Cause.DNS), bridge.clock.now())
    sent = len(bridge.cloud.pictures)
    bridge.frame()
    assert len(bridge.cloud.pictures) == sent
    bridge.clock.advance(0.1)
    bridge.serve()
    assert bridge.cloud.dialled == 1
    bridge.frame()
    bridge.serve()
    assert len(bridge.cloud.pictures) == sent + 1


def test_a_refusal_costs_no_further_picture_until_a_knock_is_welcome_minutes_later() -> None:
    bridge = Bridge()
    bridge.earn_trust()
    bridge.cloud.error = EngineRefused("no credits", Cause.CREDITS)
    bridge.frame()
    bridge.serve()
    sent = len(bridge.cloud.pictures)
    for _ in range(100):
        bridge.clock.advance(1.0)
        bridge.frame()
        bridge.serve()
    assert (len(bridge.cloud.pictures), bridge.cloud.knocked) == (sent, 0)
    bridge.cloud.error = None
    for _ in range(100):
        bridge.clock.advance(1.0)
        bridge.frame()
        bridge.serve()
    assert bridge.cloud.knocked == 1
    assert len(bridge.cloud.pictures) > sent


@pytest.mark.parametrize(
    ("run_s", "said"),
    [(0.05, ""), (0.18, "covers 5.6 of 10.0 frames"), (0.7, "longer than routing.deadline_ms")],
)
def test_what_the_device_cannot_do_alone_is_said_once(
    caplog: pytest.LogCaptureFixture, run_s: float, said: str
) -> None:
    yard = Yard(ScriptedSource())
    for _ in range(60):
        yard.pipelines[0].capture_one()
        yard.admission.step()
        yard.lane._runs_s.append(run_s)
        yard.lane.step()
        yard.lane._runs_s[-1] = run_s
        yard.clock.advance(0.1)
    found = [record.message for record in caplog.records if "on-device model" in record.message]
    assert len(found) == bool(said)
    assert all(said in message for message in found)
