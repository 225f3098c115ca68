"""Whether a new version of the on-device model may answer in place of the running one. Pure; no state.

Both see the same frames. How far two answers agree depends on the task, and is 1 where neither found anything:

    objects, outlines   F1 of the objects that match: same class, IoU of their boxes at least 0.5
    keypoints           the same, and the keypoints of a pair must be close, too (OKS at least 0.5)
    one class           1 for the same best class, else 0
    several classes     the share of the classes that both name, of those that either names (Jaccard)
    regions             the mean IoU of the boxes round each class, over the classes that either has

Classes are the same by their names; where one of the two models has none, by their numbers.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from statistics import fmean, median
from typing import Final

from agent.flow import Answer, Keypoint, Prediction, Task

_MATCH: Final = 0.5
"""Least IoU, or OKS, of two objects that are the same: as in PASCAL VOC, and in COCO's AP50."""
_KEYPOINT_FALL_OFF: Final = 0.1
"""COCO's k of its object keypoint similarity, here the same for all: its own, twice the standard deviation of people's
clicks over the object's size, are 0.05 (eyes) to 0.21 (hips)."""
_EVIDENT: Final = 0.5
"""Share of the frames in which either must find something: two models that see nothing agree, and it means nothing."""
GRACE_S: Final = 0.001
"""Of models that take milliseconds a scheduler's tick is no rise."""


class Against(str, Enum):
    """Whose answers a new version must agree with."""

    EITHER = "either"
    RUNNING = "running"
    HOSTED = "hosted"


@dataclass(frozen=True, slots=True)
class Terms:
    """What is asked of a new version."""

    agreement: float = 0.8
    """Least mean agreement, 0..1."""
    against: Against = Against.EITHER
    slower: float = 1.5
    """Its runs may take so many times as long as those of the running version."""
    frames: int = 8
    """With objects in them, on which it is judged."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Both versions on one frame."""

    running: Answer | None
    """None: it failed, which is not the new one's fault."""
    candidate: Answer
    hosted: Answer | None
    """What the hosted API said of this frame, where it was asked."""
    running_s: float | None
    candidate_s: float


class Outcome(Enum):
    """What the gate says."""

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"
    """The running version does not agree, and the hosted API has answered for too few frames to overrule it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's, with its reason for people and the figures by name."""

    outcome: Outcome
    reason: str
    figures: dict[str, float]


def judge(measured: Sequence[Measured], terms: Terms, *, hosted: bool) -> Verdict:
    """Whether the new version passes.

    Args:
        measured: one for each reference frame.
        terms: what is asked of it.
        hosted: whether the hosted API answers frames here, so that waiting for its answers makes sense.
    """
    figures = _figures(measured, terms)
    slow = slowness(measured, terms.slower)
    if slow is not None:
        return Verdict(Outcome.FAILED, slow, figures)
    names = {Against.EITHER: ("agreement", "agreement_hosted"), Against.RUNNING: ("agreement",)}
    asked = [name for name in names.get(terms.against, ("agreement_hosted",)) if name in figures]
    if any(figures[name] >= terms.agreement for name in asked):
        return Verdict(Outcome.PASSED, "", figures)
    waits = terms.against is not Against.RUNNING and "agreement_hosted" not in figures
    if waits and (hosted or terms.against is Against.HOSTED):
        return Verdict(Outcome.UNDECIDED, "waits for frames that the hosted API has answered", figures)
    if not asked:
        return Verdict(Outcome.UNDECIDED, "waits for frames in which the running version finds something", figures)
    words = {"agreement": "the running version", "agreement_hosted": "the hosted API"}
    said = " and ".join(f"{figures[name]:.2f} with {words[name]}" for name in asked)
    return Verdict(Outcome.FAILED, f"agreement {said}, {terms.agreement:g} is needed", figures)


def _figures(measured: Sequence[Measured], terms: Terms) -> dict[str, float]:
    """Agreement where there is enough to tell, and the median times of both, by name."""
    figures = {"median_ms": 1000 * median(each.candidate_s for each in measured)}
    running_s = [each.running_s for each in measured if each.running_s is not None]
    if running_s:
        figures["running_median_ms"] = 1000 * median(running_s)
    least = max(1, math.ceil(terms.frames * _EVIDENT))
    found = _mean([(each.running, each.candidate) for each in measured], least)
    by_hosted = _mean([(each.hosted, each.candidate) for each in measured], least)
    named = {"agreement": found, "agreement_hosted": by_hosted}
    return {**{name: value for name, value in named.items() if value is not None}, **figures}


