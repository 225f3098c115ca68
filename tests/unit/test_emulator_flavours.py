"""The emulator as the older service and as a server of one's own; its workflow; and the shapes of its answers."""

import argparse
import base64
import contextlib
import json
import socket
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.emulator_engine import FORKLIFT, KEY, NEAR_FORKLIFT, PERSON, ScriptedEngine, an_answer, emulating

from agent import imaging
from agent.emulator import command, json_requests, keys, replies
from agent.emulator.flavour import Flavour
from agent.emulator.server import Emulator
from agent.engines import _masks
from agent.flow import Keypoint, Prediction, Task

JPEG = imaging.encode_jpeg(np.full((360, 640, 3), 90, np.uint8), 80)
IMAGE = {"type": "base64", "value": base64.b64encode(JPEG).decode()}
BEARER = {"authorization": f"Bearer {KEY}"}
ASKED = {"api_key": KEY, "model_id": "shapes/1", "image": IMAGE}
FLOW = "/vedette/workflows/count-objects"


def client_of(emulator: Emulator) -> httpx.Client:
    return httpx.Client(base_url=emulator.url, timeout=20.0)


@pytest.fixture(scope="module")
def v1() -> Iterator[httpx.Client]:
    with emulating(api=Flavour.V1) as emulator, client_of(emulator) as client:
        yield client


@pytest.fixture(scope="module")
def server() -> Iterator[httpx.Client]:
    known = keys.parse([KEY, "poor=no_credits"])
    with emulating(api=Flavour.SERVER, keys=known) as emulator, client_of(emulator) as client:
        yield client


@pytest.fixture(scope="module")
def v2() -> Iterator[httpx.Client]:
    with emulating() as emulator, client_of(emulator) as client:
        yield client


def upload(client: httpx.Client, path: str = "/shapes/1", size: int = len(JPEG), **params: Any) -> httpx.Response:
    data = JPEG.ljust(size, b"\0")
    return client.post(path, params={"api_key": KEY} | params, files={"file": ("a.jpg", data, "image/jpeg")})


def classes(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [one["class"] for one in answer.json()["predictions"]]


# The older service


def test_the_older_service_answers_as_the_newer_one_does(v1: httpx.Client) -> None:
    assert classes(upload(v1)) == ["forklift"]


def test_the_older_service_says_403_to_a_wrong_key_to_none_and_to_another_model(v1: httpx.Client) -> None:
    answers = [upload(v1, api_key="wrong"), upload(v1, api_key=""), upload(v1, "/other/1")]
    assert [answer.status_code for answer in answers] == [403, 403, 403]
    assert list(answers[0].json()) == ["message"]


def test_the_older_service_takes_5_mb(v1: httpx.Client) -> None:
    head = f"POST /shapes/1?api_key={KEY} HTTP/1.1\r\nHost: x\r\nContent-Length: {{}}\r\n\r\n"
    with socket.create_connection((v1.base_url.host, v1.base_url.port or 0), timeout=20) as raw:
        raw.sendall(head.format(5_000_001).encode())
        assert raw.recv(65536).startswith(b"HTTP/1.1 413 ")
    assert upload(v1, size=1_000_000).status_code == 200


def test_the_older_service_has_no_workflows(v1: httpx.Client) -> None:
    assert v1.post(FLOW, json={"api_key": KEY, "inputs": {"image": IMAGE}}).status_code == 404


# A server of one's own


@pytest.mark.parametrize(
    "route",
    ["object_detection", "instance_segmentation", "classification", "keypoints_detection", "semantic_segmentation"],
)
def test_every_json_route_runs_the_model_that_there_is(server: httpx.Client, route: str) -> None:
    answer = server.post(f"/infer/{route}", json=ASKED)
    assert classes(answer) == ["forklift"]
    assert list(answer.json()) == ["inference_id", "time", "image", "predictions"]
    assert answer.headers["x-model-id"] == "shapes/1"


def test_the_hosted_route_is_there_too(server: httpx.Client) -> None:
    assert classes(upload(server)) == ["forklift"]


def test_a_list_of_pictures_is_answered_by_a_list_of_one_inference(server: httpx.Client) -> None:
    answers = server.post("/infer/object_detection", json=ASKED | {"image": [IMAGE, IMAGE]}).json()
    assert len(answers) == 2
    assert len({answer["inference_id"] for answer in answers}) == 1


def test_parameters_stand_in_the_body(server: httpx.Client) -> None:
    sure = server.post("/infer/object_detection", json=ASKED | {"confidence": 0.9})
    near = server.post("/infer/object_detection", json=ASKED | {"confidence": 0.3, "iou_threshold": 0.9})
    few = server.post("/infer/object_detection", json=ASKED | {"confidence": 0.3, "max_detections": 1})
    assert (classes(sure), classes(near)) == ([], ["forklift", "forklift", "person"])
    assert classes(few) == ["forklift"]


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"api_key": "wrong"}, 401, "not authorized"),
        ({"api_key": None}, 401, "Unauthorized api_key"),
        ({"api_key": "poor"}, 402, "credits"),
        ({"model_id": "other/1"}, 404, "not found"),
        ({"confidence": "lots"}, 422, '"loc":["body","confidence"]'),
        ({"response_mask_format": "bitmap"}, 400, "polygon or rle"),
        ({"image": {"type": "url", "value": "https://example.org/a.jpg"}}, 400, "fetches no URLs"),
        ({"image": {"type": "base64", "value": "!"}}, 400, "not base64"),
        ({"image": "AAAA"}, 400, "an image is"),
        ({"image": {"type": "base64", "value": "AAAA"}}, 400, "Could not load input image"),
    ],
)
def test_a_bad_request_to_a_json_route_says_why(
    server: httpx.Client, change: dict[str, Any], status: int, words: str
) -> None:
    answer = server.post("/infer/object_detection", json=ASKED | change)
    assert answer.status_code == status
    assert words in answer.text


