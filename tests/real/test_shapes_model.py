"""The shipped model finds what the synthetic camera draws. The decoder here is written apart from the agent's."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from agent import canvas, imaging
from agent.flow import Pixels
from agent.sources import synthetic
from agent.sources._scene import CLASSES, Scene, Shape

PACKAGE = Path(__file__).parents[2] / "models" / "shapes"
CARD: dict[str, Any] = yaml.safe_load((PACKAGE / "model.yaml").read_text(encoding="utf-8"))
BAR = 0.95
SIDE = 320

Box = tuple[int, float, float, float, float]
"""Class id, left, top, right, bottom in pixels of the frame."""


class Detector:
    def __init__(self, file: str) -> None:
        self._interpreter = Interpreter(str(PACKAGE / file), num_threads=1)
        self._interpreter.allocate_tensors()
        (self.input,) = self._interpreter.get_input_details()
        (self.output,) = self._interpreter.get_output_details()

    def rows(self, rgb: Pixels) -> NDArray[np.float32]:
        tensor = rgb[None] / np.float32(255)
        if self.input["dtype"] == np.int8:
            scale, zero = self.input["quantization"]
            tensor = (tensor / scale + zero).round().clip(-128, 127).astype(np.int8)
        self._interpreter.set_tensor(self.input["index"], tensor)
        self._interpreter.invoke()
        rows = self._interpreter.get_tensor(self.output["index"])[0]
        if self.output["dtype"] == np.int8:
            scale, zero = self.output["quantization"]
            rows = (rows.astype(np.float32) - zero) * scale
        return np.asarray(rows)

    def find(self, pixels: Pixels) -> list[Box]:
        """Boxes with a score above 0.4, best first, none over another of its class by an IoU above 0.3."""
        rgb, fit = canvas.letterbox_rgb(pixels, SIDE, SIDE)
        rows = self.rows(rgb)
        found: list[Box] = []
        for cell in np.argsort(-rows[4:].max(axis=0)):
            x, y, width, height = (float(value) * SIDE for value in rows[:4, cell])
            if rows[4:, cell].max() <= 0.4:
                break
            left, right = ((edge - fit.left_px) / fit.scale_x for edge in (x - width / 2, x + width / 2))
            top, bottom = ((edge - fit.top_px) / fit.scale_y for edge in (y - height / 2, y + height / 2))
            box = (int(rows[4:, cell].argmax()), left, top, right, bottom)
            if all(iou(box, other) <= 0.3 for other in found):
                found.append(box)
        return found


def iou(a: Box, b: Box) -> float:
    """0 for different classes."""
    across, down = min(a[3], b[3]) - max(a[1], b[1]), min(a[4], b[4]) - max(a[2], b[2])
    if a[0] != b[0] or across <= 0 or down <= 0:
        return 0.0
    areas = [(box[3] - box[1]) * (box[4] - box[2]) for box in (a, b)]
    return across * down / (sum(areas) - across * down)


def box_of(shape: Shape) -> Box:
    half_width, half_height = shape.width / 2, shape.height / 2
    return shape.class_id, shape.x - half_width, shape.y - half_height, shape.x + half_width, shape.y + half_height


def precision_and_recall(detector: Detector, frames: Iterable[tuple[Pixels, tuple[Shape, ...]]]) -> tuple[float, float]:
    hits = found = wanted = 0
    for pixels, truth in frames:
        free = [box_of(shape) for shape in truth]
        wanted += len(free)
        for box in detector.find(pixels):
            found += 1
            best = max(free, key=lambda other: iou(box, other), default=None)
            if best is not None and iou(box, best) >= 0.5:
                free.remove(best)
                hits += 1
    return hits / max(1, found), hits / max(1, wanted)


@pytest.fixture(scope="module", params=["float32", "int8"])
def detector(request: pytest.FixtureRequest) -> Detector:
    return Detector(CARD["variants"][request.param])


def test_the_card_states_both_files_and_they_are_the_ones_it_was_written_for() -> None:
    assert set(CARD["sha256"]) == set(CARD["variants"].values()) == {path.name for path in PACKAGE.glob("*.tflite")}
    assert CARD["file"] == CARD["variants"]["int8"]
    for name, digest in CARD["sha256"].items():
        assert hashlib.sha256((PACKAGE / name).read_bytes()).hexdigest() == digest


def test_the_card_has_exactly_the_agreed_keys_and_the_scene_s_classes() -> None:
    assert set(CARD) == {
        *("name", "description", "task", "file", "variants", "input", "labels"),
        *("sha256", "licence", "source", "metrics"),
    }
    assert (CARD["name"], CARD["task"], CARD["licence"]) == ("shapes", "object-detection", "Apache-2.0")
    assert CARD["input"] == {"width": SIDE, "height": SIDE}
    assert tuple(CARD["labels"]) == CLASSES


@pytest.mark.parametrize("variant", ["float32", "int8"])
def test_the_figures_on_the_card_reach_the_bar(variant: str) -> None:
    assert CARD["metrics"][variant]["precision"] >= BAR
    assert CARD["metrics"][variant]["recall"] >= BAR


def test_inputs_and_outputs_are_those_of_a_yolov8_export(detector: Detector) -> None:
    assert detector.input["shape"].tolist() == [1, SIDE, SIDE, 3]
    assert detector.output["shape"].tolist() == [1, 4 + len(CLASSES), 2100]
    assert detector.input["dtype"] == detector.output["dtype"]
    rows = detector.rows(canvas.letterbox_rgb(Scene(640, 480, seed=0, shapes=6).render(0), SIDE, SIDE)[0])
    assert rows.min() >= 0
    assert rows.max() <= 1


def test_the_int8_file_has_int8_input_and_output_with_scales_of_their_own() -> None:
    detector = Detector(CARD["variants"]["int8"])
    for tensor in (detector.input, detector.output):
        assert tensor["dtype"] == np.int8
        assert tensor["quantization"][0] == pytest.approx(1 / 255, rel=0.02)


def test_the_files_are_small_enough_to_ship() -> None:
    assert all((PACKAGE / name).stat().st_size <= 1_500_000 for name in CARD["sha256"])


@pytest.mark.parametrize(("width", "height"), [(320, 240), (640, 480), (1280, 720), (480, 480)])
def test_it_finds_the_shapes_of_scenes_it_never_saw(detector: Detector, width: int, height: int) -> None:
    scenes = [Scene(width, height, seed=seed, shapes=6) for seed in range(7000, 7015)]
    frames = ((scene.render(index), scene.truth(index)) for scene in scenes for index in range(5, 1000, 100))
    precision, recall = precision_and_recall(detector, frames)
    assert precision >= BAR
    assert recall >= BAR


def test_it_finds_the_shapes_of_the_synthetic_camera_as_it_comes(detector: Detector) -> None:
    options = synthetic.Options(type="synthetic")
    scene = Scene(options.width, options.height, seed=options.seed, shapes=options.shapes)
    frames = ((scene.render(index), scene.truth(index)) for index in range(0, 3000, 20))
    precision, recall = precision_and_recall(detector, frames)
    assert precision >= BAR
    assert recall >= BAR


def test_it_finds_the_shapes_in_a_strongly_compressed_jpeg_too(detector: Detector) -> None:
    scenes = [Scene(640, 480, seed=seed, shapes=6) for seed in range(7100, 7115)]
    frames = (
        (imaging.decode_image(imaging.encode_jpeg(scene.render(index), 50)), scene.truth(index))
        for scene in scenes
        for index in range(5, 1000, 100)
    )
    precision, recall = precision_and_recall(detector, frames)
    assert precision >= BAR
    assert recall >= BAR


def test_it_finds_nothing_where_nothing_is_drawn(detector: Detector) -> None:
    for seed in range(7200, 7220):
        assert detector.find(Scene(640, 480, seed=seed, shapes=0).render(0)) == []
