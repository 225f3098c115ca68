"""Classifiers: a score for each class of the whole picture, in one of the forms that exports have. No state."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from agent.engines._runtime import Quantisation
from agent.errors import EngineBroken
from agent.flow import Prediction, Score

_SUM_SLACK = 0.05
"""Rounding of a quantised output with some thousand classes."""


class Form(str, Enum):
    """What the numbers are."""

    SHARES = "shares"
    """They sum to 1."""
    SCORES = "scores"
    """Each is 0..1 by itself."""
    LOGITS = "logits"
    """Any numbers."""


@dataclass(frozen=True, slots=True)
class Classifier:
    """How one model writes its scores."""

    form: Form
    many: bool
    """Several classes may hold at once."""
    quantisation: Quantisation
    labels: tuple[str, ...]

    def name(self, class_id: int) -> str:
        """The class in words."""
        return self.labels[class_id] if class_id < len(self.labels) else f"class_{class_id}"


def form_of(looks: Sequence[NDArray[np.float32]]) -> Form:
    """What the numbers of a few pictures, (classes,) each, are. One alone can mislead: logits may be in 0..1, too."""
    if any(values.min() < -_SUM_SLACK or values.max() > 1 + _SUM_SLACK for values in looks):
        return Form.LOGITS
    return Form.SHARES if all(abs(float(values.sum()) - 1) <= _SUM_SLACK for values in looks) else Form.SCORES


def scores(raw: NDArray[np.generic], head: Classifier) -> tuple[Score, ...]:
    """What each class got, 0..1, by class id. Raises EngineBroken: what comes out is not numbers."""
    values = head.quantisation.to_real(raw).reshape(-1)
    if not np.isfinite(values).all():
        raise EngineBroken("the model's output is not numbers (NaN)")
    if head.form is Form.LOGITS:
        values = _sigmoid(values) if head.many else _softmax(values)
    rounded = (round(min(max(float(value), 0.0), 1.0), 4) for value in values)
    return tuple(Score(head.name(class_id), class_id, value) for class_id, value in enumerate(rounded))


def passed(all_scores: tuple[Score, ...], confidence: float, *, width: int, height: int) -> tuple[Prediction, ...]:
    """The classes at or above `confidence`, best first, each as large as the frame of `width` x `height` pixels."""
    best_first = sorted(all_scores, key=lambda score: -score.confidence)
    return tuple(
        Prediction(width / 2, height / 2, width, height, each.confidence, each.class_name, each.class_id)
        for each in best_first
        if each.confidence >= confidence
    )


def _softmax(values: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(values - values.max())
    return np.asarray(powers / powers.sum(), dtype=np.float32)


def _sigmoid(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -60, 60))), dtype=np.float32)