def test_missing_fields_are_422_in_the_frameworks_words(server: httpx.Client) -> None:
    answer = server.post("/infer/object_detection", json={"api_key": KEY})
    assert answer.status_code == 422
    assert answer.content == (
        b'{"detail":[{"type":"missing","loc":["body","model_id"],"msg":"Field required","input":{}},'
        b'{"type":"missing","loc":["body","image"],"msg":"Field required","input":{}}]}'
    )


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_what_is_no_json_object_is_422(server: httpx.Client, content: bytes) -> None:
    headers = BEARER | {"content-type": "application/json"}
    assert server.post("/infer/object_detection", content=content, headers=headers).status_code == 422


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(["model_id", "image", "confidence", "iou_threshold", "max_detections", "response_mask_format"])


@given(st.dictionaries(FIELDS, JSON, max_size=3) | JSON)
@settings(max_examples=200)
def test_any_json_is_understood_or_refused(fields: Any) -> None:
    content = json.dumps(ASKED | fields if isinstance(fields, dict) else fields).encode()
    for read in (json_requests.of_workflow, partial(json_requests.of_model, project="shapes/1")):
        with contextlib.suppress(replies.Refused):
            read(content)


def test_a_key_in_the_query_beats_the_one_in_the_body(server: httpx.Client) -> None:
    assert server.post("/infer/object_detection", params={"api_key": "wrong"}, json=ASKED).status_code == 401


def test_the_registry_needs_no_key_and_names_the_model(server: httpx.Client) -> None:
    assert server.get("/model/registry").json()["models"][0]["model_id"] == "shapes/1"


# The hosted service has no JSON routes


def test_a_json_route_of_the_hosted_service_is_another_project(v2: httpx.Client) -> None:
    inside = v2.post("/infer/object_detection", json=ASKED)
    outside = v2.post("/infer/object_detection", json=ASKED, headers=BEARER)
    assert inside.status_code == 401  # a key in the body opens the gate, and not the hosted route
    assert outside.status_code == 404


def test_a_key_in_a_body_of_another_type_is_none(v2: httpx.Client) -> None:
    content = b'{"api_key":"%s","inputs":{}}' % KEY.encode()
    assert v2.post(FLOW, content=content, headers={"content-type": "text/plain"}).status_code == 401


# The workflow


@pytest.mark.parametrize("path", [FLOW, "/infer/workflows/vedette/count-objects"])
def test_the_workflow_gives_predictions_and_their_count(v2: httpx.Client, path: str) -> None:
    answer = v2.post(path, json={"api_key": KEY, "inputs": {"image": IMAGE, "confidence": 0.3}})
    assert answer.status_code == 200
    (outputs,) = answer.json()["outputs"]
    assert outputs["count"] == 2
    assert outputs["predictions"]["image"] == {"width": 640, "height": 360}
    assert [one["class"] for one in outputs["predictions"]["predictions"]] == ["forklift", "person"]
    assert answer.headers["x-workflow-id"] == "count-objects"


