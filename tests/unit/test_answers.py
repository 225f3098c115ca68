"""The hosted API's answers become what they say, in the frame's pixels; anything else is one clear error."""

import base64
import copy
import json
import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.hosted_answers import BOX, CORNERS, IDS, MASK, PICTURE, SHAPES, SURE, body, png, rle

from agent import canvas
from agent.engines import _answers
from agent.engines._answers import Findings
from agent.engines._masks import decode_runs
from agent.flow import Answer, Keypoint, Prediction, Score, Task, Timings
from agent.record import encoded
from agent.shape import hosted_shape

SMALL = replace(PICTURE, frame_width=80, frame_height=60)
CRATE = Prediction(640.0, 490.0, 320.0, 180.0, 0.9, "crate", 2)


def read(answer: Any, assumed: Task = Task.OBJECT_DETECTION) -> Findings:
    return _answers.read(answer, PICTURE, assumed=assumed)


def answer_of(found: Findings) -> Answer:
    return Answer(found.predictions, "m", "e", Timings(), task=found.task, scores=found.scores, regions=found.regions)


def enlarged(plane: Any) -> Any:
    """20 times as large, nearest neighbour."""
    return np.kron(plane, np.ones((20, 20), plane.dtype))


# The shapes


def test_a_box_is_scaled_from_the_picture_to_the_frame() -> None:
    found = read(SHAPES["object-detection"])
    assert (found.task, found.predictions) == (Task.OBJECT_DETECTION, (CRATE,))


def test_the_scale_is_that_of_the_picture_which_the_server_says_it_had() -> None:
    (found,) = read(SHAPES["object-detection"] | {"image": {"width": 128, "height": 96}}).predictions
    assert (found.x, found.y, found.width, found.height) == (320.0, 245.0, 160.0, 90.0)


def test_an_outlines_corners_are_scaled() -> None:
    found = read(SHAPES["polygon"])
    assert found.task is Task.INSTANCE_SEGMENTATION
    assert found.predictions[0].points == ((480.0, 400.0), (480.0, 560.0), (780.0, 560.0), (780.0, 400.0))


def test_a_mask_of_runs_is_as_large_as_the_frame() -> None:
    found = read(SHAPES["rle"])
    assert found.task is Task.INSTANCE_SEGMENTATION
    runs = found.predictions[0].runs
    assert runs is not None
    assert np.array_equal(decode_runs(runs), enlarged(MASK))


def test_keypoints_are_scaled_and_named() -> None:
    found = read(SHAPES["keypoint-detection"])
    assert found.task is Task.KEYPOINT_DETECTION
    assert found.predictions[0].keypoints == (Keypoint(600.0, 430.0, 0.97, "nose", 0),)


def test_a_class_is_an_object_as_large_as_the_frame_and_the_best_comes_first() -> None:
    answer = copy.deepcopy(SHAPES["classification"])
    answer["predictions"].reverse()
    found = read(answer)
    assert found.task is Task.CLASSIFICATION
    assert found.predictions == (
        Prediction(640.0, 480.0, 1280, 960, 0.8342, "ok", 1),
        Prediction(640.0, 480.0, 1280, 960, 0.41, "torn", 0),
    )


def test_no_class_that_passed_is_still_a_classification() -> None:
    found = read(body([], top="", confidence=0.0))
    assert (found.task, found.predictions) == (Task.CLASSIFICATION, ())


def test_of_many_labels_all_have_scores_and_those_that_passed_are_predictions() -> None:
    found = read(SHAPES["multi-label-classification"])
    assert found.task is Task.MULTI_LABEL_CLASSIFICATION
    assert found.scores == (Score("helmet", 0, 0.9), Score("vest", 1, 0.12))
    assert found.predictions == (Prediction(640.0, 480.0, 1280, 960, 0.9, "helmet", 0),)


