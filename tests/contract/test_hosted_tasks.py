"""Every task from the hosted API, through every kind of server: what it was given comes back in the frame's pixels."""

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco
from unit.emulator_engine import KEY, ScriptedEngine, an_answer, emulating

from agent import canvas, imaging
from agent.clock import SystemClock
from agent.emulator.flavour import Flavour
from agent.engines import _masks
from agent.engines.roboflow import Options, build
from agent.flow import Answer, Keypoint, Picture, Prediction, Regions, Score, Task
from agent.ports import Context
from agent.shape import hosted_shape

SCREWS = (
    Prediction(100.0, 80.5, 60.0, 41.0, 0.9, "screw", 0),
    Prediction(300.5, 200.0, 101.0, 120.0, 0.55, "nut", 1),
)
"""Whole pixels, as the service rounds them, in a picture of at least 500x281."""
WAYS: dict[str, tuple[Flavour, dict[str, Any]]] = {
    "v2": (Flavour.V2, {"model": "shapes/1"}),
    "v1": (Flavour.V1, {"model": "shapes/1", "api": "v1"}),
    "server": (Flavour.SERVER, {"model": "shapes/1", "api": "server"}),
    "workflow": (Flavour.V2, {"workflow": {"id": "vedette/count-objects", "outputs": ["count"]}}),
}
_PARAMETERS = {"masks": "response_mask_format", "keypoint_confidence": "keypoint_confidence"}
"""An option, and the parameter of the emulated workflow that does the same."""
Mask = NDArray[np.bool_]


@dataclass
class Way:
    """One kind of server, and the engine that asks it."""

    script: ScriptedEngine
    ask: Callable[..., Answer]
    outputs: dict[str, Any] | None
    """What the answers have besides."""


