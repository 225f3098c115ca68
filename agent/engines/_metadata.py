"""What an exporter wrote into a model file, read as data that anybody may have written. No state."""

import contextlib
import json
from ast import literal_eval
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from agent.flow import Task

UP_TO_BYTES: Final = 1_000_000
"""Exporters write about 3 kB; more is no list of class names."""
_MOST_KEYPOINTS = 1000
_TASKS: Final = {
    "detect": Task.OBJECT_DETECTION,
    "segment": Task.INSTANCE_SEGMENTATION,
    "pose": Task.KEYPOINT_DETECTION,
    "classify": Task.CLASSIFICATION,
    "semantic": Task.SEMANTIC_SEGMENTATION,
}


@dataclass(frozen=True, slots=True)
class Export:
    """What the exporter says of its model; nothing of it has to be true."""

    labels: tuple[str, ...] = ()
    task: Task | None = None
    keypoint_shape: tuple[int, int] | None = None
    """How many keypoints, and how many numbers each has."""
    keypoints: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    """Width and height of the input in pixels."""
    oriented: bool = False
    """Boxes are turned: a task that is not known here."""
    suppressed: bool = False
    """Non-maximum suppression is part of the model."""


def read(written: Mapping[str, Any]) -> Export:
    """The parts that are as they should be; the others count as not written."""
    task = written.get("task")
    args = written.get("args")
    return Export(
        labels=in_order(written.get("names")),
        task=_TASKS.get(task) if isinstance(task, str) else None,
        keypoint_shape=_pair(written.get("kpt_shape"), most=_MOST_KEYPOINTS),
        keypoints=_keypoints(written.get("kpt_names")),
        size=_size(written.get("imgsz")),
        oriented=task == "obb",
        suppressed=written.get("end2end") is True or (isinstance(args, dict) and args.get("nms") is True),
    )


def parsed(text: str) -> Any:  # noqa: ANN401 - JSON, whatever it holds
    """Metadata as JSON, or as the Python literal that older exporters wrote; None when it is neither."""
    for parse in (json.loads, literal_eval):
        # Both parsers call text that is nested too deeply out of memory or out of stack.
        with contextlib.suppress(ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            return parse(text)
    return None


def in_order(names: object) -> tuple[str, ...]:
    """`names`, a list, or a mapping of class id to name, by class id; empty unless the ids are 0, 1, 2 and so on."""
    if isinstance(names, list | tuple):
        names = dict(enumerate(names))
    if not isinstance(names, dict):
        return ()
    found = [names.get(class_id, names.get(str(class_id))) for class_id in range(len(names))]
    labels = tuple(name for name in found if isinstance(name, str))
    return labels if len(labels) == len(names) else ()


def _keypoints(names: object) -> tuple[str, ...]:
    """One list of names, or one for each class, of which the first counts."""
    first = in_order(names)
    if first or not isinstance(names, dict) or not names:
        return first
    return in_order(next(iter(names.values())))


def _size(imgsz: object) -> tuple[int, int] | None:
    """Exporters write height and width, or one number for both."""
    both = [imgsz, imgsz] if isinstance(imgsz, int) else imgsz
    pair = _pair(both, most=1 << 16)
    return None if pair is None else (pair[1], pair[0])


def _pair(value: object, *, most: int) -> tuple[int, int] | None:
    if not isinstance(value, list | tuple) or len(value) != 2:  # noqa: PLR2004 - a pair
        return None
    first, second = value
    if type(first) is not int or type(second) is not int or not (0 < first <= most and 0 < second <= most):
        return None
    return first, second
