"""One object's way through a camera, answered by both engines in turn: ids, events and counts fit together."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
from fakes import (
    FakeClock,
    Gate,
    GatedCloud,
    InstantEngine,
    ListOutbox,
    ScriptedSource,
    a_ladder,
    an_uplink,
)

from agent.errors import Cause, EngineUnavailable
from agent.flow import Answer, Decision, Frame, Prediction, Reason, Route, Timings
from agent.handoff import Bell
from agent.lanes import Lane
from agent.pipeline import Pipeline, Shared
from agent.polygon import Point, Polygon
from agent.record import Identity
from agent.states import Direction, Subject
from agent.tracking.lines import Line
from agent.tracking.rules import Rules
from agent.tracking.whereabouts import Whereabouts
from agent.tracking.zones import Zone

DOCS = Path(__file__).parents[2] / "docs"
RESULTS, EVENTS = (
    jsonschema.Draft202012Validator(json.loads((DOCS / f"{name}.schema.json").read_text(encoding="utf-8")))
    for name in ("result", "event")
)
DEADLINE_S, STEP_S = 0.5, 0.6
PORCH = Zone("porch", Polygon((Point(0.5, 0.0), Point(1.0, 0.0), Point(1.0, 1.0), Point(0.5, 1.0))))
GATE = Line("gate", Point(0.5, 1.0), Point(0.5, 0.0))
"""Pictures are 64 x 48 pixels, so that both lie 32 pixels from the left."""


def found(x: float, *, by: Route) -> Answer:
    """The object at `x`; the hosted model puts it a pixel aside, and has numbers of its own for classes."""
    aside, number = (1.0, 7) if by is Route.CLOUD else (0.0, 0)
    thing = Prediction(x + aside, 24.0 + aside, 12.0, 20.0, 0.8, "person", number)
    return Answer((thing,), by.value, "fake", Timings(), size_bytes=1000)


class ScriptedEngine(InstantEngine):
    """Finds what the script says, frame by frame."""

    def __init__(self, places: Sequence[float]) -> None:
        super().__init__()
        self.places, self.first = places, -1

    def infer(self, frame: Frame, give_up_s: float) -> Answer:  # noqa: ARG002 - as Engine has it
        return found(self.places[frame.seq - self.first], by=Route.LOCAL)


class Yard:
    """One tracked camera and both lanes; the test takes each step."""

    def __init__(self, *places: float) -> None:
        self.clock, self.outbox, self.places = FakeClock(), ListOutbox(), places
        self.local, self.cloud = ScriptedEngine(places), GatedCloud(width=3, clock=self.clock)
        bell, identity = Bell(), Identity("a", "boot")
        self.lanes = {
            Route.LOCAL: Lane("local", self.local, self.clock, on_room=bell.ring),
            Route.CLOUD: Lane("cloud", self.cloud, self.clock, on_room=bell.ring),
        }
        for lane in self.lanes.values():
            lane.opened.set()
        uplink = an_uplink(self.cloud, self.clock)
        self.shared = Shared(
            self.clock, bell, self.lanes, [self.outbox], identity, DEADLINE_S, local=self.local, uplink=uplink
        )
        self.ladder, reporter = a_ladder(), Whereabouts(Rules(zones=(PORCH,), lines=(GATE,)), identity)
        self.pipeline = Pipeline("cam", ScriptedSource(), self.shared, ladder=self.ladder, reporter=reporter)
        self.taken = 0
        self.late: list[tuple[int, Gate, threading.Thread]] = []

    def take(self, how: str) -> None:
        """A frame, 0.6 s after the last: `local`, `cloud`, a `late` cloud with the device's answer first, `failed`."""
        self.clock.advance(STEP_S)
        self.pipeline.capture_one()
        frame = self.pipeline.latest.peek()
        assert frame is not None
        if self.local.first < 0:
            self.local.first = frame.seq
        route = Route.LOCAL if how == "local" else Route.CLOUD
        local_s = self.clock.now() if how in ("local", "late") else None
        due_s = frame.captured_s + DEADLINE_S
        rung = None if route is Route.LOCAL else self.ladder.rungs[0]
        assert self.pipeline.admit(frame, Decision(route, Reason.P_OK, due_s, local_s, rung=rung))
        if local_s is not None:
            assert self.lanes[Route.LOCAL].step()
        if route is Route.CLOUD:
            self._ask_cloud(how)
        self.pipeline.emit_ready()
        self.taken += 1

    def _ask_cloud(self, how: str) -> None:
        thread = threading.Thread(target=self.lanes[Route.CLOUD].step)
        thread.start()
        gate = self.cloud.entered.get(timeout=5)
        if how == "late":
            self.late.append((self.taken, gate, thread))
            self.clock.advance(DEADLINE_S)
            return
        answer = found(self.places[self.taken], by=Route.CLOUD)
        gate.outcome.put(answer if how == "cloud" else EngineUnavailable("reset", Cause.NETWORK))
        thread.join(5)

    def correct(self) -> None:
        """The late answers come, the newest first."""
        while self.late:
            number, gate, thread = self.late.pop()
            gate.outcome.put(found(self.places[number], by=Route.CLOUD))
            thread.join(5)
        self.pipeline.emit_ready()

    def results(self) -> list[dict[str, Any]]:
        return [checked(delivery.body, RESULTS) for delivery in self.outbox.deliveries]

    def events(self) -> list[dict[str, Any]]:
        return [checked(delivery.body, EVENTS) for delivery in self.outbox.events]

    def counts(self) -> dict[tuple[str | None, ...], bytes]:
        _, states = self.shared.states.since(0)
        return {state.about[2:]: state.body for state in states if state.subject in (Subject.ZONE, Subject.LINE)}


