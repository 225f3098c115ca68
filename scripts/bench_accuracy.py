"""Whether the on-device engines lose accuracy: mAP50-95 of their answers beside that of ONNX Runtime's raw outputs.

    scripts/bench-accuracy --data coco128 --onnx yolov8n_320.onnx yolov8n_320_float32.tflite yolov8n_320_int8.tflite

The judge shares nothing with the agent but libraries: it has its own letterbox, decoder and suppression, in this file.
As the agent does, it takes the best class of each anchor. Validation of YOLOv8 itself takes every class above the
threshold, so a box may come several times; that figure is shown, too, and has no bar.
All with confidence 0.001, overlap 0.7 and at most 300 objects; the annotations are COCO's. Ends with 1 when a bar is
missed. 128 pictures take about a minute for each model.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from bench_row import Row  # noqa: E402 - the checkout goes first on the path

from agent.clock import SystemClock  # noqa: E402
from agent.flow import Prediction  # noqa: E402
from agent.model import dataset, evaluation, metrics  # noqa: E402
from agent.model.contender import opened  # noqa: E402
from agent.model.dataset import Dataset  # noqa: E402
from agent.model.meter import Meter  # noqa: E402
from agent.model.metrics import Kind  # noqa: E402
from agent.model.session import Session  # noqa: E402

CONFIDENCE, OVERLAP, MOST, CANDIDATES = 0.001, 0.7, 300, 30_000
GREY = 114
FLOAT_BAR, INT8_BAR, INT8_PX = 0.002, 0.035, 320
"""How far mAP50-95 may be from ONNX Runtime's: float32 and float16 both ways; int8 downwards, at this size."""

Floats = np.ndarray[Any, np.dtype[np.float32]]
Found = dict[int, list[tuple[int, Prediction]]]


class Reference:
    """ONNX Runtime and a decoder of its own."""

    def __init__(self, path: Path) -> None:
        self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        entry = self._session.get_inputs()[0]
        self._name, self._height, self.width = entry.name, *map(int, entry.shape[2:])

    def outputs(self, picture: Floats) -> tuple[Floats, tuple[float, float], tuple[int, int]]:
        """(4 + classes, anchors) for a picture in BGR, its scale across and down, and its place inside the input."""
        rows, columns = picture.shape[:2]
        scale = min(self._height / rows, self.width / columns)
        height, width = round(rows * scale), round(columns * scale)
        small = picture
        if (height, width) != (rows, columns):
            small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
        top, left = (self._height - height) // 2, (self.width - width) // 2
        canvas = np.full((self._height, self.width, 3), GREY, np.uint8)
        canvas[top : top + height, left : left + width] = small
        tensor = np.ascontiguousarray(canvas[None, :, :, ::-1].transpose(0, 3, 1, 2), dtype=np.float32) / 255
        return self._session.run(None, {self._name: tensor})[0][0], (width / columns, height / rows), (left, top)

    def find(self, picture: Floats, *, several: bool) -> list[tuple[int, Prediction]]:
        """The class's place and the object, best first. `several`: a box counts for each class above the threshold."""
        rows, scale, (left, top) = self.outputs(picture)
        boxes, scores = rows[:4].T, rows[4:].T
        if several:
            anchors, classes = np.nonzero(scores > CONFIDENCE)
        else:
            classes = scores.argmax(1)
            anchors = np.flatnonzero(scores.max(1) >= CONFIDENCE)
            classes = classes[anchors]
        sure = scores[anchors, classes]
        best = np.argsort(-sure, kind="stable")[:CANDIDATES]
        boxes, sure, classes = boxes[anchors[best]], sure[best], classes[best]
        corners = np.concatenate((boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2), axis=1)
        kept = suppressed(corners, classes)[:MOST]
        corners = (corners[kept] - [left, top, left, top]) / (scale * 2)
        limit = picture.shape[1::-1] * 2
        corners = np.clip(corners, 0, limit)
        found = zip(corners, sure[kept], classes[kept], strict=True)
        return [(int(place), box_of(corner, float(score))) for corner, score, place in found]


def suppressed(corners: Floats, classes: Floats) -> list[int]:
    """Greedy non-maximum suppression of boxes that come best first, each class by itself."""
    shifted = corners + (classes * 10_000.0)[:, None]
    areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    left = np.arange(len(corners))
    kept = []
    while left.size:
        first, rest = left[0], left[1:]
        kept.append(int(first))
        low = np.maximum(shifted[first, :2], shifted[rest, :2])
        high = np.minimum(shifted[first, 2:], shifted[rest, 2:])
        shared = np.clip(high - low, 0, None).prod(axis=1)
        left = rest[shared <= OVERLAP * (areas[first] + areas[rest] - shared)]
    return kept


def box_of(corner: Floats, score: float) -> Prediction:
    left, top, right, bottom = (float(value) for value in corner)
    return Prediction((left + right) / 2, (top + bottom) / 2, right - left, bottom - top, score, "", 0)


def reference_map(reference: Reference, data: Dataset, *, several: bool) -> float:
    categories = sorted(data.names)
    found = {}
    for number, path in data.pictures.items():
        objects = reference.find(cv2.imread(str(path)), several=several)
        found[number] = [(categories[place], one) for place, one in objects]
    return metrics.judge(data.coco or {}, found, Kind.BOXES, confidence=0.4).map50_95


def own_map(model: Path, data: Dataset) -> float:
    clock = SystemClock()
    session = Session(print, Path.cwd(), Path.cwd(), clock, Meter(sys.stderr, clock))
    wanted = {"confidence": evaluation.LOW_CONFIDENCE, "overlap": evaluation.WIDE_OVERLAP, "threads": 2}
    contender = opened(str(model.resolve()), session, page=None, **wanted)
    asked = evaluation.ask_all(contender, data.pictures, session.clock, lambda _: None)
    found = evaluation.evaluate(contender, data, asked, confidence=0.4)
    contender.close()
    return found.figures[0].map50_95


def rows(models: Sequence[Path], reference: Path, data: Dataset) -> Iterator[Row | str]:
    judge = Reference(reference)
    single = reference_map(judge, data, several=False)
    yield f"{reference.stem}: mAP50-95 {single:.4f} by ONNX Runtime and the best class of each anchor"
    yield f"{reference.stem}: mAP50-95 {reference_map(judge, data, several=True):.4f} with every class of each anchor"
    for model in models:
        own = own_map(model, data)
        whole_numbers = "int8" in model.stem
        if whole_numbers and judge.width != INT8_PX:
            yield f"{model.stem}: mAP50-95 {own:.4f}, {single - own:.4f} lost; int8 has no bar at {judge.width} px"
            continue
        apart = single - own if whole_numbers else abs(single - own)
        bar = INT8_BAR if whole_numbers else FLOAT_BAR
        yield Row(f"mAP50-95 lost, {model.stem}", apart, bar, "", f"{own:.4f}, {len(data.pictures)} pictures", digits=4)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL", help="of the same weights and input size")
    parser.add_argument("--onnx", type=Path, required=True, metavar="FILE", help="the original")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="pictures with COCO's annotations")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N pictures")
    options = parser.parse_args()
    data = dataset.read(options.data).first(options.limit)
    missed = 0
    for row in rows(options.models, options.onnx, data):
        print(row, flush=True)
        missed += isinstance(row, Row) and not row.fine
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
