"""What a request wants of what the engine found, as the hosted service selects it. No state."""

from dataclasses import replace

import numpy as np

from agent import canvas, imaging
from agent.emulator.query import Wanted
from agent.engines import _masks
from agent.flow import Answer, Prediction, Score, Task

_SHARE_DIGITS = 4
"""Of a class's score, as the service rounds it."""


def select(found: Answer, wanted: Wanted, *, width: int, height: int) -> Answer:
    """The part of `found` that is wanted, best first. `width`, `height`: of the picture, in pixels."""
    if found.task is Task.SEMANTIC_SEGMENTATION:
        return found
    if found.task is Task.MULTI_LABEL_CLASSIFICATION:
        passed = [score for score in found.scores if score.confidence >= wanted.confidence]
        passed.sort(key=lambda score: -score.confidence)
        return replace(found, predictions=tuple(_whole_picture(score, width, height) for score in passed))
    if found.task is Task.CLASSIFICATION:
        rounded = (replace(each, confidence=round(each.confidence, _SHARE_DIGITS)) for each in found.predictions)
        return replace(found, predictions=tuple(each for each in rounded if each.confidence >= wanted.confidence))
    objects = (_with_points(each, wanted, width, height) for each in _apart(found.predictions, wanted))
    return replace(found, predictions=tuple(objects))


def _whole_picture(score: Score, width: int, height: int) -> Prediction:
    return Prediction(width / 2, height / 2, width, height, score.confidence, score.class_name, score.class_id)


def _apart(found: tuple[Prediction, ...], wanted: Wanted) -> tuple[Prediction, ...]:
    """The engine has left out near-copies already; the request's own overlap is applied to what remains."""
    sure = [prediction for prediction in found if prediction.confidence >= wanted.confidence]
    corners = [(p.x - p.width / 2, p.y - p.height / 2, p.width, p.height) for p in sure]
    rows = imaging.suppress(
        np.array(corners, dtype=np.float32).reshape(-1, 4),
        np.array([prediction.confidence for prediction in sure], dtype=np.float32),
        np.array([prediction.class_id for prediction in sure], dtype=np.int32),
        overlap=wanted.overlap,
    )
    return tuple(sure[row] for row in rows[: wanted.max_detections])


def _with_points(found: Prediction, wanted: Wanted, width: int, height: int) -> Prediction:
    """Its mask in the form that is wanted, and those keypoints that were seen."""
    points, runs, keypoints = found.points, found.runs, found.keypoints
    if keypoints is not None:
        keypoints = tuple(each for each in keypoints if each.confidence >= max(wanted.keypoint_confidence, 1e-9))
    if wanted.as_runs and points is not None:
        runs = runs or _masks.encode_runs(canvas.filled(points, width=width, height=height))
        points = None
    elif not wanted.as_runs and runs is not None:
        points = points or _masks.outline(_masks.decode_runs(runs))
        runs = None
    return replace(found, points=points, runs=runs, keypoints=keypoints)
