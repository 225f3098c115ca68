"""The YOLOv8 and YOLO11 detection head: raw output in, candidates in the captured frame's pixels out. No state.

The head's output is (1, 4 + classes + more, anchors), or transposed: centre x, centre y, width, height of each
anchor's box, then one score 0..1 for each class, then what belongs to the object: mask coefficients, or keypoints.
Anchors sit on grids of stride 8, 16 and 32 over the input.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.canvas import Letterbox
from agent.engines._runtime import Quantisation
from agent.errors import EngineBroken
from agent.flow import Prediction
from agent.imaging import suppress

BOX_ROWS: Final = 4
_STRIDES: Final = ((8, 16, 32), (4, 8, 16, 32), (8, 16, 32, 64))
"""Of the usual heads, and of those with a finer (P2) or a coarser (P6) grid."""
_NORMALISED_UP_TO = 2.0
"""Positions cover the whole input: at most about 1 in units of the input, at least a stride in pixels."""
_SLACK: Final = 0.02
"""Rounding of a quantised score; a sigmoid itself never leaves 0..1."""
_SMALLEST_PX = 0.01
"""Results give two decimals: a box that is smaller in the frame, or lies in the padding, is none."""
MOST_OBJECTS: Final = 300
"""Of a frame, the surest: the hosted API's own default (max_detections)."""
MOST_CANDIDATES: Final = 3_000
"""Boxes, the surest, of which overlapping ones are left out: the hosted API's default (max_candidates). The time for it
grows with their square: 0.2 s for 3,000 that lie apart, and 1.2 s for 8,400."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the frame lies inside the model's input."""

    letterbox: Letterbox
    width: int
    """Of the captured frame, in pixels."""
    height: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of all that a model finds is an answer."""

    confidence: float
    """Scores at or above this count."""
    overlap: float
    """Boxes of one class whose IoU is above this are one object."""
    most: int = MOST_OBJECTS
    """Objects, the surest."""
    keypoint_confidence: float = 0.0
    as_runs: bool = False
    """Masks as run lengths, not as outlines."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """How one model writes its boxes and scores."""

    anchors_last: bool
    """True: (rows, anchors); False: (anchors, rows)."""
    normalised: bool
    """True: boxes in units of the input's size; False: in pixels of the input."""
    quantisation: Quantisation
    input_width: int
    input_height: int
    classes: int
    labels: tuple[str, ...]

    def rows(self, raw: NDArray[np.generic]) -> NDArray[np.generic]:
        """The output tensor without its batch axis as (rows, anchors), as stored."""
        return raw if self.anchors_last else raw.T

    def scores(self, raw: NDArray[np.generic]) -> NDArray[np.float32]:
        """(classes, anchors)."""
        return self.quantisation.to_real(self.rows(raw)[BOX_ROWS : BOX_ROWS + self.classes])

    def behind(self, raw: NDArray[np.generic]) -> NDArray[np.float32]:
        """What belongs to each object, (rows, anchors)."""
        return self.quantisation.to_real(self.rows(raw)[BOX_ROWS + self.classes :])

    def name(self, class_id: int) -> str:
        """The class in words."""
        return self.labels[class_id] if class_id < len(self.labels) else f"class_{class_id}"


@dataclass(frozen=True, slots=True)
class Found:
    """The objects of one frame, best first, still as arrays."""

    anchors: NDArray[np.intp]
    """(n,) which column of the output each is."""
    boxes: NDArray[np.float32]
    """(4, n) centre x, centre y, width, height in the frame's pixels, cut off at its edges."""
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]


