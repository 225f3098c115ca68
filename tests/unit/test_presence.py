"""Counts and events of one camera, and the records of events against their schema."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.flow import Answer, Decision, Fate, Kind, Prediction, Reason, Result, Route, Timings
from agent.ports import Report
from agent.presence import HOLD_S, Presence
from agent.record import Identity
from agent.states import State, Subject

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "event.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)


def seen(at_s: float, *names: str, seq: int = 0, confidence: float = 0.5) -> Result:
    """A result with an object of each name."""
    found = tuple(Prediction(1.0, 1.0, 1.0, 1.0, confidence, name, 0) for name in names)
    return Result(
        camera="door",
        seq=seq or int(at_s * 1000),
        revision=0,
        captured_s=at_s,
        captured_wall_s=1_800_000_000.0 + at_s,
        clock_synchronized=True,
        width=64,
        height=48,
        decision=Decision(Route.LOCAL, Reason.LOCAL_ONLY, at_s + 0.5, at_s),
        fate=Fate.DONE,
        published=Route.LOCAL,
        answer=Answer(found, "m", "tflite", Timings()),
        late=False,
        started_s=at_s,
        answered_s=at_s + 0.1,
    )


def follow(results: Iterable[Result]) -> tuple[list[State], list[dict[str, Any]]]:
    presence = Presence(Identity("porch", "boot"))
    states: list[State] = []
    events: list[dict[str, Any]] = []
    for result in results:
        report = presence.note(result)
        assert report.result == result
        states += report.states
        for delivery in report.events:
            assert delivery.kind is Kind.EVENT
            record = json.loads(delivery.body)
            VALIDATOR.validate(record)
            assert record["id"] == delivery.id
            events.append(record)
    return states, events


def told(events: list[dict[str, Any]]) -> list[tuple[str, str, int]]:
    return [(event["type"], event["class"], event["count"]) for event in events]


def test_counts_are_told_when_they_change() -> None:
    states, _ = follow([seen(1, "person", "person"), seen(2, "person", "person"), seen(3, "car"), seen(4)])
    assert [(state.class_name, state.body) for state in states] == [
        ("person", b"2"),
        ("car", b"1"),
        ("person", b"0"),
        ("car", b"0"),
    ]
    assert {(state.subject, state.camera) for state in states} == {(Subject.COUNT, "door")}


def test_the_first_result_tells_zero_for_classes_of_an_earlier_run_that_are_not_there() -> None:
    presence = Presence(Identity("porch", "boot"), known=["person", "car"])
    failed = replace(seen(1), answer=None, published=None, fate=Fate.FAILED)
    assert presence.note(failed) == Report(failed)
    report = presence.note(seen(2, "car", "dog"))
    told = [(state.class_name, state.body) for state in report.states]
    assert told == [("car", b"1"), ("dog", b"1"), ("person", b"0")]
    assert report.events == ()
    assert presence.note(seen(3, "car", "dog")).states == ()


def test_an_episode_begins_with_the_second_sighting_grows_and_ends() -> None:
    results = [
        seen(1, "person"),
        seen(1.1, "person", confidence=0.9),
        seen(1.2, "person", "person"),
        seen(1.3, "person"),
    ]
    _, events = follow([*results, seen(2), seen(4.2), seen(4.4)])
    assert told(events) == [("new", "person", 1), ("update", "person", 2), ("end", "person", 2)]
    assert {event["episode"] for event in events} == {"porch/door/boot/1100/person"}
    assert len({event["id"] for event in events}) == 3
    assert events[-1]["confidence"] == 0.9
    assert events[-1]["duration_s"] == pytest.approx(3.3)


def test_a_single_sighting_is_no_episode() -> None:
    assert follow([seen(1, "person"), seen(1.1), seen(6), seen(7, "person"), seen(12)])[1] == []


def test_a_class_that_is_missed_for_a_moment_is_still_there() -> None:
    _, events = follow([seen(1, "person"), seen(2, "person"), seen(3), seen(4.9, "person"), seen(5)])
    assert told(events) == [("new", "person", 1)]


def test_a_camera_that_was_away_ends_the_old_episode_before_the_next() -> None:
    _, events = follow([seen(1, "person"), seen(2, "person"), seen(60, "person"), seen(61, "person")])
    assert told(events) == [("new", "person", 1), ("end", "person", 1), ("new", "person", 1)]


def test_corrections_and_failures_change_nothing() -> None:
    presence = Presence(Identity("porch", "boot"))
    presence.note(seen(1, "person"))
    for nothing in (
        replace(seen(2, "car"), revision=1),
        replace(seen(2, "car"), answer=None, published=None, fate=Fate.FAILED),
    ):
        assert presence.note(nothing) == Report(nothing)


def test_a_class_may_have_any_name() -> None:
    _, events = follow([seen(1, "a/b ü+#"), seen(2, "a/b ü+#")])
    assert events[0]["episode"] == "porch/door/boot/2000/a%2Fb %C3%BC%2B%23"


@given(st.lists(st.tuples(st.floats(0.05, 5), st.lists(st.sampled_from(["a", "b"]), max_size=3)), max_size=40))
def test_each_episode_begins_once_ends_once_and_is_told_of_in_between(steps: list[tuple[float, list[str]]]) -> None:
    at_s, results = 1.0, []
    for number, (step_s, names) in enumerate(steps, start=1):
        at_s += step_s
        results.append(seen(at_s, *names, seq=number))
    results += [seen(at_s + HOLD_S, seq=1000), seen(at_s + 2 * HOLD_S, seq=1001)]
    _, events = follow(results)
    by_episode: dict[str, list[str]] = {}
    for event in events:
        by_episode.setdefault(event["episode"], []).append(event["type"])
    for types in by_episode.values():
        assert types[0] == "new"
        assert types[-1] == "end"
        assert set(types[1:-1]) <= {"update"}
    assert len({event["id"] for event in events}) == len(events)
