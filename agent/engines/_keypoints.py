"""Keypoints of YOLOv8-pose: x, y and, mostly, how visible it is, for each point of each object. No state."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.engines import _yolo
from agent.flow import Keypoint, Prediction

COCO: Final = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow"),
    *("right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle"),
    "right_ankle",
)
"""The 17 points of a person, in the order of the COCO dataset, which is that of every model trained on it."""
WITH_VISIBILITY: Final = 3


@dataclass(frozen=True, slots=True)
class Poses:
    """How one model writes its boxes and keypoints."""

    boxes: _yolo.Boxes
    count: int
    """Keypoints of each object."""
    numbers: int
    """2: x, y; 3: and visibility 0..1."""
    normalised: bool
    """True: keypoints in units of the input's size; False: in pixels of the input. Boxes may be the other way."""
    names: tuple[str, ...]

    def name(self, number: int) -> str:
        """The keypoint in words."""
        return self.names[number] if number < len(self.names) else f"keypoint_{number}"


def decode(
    raw: NDArray[np.generic], head: Poses, *, place: _yolo.Place, wanted: _yolo.Wanted
) -> tuple[Prediction, ...]:
    """Objects in the captured frame with those of their keypoints that are visible enough, best first."""
    found = _yolo.find(raw, head.boxes, place, wanted)
    if found is None:
        return ()
    behind = head.boxes.rows(raw)[_yolo.BOX_ROWS + head.boxes.classes :, found.anchors]
    points = head.boxes.quantisation.to_real(behind).reshape(head.count, head.numbers, -1)
    placed = _in_frame(points, head, place)
    return tuple(
        replace(
            _yolo.prediction(found, index, head.boxes),
            keypoints=_points(placed[..., index], head, wanted.keypoint_confidence),
        )
        for index in range(len(found.scores))
    )


def _in_frame(points: NDArray[np.float32], head: Poses, place: _yolo.Place) -> NDArray[np.float32]:
    """(keypoints, 3, n): x and y in the frame's pixels, and visibility."""
    letterbox, (count, _, objects) = place.letterbox, points.shape
    placed = np.ones((count, WITH_VISIBILITY, objects), dtype=np.float32)
    placed[:, : head.numbers] = points
    if head.normalised:
        placed[:, 0] *= head.boxes.input_width
        placed[:, 1] *= head.boxes.input_height
    placed[:, 0] = (placed[:, 0] - letterbox.left_px) / letterbox.scale_x
    placed[:, 1] = (placed[:, 1] - letterbox.top_px) / letterbox.scale_y
    return placed


def _points(placed: NDArray[np.float32], head: Poses, least: float) -> tuple[Keypoint, ...]:
    """The hosted API leaves out what is below the threshold, or not there at all."""
    return tuple(
        Keypoint(round(float(x), 2), round(float(y), 2), round(min(float(score), 1.0), 4), head.name(number), number)
        for number, (x, y, score) in enumerate(placed)
        if score >= least and score > 0
    )
