"""Whatever the order of frames, runs and changes of version: no frame is lost, and each is answered by one version."""

import json
import threading
from dataclasses import dataclass, field

import pytest
from fakes import FakeClock, GatedEngine, ListOutbox, ScriptedSource, a_frame, an_answer
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.admission import Admission
from agent.errors import EngineBroken
from agent.flow import Answer, Fate, Frame, Route
from agent.handoff import Bell
from agent.lanes import Lane
from agent.pipeline import Pipeline, Shared
from agent.record import Identity
from agent.rollout.switch import Switch, Version
from agent.router import Mode, Prefer, Router

GOOD, BAD = an_answer(), EngineBroken("the new version is no good")


@dataclass
class Gated(GatedEngine):
    """A run waits until the test says how it ends, and is none of an engine that is closed."""

    closed: bool = False
    running: bool = False

    def infer(self, frame: Frame, give_up_s: float) -> Answer:  # noqa: ARG002 - as Engine has it
        assert not self.closed
        assert not self.running, "one run at a time"
        self.running = True
        try:
            return self._pass(give_up_s)
        finally:
            self.running = False

    def close(self) -> None:
        assert not self.running, "closed in the middle of a run"
        self.closed = True


@dataclass
class Run:
    """One run of the lane that has begun."""

    thread: threading.Thread
    version: Version
    reserve: Version | None
    changes: list[threading.Thread] = field(default_factory=list)
    """What waits for its end."""