def _mean(pairs: Iterable[tuple[Answer | None, Answer]], least: int) -> float | None:
    """The mean agreement; None: fewer than `least` pairs have something in them."""
    told = [(one, other) for one, other in pairs if one is not None]
    if sum(bool(one.predictions or other.predictions) for one, other in told) < least:
        return None
    return fmean(agreement(one, other) for one, other in told)


def slowness(measured: Sequence[Measured], slower: float) -> str | None:
    """Why the new version is too slow beside the running one, by what most runs take; None: it is not."""
    old_s = [each.running_s for each in measured if each.running_s is not None]
    if not old_s:
        return None
    return rise("median", median(each.candidate_s for each in measured), median(old_s), slower)


def rise(word: str, now_s: float, before_s: float, slower: float) -> str | None:
    """In words, where `now_s` is more than `slower` times `before_s`; None: it is not."""
    if now_s <= slower * before_s + GRACE_S:
        return None
    return f"its runs take {1000 * now_s:.1f} ms ({word}), those of the version before it {1000 * before_s:.1f} ms"


def agreement(one: Answer, other: Answer) -> float:
    """How far two answers to one frame agree, 0..1; the module's table says how for each task."""
    if is_nameless(one) or is_nameless(other):
        one, other = _numbered(one), _numbered(other)
    tasks = {one.task, other.task}
    if tasks == {Task.CLASSIFICATION}:
        return float(_classes(one)[:1] == _classes(other)[:1])
    if tasks & {Task.CLASSIFICATION, Task.MULTI_LABEL_CLASSIFICATION}:
        return _share(set(_classes(one)), set(_classes(other)))
    if tasks == {Task.SEMANTIC_SEGMENTATION}:
        return _regions(one.predictions, other.predictions)
    return _f1(one.predictions, other.predictions)


def is_nameless(answer: Answer) -> bool:
    """Whether it is of a model that carries no class names, so that results call them class_0, class_1 and so on."""
    return bool(answer.predictions) and all(found.class_name == _number(found) for found in answer.predictions)


def _numbered(answer: Answer) -> Answer:
    """Its classes by their numbers alone."""
    return replace(answer, predictions=tuple(replace(one, class_name=_number(one)) for one in answer.predictions))


def _number(found: Prediction) -> str:
    return f"class_{found.class_id}"


def _classes(answer: Answer) -> list[str]:
    return [found.class_name for found in answer.predictions]


def _share(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other) if one | other else 1.0


def _regions(one: Sequence[Prediction], other: Sequence[Prediction]) -> float:
    boxes, others = ({found.class_name: found for found in each} for each in (one, other))
    names = boxes.keys() | others.keys()
    both = boxes.keys() & others.keys()
    return sum(overlap(boxes[name], others[name]) for name in both) / len(names) if names else 1.0


def _f1(one: Sequence[Prediction], other: Sequence[Prediction]) -> float:
    """The most certain objects choose first."""
    if not one and not other:
        return 1.0
    free, pairs = list(other), 0
    for found in sorted(one, key=lambda each: -each.confidence):
        best = max(free, key=lambda each: _likeness(found, each), default=None)
        if best is not None and _likeness(found, best) >= _MATCH:
            free.remove(best)
            pairs += 1
    return 2 * pairs / (len(one) + len(other))


def _likeness(one: Prediction, other: Prediction) -> float:
    if one.class_name != other.class_name:
        return 0.0
    likeness = overlap(one, other)
    if likeness < _MATCH or (one.keypoints is None and other.keypoints is None):
        return likeness
    close = _keypoint_similarity(one.keypoints or (), other.keypoints or (), one.width * one.height)
    return likeness if close >= _MATCH else 0.0


def overlap(one: Prediction, other: Prediction) -> float:
    """Intersection over union of two boxes, 0..1."""
    across = min(one.x + one.width / 2, other.x + other.width / 2) - max(
        one.x - one.width / 2, other.x - other.width / 2
    )
    down = min(one.y + one.height / 2, other.y + other.height / 2) - max(
        one.y - one.height / 2, other.y - other.height / 2
    )
    if across <= 0 or down <= 0:
        return 0.0
    both = across * down
    return min(1.0, both / (one.width * one.height + other.width * other.height - both))


def _keypoint_similarity(one: Sequence[Keypoint], other: Sequence[Keypoint], area: float) -> float:
    """COCO's OKS over the keypoints that either names; one that the other lacks counts 0."""
    places = {point.class_name: point for point in other}
    names = places.keys() | {point.class_name for point in one}
    if not names or area <= 0:
        return 1.0 if not names else 0.0
    scale = 2 * area * _KEYPOINT_FALL_OFF**2
    near = [
        math.exp(-((point.x - places[point.class_name].x) ** 2 + (point.y - places[point.class_name].y) ** 2) / scale)
        for point in one
        if point.class_name in places
    ]
    return sum(near) / len(names)
