"""Names of public models, which the hosted API knows by project and version only. No state."""

from collections.abc import Mapping
from typing import Final

from agent.flow import Task

_SIZES: Final = "nsmlx"
_DETECT, _SEGMENT, _POSE, _CLASSIFY = "coco", "coco-dataset-vdnr1", "coco-pose-detection", "classifiers"


def _numbered(project: str, names: str, versions: Mapping[str, int]) -> dict[str, str]:
    """`names` with each key of `versions` in place of its {}."""
    return {names.format(size): f"{project}/{version}" for size, version in versions.items()}


def _from(first: int, sizes: str = _SIZES) -> dict[str, int]:
    return {size: version for version, size in enumerate(sizes, start=first)}


ALIASES: Final = {
    **_numbered(_DETECT, "yolov8{}-640", {"n": 3, "s": 6, "m": 8, "l": 7, "x": 5}),
    **_numbered(_DETECT, "yolov8{}-1280", _from(9)),
    **_numbered(_DETECT, "yolov10{}-640", _from(19, "nsmblx")),
    **_numbered(_DETECT, "yolov11{}-640", _from(25)),
    **_numbered(_DETECT, "yolo11{}-640", _from(25)),
    **_numbered(_DETECT, "yolov11{}-1280", _from(30)),
    **_numbered(_DETECT, "yolo11{}-1280", _from(30)),
    **_numbered(_DETECT, "yolo26{}-640", _from(41)),
    **_numbered(_DETECT, "rfdetr-{}", {"base": 36, "nano": 38, "small": 39, "medium": 40}),
    **_numbered(_DETECT, "rfdetr-{}", {"xlarge": 47, "2xlarge": 48, "large": 50}),
    **_numbered(_SEGMENT, "yolov8{}-seg-640", {"n": 2, "s": 4, "m": 5, "l": 6, "x": 3}),
    **_numbered(_SEGMENT, "yolov8{}-seg-1280", _from(7)),
    **_numbered(_SEGMENT, "yolov11{}-seg-640", _from(19)),
    **_numbered(_SEGMENT, "yolo11{}-seg-640", _from(19)),
    **_numbered(_POSE, "yolov8{}-pose-640", _from(1)),
    **_numbered(_POSE, "yolov8{}-pose-1280", {"x": 6}),
    **_numbered(_CLASSIFY, "resnet{}", {"18": 1, "34": 2, "50": 3, "101": 4}),
}
"""Name -> project/version."""
_TASKS: Final = {
    _DETECT: Task.OBJECT_DETECTION,
    _SEGMENT: Task.INSTANCE_SEGMENTATION,
    _POSE: Task.KEYPOINT_DETECTION,
    _CLASSIFY: Task.CLASSIFICATION,
}


def resolved(model: str) -> str:
    """PROJECT/VERSION of `model`, which may be that already."""
    return ALIASES.get(model, model)


def task_of(model: str) -> Task | None:
    """What a public model does; None for any other."""
    return _TASKS.get(resolved(model).partition("/")[0])
