"""What the hosted API answered, in the captured frame's pixels: six shapes, told apart by what is in them. No state.

Boxes, outlines and keypoints are scaled from the picture that was sent; masks are resized to the frame, nearest
neighbour. Whatever JSON a server sends is an answer or a ValueError, at a cost that is bounded beforehand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agent.engines import _fields, _masks, _semantic
from agent.flow import Keypoint, Picture, Prediction, Regions, Runs, Score, Task

MOST_OBJECTS: Final = 3_000
"""The API's own limit before it suppresses any; 300 after that, by default."""
MOST_CLASSES: Final = 30_000
MOST_POINTS: Final = 200_000
"""Corners and keypoints of one answer: what 300 jagged outlines of 600 corners have."""
_LONGEST_SIDE: Final = 65_535
"""Pixels, of a JPEG."""
_BOX: Final = {"x", "y", "width", "height"}
_LISTS: Final = ("points", "keypoints")
_OF_OBJECTS: Final = (Task.OBJECT_DETECTION, Task.INSTANCE_SEGMENTATION, Task.KEYPOINT_DETECTION)


@dataclass(frozen=True, slots=True)
class Findings:
    """Those fields of an Answer that an engine's answer gives."""

    task: Task
    predictions: tuple[Prediction, ...]
    scores: tuple[Score, ...] = ()
    regions: Regions | None = None


@dataclass(frozen=True, slots=True)
class _Scale:
    """From the picture that was sent to the captured frame."""

    picture: Picture
    x: float
    y: float


def read(body: Mapping[str, Any], picture: Picture, *, assumed: Task) -> Findings:
    """What was found.

    Args:
        body: the answer's JSON object.
        picture: what was sent.
        assumed: the task of an answer without any object, which has no shape to tell it by.

    Raises:
        ValueError: it is no answer of the API's, in words.
    """
    if "predictions" not in body and "segmentation_mask" in body:  # as older servers have it
        return _areas(body, picture)
    found = body.get("predictions")
    if isinstance(found, dict):
        return _areas(found, picture) if "segmentation_mask" in found else _labels(found, body, picture)
    if not isinstance(found, list):
        raise _fields.Unfit("it has no predictions")
    if len(found) > MOST_OBJECTS:
        raise ValueError(f"it has {len(found)} predictions, more than {MOST_OBJECTS}")
    items = [_fields.section(item, "a prediction") for item in found]
    if "top" in body or (items and not any(item.keys() & _BOX for item in items)):
        return _classes(items, picture)
    return _objects(items, _scale(body, picture), assumed)


def _scale(body: Mapping[str, Any], picture: Picture) -> _Scale:
    image = _fields.section(body.get("image") or {}, "its image")
    width, height = (
        _fields.number(image, side, 1, _LONGEST_SIDE, default=sent)
        for side, sent in (("width", picture.width), ("height", picture.height))
    )
    return _Scale(picture, picture.frame_width / width, picture.frame_height / height)


def _objects(items: Sequence[Mapping[str, Any]], scale: _Scale, assumed: Task) -> Findings:
    points = sum(len(part) for item in items for part in map(item.get, _LISTS) if isinstance(part, list))
    if points > MOST_POINTS:
        raise ValueError(f"it has {points} points, more than {MOST_POINTS}")
    return Findings(_task(items, assumed), tuple(_object(item, scale) for item in items))


def _task(items: Sequence[Mapping[str, Any]], assumed: Task) -> Task:
    if not items:
        return assumed if assumed in _OF_OBJECTS else Task.OBJECT_DETECTION
    if any("keypoints" in item for item in items):
        return Task.KEYPOINT_DETECTION
    masked = any("points" in item or "rle" in item for item in items)
    return Task.INSTANCE_SEGMENTATION if masked else Task.OBJECT_DETECTION