@pytest.mark.parametrize("nested", [True, False], ids=["in predictions", "at top level, as older servers have it"])
def test_semantic_masks_are_as_large_as_the_frame_and_each_class_has_a_box(nested: bool) -> None:
    answer = SHAPES["semantic-segmentation"]
    found = read(answer if nested else answer["predictions"] | {"image": answer["image"]})
    assert found.task is Task.SEMANTIC_SEGMENTATION
    regions = found.regions
    assert regions is not None
    assert regions.present_ids == (0, 1, 7)
    assert dict(regions.class_names) == {0: "background", 1: "road", 7: "kerb"}
    for data, plane in ((regions.mask_png, IDS), (regions.confidence_png, SURE)):
        assert np.array_equal(canvas.decode_plane(data, most_width=1280, most_height=960), enlarged(plane))
    assert found.predictions == (
        Prediction(640.0, 780.0, 1280, 360, 0.8, "road", 1),
        Prediction(300.0, 840.0, 200, 80, 0.2, "kerb", 7),
    )


def test_a_semantic_answer_without_scores_is_sure_of_itself_and_a_class_without_a_name_is_its_number() -> None:
    found = read(body({"segmentation_mask": png(IDS), "class_map": {"0": "background"}}))
    assert [(each.class_name, each.confidence) for each in found.predictions] == [("class_1", 1.0), ("class_7", 1.0)]


@pytest.mark.parametrize(
    ("assumed", "task"),
    [
        (Task.INSTANCE_SEGMENTATION, Task.INSTANCE_SEGMENTATION),
        (Task.KEYPOINT_DETECTION, Task.KEYPOINT_DETECTION),
        (Task.SEMANTIC_SEGMENTATION, Task.OBJECT_DETECTION),  # such an answer never is an empty list
    ],
)
def test_an_answer_without_objects_is_of_the_task_that_is_assumed(assumed: Task, task: Task) -> None:
    assert read(body([]), assumed) == Findings(task, ())


def test_a_class_without_a_number_has_none() -> None:
    bare = {name: value for name, value in BOX.items() if name != "class_id"}
    assert read(body([bare])).predictions[0].class_id == -1


def test_classes_without_a_best_one_are_a_classification_too() -> None:
    found = read(body([{"class": "ok", "class_id": 1, "confidence": 0.8}]))
    assert (found.task, found.predictions[0].class_name) == (Task.CLASSIFICATION, "ok")


def test_halves_of_characters_do_not_reach_a_record() -> None:
    found = read(json.loads(json.dumps(body([BOX | {"class": "\ud83d crate"}]))))
    assert found.predictions[0].class_name == "? crate"


def test_a_score_that_rounding_put_above_1_is_1() -> None:
    assert read(body([BOX | {"confidence": 1.0000001}])).predictions[0].confidence == 1.0


# What is none


