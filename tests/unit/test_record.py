"""Records against their published schema."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from agent.flow import (
    UNTRACKED,
    Answer,
    Decision,
    Fate,
    Hedge,
    Outlook,
    Prediction,
    Prices,
    Reason,
    Result,
    Route,
    Rung,
    Timings,
)
from agent.record import Identity, delivery_of, record_of

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "result.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
IDENTITY = Identity("yard-north", "5f0c1f0e-7f0a-4f43-9d43-0a3f5e0f2a11")
FOUND = (Prediction(320.5, 240.25, 64.0, 48.0, 0.91, "person", 0), Prediction(1.0, 2.0, 3.0, 4.0, 0.4, "Größe", 7))

LOCAL = Result(
    camera="gate",
    seq=1234567,
    revision=0,
    captured_s=1000.25,
    captured_wall_s=1_790_000_000.1234,
    clock_synchronized=True,
    width=640,
    height=480,
    decision=Decision(Route.LOCAL, Reason.DEAD, 1000.75, 1000.25, 0.01, 0.5),
    fate=Fate.DONE,
    published=Route.LOCAL,
    answer=Answer(FOUND, "yolov8n", "tflite", Timings(0.002, 0.031, 0.001)),
    late=False,
    started_s=1000.26,
    answered_s=1000.3,
)
CLOUD = replace(
    LOCAL,
    decision=Decision(
        Route.CLOUD,
        Reason.P_OK,
        1000.75,
        1000.6,
        0.93,
        0.4,
        rung=Rung(45_000, 640, 70, 0.98),
        outlook=Outlook(0.04, 0.09, 0.13, uplink_mbit_s=4.1, evidence=12, evidence_age_s=0.21),
        prices=Prices(0.06, 0.001, data_left_bytes=83_500_000.0),
    ),
    published=Route.CLOUD,
    answer=Answer(
        FOUND,
        "coco/7",
        "roboflow",
        Timings(0.004, connect_s=0.0, upload_s=0.08, server_s=0.05, processing_s=0.031),
        48_213,
        85,
    ),
    hedge=Hedge.SKIPPED,
)
LATE = replace(LOCAL, decision=CLOUD.decision, late=True, answered_s=1000.9)
CORRECTION = replace(CLOUD, revision=1, supersedes=0, late=True, answered_s=1001.5)
FIRST_ANSWER_AFTER_A_FAILURE = replace(CORRECTION, supersedes=None)
EMPTY = replace(
    LOCAL,
    answer=Answer((), "m", "tflite", Timings()),
    decision=Decision(Route.LOCAL, Reason.LOCAL_ONLY, 1000.75, None),
    started_s=None,
    clock_synchronized=False,
)
RECORDS = {
    "local": LOCAL,
    "cloud": CLOUD,
    "late": LATE,
    "correction": CORRECTION,
    "first answer after a failure": FIRST_ANSWER_AFTER_A_FAILURE,
    "nothing found and nothing known": EMPTY,
}


def record(result: Result) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(delivery_of(result, IDENTITY).body)
    return decoded


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every object in a record."""
    if isinstance(value, dict):
        return [path] + [p for key, inner in value.items() for p in places(inner, (*path, key))]
    return [p for n, inner in enumerate(value) for p in places(inner, (*path, n))] if isinstance(value, list) else []


