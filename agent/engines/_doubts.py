"""What is wrong with a model that runs all the same: its answer to a picture without anything in it tells. No state."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from agent.engines import _heads, _yolo
from agent.engines._shown import Loaded

_SURE: Final = 0.4
"""The confidence from which objects count by default."""


def doubts(model: Loaded, head: _heads.Head) -> Iterator[str]:
    """For people; mostly none."""
    if isinstance(head, _heads.Detector):
        yield from _of_boxes(model, head.boxes, 0)
    elif isinstance(head, _heads.Segmenter):
        yield from _of_boxes(model, head.segments.boxes, head.first)
    elif isinstance(head, _heads.Pose):
        yield from _of_boxes(model, head.poses.boxes, 0)


def _of_boxes(model: Loaded, boxes: _yolo.Boxes, number: int) -> Iterator[str]:
    scores = boxes.scores(model.raw[number])
    best = scores.max(axis=0)
    sure = int(np.count_nonzero(best >= _SURE))
    if sure > _yolo.MOST_OBJECTS:
        yield (
            f"it finds objects at {sure} of {len(best)} places of a grey picture without anything in it (scores of "
            f"{_SURE:g} and more): it was quantised or exported wrongly; export it again, and compare it with the "
            "original"
        )
    if not boxes.quantisation.scale and not boxes.normalised and not scores.any():
        yield (
            "all of its scores are exactly 0, and its boxes are in pixels: where 8 bits hold both, nothing is left "
            "between 0 and 1, and it finds nothing; export int8 with boxes in 0..1, or export float32"
        )