def _object(item: Mapping[str, Any], scale: _Scale) -> Prediction:
    points, keypoints, rle = item.get("points"), item.get("keypoints"), item.get("rle")
    return Prediction(
        x=_fields.coordinate(item, "x") * scale.x,
        y=_fields.coordinate(item, "y") * scale.y,
        width=_fields.coordinate(item, "width", least=0) * scale.x,
        height=_fields.coordinate(item, "height", least=0) * scale.y,
        confidence=_fields.confidence(item),
        class_name=_fields.text(item, "class"),
        class_id=_fields.whole(item, "class_id", default=-1),
        points=None if points is None else _outline(points, scale),
        runs=None if rle is None else _runs(rle, scale.picture),
        keypoints=None if keypoints is None else _keypoints(keypoints, scale),
    )


def _outline(points: object, scale: _Scale) -> tuple[tuple[float, float], ...]:
    corners = (_fields.section(point, "a point") for point in _fields.items(points, "points"))
    return tuple(
        (_fields.coordinate(corner, "x") * scale.x, _fields.coordinate(corner, "y") * scale.y) for corner in corners
    )


def _keypoints(points: object, scale: _Scale) -> tuple[Keypoint, ...]:
    slots = [_fields.section(point, "a keypoint") for point in _fields.items(points, "keypoints")]
    return tuple(
        Keypoint(
            x=_fields.coordinate(slot, "x") * scale.x,
            y=_fields.coordinate(slot, "y") * scale.y,
            confidence=_fields.confidence(slot),
            class_name=_fields.text(slot, "class"),
            class_id=_fields.whole(slot, "class_id", least=0, default=number),
        )
        for number, slot in enumerate(slots)
    )


def _runs(rle: object, picture: Picture) -> Runs:
    """The mask as large as the frame. That it is as large as the picture that was sent bounds what this can cost."""
    mask = _fields.section(rle, "a mask")
    if mask.get("size") != [picture.height, picture.width]:
        raise ValueError(f"a mask is not as large as the picture of {picture.width}x{picture.height}")
    runs = Runs(picture.height, picture.width, _fields.text(mask, "counts", longest=_masks.MOST_LETTERS))
    return _masks.resized_runs(runs, picture.frame_width, picture.frame_height)


def _classes(items: Sequence[Mapping[str, Any]], picture: Picture) -> Findings:
    found = [_whole_frame(_score(_fields.text(item, "class"), item), picture) for item in items]
    return Findings(Task.CLASSIFICATION, _best_first(found))


def _labels(found: Mapping[str, Any], body: Mapping[str, Any], picture: Picture) -> Findings:
    """Every class with its score, and the names of those that passed."""
    if len(found) > MOST_CLASSES:
        raise ValueError(f"it has {len(found)} classes, more than {MOST_CLASSES}")
    passed = {
        each for each in _fields.items(body.get("predicted_classes"), "predicted_classes") if isinstance(each, str)
    }
    scores = {name: _score(_fields.cleaned(name), _fields.section(item, "a class")) for name, item in found.items()}
    predictions = [_whole_frame(score, picture) for name, score in scores.items() if name in passed]
    return Findings(Task.MULTI_LABEL_CLASSIFICATION, _best_first(predictions), tuple(scores.values()))


def _score(name: str, item: Mapping[str, Any]) -> Score:
    return Score(name, _fields.whole(item, "class_id", default=-1), _fields.confidence(item))


def _whole_frame(score: Score, picture: Picture) -> Prediction:
    """A class of the whole picture."""
    width, height = picture.frame_width, picture.frame_height
    return Prediction(width / 2, height / 2, width, height, score.confidence, score.class_name, score.class_id)


def _best_first(found: Sequence[Prediction]) -> tuple[Prediction, ...]:
    return tuple(sorted(found, key=lambda each: -each.confidence))


def _areas(found: Mapping[str, Any], picture: Picture) -> Findings:
    regions, predictions = _semantic.read(found, picture)
    return Findings(Task.SEMANTIC_SEGMENTATION, predictions, regions=regions)
