"""What a model's outputs mean, and by what they are multiplied to be shares of the input. No state.

Heads: those of YOLOv8 and its successors as Ultralytics exports them, [1, 4 + classes (+ mask coefficients or
keypoints), anchors], also transposed; classifiers [1, classes]; semantic segmentation [1, classes, rows, columns].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from export_request import Refused, refuse_size
from numpy.typing import NDArray

from agent.flow import Task

Array: TypeAlias = NDArray[np.float32]
Shape: TypeAlias = tuple[int, ...]
BOX_ROWS = 4
STRIDES = (8, 16, 32)
NORMALISED_UP_TO = 2.0
"""Centres cover the whole input: at most about 1 in shares of it, at least a stride in pixels."""
SUPPRESSED = (
    "this model has non-maximum suppression inside, whose sorting TFLite does badly and int8 not at all; export it "
    "without: the agent does that itself (Ultralytics does so when nms is left out)"
)
_SUPPRESSED_ROWS = 6
_VECTOR, _ROWS, _PLANES = 2, 3, 4


@dataclass(frozen=True, slots=True)
class Layout:
    """How the first output of a model with boxes is written."""

    width: int
    """Of the input in pixels."""
    height: int
    anchors_last: bool
    keypoints: tuple[int, int] | None = None
    """How many keypoints each object has, behind its scores, and of how many numbers."""
    coefficients: int = 0
    """Of each object's mask, behind its scores."""


def task_of(said: Task | None, shapes: Sequence[Shape], *, keypoints: tuple[int, int] | None) -> Task:
    """What a model with outputs of these shapes does. Raises Refused."""
    ranks = sorted(len(shape) for shape in shapes)
    if any(shape[-1] == _SUPPRESSED_ROWS and len(shape) == _ROWS for shape in shapes):
        raise Refused(SUPPRESSED)
    if ranks == [_VECTOR]:
        return Task.MULTI_LABEL_CLASSIFICATION if said is Task.MULTI_LABEL_CLASSIFICATION else Task.CLASSIFICATION
    if ranks == [_PLANES]:
        return Task.SEMANTIC_SEGMENTATION
    if ranks == [_ROWS, _PLANES]:
        return Task.INSTANCE_SEGMENTATION
    if ranks == [_ROWS]:
        return Task.KEYPOINT_DETECTION if keypoints or said is Task.KEYPOINT_DETECTION else Task.OBJECT_DETECTION
    raise Refused(f"the outputs {[list(shape) for shape in shapes]} are those of no model that the agent reads")


def layout_of(shapes: Sequence[Shape], size: tuple[int, int], keypoints: tuple[int, int] | None) -> Layout:
    """How the first of a model's outputs is written, for an input of `size` (width, height). Raises Refused."""
    width, height = size
    shape = shapes[0]
    refuse_size(width, height)
    anchors = sum((width // stride) * (height // stride) for stride in STRIDES)
    if anchors not in shape[1:]:
        raise Refused(
            f"the output {list(shape)} is not that of a YOLOv8 head: for an input of {width}x{height} it would be "
            f"[1, 4 + classes, {anchors}]; YOLOv5's own head and those with other strides are not read by the agent"
        )
    coefficients = shapes[1][1] if len(shapes) > 1 else 0
    return Layout(width, height, shape[2] == anchors, keypoints, coefficients)


def factor(rows: Array, layout: Layout, *, reach: float = 1.0) -> Array:
    """What to multiply an output by so that none of its numbers is much larger than the others; mostly 1.

    Positions become shares of the input, if they are not already. A mask is where its coefficients' mix of prototypes
    is above 0, so they may be multiplied by anything.

    Args:
        rows: (1, rows, anchors), or transposed: the output for any picture.
        layout: how it is written.
        reach: how large mask coefficients get; they become 1 at most.

    Returns:
        (1, rows, 1), or transposed.
    """
    values = rows[0] if layout.anchors_last else rows[0].T
    found = np.ones((len(values), 1), dtype=np.float32)
    share = np.array([[1 / layout.width], [1 / layout.height]], dtype=np.float32)
    if values[:2].max() > NORMALISED_UP_TO:
        found[:BOX_ROWS] = np.tile(share, (2, 1))
    if layout.keypoints is not None:
        count, numbers = layout.keypoints
        places = (len(values) - count * numbers) + np.arange(count)[:, None] * numbers + np.arange(2)
        if values[places].max() > NORMALISED_UP_TO:
            found[places.reshape(-1)] = np.tile(share, (count, 1))
    if layout.coefficients:
        found[-layout.coefficients :] = 1 / reach
    return found[None] if layout.anchors_last else found.T[None]
