"""Finds out how a loaded model is to be read: by its tensors, by what its exporter and its package say, by running it.

No state. What does not fit together is refused here, at load, by name.
"""

from pathlib import Path
from typing import Final

import numpy as np

from agent.engines import _classes, _postures, _regions, _segments, _yolo
from agent.engines._heads import Areas, Classifier, Detector, Head, Pose, Segmenter
from agent.engines._metadata import Export
from agent.engines._runtime import Quantisation
from agent.engines._shown import Loaded
from agent.errors import EngineBroken
from agent.flow import Task
from agent.package import ModelPackage

_LEAST_STEPS: Final = 32
"""Of a quantised score between 0 and 1: with fewer it says nothing."""
_VECTOR, _ROWS, _PLANES = 2, 3, 4
"""Axes of an output, with the batch's: classes; rows and anchors; planes of the picture."""


def head_of(model: Loaded, found: ModelPackage, export: Export) -> Head:
    """How to read `model`. Raises EngineBroken with what is wrong, or does not fit."""
    if export.suppressed:
        raise EngineBroken(f"{model.file}: has non-maximum suppression built in; export it without (nms=False)")
    if export.oriented:
        raise EngineBroken(
            f"{model.file}: finds oriented boxes (task: obb), and those are not supported; use a detection, "
            "segmentation or keypoint model"
        )
    _refuse_what_is_no_number(model)
    head = _by_shape(model, found, export)
    said = _said(found, export)
    if said is not None and said is not head.task and not _classifies(said, head.task):
        raise EngineBroken(
            f"{model.file}: is said to be for {said.value}, but its outputs {_shapes(model)} are those of "
            f"{head.task.value}; name the right task in model.yaml, or export the model again"
        )
    return head


def _said(found: ModelPackage, export: Export) -> Task | None:
    """What the model is for, as its package or else its exporter says."""
    keypoints = found.keypoints or export.keypoint_shape is not None
    return found.task or export.task or (Task.KEYPOINT_DETECTION if keypoints else None)


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


def _with_boxes(model: Loaded, found: ModelPackage, export: Export) -> Head:
    """A detector or a keypoint model: only the numbers tell."""
    plain, labels, said = _boxes(model, ()), found.labels or export.labels, _said(found, export)
    may_detect = _yolo.are_scores(plain.scores(model.raw[0]))
    named = said is Task.OBJECT_DETECTION or (said is None and len(labels) == plain.classes)
    pose = None if may_detect and named else _pose(model, plain.classes, found, export)
    if pose is not None:
        return pose
    if may_detect:
        return Detector(plain if said is Task.KEYPOINT_DETECTION else _boxes(model, labels))
    raise _no_scores(model, plain)


def _pose(model: Loaded, rows: int, found: ModelPackage, export: Export) -> Pose | None:
    """`rows`: those behind the box."""
    labels, raw = found.labels or export.labels, model.raw[0]
    for shape in _postures.shapes(rows, found, export):
        behind = shape[0] * shape[1]
        boxes = _boxes(model, labels if len(labels) == rows - behind else (), behind=behind)
        if _yolo.are_scores(boxes.scores(raw)):
            poses = _postures.read(boxes.behind(raw), boxes, shape, found.keypoints or export.keypoints)
            if poses is not None:
                return Pose(poses)
    return None


def _no_scores(model: Loaded, boxes: _yolo.Boxes) -> EngineBroken:
    scores = boxes.scores(model.raw[0])
    if _yolo.are_scores(scores[:-1]) and np.abs(scores[-1]).max() <= np.pi:
        return EngineBroken(
            f"{model.file}: its last row of numbers, {scores[-1].min():.3g} to {scores[-1].max():.3g}, looks like the "
            "angles of oriented boxes, which are not supported; use a detection, segmentation or keypoint model"
        )
    return EngineBroken(
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
    form = _classes.form_of([tensor.quantisation.to_real(raw[0]).copy() for raw in model.looks()])
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