def test_the_workflow_answers_a_list_of_pictures_one_by_one(v2: httpx.Client) -> None:
    answer = v2.post(FLOW, json={"api_key": KEY, "inputs": {"image": [IMAGE, IMAGE]}})
    assert [outputs["count"] for outputs in answer.json()["outputs"]] == [1, 1]


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/other/workflows/count-objects", {"inputs": {"image": IMAGE}}, 404),
        ("/vedette/workflows/other", {"inputs": {"image": IMAGE}}, 404),
        (FLOW, {}, 422),
        (FLOW, {"inputs": {}}, 400),
        (FLOW, {"inputs": 5}, 400),
        (FLOW, {"inputs": {"image": IMAGE}, "api_key": "wrong"}, 401),
    ],
)
def test_a_bad_request_to_a_workflow_has_its_status(
    v2: httpx.Client, path: str, fields: dict[str, Any], status: int
) -> None:
    assert v2.post(path, json={"api_key": KEY} | fields).status_code == status


def test_a_workflow_without_its_picture_says_so_in_a_workflows_words(v2: httpx.Client) -> None:
    answer = v2.post(FLOW, json={"api_key": KEY, "inputs": {}}).json()
    assert {"message", "error_type", "context", "inner_error_type", "inner_error_message", "blocks_errors"} == set(
        answer
    )


# The shapes


SQUARE = Prediction(100.2, 100.3, 40.4, 40.2, 0.9, "crate", 2)
RING = ((80.0, 80.0), (120.0, 80.0), (120.0, 120.0), (80.0, 120.0))


def answered(answer: Any, **params: Any) -> dict[str, Any]:
    script = ScriptedEngine()
    script.answer = answer
    with emulating(script) as emulator, client_of(emulator) as client:
        body: dict[str, Any] = upload(client, **params).json()
    return body


def with_mask(**mask: Any) -> Any:
    found = Prediction(*(getattr(SQUARE, name) for name in _BOX), **mask)
    return an_answer(Task.INSTANCE_SEGMENTATION, [found])


_BOX = ("x", "y", "width", "height", "confidence", "class_name", "class_id")


def test_an_outline_stands_behind_the_objects_id_in_whole_pixels() -> None:
    (item,) = answered(with_mask(points=tuple((x + 0.3, y - 0.3) for x, y in RING)))["predictions"]
    assert list(item)[-3:] == ["detection_id", "points", "mask_format"]
    assert item["mask_format"] == "polygon"
    assert item["points"] == [{"x": x, "y": y} for x, y in RING]
    assert (item["x"], item["width"]) == (100.0, 40.0)


def test_run_lengths_are_given_where_they_are_asked_for() -> None:
    (item,) = answered(with_mask(points=RING), response_mask_format="rle")["predictions"]
    mask = np.zeros((360, 640), bool)
    mask[80:121, 80:121] = True
    runs = _masks.encode_runs(mask)
    assert item["rle"] == {"size": [360, 640], "counts": runs.counts}
    assert item["mask_format"] == "rle"
    assert "points" not in item


def test_a_mask_format_that_there_is_not_is_400(v2: httpx.Client) -> None:
    assert upload(v2, response_mask_format="bitmap").status_code == 400


def test_keypoints_that_were_not_seen_are_left_out() -> None:
    slots = tuple(Keypoint(10.0 * n, 20.0, score, f"p{n}", n) for n, score in enumerate((0.9, 0.3, 0.0)))
    found = Prediction(*(getattr(SQUARE, name) for name in _BOX), keypoints=slots)
    answer = an_answer(Task.KEYPOINT_DETECTION, [found])
    names = [
        [slot["class"] for slot in answered(answer, **params)["predictions"][0]["keypoints"]]
        for params in ({}, {"keypoint_confidence": 0.5})
    ]
    assert names == [["p0", "p1"], ["p0"]]


def test_classes_below_the_threshold_are_left_out_and_the_best_is_named() -> None:
    shares = [Prediction(320, 180, 640, 360, share, name, 0) for share, name in ((0.7, "ok"), (0.2, "torn"))]
    answer = an_answer(Task.CLASSIFICATION, shares)
    assert answered(answer)["top"] == "ok"
    none = answered(answer, confidence=0.8)
    assert (none["predictions"], none["top"], none["confidence"]) == ([], "", 0.0)


def test_objects_of_all_kinds_are_suppressed_and_limited() -> None:
    answer = an_answer(Task.KEYPOINT_DETECTION, [FORKLIFT, NEAR_FORKLIFT, PERSON])
    assert len(answered(answer, confidence=0.1)["predictions"]) == 2
    assert len(answered(answer, confidence=0.1, max_detections=1)["predictions"]) == 1


# The command line


def test_the_flavour_is_chosen_on_the_command_line() -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert command.settings_from(parser.parse_args([])).api is Flavour.V2
    assert command.settings_from(parser.parse_args(["--api", "server"])).api is Flavour.SERVER
