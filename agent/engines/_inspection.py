"""Finds out how a loaded model is to be read: by its tensors, by what its exporter and its package say, by running it.

No state. What does not fit together is refused here, at load, by name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.engines import _classes, _keypoints, _regions, _segments, _yolo
from agent.engines._heads import Areas, Classifier, Detector, Head, Pose, Segmenter
from agent.engines._metadata import Export
from agent.engines._runtime import Quantisation, Tensor
from agent.errors import EngineBroken
from agent.flow import Task
from agent.package import ModelPackage

_SLACK: Final = 0.02
"""Rounding of a quantised score; a sigmoid itself never leaves 0..1."""
_LEAST_STEPS = 32
"""Of a quantised score between 0 and 1: with fewer it says nothing."""
_VECTOR, _ROWS, _PLANES = 2, 3, 4
"""Axes of an output, with the batch's: classes; rows and anchors; planes of the picture."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that has been run once, on a grey picture."""

    file: Path
    width: int
    """Of the input, in pixels."""
    height: int
    outputs: tuple[Tensor, ...]
    raw: tuple[NDArray[np.generic], ...]
    """Of that run, without the batch axis, as stored."""


def head_of(model: Loaded, found: ModelPackage, export: Export) -> Head:
    """How to read `model`. Raises EngineBroken with what is wrong, or does not fit."""
    if export.suppressed:
        raise EngineBroken(f"{model.file}: has non-maximum suppression built in; export it without (nms=False)")
    _refuse_what_is_no_number(model)
    head = _by_shape(model, found, export)
    said = found.task or export.task
    if said is not None and said is not head.task and not _classifies(said, head.task):
        raise EngineBroken(
            f"{model.file}: is said to be for {said.value}, but its outputs {_shapes(model)} are those of "
            f"{head.task.value}; name the right task in model.yaml, or export the model again"
        )
    return head


def _classifies(said: Task, seen: Task) -> bool:
    """Whether both are classification: a model's outputs alone do not say whether one class holds, or several."""
    return {said, seen} <= {Task.CLASSIFICATION, Task.MULTI_LABEL_CLASSIFICATION}


def _refuse_what_is_no_number(model: Loaded) -> None:
    for tensor, values in zip(model.outputs, model.raw, strict=True):
        if not np.isfinite(values).all():
            raise EngineBroken(
                f"{model.file}: its output {tensor.name} is not numbers (NaN, or without end) for a grey picture; the "
                "file is damaged, or float16 was too narrow for it: export it again, as float32"
            )


def _shapes(model: Loaded) -> str:
    return ", ".join(str(list(tensor.shape)) for tensor in model.outputs)


def _by_shape(model: Loaded, found: ModelPackage, export: Export) -> Head:
    axes = [len(tensor.shape) for tensor in model.outputs]
    labels = found.labels or export.labels
    if axes == [_VECTOR]:
        return _classifier(model, found, labels)
    if axes == [_PLANES]:
        return _areas(model, labels)
    if sorted(axes) == [_ROWS, _PLANES]:
        return _segmenter(model, labels, first=axes.index(_ROWS))
    if axes == [_ROWS]:
        return _with_boxes(model, found, export)
    raise EngineBroken(
        f"{model.file}: its outputs {_shapes(model)} are those of no model that is known here; export a YOLOv8 or "
        "YOLO11 model with its own head and without NMS"
    )


def _boxes(model: Loaded, labels: tuple[str, ...], *, number: int = 0, behind: int = 0) -> _yolo.Boxes:
    """How output `number`, with `behind` rows after its scores, writes its boxes."""
    tensor = model.outputs[number]
    last = _yolo.anchors_last(tensor.shape, width=model.width, height=model.height)
    classes = tensor.shape[1 if last else 2] - _yolo.BOX_ROWS - behind
    _refuse_coarse(model.file, tensor.quantisation)
    if labels and len(labels) != classes:
        raise EngineBroken(f"{model.file}: finds {classes} classes but {len(labels)} labels are given for it")
    raw = model.raw[number]
    boxes = tensor.quantisation.to_real((raw if last else raw.T)[: _yolo.BOX_ROWS])
    normalised = _yolo.looks_normalised(boxes[:2])
    return _yolo.Boxes(last, normalised, tensor.quantisation, model.width, model.height, classes, labels)


def _refuse_coarse(file: Path, quantisation: Quantisation) -> None:
    """Pixels and scores in one 8-bit tensor: a step is some pixels wide, and every score is 0."""
    if quantisation.scale and 1 / quantisation.scale < _LEAST_STEPS:
        raise EngineBroken(
            f"{file}: one step of its quantised output is {quantisation.scale:.3g}, so that scores of 0 to 1 are lost; "
            "its boxes are in pixels: export int8 with boxes in 0..1, or with float outputs"
        )


def _scores_fit(model: Loaded, boxes: _yolo.Boxes) -> bool:
    """Whether what should be scores is 0..1."""
    rows = boxes.rows(model.raw[0])[_yolo.BOX_ROWS : _yolo.BOX_ROWS + boxes.classes]
    scores = boxes.quantisation.to_real(rows)
    return bool(scores.min() >= -_SLACK and scores.max() <= 1 + _SLACK)