def at(value: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", RECORDS)
def test_every_kind_of_record_follows_the_schema(name: str) -> None:
    VALIDATOR.validate(record(RECORDS[name]))


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_of_the_router_is_in_the_schema(reason: Reason) -> None:
    VALIDATOR.validate(record(replace(LOCAL, decision=replace(LOCAL.decision, reason=reason))))


def test_the_schema_knows_no_reason_that_the_router_has_not() -> None:
    assert SCHEMA["$defs"]["route"]["properties"]["reason"]["enum"] == [reason.value for reason in Reason]


def test_no_field_can_be_left_out() -> None:
    whole = record(CORRECTION)
    for path in places(whole):
        for key in at(whole, path):
            torn = copy.deepcopy(whole)
            del at(torn, path)[key]
            assert not VALIDATOR.is_valid(torn), f"{path} {key}"


def test_no_field_can_be_added() -> None:
    whole = record(CORRECTION)
    for path in places(whole):
        more = copy.deepcopy(whole)
        at(more, path)["more"] = 1
        assert not VALIDATOR.is_valid(more), path


def test_every_field_of_the_schema_says_what_it_means_and_they_stand_in_the_record_in_that_order() -> None:
    assert list(record(LOCAL)) == [name for name in SCHEMA["properties"] if name in SCHEMA["required"]]
    for name in ("route", "latency_ms"):
        assert list(record(LOCAL)[name]) == list(SCHEMA["$defs"][name]["properties"])
    for section in (SCHEMA, SCHEMA["properties"]["image"], *SCHEMA["$defs"].values()):
        assert set(section.get("required", ())) <= set(section.get("properties", ()))
        for field in section.get("properties", {}).values():
            meaning = SCHEMA["$defs"][field["$ref"].rpartition("/")[2]] if "$ref" in field else field
            assert meaning["description"].endswith(".")


def test_a_failed_frame_has_no_record() -> None:
    failed = replace(LOCAL, answer=None, published=None, fate=Fate.FAILED, failure="no answer by the deadline")
    with pytest.raises(ValueError, match="frame 1234567 of gate failed"):
        record_of(failed, IDENTITY)


def test_a_correction_names_the_record_that_it_replaces() -> None:
    first, second = record(CLOUD), record(CORRECTION)
    assert first["supersedes"] is None
    assert second["supersedes"] == first["id"] != second["id"]
    assert second["revision"] == 1


def test_the_id_does_not_depend_on_any_clock_but_names_the_boot() -> None:
    later = replace(LOCAL, captured_wall_s=0.0, answered_s=2000.0)
    assert record(LOCAL)["id"] == record(later)["id"] == f"yard-north/gate/{IDENTITY.boot_id}/1234567/0"
    assert delivery_of(LOCAL, IDENTITY).id == record(LOCAL)["id"]


def test_times_are_utc_in_milliseconds() -> None:
    assert record(LOCAL)["captured_at"] == "2026-09-21T14:13:20.123Z"
    assert record(LOCAL)["latency_ms"] == {
        "total": 50.0,
        "queue": 10.0,
        "preprocess": 2.0,
        "inference": 31.0,
        "postprocess": 1.0,
        "connect": None,
        "upload": None,
        "server": None,
        "processing": None,
    }


def test_what_the_router_expected_and_what_it_had_to_pay_stand_beside_what_came_of_it() -> None:
    route = record(CLOUD)["route"]
    assert (route["p"], route["threshold"], route["deadline_ms"], route["hedge"]) == (0.93, 0.4, 500.0, "skipped")
    assert (route["size_bytes"], route["quality"]) == (48_213, 85)
    assert route["outlook"] == {
        "rtt_ms": 40.0,
        "upload_ms": 90.0,
        "server_ms": 130.0,
        "uplink_mbit_s": 4.1,
        "evidence": 12,
        "evidence_age_ms": 210.0,
    }
    assert route["prices"] == {"per_mb": 0.06, "per_call": 0.001, "data_left_mb": 83.5, "credits_left": None}


def test_a_device_that_answers_for_the_cloud_still_says_which_picture_had_been_sent() -> None:
    hedged = replace(CLOUD, published=Route.LOCAL, answer=LOCAL.answer, hedge=Hedge.LATE)
    assert (record(hedged)["route"]["size_bytes"], record(hedged)["route"]["quality"]) == (45_000, 70)


def test_predictions_have_the_shape_of_the_hosted_api() -> None:
    assert record(LOCAL)["predictions"][1] == {
        "x": 1.0,
        "y": 2.0,
        "width": 3.0,
        "height": 4.0,
        "confidence": 0.4,
        "class": "Größe",
        "class_id": 7,
    }


def test_a_tracked_object_has_its_tracks_id_as_the_hosted_api_has_it() -> None:
    found = (replace(FOUND[0], tracker_id=7), replace(FOUND[1], tracker_id=UNTRACKED))
    tracked = record(replace(LOCAL, answer=Answer(found, "m", "tflite", Timings())))
    VALIDATOR.validate(tracked)
    assert [found.pop("tracker_id") for found in tracked["predictions"]] == [7, -1]
    assert tracked["predictions"] == record(LOCAL)["predictions"]


def test_the_body_is_one_line() -> None:
    assert b"\n" not in delivery_of(LOCAL, IDENTITY).body
