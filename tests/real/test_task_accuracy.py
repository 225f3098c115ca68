"""Masks and keypoints of real models, beside a decoder of its own: the textbook steps, written out here.

The judge runs the same weights in ONNX Runtime where there is an ONNX file, and shares no code with the agent.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx_file
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter
from fakes import FakeClock
from numpy.typing import NDArray

from agent.engines import _local, _masks, onnx, tflite
from agent.flow import Answer, Frame, Pixels
from agent.imaging import read_image
from agent.ports import Context

SURE, OVERLAP = 0.4, 0.3
PICTURES = 16
MASKS_BAR, KEYPOINTS_BAR_PX = 0.98, 0.5
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Fitted:
    """A picture in a square input, and the way back."""

    canvas: Pixels
    scale: NDArray[np.float64]
    """Across and down: what was rounded to whole pixels is so much wider or narrower."""
    left: int
    top: int


def letterboxed(pixels: Pixels, side: int) -> Fitted:
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    across, down = round(width * scale), round(height * scale)
    left, top = (side - across) // 2, (side - down) // 2
    canvas = np.full((side, side, 3), 114, np.uint8)
    canvas[top : top + down, left : left + across] = cv2.resize(pixels, (across, down))
    return Fitted(canvas, np.array([across / width, down / height]), left, top)


def kept(rows: Floats, classes: int) -> list[int]:
    """Anchors that a plain suppression by class keeps, best first; `rows` is (rows, anchors)."""
    scores, boxes = rows[4 : 4 + classes], rows[:4]
    chosen: list[int] = []
    for anchor in np.argsort(-scores.max(axis=0)):
        if scores[:, anchor].max() < SURE:
            break
        same = [one for one in chosen if scores[:, one].argmax() == scores[:, anchor].argmax()]
        if all(iou(boxes[:, one], boxes[:, anchor]) <= OVERLAP for one in same):
            chosen.append(int(anchor))
    return chosen


def iou(one: Floats, other: Floats) -> float:
    low = np.maximum(one[:2] - one[2:] / 2, other[:2] - other[2:] / 2)
    high = np.minimum(one[:2] + one[2:] / 2, other[:2] + other[2:] / 2)
    common = float(np.prod(np.maximum(0, high - low)))
    return common / float(one[2] * one[3] + other[2] * other[3] - common)


def reference_masks(model: Path, pixels: Pixels) -> list[NDArray[np.bool_]]:
    """Each object's mask: coefficients times prototypes, as large as the frame, cut by the box, above 0."""
    session = onnxruntime.InferenceSession(str(model))
    (entry,) = session.get_inputs()
    fitted = letterboxed(pixels, int(entry.shape[2]))
    tensor = fitted.canvas[None, ..., ::-1].transpose(0, 3, 1, 2) / np.float32(255)
    (rows,), (prototypes,) = session.run(None, {entry.name: tensor})
    count, height, width = prototypes.shape
    masks = []
    for anchor in kept(rows, 80):
        plane = (rows[84:, anchor] @ prototypes.reshape(count, -1)).reshape(height, width)
        whole = cv2.resize(plane, (fitted.canvas.shape[1], fitted.canvas.shape[0]))
        across, down = np.rint(fitted.scale * pixels.shape[1::-1]).astype(int)
        inside = whole[fitted.top : fitted.top + down, fitted.left : fitted.left + across]
        mask = cv2.resize(inside, (pixels.shape[1], pixels.shape[0])) > 0
        x, y, w, h = (rows[:4, anchor] - (fitted.left, fitted.top, 0, 0)) / np.tile(fitted.scale, 2)
        cut = np.zeros_like(mask)
        box = slice(max(0, round(y - h / 2)), round(y + h / 2)), slice(max(0, round(x - w / 2)), round(x + w / 2))
        cut[box] = mask[box]
        masks.append(cut)
    return masks


def answers(model: Path, pictures: list[Pixels], **options: str) -> Iterator[Answer]:
    given = tflite.Options(type="tflite", model=str(model), threads=2, confidence=SURE, overlap=OVERLAP, **options)
    engine = tflite.build(given, Context("test", FakeClock(), model.parent, model.parent, trial=True))
    engine.open()
    for pixels in pictures:
        yield engine.infer(Frame("cam", 0, 0.0, 0.0, clock_synchronized=True, pixels=pixels), 0.0)
    engine.close()


@pytest.fixture(scope="module")
def pictures(shared: Path) -> list[Pixels]:
    files = sorted((shared / "media" / "images").glob("*.jpg"))
    files += sorted((shared / "media" / "coco128" / "images").glob("**/*.jpg"))[:PICTURES]
    return [read_image(file) for file in files]


def test_masks_are_those_of_the_reference_decoder(shared: Path, pictures: list[Pixels]) -> None:
    model = shared / "models" / "yolov8n-seg_320_float32_nchw.tflite"
    overlaps = []
    for pixels, found in zip(pictures, answers(model, pictures, masks="rle"), strict=True):
        ours = [_masks.decode_runs(each.runs) for each in found.predictions if each.runs is not None]
        wanted = (mask for mask in reference_masks(shared / "models" / "yolov8n-seg_320.onnx", pixels) if mask.any())
        overlaps += [max(((want & mask).sum() / (want | mask).sum() for mask in ours), default=0.0) for want in wanted]
    assert len(overlaps) >= 20
    assert np.mean(overlaps) >= MASKS_BAR, sorted(overlaps)[:5]


