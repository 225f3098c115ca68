"""Whether what a model's output has behind its boxes is keypoints, and in which form: the numbers tell. No state."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from agent.engines import _keypoints, _yolo
from agent.engines._keypoints import Poses
from agent.engines._metadata import Export
from agent.package import ModelPackage


def shapes(rows: int, found: ModelPackage, export: Export) -> Iterator[tuple[int, int]]:
    """How many keypoints of how many numbers there may be in the `rows` behind a box, the likeliest first.

    What remains of the rows is scores, of at least one class.
    """
    if export.keypoint_shape is not None:
        count, numbers = export.keypoint_shape
        if count * numbers < rows:
            yield count, numbers
        return
    labels = len(found.labels or export.labels)
    for classes in range(labels, labels + 1) if labels else range(1, rows):
        for numbers in (_keypoints.WITH_VISIBILITY, 2):
            count, left = divmod(rows - classes, numbers)
            if count > 0 and not left and len(found.keypoints) in {0, count}:
                yield count, numbers


def read(
    behind: NDArray[np.float32], boxes: _yolo.Boxes, shape: tuple[int, int], names: tuple[str, ...]
) -> Poses | None:
    """How to read the rows `behind` the scores, of any picture, as keypoints; None: they are none."""
    count, numbers = shape
    points = behind.reshape(count, numbers, -1)
    positions = points[:, :2]
    normalised = _yolo.looks_normalised(positions)
    size = (1, 1) if normalised else (boxes.input_width, boxes.input_height)
    if not _span(positions, size) or not _yolo.are_scores(points[:, 2:]):
        return None
    usual = _keypoints.COCO if count == len(_keypoints.COCO) else ()
    return Poses(boxes, count, numbers, normalised, names or usual)


def _span(positions: NDArray[np.float32], size: tuple[int, int]) -> bool:
    """Whether each point, (count, 2, anchors), lies on either side of the input's middle, across and down.

    Anchors are spread over the input, and the points of each lie near it: those of anchors at an edge do. Scores and
    angles lie on one side.
    """
    middle = np.array(size, dtype=np.float32) / 2
    return bool((positions.min(axis=2) < middle).all() and (positions.max(axis=2) > middle).all())
