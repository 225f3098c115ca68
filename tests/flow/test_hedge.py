"""The local run in reserve: spared, hurried, and there at the deadline."""

import threading

import pytest
from fakes import (
    FakeClock,
    GatedCloud,
    InstantCloud,
    InstantEngine,
    ListOutbox,
    ScriptedSource,
    a_ladder,
    an_answer,
    an_uplink,
)

from agent.clock import SystemClock
from agent.errors import Cause, EngineUnavailable
from agent.flow import Answer, Decision, Fate, Frame, Picture, Reason, Route, Timings
from agent.handoff import Bell
from agent.lanes import Lane
from agent.loop import Pulse
from agent.pipeline import GIVE_UP_S, Pipeline, Shared
from agent.ports import CloudEngine, Watch
from agent.record import Identity

DEADLINE_S = 0.5


class Path:
    """One camera, both lanes, no threads: the test takes each step."""

    def __init__(self, cloud: CloudEngine, clock: FakeClock) -> None:
        self.clock, self.outbox, self.local = clock, ListOutbox(), InstantEngine()
        bell = Bell()
        self.lanes = {
            Route.LOCAL: Lane("local", self.local, clock, on_room=bell.ring),
            Route.CLOUD: Lane("cloud", cloud, clock, on_room=bell.ring),
        }
        for lane in self.lanes.values():
            lane.opened.set()
        identity, uplink = Identity("a", "boot"), an_uplink(cloud, clock)
        self.link, self.ladder = uplink.link, a_ladder()
        shared = Shared(clock, bell, self.lanes, [self.outbox], identity, DEADLINE_S, local=self.local, uplink=uplink)
        self.pipeline = Pipeline("cam", ScriptedSource(), shared, ladder=self.ladder)

    def send(self) -> Decision:
        """Capture a frame and send it to the cloud, the local run 100 ms before the deadline."""
        self.pipeline.capture_one()
        frame = self.pipeline.latest.peek()
        assert frame is not None
        due_s = frame.captured_s + DEADLINE_S
        decision = Decision(Route.CLOUD, Reason.P_OK, due_s, due_s - 0.1, rung=self.ladder.rungs[0])
        assert self.pipeline.admit(frame, decision)
        return decision

    def fates(self) -> dict[Fate, int]:
        self.pipeline.emit_ready()
        return self.pipeline.telemetry.status().fates


def test_the_cloud_in_time_spares_the_local_run_and_gives_its_room_back() -> None:
    clock = FakeClock()
    path = Path(InstantCloud(clock), clock)
    path.send()
    path.lanes[Route.CLOUD].step()
    assert path.fates() == {Fate.DONE: 1}
    assert path.lanes[Route.LOCAL].in_flight == 0
    path.clock.advance(1.0)
    assert not path.lanes[Route.LOCAL].step()


def test_a_failed_request_starts_the_local_run_long_before_its_time() -> None:
    clock = FakeClock()
    path = Path(InstantCloud(clock, error=EngineUnavailable("reset", Cause.NETWORK)), clock)
    path.send()
    assert not path.lanes[Route.LOCAL].step()
    path.lanes[Route.CLOUD].step()
    assert path.lanes[Route.LOCAL].step()
    assert path.fates() == {Fate.DONE: 1}


def test_a_silent_cloud_leaves_the_frame_to_the_local_run_and_counts_as_a_failure() -> None:
    cloud = GatedCloud(clock=(clock := FakeClock()))
    path = Path(cloud, clock)
    path.send()
    thread = threading.Thread(target=path.lanes[Route.CLOUD].step)
    thread.start()
    gate = cloud.entered.get(timeout=5)
    assert gate.give_up_s == path.clock.now() + GIVE_UP_S
    assert GIVE_UP_S >= 8
    path.clock.advance(0.41)
    assert path.lanes[Route.LOCAL].step()
    assert path.fates() == {}
    path.clock.advance(0.08)
    assert path.fates() == {Fate.DONE: 1}
    (overdue,) = path.link.view(clock.now()).evidence
    assert overdue.server_s >= DEADLINE_S
    gate.outcome.put(an_answer())
    thread.join(5)
    path.pipeline.emit_ready()
    assert [delivery.id[-2:] for delivery in path.outbox.deliveries] == ["/0", "/1"]


def test_a_fault_in_an_engine_costs_the_frame_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(InstantCloud):
        def infer(self, picture: Picture, give_up_s: float, watch: Watch) -> Answer:  # noqa: ARG002 - as CloudEngine
            raise ZeroDivisionError("a fault")

    clock = FakeClock()
    path = Path(Faulty(clock), clock)
    path.send()
    path.lanes[Route.CLOUD].step()
    assert path.lanes[Route.LOCAL].step()
    assert path.fates() == {Fate.DONE: 1}
    assert "ZeroDivisionError" in caplog.text


def test_an_engine_slower_than_the_deadline_answers_every_frame_of_a_file_late() -> None:
    class Slow(InstantEngine):
        def infer(self, frame: Frame, give_up_s: float) -> Answer:  # noqa: ARG002 - as Engine has it
            SystemClock().wait(threading.Event(), 0.03)
            return Answer((), "slow", "fake", Timings())

    clock, bell, outbox = SystemClock(), Bell(), ListOutbox()
    lane = Lane("local", engine := Slow(), clock, on_room=bell.ring)
    shared = Shared(clock, bell, {Route.LOCAL: lane}, [outbox], Identity("a", "b"), 0.02, local=engine)
    pipeline = Pipeline("cam", ScriptedSource(live=False), shared)
    pulse = Pulse(clock)
    threads = [threading.Thread(target=run, args=(pulse,)) for run in (lane.run, pipeline.emit)]
    for thread in threads:
        thread.start()
    for _ in range(30):
        pipeline.capture_one()
        frame = pipeline.latest.peek()
        assert frame is not None
        clock.wait(threading.Event(), 0.02)  # it waits for the run before it, and is overdue when it is admitted
        while not lane.free:
            clock.wait(threading.Event(), 0.001)
        due_s = frame.captured_s + 0.02
        assert pipeline.admit(frame, Decision(Route.LOCAL, Reason.LOCAL_ONLY, due_s, clock.now()))
    while not pipeline.idle:
        clock.wait(threading.Event(), 0.001)
    lane.stop()
    pipeline.close()
    for thread in threads:
        thread.join(5)
    assert pipeline.telemetry.status().fates == {Fate.DONE: 30}