def _with_boxes(model: Loaded, found: ModelPackage, export: Export) -> Head:
    """A detector or a keypoint model: only the numbers tell."""
    labels = found.labels or export.labels
    last = _yolo.anchors_last(model.outputs[0].shape, width=model.width, height=model.height)
    rows = model.outputs[0].shape[1 if last else 2] - _yolo.BOX_ROWS
    plain = _boxes(model, ())
    declared = found.task or export.task
    if declared is not Task.KEYPOINT_DETECTION and not found.keypoints and export.keypoint_shape is None:
        if _scores_fit(model, plain):
            return Detector(_boxes(model, labels))
        if labels and declared is Task.OBJECT_DETECTION:
            _refuse_scores(model, plain)
    for count, numbers in _keypoint_shapes(rows, found, export, classes=len(labels)):
        behind = count * numbers
        boxes = _boxes(model, labels if len(labels) == rows - behind else (), behind=behind)
        if _scores_fit(model, boxes) and _visibility_fits(model, boxes, count, numbers):
            return Pose(_poses(model, boxes, (count, numbers), found.keypoints or export.keypoints))
    return _refuse_scores(model, plain)


def _keypoint_shapes(rows: int, found: ModelPackage, export: Export, *, classes: int) -> Sequence[tuple[int, int]]:
    """How many keypoints of how many numbers there may be behind the boxes, the likeliest first."""
    if export.keypoint_shape is not None:
        return [export.keypoint_shape] if export.keypoint_shape[0] * export.keypoint_shape[1] < rows else []
    known = range(classes, classes + 1) if classes else range(1, rows)
    shapes = [
        ((rows - classes) // numbers, numbers)
        for classes in known
        for numbers in (_keypoints.WITH_VISIBILITY, 2)
        if rows > classes and (rows - classes) % numbers == 0
    ]
    return [shape for shape in shapes if not found.keypoints or shape[0] == len(found.keypoints)]


def _visibility_fits(model: Loaded, boxes: _yolo.Boxes, count: int, numbers: int) -> bool:
    if numbers != _keypoints.WITH_VISIBILITY:
        return True
    behind = boxes.rows(model.raw[0])[_yolo.BOX_ROWS + boxes.classes :]
    visible = boxes.quantisation.to_real(behind).reshape(count, numbers, -1)[:, 2]
    return bool(visible.min() >= -_SLACK and visible.max() <= 1 + _SLACK)


def _poses(model: Loaded, boxes: _yolo.Boxes, shape: tuple[int, int], names: tuple[str, ...]) -> _keypoints.Poses:
    count, numbers = shape
    behind = boxes.rows(model.raw[0])[_yolo.BOX_ROWS + boxes.classes :]
    positions = boxes.quantisation.to_real(behind).reshape(count, numbers, -1)[:, :2]
    usual = _keypoints.COCO if count == len(_keypoints.COCO) else ()
    return _keypoints.Poses(boxes, count, numbers, _yolo.looks_normalised(positions), names or usual)


def _refuse_scores(model: Loaded, boxes: _yolo.Boxes) -> Head:
    scores = boxes.quantisation.to_real(boxes.rows(model.raw[0])[_yolo.BOX_ROWS :])
    raise EngineBroken(
        f"{model.file}: its scores are not between 0 and 1 (they span {scores.min():.3g} to {scores.max():.3g}), nor "
        "are its outputs those of a keypoint model; export a YOLOv8 or YOLO11 model with its own head"
    )


def _segmenter(model: Loaded, labels: tuple[str, ...], *, first: int) -> Head:
    shape = model.outputs[1 - first].shape[1:]
    smallest = int(np.argmin(shape))
    rows = model.outputs[first].shape[1:]
    for last in (smallest == 2, smallest != 2):  # noqa: PLR2004 - the last axis; prototypes are mostly the fewest
        count = shape[2] if last else shape[0]
        if count < min(rows) - _yolo.BOX_ROWS:
            boxes = _boxes(model, labels, number=first, behind=count)
            segments = _segments.Segments(boxes, last, model.outputs[1 - first].quantisation)
            return Segmenter(segments, first)
    raise EngineBroken(
        f"{model.file}: its outputs {_shapes(model)} have no room for mask coefficients; export a YOLOv8 or YOLO11 "
        "segmentation model with its own head"
    )


def _classifier(model: Loaded, found: ModelPackage, labels: tuple[str, ...]) -> Head:
    tensor = model.outputs[0]
    if labels and len(labels) != tensor.shape[1]:
        raise EngineBroken(f"{model.file}: finds {tensor.shape[1]} classes but {len(labels)} labels are given for it")
    form = _classes.form_of(tensor.quantisation.to_real(model.raw[0]))
    many = found.task is Task.MULTI_LABEL_CLASSIFICATION or (found.task is None and form is _classes.Form.SCORES)
    return Classifier(_classes.Classifier(form, many, tensor.quantisation, labels))


def _areas(model: Loaded, labels: tuple[str, ...]) -> Head:
    tensor = model.outputs[0]
    classes_last = bool(np.argmin(tensor.shape[1:]) == 2)  # noqa: PLR2004 - the last axis
    channels = tensor.shape[3] if classes_last else tensor.shape[1]
    if labels and channels - len(labels) not in (0, 1):
        raise EngineBroken(f"{model.file}: finds {channels} classes but {len(labels)} labels are given for it")
    named = (_regions.BACKGROUND, *labels) if labels and channels == len(labels) + 1 else labels
    return Areas(_regions.Areas(classes_last, tensor.quantisation, model.width, named))