def png_head(width: int, height: int, kind: bytes = b"\x08\x00") -> bytes:
    """A PNG file that says it is so large, and holds next to nothing."""
    head = struct.pack(">II", width, height) + kind + b"\0\0\0"
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def semantic(mask: bytes | str, **more: Any) -> dict[str, Any]:
    text = mask if isinstance(mask, str) else base64.b64encode(mask).decode()
    return body({"segmentation_mask": text, "class_map": {"0": "background"}, **more})


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({}, "no predictions"),
        (body(None), "no predictions"),
        (body([5]), "a prediction is 5, not an object"),
        (body([BOX | {"x": None}]), "x is missing"),
        (body([{name: value for name, value in BOX.items() if name != "x"}]), "x is missing"),
        (body([BOX, {"class": "crate", "confidence": 0.5}]), "x is missing"),
        (body([BOX | {"x": "32"}]), "x is '32', not a number"),
        (body([BOX | {"x": True}]), "x is True, not a number"),
        (body([BOX | {"x": float("nan")}]), "x is nan"),
        (body([BOX | {"x": 1e300}]), "not from"),
        (body([BOX | {"width": -1}]), "width is -1, not from 0"),
        (body([BOX | {"confidence": 87}]), "confidence is 87, not from"),
        (body([BOX | {"class_id": 10**400}]), "class_id"),
        (body([BOX | {"class": ["crate"]}]), "class is a list of 1, not a text"),
        (body([BOX | {"class": "x" * 5000}]), "a text of 5000 letters"),
        (body([BOX]) | {"image": {"width": 0, "height": 48}}, "width is 0, not from 1"),
        (body([BOX]) | {"image": [64, 48]}, "its image is a list of 2"),
        (body([BOX] * 3001), "3001 predictions"),
        (body([BOX | {"points": "many"}]), "points is 'many', not a list"),
        (body([BOX | {"points": [[1, 2]]}]), "a point is a list of 2"),
        (body([BOX | {"points": CORNERS * 250_000}]), "1000000 points"),
        (body([BOX | {"keypoints": [{"x": 1.0, "y": 1.0, "confidence": 0.5}]}]), "class is missing"),
        (body([BOX | {"rle": rle(MASK) | {"size": [10**9, 10**9]}}]), "not as large as the picture"),
        (body([BOX | {"rle": rle(MASK) | {"counts": "0"}}]), "not those of 64x48"),
        (body([BOX | {"rle": rle(MASK) | {"counts": [1, 2]}}]), "counts is a list of 2"),
        (body([BOX | {"rle": rle(MASK) | {"counts": "\u20ac"}}]), "ascii"),
        (body({"helmet": {"confidence": 0.9}}), "predicted_classes is missing"),
        (body({"helmet": 0.9}, predicted_classes=["helmet"]), "a class is 0.9, not an object"),
        (body({str(each): {} for each in range(30_001)}, predicted_classes=[]), "30001 classes"),
        (semantic("!"), "segmentation_mask: "),
        (semantic(b"GIF89a"), "not a grey PNG of 8 bits"),
        (semantic(png_head(50_000, 50_000)), "has 50000x50000 pixels, and may have 64x48"),
        (semantic(png_head(64, 48, b"\x10\x00")), "not a grey PNG of 8 bits"),
        (semantic(png_head(64, 48)[:60]), "cannot be decoded"),
        (semantic(png(IDS), class_map=[1]), "class_map is a list"),
        (semantic(png(IDS), class_map={"-1": "x"}), "class_map has keys"),
        (semantic(png(IDS), confidence_mask=5), "confidence_mask"),
    ],
)
def test_an_answer_that_is_none_is_an_error_that_says_where(answer: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read(answer)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every part of a JSON value."""
    yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from places(part, (*path, key))


def put(value: Any, path: tuple[Any, ...], part: Any) -> Any:
    """`value` with another part at the end of `path`."""
    if not path:
        return part
    changed = copy.copy(value)
    changed[path[0]] = put(value[path[0]], path[1:], part)
    return changed


def holds(answer: Any) -> None:
    """It is an answer that a record can hold, or a ValueError."""
    if not isinstance(answer, dict):
        return
    try:
        found = _answers.read(answer, SMALL, assumed=Task.OBJECT_DETECTION)
    except ValueError:
        return
    encoded(hosted_shape(answer_of(found)))


@given(st.sampled_from(list(SHAPES.values())), st.data())
@settings(max_examples=200)
def test_any_json_anywhere_in_an_answer_is_an_answer_or_a_value_error(answer: Any, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(answer))))
        answer = put(answer, path, data.draw(JSON))
    holds(answer)


def test_ten_thousand_answers_with_broken_bytes_are_answers_or_value_errors() -> None:
    draw = random.Random(6)  # noqa: S311 - noise, not a secret
    texts = [json.dumps(answer).encode() for answer in SHAPES.values()]
    understood = 0
    for number in range(10_000):
        text = bytearray(texts[number % len(texts)])
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(text))
            text[at : at + draw.randint(0, 3)] = draw.choice((b"9", b"-", b"e9", b"]", b'"', b"\xff", b"", b"0"))
        try:
            answer = json.loads(text)
        except ValueError:
            continue
        understood += 1
        holds(answer)
    assert understood > 1000
