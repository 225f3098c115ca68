"""v1, v2, servers of one's own and workflows: what is sent where, and what comes back, over real sockets."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from unit.hosted_answers import BOX, SHAPES, body
from unit.scripted_api import ANSWER, KEY, Script, a_picture, an_engine, error_of, in_s, serving, unwatched

from agent.clock import SystemClock
from agent.engines._aliases import task_of
from agent.engines.roboflow import Options, build
from agent.errors import Cause, EngineError, EngineRefused, EngineUnavailable
from agent.flow import Answer, Reading, Task
from agent.ports import Context

FLOW = {"id": "yard-works/count-crates", "outputs": ["count", "note"], "parameters": {"zone": [1, 2]}}


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def url(script: Script) -> Iterator[str]:
    with serving(script) as address:
        yield address


def asked(url: str, folder: Path, **more: object) -> Answer:
    """The answer to one picture."""
    engine = an_engine(url, folder, **more)
    try:
        return engine.infer(a_picture(), in_s(5), unwatched)
    finally:
        engine.close()


def options(**more: object) -> Options:
    return Options.model_validate({"type": "roboflow", "api_key": {"file": "key"}, **more})


def sent(script: Script, number: int = 0) -> Any:
    """The JSON of a request."""
    _, headers, content = script.seen[number]
    assert headers["Content-Type"] == "application/json"
    return json.loads(content)


# The hosted service


def test_what_the_api_does_by_itself_is_not_asked_for(script: Script, url: str, tmp_path: Path) -> None:
    asked(url, tmp_path, masks="polygon", keypoint_confidence=0.0)
    assert script.seen[0][0] == "/yard/3?confidence=0.4&overlap=0.3"


def test_masks_as_run_lengths_and_sure_keypoints_are_asked_for(script: Script, url: str, tmp_path: Path) -> None:
    asked(url, tmp_path, masks="rle", keypoint_confidence=0.25)
    assert script.seen[0][0] == "/yard/3?confidence=0.4&overlap=0.3&keypoint_confidence=0.25&response_mask_format=rle"


def test_an_answer_without_objects_is_of_the_task_of_the_one_before(script: Script, url: str, tmp_path: Path) -> None:
    engine = an_engine(url, tmp_path)
    tasks = []
    for answer in (body([]), SHAPES["keypoint-detection"], body([])):
        script.body = json.dumps(answer).encode()
        tasks.append(engine.infer(a_picture(), in_s(5), unwatched).task)
    engine.close()
    assert tasks == [Task.OBJECT_DETECTION, Task.KEYPOINT_DETECTION, Task.KEYPOINT_DETECTION]


@pytest.mark.parametrize(
    ("more", "task"),
    [
        ({"task": "instance-segmentation"}, Task.INSTANCE_SEGMENTATION),
        ({"model": "yolov8n-seg-640"}, Task.INSTANCE_SEGMENTATION),
        ({"model": "yolov8x-pose-1280"}, Task.KEYPOINT_DETECTION),
    ],
)
def test_the_first_answer_without_objects_is_of_the_task_that_is_configured_or_the_aliass(
    more: dict[str, Any], task: Task, *, script: Script, url: str, tmp_path: Path
) -> None:
    script.body = json.dumps(body([])).encode()
    assert asked(url, tmp_path, **more).task is task


def test_public_models_are_known_by_what_they_do() -> None:
    assert [task_of(model) for model in ("yolo11n-640", "resnet50", "coco-dataset-vdnr1/2", "yard/3")] == [
        Task.OBJECT_DETECTION,
        Task.CLASSIFICATION,
        Task.INSTANCE_SEGMENTATION,
        None,
    ]


def test_an_answer_that_repeats_the_key_does_not_bring_it_into_the_error(
    script: Script, url: str, tmp_path: Path
) -> None:
    script.body = json.dumps(body([BOX | {"x": KEY}])).encode()
    assert KEY not in str(error_of(url, tmp_path))


def test_a_larger_request_than_the_api_takes_is_not_begun(script: Script, url: str, tmp_path: Path) -> None:
    engine = an_engine(url, tmp_path)
    with pytest.raises(EngineRefused, match=r"20\.0 MB, and the API takes 20; lower input_px") as caught:
        engine.infer(a_picture(20_000_000), in_s(5), unwatched)
    engine.close()
    assert caught.value.cause is Cause.TOO_LARGE
    assert script.seen == []


# v1


@pytest.mark.parametrize(
    ("task", "host"),
    [
        (None, "detect"),
        ("object-detection", "detect"),
        ("keypoint-detection", "detect"),
        ("instance-segmentation", "outline"),
        ("classification", "classify"),
        ("multi-label-classification", "classify"),
        ("semantic-segmentation", "segment"),
    ],
)
def test_the_older_service_has_a_host_for_each_task(task: str | None, host: str) -> None:
    assert options(model="yard/3", api="v1", task=task).address == f"https://{host}.roboflow.com"


def test_an_alias_has_its_host_too_and_an_address_of_ones_own_wins() -> None:
    assert options(model="yolov8n-seg-640", api="v1").address == "https://outline.roboflow.com"
    assert options(model="yard/3", api="v1", url="http://10.0.0.1:9001").address == "http://10.0.0.1:9001"
    assert options(model="yard/3").address == "https://serverless.roboflow.com"


def test_an_answer_that_repeats_the_key_does_not_bring_it_into_the_results(
    script: Script, url: str, tmp_path: Path
) -> None:
    script.body = json.dumps(body([{**BOX, "class": KEY}])).encode()
    engine = an_engine(url, tmp_path)
    answer = engine.infer(a_picture(), in_s(5), unwatched)
    engine.close()
    assert [found.class_name for found in answer.predictions] == ["***"]


def test_the_older_service_gets_the_key_in_the_query(script: Script, url: str, tmp_path: Path) -> None:
    asked(url, tmp_path, api="v1")
    path, headers, _ = script.seen[0]
    assert path == f"/yard/3?confidence=0.4&overlap=0.3&api_key={KEY}"
    assert "Authorization" not in headers


def test_the_older_services_403_may_mean_key_or_model_and_the_words_say_both(
    script: Script, url: str, tmp_path: Path
) -> None:
    script.status, script.body = 403, b'{"message":"Forbidden"}'
    error = error_of(url, tmp_path, api="v1")
    assert isinstance(error, EngineRefused)
    assert error.cause is Cause.AUTH
    assert str(error) == (
        "the API (v1) refuses the key, or has no model yard/3 for it (Forbidden); check api_key and the model"
    )
    assert len(script.seen) == 1


def test_the_older_service_takes_5_mb(script: Script, url: str, tmp_path: Path) -> None:
    engine = an_engine(url, tmp_path, api="v1")
    with pytest.raises(EngineRefused, match="the API takes 5;") as caught:
        engine.infer(a_picture(4_999_000), in_s(5), unwatched)
    assert caught.value.cause is Cause.TOO_LARGE
    assert engine.infer(a_picture(4_990_000), in_s(20), unwatched).predictions
    engine.close()
    assert len(script.seen) == 1


# Servers


@pytest.mark.parametrize(
    ("more", "route", "values"),
    [
        ({}, "object_detection", {"confidence": 0.4, "iou_threshold": 0.3}),
        (
            {"task": "instance-segmentation", "masks": "rle"},
            "instance_segmentation",
            {"confidence": 0.4, "iou_threshold": 0.3, "response_mask_format": "rle"},
        ),
        (
            {"task": "keypoint-detection", "keypoint_confidence": 0.5},
            "keypoints_detection",
            {"confidence": 0.4, "iou_threshold": 0.3, "keypoint_confidence": 0.5},
        ),
        ({"task": "classification"}, "classification", {"confidence": 0.4, "iou_threshold": 0.3}),
        ({"task": "multi-label-classification"}, "classification", {"confidence": 0.4, "iou_threshold": 0.3}),
        ({"task": "semantic-segmentation"}, "semantic_segmentation", {"confidence": 0.4, "iou_threshold": 0.3}),
    ],
)
def test_a_server_is_asked_by_json_at_the_route_of_the_task(
    more: dict[str, Any], route: str, values: dict[str, Any], *, script: Script, url: str, tmp_path: Path
) -> None:
    asked(url + "/", tmp_path, api="server", **more)
    path, headers, _ = script.seen[0]
    assert path == f"/infer/{route}"
    assert "Authorization" not in headers
    fields = sent(script)
    image = fields.pop("image")
    assert image["type"] == "base64"
    assert base64.b64decode(image["value"]) == a_picture().data
    assert fields == {"api_key": KEY, "model_id": "yard/3", **values}


def test_a_server_has_one_place_for_the_key_and_is_asked_once(script: Script, url: str, tmp_path: Path) -> None:
    script.status = 401
    assert error_of(url, tmp_path, api="server").cause is Cause.AUTH
    assert len(script.seen) == 1


def test_a_knock_at_a_json_route_has_a_key_and_no_picture(script: Script, url: str, tmp_path: Path) -> None:
    script.status, script.body = 422, b'{"detail":[]}'
    engine = an_engine(url, tmp_path, api="server")
    assert engine.knock(in_s(5)) < 2000
    engine.close()
    assert sent(script) == {"api_key": KEY}


def test_readings_of_a_json_upload_are_of_the_picture(script: Script, url: str, tmp_path: Path) -> None:
    readings: list[Reading] = []

    def watch(reading: Reading) -> bool:
        readings.append(reading)
        return True

    engine = an_engine(url, tmp_path, api="server")
    engine.infer(a_picture(300_000), in_s(10), watch)
    engine.close()
    assert {reading.acked_bytes + reading.unacked_bytes for reading in readings} == {300_000}
    assert readings[-1].acked_bytes == 300_000
    assert 400_000 < readings[-1].metered_bytes < 460_000  # base64 adds a third
    assert len(script.seen[0][2]) > 400_000


# Workflows


def flow_answer(**outputs: Any) -> bytes:
    return json.dumps({"outputs": [outputs], "profiler_trace": []}).encode()


PREDICTED = {"image": {"width": 64, "height": 48}, "predictions": [BOX | {"parent_id": "image"}]}


def test_a_workflow_is_asked_with_its_inputs_and_its_outputs_go_into_the_answer(
    script: Script, url: str, tmp_path: Path
) -> None:
    script.body = flow_answer(predictions=PREDICTED, count=3, note="two are torn", other="not wanted")
    answer = asked(url, tmp_path, model=None, workflow=FLOW)
    assert script.seen[0][0] == "/yard-works/workflows/count-crates"
    fields = sent(script)
    assert base64.b64decode(fields["inputs"].pop("image")["value"]) == a_picture().data
    assert fields == {"api_key": KEY, "inputs": {"zone": [1, 2]}}
    assert answer.outputs == {"count": 3, "note": "two are torn"}
    assert answer.model == "yard-works/count-crates"
    (found,) = answer.predictions
    assert (found.x, found.y, found.width, found.height) == (640.0, 490.0, 320.0, 180.0)


@pytest.mark.parametrize("shape", list(SHAPES))
def test_a_workflows_predictions_may_have_any_shape(shape: str, script: Script, url: str, tmp_path: Path) -> None:
    script.body = flow_answer(boxes=SHAPES[shape])
    flow = {"id": "yard-works/count-crates", "image": "photo", "predictions": "boxes"}
    answer = asked(url, tmp_path, model=None, workflow=flow)
    assert sent(script)["inputs"].keys() == {"photo"}
    assert answer.predictions
    assert answer.outputs is None
    assert answer.task.value == ("instance-segmentation" if shape in ("polygon", "rle") else shape)


def test_pictures_are_left_out_of_the_outputs_and_what_json_does_not_have_is_null(
    script: Script, url: str, tmp_path: Path
) -> None:
    picture = {"type": "base64", "value": "aGk=", "video_metadata": {}}
    deep: Any = "bottom"
    for _ in range(30):
        deep = [deep]
    flow = {"id": "a/b", "outputs": ["drawn", "crops", "mean", "deep", "name"]}
    script.body = flow_answer(
        predictions=PREDICTED, drawn=picture, crops=[picture, {"n": 1, "p": picture}], mean=float("nan"), deep=deep,
        name="\ud83d",
    )  # fmt: skip
    outputs = asked(url, tmp_path, model=None, workflow=flow).outputs
    assert outputs is not None
    assert outputs.keys() == {"crops", "mean", "deep", "name"}
    assert (outputs["crops"], outputs["mean"], outputs["name"]) == ([{"n": 1}], None, "?")
    assert "bottom" not in json.dumps(outputs["deep"])


def test_outputs_larger_than_a_record_has_room_for_are_null_and_the_log_says_so(
    script: Script, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    script.body = flow_answer(predictions=PREDICTED, count="x" * 70_000, note="small")
    assert asked(url, tmp_path, model=None, workflow=FLOW).outputs == {"count": None, "note": "small"}
    assert "the output count of workflow yard-works/count-crates is left empty" in caplog.text


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        (
            {"predictions": PREDICTED, "count": 3},
            "workflow yard-works/count-crates has no output note; it has: count, pred",
        ),
        ({"boxes": PREDICTED, "count": 3, "note": ""}, "has no output predictions; it has: boxes, count, note"),
    ],
)
def test_an_output_that_is_not_there_is_a_refusal_that_names_those_that_are(
    outputs: dict[str, Any], words: str, *, script: Script, url: str, tmp_path: Path
) -> None:
    script.body = flow_answer(**outputs)
    error = error_of(url, tmp_path, model=None, workflow=FLOW)
    assert isinstance(error, EngineRefused)
    assert words in str(error)


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER,
        {"outputs": []},
        {"outputs": [{}, {}]},
        {"outputs": [5]},
        {"outputs": [{"predictions": [BOX], "count": 0, "note": ""}]},
        {"outputs": [{"predictions": {"predictions": 7}, "count": 0, "note": ""}]},
    ],
)
def test_an_answer_that_is_no_workflows_is_named(answer: Any, script: Script, url: str, tmp_path: Path) -> None:
    script.body = json.dumps(answer).encode()
    error = error_of(url, tmp_path, model=None, workflow=FLOW)
    assert isinstance(error, EngineUnavailable)
    assert error.cause is Cause.BAD_ANSWER


@pytest.mark.parametrize(
    ("status", "said", "kind", "words"),
    [
        (
            400,
            {
                "message": "Could not compile the workflow",
                "error_type": "ReferenceTypeError",
                "inner_error_message": "no such input: zone",
                "blocks_errors": [{"block_id": "counter", "block_type": "x/count@v1"}],
            },
            EngineRefused,
            "(at counter: Could not compile the workflow: no such input: zone)",
        ),
        (
            422,
            {"detail": [{"type": "missing", "loc": ["body", "inputs"], "msg": "Field required", "input": {}}]},
            EngineRefused,
            "(body.inputs: Field required)",
        ),
        (404, {"message": "not found"}, EngineRefused, "the API has no workflow yard-works/count-crates (not found)"),
        (
            500,
            {"message": "step failed", "error_type": "StepExecutionError", "blocks_errors": [{"block_id": "model"}]},
            EngineUnavailable,
            "(at model: step failed)",
        ),
    ],
)
def test_a_workflows_error_says_which_block_and_why(
    status: int, said: Any, kind: type[EngineError], words: str, *, script: Script, url: str, tmp_path: Path
) -> None:
    script.status, script.body = status, json.dumps(said).encode()
    error = error_of(url, tmp_path, model=None, workflow=FLOW)
    assert type(error) is kind
    assert words in str(error)


def test_models_that_a_workflow_ran_elsewhere_are_what_is_billed(script: Script, url: str, tmp_path: Path) -> None:
    script.headers = {"X-Processing-Time": "0.9", "X-Remote-Processing-Time": "0.25"}
    script.body = flow_answer(predictions=PREDICTED, count=3, note="")
    timings = asked(url, tmp_path, model=None, workflow=FLOW).timings
    assert (timings.processing_s, timings.billed_s) == (0.9, 0.35)
    script.status = 500
    assert error_of(url, tmp_path, model=None, workflow=FLOW).processing_s == 0.35


# Mistakes


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "give a model or a workflow"),
        ({"model": "yard/3", "workflow": FLOW}, "give a model or a workflow"),
        ({"model": "yard/3", "api": "server"}, "needs the server's address"),
        ({"workflow": FLOW, "api": "v1"}, "v1 has no workflows"),
        ({"workflow": {"id": "count-crates"}}, "give WORKSPACE/ID"),
        ({"workflow": {"id": "a/b", "parameters": {"image": 1}}}, "image is the picture's"),
        ({"workflow": {"id": "a/b", "parameters": {"x": float("inf")}}}, "give values that JSON has"),
        ({"model": "yolov8n-seg-64"}, "alias such as yolov8n-seg-640"),
        ({"model": "yard/3", "task": "detection"}, "object-detection"),
    ],
)
def test_options_that_do_not_fit_together_are_named(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        options(**more)


def test_an_engine_says_what_it_asks_and_where(tmp_path: Path) -> None:
    context = Context("tester", SystemClock(), tmp_path, tmp_path)
    engine = build(options(workflow=FLOW), context)
    assert repr(engine) == "<Roboflow yard-works/count-crates at https://serverless.roboflow.com>"
