"""The YOLOv8 detection head: raw output tensor in, predictions in the captured frame's pixels out. No state.

The head's output is (1, 4 + classes, anchors), or transposed: centre x, centre y, width, height of each anchor's box,
then one score 0..1 for each class. Anchors sit on grids of stride 8, 16 and 32 over the input.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.errors import EngineBroken
from agent.flow import Prediction
from agent.imaging import Letterbox, suppress

_STRIDES = (8, 16, 32)
_BOX_ROWS = 4
_SCORE_SLACK = 0.02
"""Rounding of a quantised output; a sigmoid itself never leaves 0..1."""
_NORMALISED_UP_TO = 2.0
"""Box centres cover the whole input: at most about 1 in units of the input, at least a stride in pixels."""

_SMALLEST_PX = 0.01
"""Results give two decimals: a box that is smaller in the frame, or lies in the padding, is none."""


@dataclass(frozen=True, slots=True)
class Quantisation:
    """value = (stored - zero_point) * scale, as the tensor itself states; scale 0 means not quantised."""

    scale: float
    zero_point: int

    def to_real(self, stored: NDArray[np.generic]) -> NDArray[np.float32]:
        """Stored numbers as real ones."""
        values = stored.astype(np.float32)
        return (values - np.float32(self.zero_point)) * np.float32(self.scale) if self.scale else values

    def to_stored(self, value: float) -> float:
        """The real number `value` on the scale of the stored ones; not rounded."""
        return value / self.scale + self.zero_point if self.scale else value


@dataclass(frozen=True, slots=True)
class Head:
    """How one model writes its output."""

    anchors_last: bool
    """True: (4 + classes, anchors); False: (anchors, 4 + classes)."""
    normalised: bool
    """True: boxes in units of the input's size; False: in pixels of the input."""
    quantisation: Quantisation
    input_width: int
    input_height: int
    labels: tuple[str, ...]


def anchors_last(shape: tuple[int, ...], *, width: int, height: int) -> bool:
    """Which way round the output lies.

    Raises:
        EngineBroken: `shape` is not that of a YOLOv8 detection head for this input size.
    """
    anchors = sum((width // stride) * (height // stride) for stride in _STRIDES)
    if len(shape) == 3 and shape[0] == 1 and anchors in shape[1:]:  # noqa: PLR2004 - batch, rows, columns
        last = shape[2] == anchors
        if (shape[1] if last else shape[2]) > _BOX_ROWS:
            return last
    raise EngineBroken(
        f"the model's output {list(shape)} is not that of a YOLOv8 detector: for an input of {width}x{height} it would "
        f"be [1, 4 + classes, {anchors}]; export it with its detection head and without NMS"
    )


def looks_normalised(rows: NDArray[np.float32]) -> bool:
    """Whether the boxes of `rows` (4 + classes, anchors), from any picture at all, are in units of the input's size."""
    return bool(np.max(rows[:2]) <= _NORMALISED_UP_TO)


def refuse_other_heads(rows: NDArray[np.float32], file: Path) -> None:
    """A pose, segmentation or damaged model gives itself away: what should be scores is not 0..1.

    Raises:
        EngineBroken: `rows` (4 + classes, anchors) is not a detector's output.
    """
    scores = rows[_BOX_ROWS:]
    if not np.all(np.isfinite(rows)) or scores.min() < -_SCORE_SLACK or scores.max() > 1 + _SCORE_SLACK:
        raise EngineBroken(
            f"{file}: its scores are not between 0 and 1 (they span {scores.min():.3g} to {scores.max():.3g}); "
            "it is not an object detector, perhaps a pose or segmentation model: export a YOLOv8 detection model"
        )


def decode(
    raw: NDArray[np.generic],
    head: Head,
    letterbox: Letterbox,
    *,
    frame_size: tuple[int, int],
    confidence: float,
    overlap: float,
) -> tuple[Prediction, ...]:
    """Objects in the captured frame; boxes end at its edges.

    Args:
        raw: the output tensor without its batch axis, as stored.
        head: how to read it.
        letterbox: where the frame lies inside the model's input.
        frame_size: the frame's width and height in pixels.
        confidence: keep scores at or above this.
        overlap: boxes of one class with a higher IoU are one object.
    """
    rows = raw if head.anchors_last else raw.T
    stored_scores = rows[_BOX_ROWS:]
    best = stored_scores.max(axis=0)
    (candidates,) = np.nonzero(best >= head.quantisation.to_stored(confidence))
    if not len(candidates):
        return ()
    class_ids = stored_scores[:, candidates].argmax(axis=0).astype(np.int32)
    scores = head.quantisation.to_real(best[candidates])
    boxes = _in_frame(head.quantisation.to_real(rows[:_BOX_ROWS, candidates]), head, letterbox)
    corners = np.stack([boxes[0] - boxes[2] / 2, boxes[1] - boxes[3] / 2, boxes[2], boxes[3]], axis=1)
    kept = suppress(corners, scores, class_ids, overlap=overlap)
    boxes = _clipped(boxes, frame_size)
    seen = (row for row in kept if boxes[2:, row].min() >= _SMALLEST_PX)
    return tuple(_prediction(boxes[:, row], float(scores[row]), int(class_ids[row]), head.labels) for row in seen)


def _in_frame(boxes: NDArray[np.float32], head: Head, letterbox: Letterbox) -> NDArray[np.float32]:
    """Boxes (4, n) of the model's input as boxes of the captured frame, in pixels."""
    if head.normalised:
        boxes = boxes * np.array([[head.input_width], [head.input_height]] * 2, dtype=np.float32)
    shift = np.array([[letterbox.left_px], [letterbox.top_px], [0], [0]], dtype=np.float32)
    scale = np.array([[letterbox.scale_x], [letterbox.scale_y]] * 2, dtype=np.float32)
    return np.asarray((boxes - shift) / scale, dtype=np.float32)


def _clipped(boxes: NDArray[np.float32], frame_size: tuple[int, int]) -> NDArray[np.float32]:
    """Centre-and-size boxes (4, n), cut off at the frame's edges; one that lies outside has no size left."""
    limits = np.array(frame_size, dtype=np.float32)[:, None]
    first = np.clip(boxes[:2] - boxes[2:] / 2, 0, limits)
    last = np.clip(boxes[:2] + boxes[2:] / 2, 0, limits)
    return np.concatenate([(first + last) / 2, last - first])


def _prediction(box: NDArray[np.float32], score: float, class_id: int, labels: tuple[str, ...]) -> Prediction:
    x, y, width, height = (round(float(value), 2) for value in box)
    name = labels[class_id] if class_id < len(labels) else f"class_{class_id}"
    return Prediction(x, y, width, height, round(min(score, 1.0), 4), name, class_id)