def checked(body: bytes, schema: jsonschema.Draft202012Validator) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(body)
    schema.validate(record)
    return record


WAY = (10, 14, 18, 22, 26, 30, 35, 40, 44, 46, 46, 46)
HOWS = ("local", "cloud", "late", "failed", "cloud", "local", "late", "cloud", "late", "failed", "local", "cloud")


def test_an_object_keeps_its_id_whoever_answers_and_its_events_name_the_results_that_show_them() -> None:
    yard = Yard(*WAY)
    for how in HOWS:
        yard.take(how)
    yard.correct()
    results, events = yard.results(), yard.events()
    first = [result for result in results if result["revision"] == 0]
    assert [result["route"]["published"] for result in first] == [
        "cloud" if how == "cloud" else "local" for how in HOWS if how != "failed"
    ]
    assert [result["predictions"][0]["tracker_id"] for result in first] == [-1] + [1] * (len(first) - 1)
    assert [(event["cause"], event["tracker_id"]) for event in events] == [
        ("appeared", 1),
        ("crossed", 1),
        ("entered", 1),
    ]
    shown = {result["id"]: result["predictions"][0] for result in first}
    for event in events:
        assert event["box"] == {key: shown[event["result"]][key] for key in event["box"]}
    assert yard.counts() == {
        ("person", "porch", None): b"1",
        (None, "gate", Direction.IN): b"1",
        (None, "gate", Direction.OUT): b"0",
    }


def test_corrections_have_the_ids_of_what_they_correct_and_tell_no_event_again() -> None:
    yard = Yard(*WAY)
    for how in HOWS:
        yard.take(how)
    before, counted = yard.events(), yard.counts()
    yard.correct()
    corrections = [result for result in yard.results() if result["revision"] == 1]
    assert len(corrections) == HOWS.count("late")
    assert [found["tracker_id"] for result in corrections for found in result["predictions"]] == [1, 1, 1]
    assert [found["class_id"] for result in corrections for found in result["predictions"]] == [7, 7, 7]
    assert (yard.events(), yard.counts()) == (before, counted)


def test_a_time_of_failed_frames_ends_nobody_who_is_still_there_after_it() -> None:
    yard = Yard(*[40] * 12)
    for how in ("local", "cloud", *["failed"] * 8, "cloud", "local"):
        yard.take(how)
    assert [event["cause"] for event in yard.events()] == ["appeared", "entered"]
    assert [result["predictions"][0]["tracker_id"] for result in yard.results()] == [-1, 1, 1, 1]