class Changes(RuleBasedStateMachine):
    """Two cameras, one lane, and versions that come, go on trial, fail there and go; each run ends as hypothesis says.

    A version fails only on trial: what the one in reserve is for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.newest = FakeClock(), 1
        self.switch = Switch(Version("m", "1", Gated()), self.clock)
        bell = Bell()
        self.lane = Lane("local", self.switch, self.clock, on_room=bell.ring)
        self.lane.opened.set()
        self.outbox = ListOutbox()
        shared = Shared(
            *(self.clock, bell, {Route.LOCAL: self.lane}, [self.outbox], Identity("a", "boot"), 5.0), local=self.switch
        )
        self.pipelines = [Pipeline(name, ScriptedSource(), shared) for name in ("east", "west")]
        self.admission = Admission(self.pipelines, Router(Mode.LOCAL_ONLY, Prefer.ACCURACY), shared)
        self.run: Run | None = None
        self.expected: list[str] = []
        """Who answers each frame, in the order of the runs."""
        self.retired: list[Version] = []

    @rule(camera=st.integers(0, 1))
    def capture(self, camera: int) -> None:
        self.pipelines[camera].capture_one()

    @rule()
    def admit(self) -> None:
        self.admission.step()

    @precondition(lambda self: self.run is None)
    @rule()
    def begin_a_run(self) -> None:
        thread = threading.Thread(target=self.lane.step)
        version, reserve = self.switch.running, self.switch.reserve
        thread.start()
        entered = gates_of(version).entered
        while thread.is_alive() and entered.empty():
            thread.join(0.0005)
        if thread.is_alive():
            self.run = Run(thread, version, reserve)

    @precondition(lambda self: self.run is not None)
    @rule(fails=st.booleans())
    def end_the_run(self, fails: bool) -> None:
        assert self.run is not None
        run, self.run = self.run, None
        if fails and run.reserve is not None:
            gates_of(run.version).entered.get(timeout=5).outcome.put(BAD)
            gates_of(run.reserve).entered.get(timeout=5).outcome.put(GOOD)
            self.expected.append(run.reserve.label)
        else:
            gates_of(run.version).entered.get(timeout=5).outcome.put(GOOD)
            self.expected.append(run.version.label)
        for thread in (run.thread, *run.changes):
            thread.join(10)
            assert not thread.is_alive()

    @rule(keep=st.booleans())
    def replace(self, keep: bool) -> None:
        if self.switch.reserve is None and not self.is_changing():
            self.newest += 1
            self.change(lambda: self._replace(Version("m", str(self.newest), Gated()), keep=keep))

    def _replace(self, new: Version, *, keep: bool) -> None:
        old = self.switch.replace(new, keep=keep)
        if not keep:
            self.retire(old)

    @rule()
    def restore(self) -> None:
        if not self.is_changing():
            self.change(lambda: self.retire(self.switch.restore()))

    @rule()
    def release(self) -> None:
        if not self.is_changing():
            self.change(lambda: self.retire(self.switch.release()))

    def retire(self, version: Version | None) -> None:
        if version is not None:
            version.engine.close()
            self.retired.append(version)

    def is_changing(self) -> bool:
        return self.run is not None and bool(self.run.changes)

    def change(self, act: object) -> None:
        """On a thread of its own, as the rollout has one: it waits for the run at hand."""
        thread = threading.Thread(target=act)  # type: ignore[arg-type]
        thread.start()
        if self.run is None:
            thread.join(10)
            assert not thread.is_alive()
        else:
            self.run.changes.append(thread)

    @rule()
    def emit(self) -> None:
        for pipeline in self.pipelines:
            pipeline.emit_ready()

    @invariant()
    def captured_is_the_sum_of_the_fates_and_none_failed(self) -> None:
        for pipeline in self.pipelines:
            status = pipeline.telemetry.status()
            waiting = pipeline.latest.peek() is not None
            assert status.captured == sum(status.fates.values()) + waiting + pipeline.ordered.in_flight
            assert status.fates.get(Fate.FAILED, 0) == 0

    def teardown(self) -> None:
        while self.run is not None or self.lane.in_flight:
            if self.run is not None:
                self.end_the_run(fails=False)
            else:
                self.begin_a_run()
        for pipeline in self.pipelines:
            pipeline.emit_ready()
        records = [json.loads(delivery.body) for delivery in self.outbox.deliveries]
        assert len(records) == len(self.expected), "each run's frame is published once"
        assert sorted(record["model"] for record in records) == sorted(self.expected)
        for pipeline in self.pipelines:
            assert pipeline.ordered.in_flight == 0
            seqs = [record["seq"] for record in records if record["camera"] == pipeline.camera]
            assert seqs == sorted(set(seqs))


def gates_of(version: Version) -> Gated:
    assert isinstance(version.engine, Gated)
    return version.engine


Changes.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestChanges = Changes.TestCase


def test_without_a_change_back_answers_go_over_from_one_version_to_the_next_once() -> None:
    clock = FakeClock()
    engines = [Gated(), Gated(), Gated()]
    for engine in engines:
        engine._pass = lambda _: GOOD  # type: ignore[method-assign]
    switch = Switch(Version("m", "1", engines[0]), clock)
    models = []
    for change in (None, 1, 2):
        if change is not None:
            switch.replace(Version("m", str(change + 1), engines[change]), keep=False)
        models += [switch.infer(a_frame(), 0.0).model for _ in range(3)]
    assert models == ["m@1"] * 3 + ["m@2"] * 3 + ["m@3"] * 3


def test_a_change_waits_for_the_run_at_hand_whose_answer_is_the_old_version_s() -> None:
    old, new = Gated(), Gated()
    switch = Switch(Version("m", "1", old), FakeClock())
    answers: list[Answer] = []
    run = threading.Thread(target=lambda: answers.append(switch.infer(a_frame(), 0.0)))
    run.start()
    gate = old.entered.get(timeout=5)

    def replace() -> None:
        switch.replace(Version("m", "2", new), keep=False).engine.close()

    change = threading.Thread(target=replace)
    change.start()
    change.join(0.05)
    assert change.is_alive()
    assert not old.closed
    gate.outcome.put(GOOD)
    for thread in (run, change):
        thread.join(5)
        assert not thread.is_alive()
    assert answers[0].model == "m@1"
    assert old.closed
    assert switch.model == "m@2"


def test_without_a_reserve_a_failure_is_the_engine_s_own_and_is_counted() -> None:
    engine = Gated()

    def fail(_: float) -> Answer:
        raise BAD

    engine._pass = fail  # type: ignore[method-assign]
    switch = Switch(Version("m", "1", engine), FakeClock())
    with pytest.raises(EngineBroken, match="no good"):
        switch.infer(a_frame(), 0.0)
    assert (switch.tally().runs, switch.tally().failed) == (1, 1)
    assert switch.tally().failed_share == 1.0


def test_it_closes_all_that_is_loaded_even_while_a_run_hangs() -> None:
    old, new = Gated(), Gated()
    switch = Switch(Version("m", "1", old), FakeClock())
    switch.replace(Version("m", "2", new), keep=True)
    with switch._lock:
        switch.close()
    assert old.closed
    assert new.closed


def test_what_it_says_of_its_runs_is_of_the_running_version_and_the_newest() -> None:
    clock = FakeClock()

    @dataclass
    class Timed(Gated):
        took_s: float = 0.0

        def infer(self, frame: Frame, give_up_s: float) -> Answer:  # noqa: ARG002 - as Engine has it
            clock.advance(self.took_s)
            return GOOD

    first, second = Timed(took_s=0.1), Timed(took_s=0.2)
    switch = Switch(Version("m", "1", first), clock)
    for _ in range(100):
        switch.infer(a_frame(), 0.0)
    tally = switch.tally()
    assert (tally.runs, tally.recent, tally.failed) == (100, 64, 0)
    assert tally.median_s == pytest.approx(0.1)
    switch.replace(Version("m", "2", second), keep=True)
    assert switch.tally().recent == 0
    switch.infer(a_frame(), 0.0)
    assert switch.tally().median_s == switch.tally().p95_s == pytest.approx(0.2)
    switch.restore()
    assert (switch.tally().runs, switch.tally().recent) == (0, 0)
