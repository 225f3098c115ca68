"""How far one model's answers are from another's, over many pictures. Owner: whoever counts, one thread."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from agent.engines import _masks
from agent.flow import Answer, Prediction, Task
from agent.imaging import decode_image
from agent.rollout.gate import overlap

SAME_IOU = 0.5
"""Two boxes of one class that overlap so much are the same object, as in PASCAL VOC."""


@dataclass(slots=True)
class Tally:
    """What was counted of one model beside the reference."""

    pictures: int = 0
    reference: int = 0
    """Objects that the reference found; for classification, and classes of pixels, pictures and pixels."""
    found: int = 0
    matched: int = 0
    ious: list[float] = field(default_factory=list)
    """Of the boxes of each matched pair."""
    mask_ious: list[float] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    """How far each pair's confidences are apart."""
    points: list[float] = field(default_factory=list)
    """How far keypoints are apart, as a share of the side of a square as large as the object's box."""

    @property
    def missed(self) -> int:
        return self.reference - self.matched

    @property
    def extra(self) -> int:
        return self.found - self.matched

    @property
    def agreement(self) -> float:
        """F1, 0..1; NaN when neither found anything."""
        both = self.reference + self.found
        return 2 * self.matched / both if both else math.nan

    def add(self, answer: Answer, reference: Answer) -> None:
        """Count one picture."""
        self.pictures += 1
        if reference.regions is not None and answer.regions is not None:
            self._add_pixels(answer.regions.mask_png, reference.regions.mask_png)
        elif reference.task is Task.CLASSIFICATION:
            self._add_objects(answer.predictions[:1], reference.predictions[:1])
        else:
            self._add_objects(answer.predictions, reference.predictions)

    def _add_pixels(self, mask_png: bytes, reference_png: bytes) -> None:
        one, other = decode_image(mask_png)[..., 0], decode_image(reference_png)[..., 0]
        self.found += one.size
        self.reference += other.size
        self.matched += int((one == other).sum())

    def _add_objects(self, found: Sequence[Prediction], reference: Sequence[Prediction]) -> None:
        pairs = matches(found, reference)
        self.found += len(found)
        self.reference += len(reference)
        self.matched += len(pairs)
        for one, other in pairs:
            self.ious.append(overlap(one, other))
            self.confidences.append(abs(one.confidence - other.confidence))
            self.points += _points_apart(one, other)
            if one.runs is not None and other.runs is not None:
                self.mask_ious.append(_mask_iou(one, other))


def matches(found: Sequence[Prediction], reference: Sequence[Prediction]) -> list[tuple[Prediction, Prediction]]:
    """Pairs of the same object: the most certain of `found` choose first, each the one that it overlaps most."""
    free, pairs = list(reference), []
    for one in sorted(found, key=lambda each: -each.confidence):
        near = [(overlap(one, other), row) for row, other in enumerate(free) if other.class_id == one.class_id]
        iou, row = max(near, default=(0.0, -1))
        if iou >= SAME_IOU:
            pairs.append((one, free.pop(row)))
    return pairs


def _points_apart(one: Prediction, other: Prediction) -> list[float]:
    side = math.sqrt(other.width * other.height)
    places = {point.class_id: point for point in other.keypoints or ()}
    return [
        math.hypot(point.x - places[point.class_id].x, point.y - places[point.class_id].y) / side
        for point in one.keypoints or ()
        if point.class_id in places
    ]


def _mask_iou(one: Prediction, other: Prediction) -> float:
    if one.runs is None or other.runs is None:
        return 0.0
    mask, reference = _masks.decode_runs(one.runs), _masks.decode_runs(other.runs)
    whole = int(np.logical_or(mask, reference).sum())
    return float(np.logical_and(mask, reference).sum()) / whole if whole else 1.0
