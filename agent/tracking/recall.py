"""Which track each object of a recent frame belongs to, for corrections that come later. Owner: the emit thread."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from agent.flow import UNTRACKED, Prediction
from agent.tracking.assignment import assign

MOST_FRAMES: Final = 512
"""Corrections come up to 8 s after their frames: of 60 frames a second, the last 8 s."""
_LEAST_OVERLAP: Final = 0.3
"""Intersection over union from which on two models mean the same object, whatever they call it."""


class Recall:
    """One camera's last frames."""

    def __init__(self) -> None:
        self._tracked: dict[int, list[Prediction]] = {}
        """By sequence number, the oldest first."""

    def note(self, seq: int, predictions: Sequence[Prediction]) -> None:
        """Remember who is who in the first answer to a frame."""
        self._tracked[seq] = [found for found in predictions if found.tracker_id not in (None, UNTRACKED)]
        if len(self._tracked) > MOST_FRAMES:
            del self._tracked[next(iter(self._tracked))]

    def named(self, seq: int, predictions: Sequence[Prediction]) -> tuple[Prediction, ...]:
        """Another answer's objects with the ids of those that they overlap most, no id twice."""
        tracked = self._tracked.get(seq, [])
        overlaps = np.array([[_overlap(found, known) for known in tracked] for found in predictions], dtype=float)
        pairs = dict(assign(overlaps)) if overlaps.size else {}
        ids = [tracked[pairs[row]].tracker_id if row in pairs else UNTRACKED for row in range(len(predictions))]
        return tuple(replace(found, tracker_id=id_) for found, id_ in zip(predictions, ids, strict=True))


def _overlap(one: Prediction, other: Prediction) -> float:
    """Intersection over union; 0 where that is too little."""
    across = min(one.x + one.width / 2, other.x + other.width / 2) - max(
        one.x - one.width / 2, other.x - other.width / 2
    )
    down = min(one.y + one.height / 2, other.y + other.height / 2) - max(
        one.y - one.height / 2, other.y - other.height / 2
    )
    if across <= 0 or down <= 0:
        return 0.0
    share = across * down / (one.width * one.height + other.width * other.height - across * down)
    return share if share >= _LEAST_OVERLAP else 0.0
