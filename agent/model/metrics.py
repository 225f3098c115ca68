"""Average precision as COCO has it, by its own judge: pycocotools, which the extra `eval` brings. No state.

Of the figures: https://cocodataset.org/#detection-eval. AP is the mean precision over 101 recalls, by interpolation;
mAP50-95 its mean over the IoUs .50, .55 ... .95 and the classes; at most 100 objects of a class in a picture count, of
poses 20. Masks are compared by the IoU of their pixels, keypoints by their object keypoint similarity (OKS).
"""

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agent import words
from agent.errors import AgentError
from agent.flow import Prediction

_PEOPLE: Final = 17
"""Keypoints of a person in COCO, for which pycocotools knows how exactly people place each."""
_EVERY_SIZE: Final = 0
_IOU_50: Final = 0
"""Places in COCOeval's arrays."""
Found: TypeAlias = Mapping[int, Sequence[tuple[int, Prediction]]]
"""Of each picture the objects, with COCO's category of each."""


class Kind(str, Enum):
    """What is compared."""

    BOXES = "boxes"
    MASKS = "masks"
    KEYPOINTS = "keypoints"


_TYPES: Final = {Kind.BOXES: "bbox", Kind.MASKS: "segm", Kind.KEYPOINTS: "keypoints"}


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """Of one class."""

    name: str
    objects: int
    """How many there are, without crowds."""
    map50_95: float
    """NaN: there is none in these pictures."""
    map50: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one kind of comparison."""

    kind: Kind
    map50_95: float
    map50: float
    precision: float
    """Of the objects at or above the confidence that was asked for, how many are right at IoU .50; NaN without any."""
    recall: float
    """Of the objects that are there, how many were found at or above it."""
    classes: tuple[ClassFigures, ...]


def judge(truth: Mapping[str, Any], found: Found, kind: Kind, *, confidence: float) -> Figures:
    """Hold what a model found against what is there.

    Args:
        truth: COCO's images, annotations and categories.
        found: objects of any confidence, by the image's id.
        kind: what to compare.
        confidence: what precision and recall are for.

    Raises:
        AgentError: pycocotools is not installed.
    """
    evaluation = _evaluated(truth, found, kind)
    precision: NDArray[np.float64] = evaluation.eval["precision"][:, :, :, _EVERY_SIZE, -1]
    names = {category["id"]: str(category["name"]) for category in truth["categories"]}
    counts = _counts(evaluation, confidence)
    classes = tuple(
        ClassFigures(
            names[number], counts[number][2], _mean(precision[:, :, place]), _mean(precision[_IOU_50, :, place])
        )
        for place, number in enumerate(evaluation.params.catIds)
    )
    right, shown, there = (sum(count[place] for count in counts.values()) for place in range(3))
    return Figures(
        kind,
        _mean(precision),
        _mean(precision[_IOU_50]),
        right / shown if shown else float("nan"),
        right / there if there else float("nan"),
        classes,
    )


def _mean(precision: NDArray[np.float64]) -> float:
    """Over what COCOeval could measure; NaN: nothing."""
    known = precision[precision > -1]
    return float(known.mean()) if known.size else float("nan")


def _evaluated(truth: Mapping[str, Any], found: Found, kind: Kind) -> Any:  # noqa: ANN401 - untyped library
    coco, cocoeval, _ = _library()
    with contextlib.redirect_stdout(io.StringIO()):  # it tells how far it is
        wanted = coco.COCO()
        wanted.dataset = {**truth, "info": {}, "annotations": [dict(each) for each in truth["annotations"]]}
        wanted.createIndex()
        results = _results(truth, found, kind)
        given = wanted.loadRes(results) if results else coco.COCO()
        evaluation = cocoeval.COCOeval(wanted, given, _TYPES[kind])
        evaluation.params.imgIds = sorted(wanted.imgs)
        if kind is Kind.KEYPOINTS and (points := _points(truth)) != _PEOPLE:
            evaluation.params.kpt_oks_sigmas = np.full(points, 1 / points)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _library() -> tuple[Any, Any, Any]:
    try:
        from pycocotools import coco, cocoeval, mask
    except ImportError as error:
        raise AgentError(
            f"to judge by annotations takes pycocotools ({error}); run: {words.pip_install('pycocotools')}"
        ) from error
    return coco, cocoeval, mask


def _points(truth: Mapping[str, Any]) -> int:
    """How many keypoints an object has."""
    return max((len(each.get("keypoints", ())) // 3 for each in truth["annotations"]), default=0) or _PEOPLE


def _counts(evaluation: Any, confidence: float) -> dict[int, tuple[int, int, int]]:  # noqa: ANN401 - untyped library
    """By class: how many objects at or above `confidence` are right at IoU .50, how many there are, and in the truth.

    The judge gives the surest object the first choice, so that the less sure ones take nothing from those that count.
    """
    counts = dict.fromkeys(evaluation.params.catIds, (0, 0, 0))
    every_size = evaluation.params.areaRng[_EVERY_SIZE]
    for each in evaluation.evalImgs:
        if each is None or each["aRng"] != every_size:
            continue
        sure = np.asarray(each["dtScores"]) >= confidence
        counted = sure & ~np.asarray(each["dtIgnore"], bool)[_IOU_50]
        right = counted & (np.asarray(each["dtMatches"])[_IOU_50] > 0)
        there = int(np.count_nonzero(np.asarray(each["gtIgnore"]) == 0))
        before = counts[each["category_id"]]
        counts[each["category_id"]] = (before[0] + int(right.sum()), before[1] + int(counted.sum()), before[2] + there)
    return counts


def _results(truth: Mapping[str, Any], found: Found, kind: Kind) -> list[dict[str, Any]]:
    """What was found, as COCO has results."""
    sizes = {image["id"]: (int(image["height"]), int(image["width"])) for image in truth["images"]}
    points = _points(truth)
    results = []
    for image, objects in found.items():
        for category, one in objects:
            told: dict[str, Any] = {"image_id": image, "category_id": category, "score": one.confidence}
            if kind is Kind.BOXES:
                told["bbox"] = [one.x - one.width / 2, one.y - one.height / 2, one.width, one.height]
            elif kind is Kind.MASKS:
                told["segmentation"] = _mask(one, sizes[image])
            else:
                told["keypoints"] = _keypoints(one, points)
            results.append(told)
    return results


def _mask(one: Prediction, size: tuple[int, int]) -> dict[str, Any]:
    """Its runs, or those of its outline; of an object without either nothing at all."""
    mask = _library()[2]
    if one.runs is not None:
        return {"size": [one.runs.height, one.runs.width], "counts": one.runs.counts.encode("ascii")}
    outline = [value for point in one.points or ((0.0, 0.0),) * 3 for value in point]
    runs: dict[str, Any] = mask.merge(mask.frPyObjects([outline], *size))
    return runs


def _keypoints(one: Prediction, points: int) -> list[float]:
    flat = [0.0] * (3 * points)
    for point in one.keypoints or ():
        if 0 <= point.class_id < points:
            flat[3 * point.class_id : 3 * point.class_id + 3] = [point.x, point.y, 1.0]
    return flat


@dataclass(frozen=True, slots=True)
class Ranks:
    """How often the right class of a whole picture came first, or among the first five."""

    pictures: int
    top1: float
    top5: float
    classes: tuple[tuple[str, int, float], ...]
    """Of each class its name, how many pictures it has, and its top-1."""


def rank(right: Mapping[int, str], answers: Mapping[int, Sequence[str]]) -> Ranks:
    """Hold the classes that a model gives, best first, against the right one of each picture."""
    first = {number: bool(names) and names[0] == right[number] for number, names in answers.items()}
    five = [right[number] in names[:5] for number, names in answers.items()]
    classes = []
    for name in sorted(set(right.values())):
        own = [hit for number, hit in first.items() if right[number] == name]
        classes.append((name, len(own), sum(own) / len(own) if own else float("nan")))
    count = len(answers) or 1
    return Ranks(len(answers), sum(first.values()) / count, sum(five) / count, tuple(classes))