def test_outlines_enclose_the_masks_that_they_stand_for(shared: Path, pictures: list[Pixels]) -> None:
    model = shared / "models" / "yolov8n-seg_320_float32_nchw.tflite"
    overlaps = []
    pairs = zip(pictures, answers(model, pictures, masks="rle"), answers(model, pictures), strict=True)
    for pixels, masked, outlined in pairs:
        for one, other in zip(masked.predictions, outlined.predictions, strict=True):
            assert one.runs is not None
            mask, painted = _masks.decode_runs(one.runs), np.zeros(pixels.shape[:2], np.uint8)
            cv2.fillPoly(painted, [np.rint(other.points or ()).astype(np.int32)], (1,))
            overlaps.append((mask & (painted > 0)).sum() / (mask | (painted > 0)).sum())
    assert np.median(overlaps) >= MASKS_BAR, "an object in several parts has the outline of its largest"


def reference_keypoints(model: Path, pixels: Pixels) -> list[Floats]:
    """(17, 2) of each object, in the frame's pixels."""
    interpreter = Interpreter(str(model), num_threads=2)
    interpreter.allocate_tensors()
    (entry,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    fitted = letterboxed(pixels, int(entry["shape"][1]))
    interpreter.set_tensor(entry["index"], fitted.canvas[None, ..., ::-1] / np.float32(255))
    interpreter.invoke()
    rows = interpreter.get_tensor(output["index"])[0]
    points = rows[5:].reshape(17, 3, -1)[:, :2]
    return [(points[..., anchor] - (fitted.left, fitted.top)) / fitted.scale for anchor in kept(rows, 1)]


def test_keypoints_are_those_of_the_reference_decoder(shared: Path, pictures: list[Pixels]) -> None:
    model = shared / "models" / "yolov8n-pose_224_dynamic_int8.tflite"
    seen = 0
    for pixels, found in zip(pictures, answers(model, pictures), strict=True):
        expected = reference_keypoints(model, pixels)
        assert len(found.predictions) == len(expected)
        for one, points in zip(found.predictions, expected, strict=True):
            assert one.keypoints is not None
            for point in one.keypoints:
                assert np.abs(points[point.class_id] - (point.x, point.y)).max() <= KEYPOINTS_BAR_PX
                seen += 1
    assert seen >= 3 * 17


def a_pose_model(folder: Path, detector: Path) -> Path:
    """A float32 pose model of a detector's weights: of each person the box's middle, and two of its corners."""
    rows = [f"row{number}" for number in range(84)]
    x, y, width, height, score = rows[:5]
    nodes: list[onnx_file.Node] = [("Split", ["output0"], rows, {"axis": 1})]
    corners = [
        ("Sub", "left", x, width),
        ("Sub", "top", y, height),
        ("Add", "right", x, width),
        ("Add", "low", y, height),
    ]
    nodes += [(operator, [middle, size], [name], {}) for operator, name, middle, size in corners]
    points = ("left", "top", score, x, y, score, "right", "low", score)
    nodes.append(("Concat", [x, y, width, height, score, *points], ["pose"], {"axis": 1}))
    entry, out = ("images", onnx_file.FLOAT, [1, 3, 320, 320]), ("pose", onnx_file.FLOAT, [1, 5 + 9, 2100])
    (folder / "pose.onnx").write_bytes(onnx_file.bordered(detector, [entry], [out], last=nodes))
    manifest = (
        "name: pose\nfile: pose.onnx\ntask: keypoint-detection\nlabels: [person]\nkeypoints: [low, middle, high]\n"
    )
    (folder / "model.yaml").write_text(manifest, encoding="utf-8")
    return folder


def reference_corners(detector: onnxruntime.InferenceSession, pixels: Pixels) -> list[NDArray[np.float64]]:
    """(3, 2) of each person, in the frame's pixels, by the detector itself."""
    fitted = letterboxed(pixels, 320)
    (rows,) = detector.run(None, {"images": fitted.canvas[None, ..., ::-1].transpose(0, 3, 1, 2) / np.float32(255)})[0]
    found = []
    for anchor in kept(rows[:5], 1):
        middle, size = rows[:2, anchor], rows[2:4, anchor]
        points = np.stack([middle - size, middle, middle + size])
        found.append((points - (fitted.left, fitted.top)) / fitted.scale)
    return found


def test_keypoints_in_float32_are_those_of_the_reference_decoder(
    shared: Path, pictures: list[Pixels], tmp_path: Path
) -> None:
    detector = shared / "models" / "yolov8n_320.onnx"
    given = onnx.Options(
        type="onnx", model=str(a_pose_model(tmp_path, detector)), threads=2, confidence=SURE, overlap=OVERLAP
    )
    engine = _local.Local(given, Context("test", FakeClock(), tmp_path, tmp_path), onnx.load, runtime="onnx")
    engine.open()
    judge, seen = onnxruntime.InferenceSession(str(detector)), 0
    for pixels in pictures[:16]:
        found = engine.infer(Frame("cam", 0, 0.0, 0.0, clock_synchronized=True, pixels=pixels), 0.0)
        expected = reference_corners(judge, pixels)
        assert len(found.predictions) == len(expected)
        for one, points in zip(found.predictions, expected, strict=True):
            assert one.keypoints is not None
            placed = [(point.x, point.y) for point in one.keypoints]
            assert np.abs(points - placed).max() <= KEYPOINTS_BAR_PX
            seen += 1
    engine.close()
    assert seen >= 10
