"""The agent's health as states: cameras at once, the whole every half minute, and always valid JSON."""

import json
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeClock, InstantCloud, InstantEngine, ScriptedSource, a_ladder, an_uplink

from agent.courier import Courier
from agent.flow import Kind, Route
from agent.handoff import Bell
from agent.health import Health
from agent.lanes import Lane
from agent.outbox import Limits, Outbox
from agent.pipeline import Pipeline, Shared
from agent.record import Identity
from agent.sinks import stdout
from agent.states import State, States, Subject


class Bench:
    """One camera with both engines, watched."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.states, bell = FakeClock(), States(), Bell()
        self.uplink = an_uplink(InstantCloud(self.clock), self.clock, store=folder / "budget")
        lanes = {Route.LOCAL: Lane("local", InstantEngine(), self.clock, on_room=bell.ring)}
        shared = Shared(
            self.clock, bell, lanes, [], Identity("porch", "boot"), 0.5, uplink=self.uplink, states=self.states
        )
        self.camera = Pipeline("door", ScriptedSource(), shared, ladder=a_ladder())
        outbox, sink = Outbox(None, Limits(), self.clock), stdout.Stdout()
        self.couriers = couriers = [
            Courier("mqtt-1", sink, outbox, kinds=frozenset(Kind), states=self.states, clock=self.clock)
        ]
        self.controls = shared.controls
        self.health = Health([self.camera], couriers, shared)

    def told(self) -> list[State]:
        self.health.tell()
        return self.states.since(0)[1]

    def report(self) -> dict[str, Any]:
        body = next(state.body for state in self.told() if state.subject is Subject.HEALTH)
        report: dict[str, Any] = json.loads(body)
        return report


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_camera_that_comes_or_goes_is_told_at_once(bench: Bench) -> None:
    assert State(Subject.CAMERA, b"offline", "door") in bench.told()
    bench.camera.telemetry.note_online(online=True)
    assert State(Subject.CAMERA, b"online", "door") in bench.told()


def test_the_whole_is_told_every_half_minute(bench: Bench) -> None:
    assert bench.report()["uptime_s"] == 0
    bench.clock.advance(29)
    assert bench.report()["uptime_s"] == 0
    bench.clock.advance(1)
    assert bench.report()["uptime_s"] == 30


def test_before_the_first_frame_what_is_not_known_is_null(bench: Bench) -> None:
    report = bench.report()
    assert report["schema"] == "vedette.health/1"
    assert report["agent"] == "porch"
    camera = report["cameras"]["door"]
    assert (camera["fps"], camera["latency_ms"], camera["route"], camera["reason"]) == (None,) * 4
    assert report["link"]["quiet_s"] is None
    assert report["outboxes"] == {
        "mqtt-1": {"waiting": 0, "in_memory_only": 0, "waiting_bytes": 0, "delivered": 0, "rejected": 0, "dropped": 0}
    }


def test_what_somebody_wants_for_now_is_told_at_once_and_in_words(bench: Bench) -> None:
    assert bench.report()["controls"] == []
    bench.clock.advance(1)
    bench.controls.limit_fps("door", 4.0, by="heat", why="78 °C at cpu-thermal")
    assert bench.report()["controls"] == [
        {
            "by": "heat",
            "camera": "door",
            "what": "most_fps",
            "value": 4.0,
            "words": "camera door gives at most 4 frames a second, by heat: 78 °C at cpu-thermal",
        }
    ]
    bench.clock.advance(1)
    bench.controls.release(by="heat")
    assert bench.report()["controls"] == []
