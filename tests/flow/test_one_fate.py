"""Whatever the order of events, every frame has one fate, and results leave in capture order."""

import json
import threading

from fakes import (
    FakeClock,
    Gate,
    GatedCloud,
    GatedEngine,
    ListOutbox,
    ScriptedSource,
    a_ladder,
    an_answer,
    an_uplink,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.admission import Admission
from agent.errors import Cause, EngineBroken, EngineError, EngineRefused, EngineUnavailable
from agent.flow import Answer, Fate, Route
from agent.handoff import Bell
from agent.lanes import Lane
from agent.pipeline import Pipeline, Shared
from agent.record import Identity
from agent.router import Mode, Prefer, Router

DEADLINE_S = 0.5
CLOUD_OUTCOMES: list[Answer | EngineError] = [
    an_answer(),
    an_answer(cold=True),
    EngineUnavailable("slow", Cause.TIMEOUT),
    EngineUnavailable("too many", Cause.RATE_LIMITED, retry_after_s=0.7),
    EngineRefused("no key", Cause.AUTH),
]
LOCAL_OUTCOMES: list[Answer | EngineError] = [an_answer(), an_answer(), EngineBroken("it broke")]


class FramePath(RuleBasedStateMachine):
    """Two cameras, both lanes, a clock moved by hand; each engine run ends when and how hypothesis says."""

    prefer = Prefer.ACCURACY

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        bell, local, cloud = Bell(), GatedEngine(width=1), GatedCloud(width=3, clock=self.clock)
        self.engines = {Route.LOCAL: local, Route.CLOUD: cloud}
        self.lanes = {
            Route.LOCAL: Lane("local", local, self.clock, on_room=bell.ring),
            Route.CLOUD: Lane("cloud", cloud, self.clock, on_room=bell.ring),
        }
        for lane in self.lanes.values():
            lane.opened.set()
        self.outbox = ListOutbox()
        identity, uplink = Identity("a", "boot"), an_uplink(cloud, self.clock, on_progress=bell.ring)
        shared = Shared(self.clock, bell, self.lanes, [self.outbox], identity, DEADLINE_S, local=local, uplink=uplink)
        self.pipelines = [Pipeline(name, ScriptedSource(), shared, ladder=a_ladder()) for name in ("east", "west")]
        self.admission = Admission(self.pipelines, Router(Mode.AUTO, self.prefer), shared)
        self.running: list[tuple[Route, Gate, threading.Thread]] = []

    @rule(camera=st.integers(0, 1))
    def capture(self, camera: int) -> None:
        self.pipelines[camera].capture_one()

    @rule()
    def admit(self) -> None:
        self.admission.step()

    @rule(route=st.sampled_from(Route))
    def begin_a_run(self, route: Route) -> None:
        if sum(r is route for r, _, _ in self.running) >= self.engines[route].width:
            return
        thread = threading.Thread(target=self.lanes[route].step)
        thread.start()
        while thread.is_alive() and self.engines[route].entered.empty():
            thread.join(0.0005)
        if not self.engines[route].entered.empty():
            self.running.append((route, self.engines[route].entered.get(), thread))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end_a_run(self, data: st.DataObject) -> None:
        route, gate, thread = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        outcomes = CLOUD_OUTCOMES if route is Route.CLOUD else LOCAL_OUTCOMES
        gate.outcome.put(data.draw(st.sampled_from(outcomes)))
        thread.join(10)
        assert not thread.is_alive()

    @rule(seconds=st.sampled_from([0.001, 0.02, 0.1, 0.3, 0.6]))
    def let_time_pass(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def emit(self) -> None:
        for pipeline in self.pipelines:
            pipeline.emit_ready()

    @invariant()
    def captured_is_the_sum_of_the_fates_and_what_is_under_way(self) -> None:
        for pipeline in self.pipelines:
            status = pipeline.telemetry.status()
            waiting = pipeline.latest.peek() is not None
            assert status.captured == sum(status.fates.values()) + waiting + pipeline.ordered.in_flight, pipeline

    @invariant()
    def results_leave_once_each_and_in_order(self) -> None:
        records = [json.loads(delivery.body) for delivery in self.outbox.deliveries]
        assert len({record["id"] for record in records}) == len(records)
        for pipeline in self.pipelines:
            first = [r["seq"] for r in records if r["camera"] == pipeline.camera and r["revision"] == 0]
            assert first == sorted(set(first)), pipeline

    @invariant()
    def a_correction_follows_what_it_corrects_and_comes_from_the_cloud(self) -> None:
        seen: set[tuple[str, int]] = set()
        for record in (json.loads(delivery.body) for delivery in self.outbox.deliveries):
            key = (record["camera"], record["seq"])
            if record["revision"] == 0:
                assert key not in seen
                seen.add(key)
            else:
                assert record["revision"] == 1
                assert record["route"]["published"] == "cloud"
                assert record["route"]["late"] or self.prefer is Prefer.LATENCY

    def teardown(self) -> None:
        for pipeline in self.pipelines:
            pipeline.close()
            pipeline.emit_ready()
            status = pipeline.telemetry.status()
            assert status.captured == sum(status.fates.values()), pipeline
            assert pipeline.ordered.in_flight == 0
        for _, gate, thread in self.running:
            gate.outcome.put(an_answer())
            thread.join(10)
            assert not thread.is_alive()
        for pipeline in self.pipelines:
            pipeline.emit_ready()
            done = pipeline.telemetry.status().fates.get(Fate.DONE, 0)
            first = [d for d in self.outbox.deliveries if d.camera == pipeline.camera and d.id.endswith("/0")]
            assert done == len(first)


class PromptFramePath(FramePath):
    """The same where the first answer is published at once and the cloud's corrects it."""

    prefer = Prefer.LATENCY


FramePath.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestFramePath = FramePath.TestCase
PromptFramePath.TestCase.settings = settings(max_examples=30, stateful_step_count=60, deadline=None)
TestPromptFramePath = PromptFramePath.TestCase
