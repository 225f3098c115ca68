"""The kinds of model, and how the outputs of each are read; _inspection.py finds out which one a file is. No state."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agent.engines import _classes, _keypoints, _regions, _segments, _yolo
from agent.flow import Prediction, Regions, Score, Task


@dataclass(frozen=True, slots=True)
class Seen:
    """What one picture shows."""

    predictions: tuple[Prediction, ...]
    scores: tuple[Score, ...] = ()
    regions: Regions | None = None


class Head(Protocol):
    """Reads one model's outputs."""

    @property
    def task(self) -> Task:
        """What the model does."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names by class id; empty when nothing names them."""

    @property
    def reading(self) -> str:
        """How its numbers are read, in words."""

    def decode(self, raw: Sequence[NDArray[np.generic]], place: _yolo.Place, wanted: _yolo.Wanted) -> Seen:
        """What the outputs of one run, without the batch axis and as stored, say. Raises EngineBroken."""


@dataclass(frozen=True, slots=True)
class Detector:
    """Boxes alone."""

    boxes: _yolo.Boxes
    task: Task = Task.OBJECT_DETECTION

    @property
    def labels(self) -> tuple[str, ...]:
        return self.boxes.labels

    @property
    def reading(self) -> str:
        return _reading(self.boxes)

    def decode(self, raw: Sequence[NDArray[np.generic]], place: _yolo.Place, wanted: _yolo.Wanted) -> Seen:
        return Seen(_yolo.decode(raw[0], self.boxes, place, wanted))


@dataclass(frozen=True, slots=True)
class Segmenter:
    """Boxes and masks."""

    segments: _segments.Segments
    first: int
    """Which output has the boxes."""
    task: Task = Task.INSTANCE_SEGMENTATION

    @property
    def labels(self) -> tuple[str, ...]:
        return self.segments.boxes.labels

    @property
    def reading(self) -> str:
        return f"{_reading(self.segments.boxes)}, masks from prototypes"

    def decode(self, raw: Sequence[NDArray[np.generic]], place: _yolo.Place, wanted: _yolo.Wanted) -> Seen:
        boxes, prototypes = raw[self.first], raw[1 - self.first]
        return Seen(_segments.decode(boxes, prototypes, self.segments, place=place, wanted=wanted))


@dataclass(frozen=True, slots=True)
class Pose:
    """Boxes and keypoints."""

    poses: _keypoints.Poses
    task: Task = Task.KEYPOINT_DETECTION

    @property
    def labels(self) -> tuple[str, ...]:
        return self.poses.boxes.labels

    @property
    def reading(self) -> str:
        where = "0..1" if self.poses.normalised else "pixels"
        return f"{_reading(self.poses.boxes)}, {self.poses.count} keypoints in {where}"

    def decode(self, raw: Sequence[NDArray[np.generic]], place: _yolo.Place, wanted: _yolo.Wanted) -> Seen:
        return Seen(_keypoints.decode(raw[0], self.poses, place=place, wanted=wanted))


@dataclass(frozen=True, slots=True)
class Classifier:
    """Classes of the whole picture."""

    classifier: _classes.Classifier

    @property
    def task(self) -> Task:
        return Task.MULTI_LABEL_CLASSIFICATION if self.classifier.many else Task.CLASSIFICATION

    @property
    def labels(self) -> tuple[str, ...]:
        return self.classifier.labels

    @property
    def reading(self) -> str:
        return f"a score for each class ({self.classifier.form.value})"

    def decode(self, raw: Sequence[NDArray[np.generic]], place: _yolo.Place, wanted: _yolo.Wanted) -> Seen:
        scores = _classes.scores(raw[0], self.classifier)
        passed = _classes.passed(scores, wanted.confidence, width=place.width, height=place.height)
        return Seen(passed, scores) if self.classifier.many else Seen(passed)


@dataclass(frozen=True, slots=True)
class Areas:
    """A class for each pixel."""

    areas: _regions.Areas
    task: Task = Task.SEMANTIC_SEGMENTATION

    @property
    def labels(self) -> tuple[str, ...]:
        return self.areas.labels

    @property
    def reading(self) -> str:
        return "a score for each class and pixel"

    def decode(self, raw: Sequence[NDArray[np.generic]], place: _yolo.Place, wanted: _yolo.Wanted) -> Seen:
        regions, predictions = _regions.decode(raw[0], self.areas, place=place, wanted=wanted)
        return Seen(predictions, regions=regions)


def _reading(boxes: _yolo.Boxes) -> str:
    order = "[rows, anchors]" if boxes.anchors_last else "[anchors, rows]"
    return f"{order}, boxes in {'0..1' if boxes.normalised else 'pixels'}, {boxes.classes} classes"