def anchors_last(shape: tuple[int, ...], *, width: int, height: int) -> bool:
    """Which way round the output lies.

    Raises:
        EngineBroken: `shape` is not that of a YOLOv8 detection head for this input size.
    """
    counts = [sum((width // stride) * (height // stride) for stride in strides) for strides in _STRIDES]
    for anchors in counts:
        if len(shape) == 3 and shape[0] == 1 and anchors in shape[1:]:  # noqa: PLR2004 - batch, rows, columns
            last = shape[2] == anchors
            if (shape[1] if last else shape[2]) > BOX_ROWS:
                return last
    raise EngineBroken(
        f"the model's output {list(shape)} is not that of a YOLOv8 detector: for an input of {width}x{height} it would "
        f"be [1, 4 + classes, {counts[0]}]; export it with its detection head and without NMS"
    )


def looks_normalised(positions: NDArray[np.float32]) -> bool:
    """Whether positions of all anchors, from any picture at all, are in units of the input's size."""
    return bool(np.max(positions) <= _NORMALISED_UP_TO)


def are_scores(values: NDArray[np.float32]) -> bool:
    """Whether all are in 0..1, as far as that can be told; of none it is true."""
    return not values.size or bool(values.min() >= -_SLACK and values.max() <= 1 + _SLACK)


def find(raw: NDArray[np.generic], head: Boxes, place: Place, wanted: Wanted) -> Found | None:
    """The surest objects in the captured frame; None when there are none.

    Raises EngineBroken: what comes out is not numbers.

    Args:
        raw: the output tensor without its batch axis, as stored.
        head: how to read it.
        place: where the frame lies inside the model's input.
        wanted: what counts.
    """
    rows, stored = head.rows(raw), head.quantisation
    scores = rows[BOX_ROWS : BOX_ROWS + head.classes]
    best = scores.max(axis=0)
    (candidates,) = np.nonzero(best >= stored.to_stored(wanted.confidence))
    if not len(candidates):
        if np.isnan(best.max()):
            raise EngineBroken("the model's output is not numbers (NaN)")
        return None
    candidates = _surest(candidates, best)
    class_ids = scores[:, candidates].argmax(axis=0).astype(np.int32)
    likely = stored.to_real(best[candidates])
    boxes = in_frame(stored.to_real(rows[:BOX_ROWS, candidates]), head, place.letterbox)
    if not np.isfinite(boxes).all():
        raise EngineBroken("the model's boxes are not numbers (NaN, or without end)")
    corners = np.stack([boxes[0] - boxes[2] / 2, boxes[1] - boxes[3] / 2, boxes[2], boxes[3]], axis=1)
    kept = suppress(corners, likely, class_ids, overlap=wanted.overlap)
    boxes = _clipped(boxes[:, kept], place)
    seen = np.nonzero(boxes[2:].min(axis=0) >= _SMALLEST_PX)[0][: wanted.most]
    chosen = np.asarray(kept, dtype=np.intp)[seen]
    return Found(candidates[chosen], boxes[:, seen], likely[chosen], class_ids[chosen])


def _surest(candidates: NDArray[np.intp], best: NDArray[np.generic]) -> NDArray[np.intp]:
    """At most MOST_CANDIDATES of them, those of the best scores, in their own order."""
    if len(candidates) <= MOST_CANDIDATES:
        return candidates
    return np.sort(candidates[np.argpartition(best[candidates], -MOST_CANDIDATES)[-MOST_CANDIDATES:]])


def in_frame(boxes: NDArray[np.float32], head: Boxes, letterbox: Letterbox) -> NDArray[np.float32]:
    """Boxes (4, n) of the model's input as boxes of the captured frame, in pixels."""
    if head.normalised:
        boxes = boxes * np.array([[head.input_width], [head.input_height]] * 2, dtype=np.float32)
    shift = np.array([[letterbox.left_px], [letterbox.top_px], [0], [0]], dtype=np.float32)
    scale = np.array([[letterbox.scale_x], [letterbox.scale_y]] * 2, dtype=np.float32)
    return np.asarray((boxes - shift) / scale, dtype=np.float32)


def _clipped(boxes: NDArray[np.float32], place: Place) -> NDArray[np.float32]:
    """Centre-and-size boxes (4, n), cut off at the frame's edges; one that lies outside has no size left."""
    limits = np.array([[place.width], [place.height]], dtype=np.float32)
    first = np.clip(boxes[:2] - boxes[2:] / 2, 0, limits)
    last = np.clip(boxes[:2] + boxes[2:] / 2, 0, limits)
    return np.concatenate([(first + last) / 2, last - first])


def prediction(found: Found, index: int, head: Boxes) -> Prediction:
    """One of the objects, without what belongs to it."""
    x, y, width, height = (round(float(value), 2) for value in found.boxes[:, index])
    class_id = int(found.class_ids[index])
    score = round(min(float(found.scores[index]), 1.0), 4)
    return Prediction(x, y, width, height, score, head.name(class_id), class_id)


def decode(raw: NDArray[np.generic], head: Boxes, place: Place, wanted: Wanted) -> tuple[Prediction, ...]:
    """Objects in the captured frame, best first; boxes end at its edges. See `find`."""
    found = find(raw, head, place, wanted)
    return () if found is None else tuple(prediction(found, index, head) for index in range(len(found.scores)))