@pytest.fixture(params=list(WAYS), scope="module")
def way(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    folder: Path = tmp_path_factory.mktemp("way")
    (folder / "key").write_text(KEY)
    script, (flavour, options) = ScriptedEngine(), WAYS[request.param]
    with emulating(script, api=flavour) as emulator:

        def ask(picture: Picture, task: Task, **wanted: Any) -> Answer:
            fields = {
                "type": "roboflow",
                "api_key": {"file": "key"},
                "url": emulator.url,
                "task": task.value,
                **options,
            }
            if "workflow" in options:  # it has parameters of its own
                fields["workflow"] = options["workflow"] | {
                    "parameters": {_PARAMETERS[k]: v for k, v in wanted.items()}
                }
            else:
                fields |= wanted
            clock = SystemClock()
            engine = build(Options.model_validate(fields), Context("test", clock, folder, folder))
            engine.open()
            try:
                return engine.infer(picture, clock.now() + 20, lambda _: True)
            finally:
                engine.close()

        yield Way(script, ask, {"count": 2} if request.param == "workflow" else None)


@pytest.fixture(scope="module")
def picture() -> Picture:
    """A frame of 1920x1080, as it is sent: 500x281, so that no factor is a whole number, nor the same both ways."""
    return imaging.encode(np.full((1080, 1920, 3), 90, np.uint8), 500, 40)


def scaled(found: Prediction, picture: Picture) -> dict[str, Any]:
    """The box as the record has to have it."""
    across, down = 1920 / picture.width, 1080 / picture.height
    box = {
        "x": found.x * across,
        "y": found.y * down,
        "width": found.width * across,
        "height": found.height * down,
        "confidence": found.confidence,
    }
    return {name: pytest.approx(value, rel=0, abs=1e-6) for name, value in box.items()} | {
        "class": found.class_name,
        "class_id": found.class_id,
    }


def points(corners: Any, picture: Picture) -> list[dict[str, Any]]:
    across, down = 1920 / picture.width, 1080 / picture.height
    return [
        {"x": pytest.approx(x * across, rel=0, abs=1e-6), "y": pytest.approx(y * down, rel=0, abs=1e-6)}
        for x, y in corners
    ]


def enlarged(plane: NDArray[Any]) -> NDArray[Any]:
    """1920x1080, each pixel the nearest."""
    rows, columns = np.arange(1080) * plane.shape[0] // 1080, np.arange(1920) * plane.shape[1] // 1920
    return plane[rows][:, columns]


def blob(found: Prediction, picture: Picture) -> Mask:
    """An ellipse in the object's box."""
    rows, columns = np.mgrid[: picture.height, : picture.width]
    far = ((columns - found.x) / (found.width / 2)) ** 2 + ((rows - found.y) / (found.height / 2)) ** 2
    return np.asarray(far < 0.9)


def whole(confidence: float, name: str, class_id: int) -> Prediction:
    return Prediction(320.0, 180.0, 640.0, 360.0, confidence, name, class_id)


def test_objects(way: Way, picture: Picture) -> None:
    way.script.answer = an_answer(Task.OBJECT_DETECTION, SCREWS)
    answer = way.ask(picture, Task.OBJECT_DETECTION)
    assert way.script.sizes[-1] == (picture.width, picture.height)
    assert answer.task is Task.OBJECT_DETECTION
    assert hosted_shape(answer) == {"predictions": [scaled(found, picture) for found in SCREWS]}


@pytest.mark.parametrize("from_outline", [False, True], ids=["from runs", "from an outline"])
def test_instances_with_outlines(way: Way, picture: Picture, *, from_outline: bool) -> None:
    corners = _masks.outline(blob(SCREWS[0], picture))
    mask = {"points": corners} if from_outline else {"runs": _masks.encode_runs(blob(SCREWS[0], picture))}
    way.script.answer = an_answer(Task.INSTANCE_SEGMENTATION, [replace(SCREWS[0], **mask)])
    answer = way.ask(picture, Task.INSTANCE_SEGMENTATION)
    assert answer.task is Task.INSTANCE_SEGMENTATION
    assert len(corners) > 10
    outline = {"points": points(corners, picture), "mask_format": "polygon"}
    assert hosted_shape(answer) == {"predictions": [scaled(SCREWS[0], picture) | outline]}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # their NumPy code is older
def test_instances_with_run_lengths(way: Way, picture: Picture) -> None:
    masks = [blob(found, picture) for found in SCREWS]
    found = [replace(each, runs=_masks.encode_runs(mask)) for each, mask in zip(SCREWS, masks, strict=True)]
    way.script.answer = an_answer(Task.INSTANCE_SEGMENTATION, found)
    answer = way.ask(picture, Task.INSTANCE_SEGMENTATION, masks="rle")
    assert answer.task is Task.INSTANCE_SEGMENTATION
    for given, mask, item in zip(SCREWS, masks, hosted_shape(answer)["predictions"], strict=True):
        rle = item.pop("rle")
        assert item == scaled(given, picture) | {"mask_format": "rle"}
        judged = coco.decode({"size": rle["size"], "counts": rle["counts"].encode()}).astype(bool)
        assert np.array_equal(judged, enlarged(mask))


def test_keypoints(way: Way, picture: Picture) -> None:
    seen = Keypoint(90.0, 71.0, 0.97, "head", 0)
    unseen = Keypoint(110.0, 90.0, 0.2, "tip", 1)
    way.script.answer = an_answer(Task.KEYPOINT_DETECTION, [replace(SCREWS[0], keypoints=(seen, unseen))])
    answer = way.ask(picture, Task.KEYPOINT_DETECTION, keypoint_confidence=0.5)
    assert answer.task is Task.KEYPOINT_DETECTION
    (item,) = hosted_shape(answer)["predictions"]
    (head, *more) = item.pop("keypoints")
    assert item == scaled(SCREWS[0], picture)
    (place,) = points([(90.0, 71.0)], picture)
    assert head == place | {"confidence": 0.97, "class_id": 0, "class": "head"}
    assert more == []


def test_one_class(way: Way, picture: Picture) -> None:
    shares = [whole(0.83421, "ok", 1), whole(0.4, "torn", 0), whole(0.05, "bent", 2)]
    way.script.answer = an_answer(Task.CLASSIFICATION, shares)
    answer = way.ask(picture, Task.CLASSIFICATION)
    assert answer.task is Task.CLASSIFICATION
    assert hosted_shape(answer) == {
        "predictions": [
            {"class": "ok", "class_id": 1, "confidence": 0.8342},
            {"class": "torn", "class_id": 0, "confidence": 0.4},
        ],
        "top": "ok",
        "confidence": 0.8342,
    }
    assert {(each.x, each.y, each.width, each.height) for each in answer.predictions} == {(960.0, 540.0, 1920, 1080)}


def test_many_labels(way: Way, picture: Picture) -> None:
    scores = (Score("vest", 1, 0.12), Score("helmet", 0, 0.9), Score("gloves", 2, 0.95))
    way.script.answer = an_answer(Task.MULTI_LABEL_CLASSIFICATION, scores=scores)
    answer = way.ask(picture, Task.MULTI_LABEL_CLASSIFICATION)
    assert answer.task is Task.MULTI_LABEL_CLASSIFICATION
    assert hosted_shape(answer) == {
        "predictions": {each.class_name: {"confidence": each.confidence, "class_id": each.class_id} for each in scores},
        "predicted_classes": ["gloves", "helmet"],
    }


def test_areas(way: Way, picture: Picture) -> None:
    ids = np.zeros((picture.height, picture.width), np.uint8)
    ids[picture.height // 2 :] = 1
    ids[:40, 100:301] = 2
    sure = np.random.default_rng(2).integers(0, 255, ids.shape, dtype=np.uint8)
    names = {0: "background", 1: "road", 2: "kerb"}
    regions = Regions(canvas.encode_png(ids), canvas.encode_png(sure), names, (0, 1, 2))
    way.script.answer = an_answer(Task.SEMANTIC_SEGMENTATION, regions=regions)
    answer = way.ask(picture, Task.SEMANTIC_SEGMENTATION)
    assert answer.task is Task.SEMANTIC_SEGMENTATION
    item = hosted_shape(answer)["predictions"]
    for name, plane in (("segmentation_mask", ids), ("confidence_mask", sure)):
        data = base64.b64decode(item.pop(name))
        assert np.array_equal(canvas.decode_plane(data, most_width=1920, most_height=1080), enlarged(plane))
    assert item == {
        "class_map": {"0": "background", "1": "road", "2": "kerb"},
        "present_class_ids": [0, 1, 2],
    }
    assert [each.class_name for each in answer.predictions] == ["road", "kerb"]
    road, kerb = enlarged(ids) == 1, enlarged(ids) == 2
    for each, mask in zip(answer.predictions, (road, kerb), strict=True):
        rows, columns = np.nonzero(mask)
        assert each.x - each.width / 2 == columns.min()
        assert each.x + each.width / 2 == columns.max() + 1
        assert each.y - each.height / 2 == rows.min()
        assert each.y + each.height / 2 == rows.max() + 1
        assert each.confidence == pytest.approx(enlarged(sure)[mask].mean() / 255, abs=1e-3)


def test_nothing(way: Way, picture: Picture) -> None:
    way.script.answer = an_answer(Task.KEYPOINT_DETECTION)
    answer = way.ask(picture, Task.KEYPOINT_DETECTION)
    assert (answer.task, answer.predictions) == (Task.KEYPOINT_DETECTION, ())


def test_what_a_workflow_gives_besides(way: Way, picture: Picture) -> None:
    way.script.answer = an_answer(Task.OBJECT_DETECTION, SCREWS)
    assert way.ask(picture, Task.OBJECT_DETECTION).outputs == way.outputs
