"""Instance masks of YOLOv8-seg: each object is a mix of the picture's prototype masks. No state.

The head's rows behind the scores are the mix, one coefficient for each prototype; the second output is the prototypes,
a quarter as fine as the input. A mask is where the mix is above 0, inside of the object's box (as in YOLACT: Bolya et
al. 2019, "YOLACT: Real-time Instance Segmentation").
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agent import canvas
from agent.engines import _masks, _yolo
from agent.engines._runtime import Quantisation
from agent.flow import Prediction


@dataclass(frozen=True, slots=True)
class Segments:
    """How one model writes its boxes and its prototypes."""

    boxes: _yolo.Boxes
    prototypes_last: bool
    """True: (rows, columns, prototypes); False: (prototypes, rows, columns)."""
    quantisation: Quantisation
    """Of the prototypes."""


def decode(
    raw: NDArray[np.generic],
    prototypes: NDArray[np.generic],
    head: Segments,
    *,
    place: _yolo.Place,
    wanted: _yolo.Wanted,
) -> tuple[Prediction, ...]:
    """Objects in the captured frame with their masks, best first; one without any pixel is none.

    Args:
        raw: the boxes' output tensor without its batch axis, as stored.
        prototypes: the other one.
        head: how to read both.
        place: where the frame lies inside the model's input.
        wanted: what counts, and whether masks are run lengths or outlines.
    """
    found = _yolo.find(raw, head.boxes, place, wanted)
    if found is None:
        return ()
    mix = head.boxes.rows(raw)[_yolo.BOX_ROWS + head.boxes.classes :, found.anchors]
    planes = _mixed(head.boxes.quantisation.to_real(mix), prototypes, head)
    stride = head.boxes.input_width / planes.shape[2]
    objects = (_yolo.prediction(found, index, head.boxes) for index in range(len(found.scores)))
    masked = (
        _masked(each, plane, stride, place=place, wanted=wanted) for each, plane in zip(objects, planes, strict=True)
    )
    return tuple(each for each in masked if each is not None)


def _mixed(mix: NDArray[np.float32], stored: NDArray[np.generic], head: Segments) -> NDArray[np.float32]:
    """(n, rows, columns): each object's plane, of (prototypes, n) coefficients."""
    prototypes = head.quantisation.to_real(stored)
    if head.prototypes_last:
        return np.ascontiguousarray(np.moveaxis(prototypes @ mix, 2, 0))
    count, rows, columns = prototypes.shape
    return np.asarray(mix.T @ prototypes.reshape(count, -1)).reshape(-1, rows, columns)


def _masked(
    found: Prediction, plane: NDArray[np.float32], stride: float, *, place: _yolo.Place, wanted: _yolo.Wanted
) -> Prediction | None:
    left, top = round(found.x - found.width / 2), round(found.y - found.height / 2)
    right, bottom = round(found.x + found.width / 2), round(found.y + found.height / 2)
    box = max(0, left), max(0, top), min(place.width, right), min(place.height, bottom)
    if box[0] >= box[2] or box[1] >= box[3]:
        return None
    inside = canvas.seen_through(plane, place.letterbox, stride, box=box) > 0
    if not inside.any():
        return None
    if wanted.as_runs:
        runs = _masks.placed_runs(inside, left=box[0], top=box[1], width=place.width, height=place.height)
        return replace(found, runs=runs)
    points = tuple((x + box[0], y + box[1]) for x, y in _masks.outline(inside))
    return replace(found, points=points)
