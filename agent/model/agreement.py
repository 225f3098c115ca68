"""How far two models say the same of the same pictures: what they agree on needs no annotations. No state."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Final

from agent.flow import Answer, Prediction, Task
from agent.rollout.gate import is_nameless

_SAME: Final = 0.5
"""Least IoU of two boxes that are one object, as in COCO's AP50."""
_WHOLE: Final = (Task.CLASSIFICATION, Task.MULTI_LABEL_CLASSIFICATION)


@dataclass(frozen=True, slots=True)
class Pair:
    """One object that both found."""

    iou: float
    confidence_change: float
    """The second's minus the first's."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of one class, or of all."""

    name: str
    pairs: tuple[Pair, ...]
    first_only: int
    """Objects that only the first model found."""
    second_only: int

    @property
    def f1(self) -> float:
        """Twice what both found over all that either did; 1 where neither found anything."""
        found = 2 * len(self.pairs) + self.first_only + self.second_only
        return 2 * len(self.pairs) / found if found else 1.0

    @property
    def mean_iou(self) -> float:
        """Of the pairs; NaN without any."""
        return fmean(pair.iou for pair in self.pairs) if self.pairs else float("nan")

    @property
    def mean_change(self) -> float:
        """Of the pairs' confidence, up or down; NaN without any."""
        return fmean(abs(pair.confidence_change) for pair in self.pairs) if self.pairs else float("nan")

    @property
    def largest_change(self) -> float:
        """NaN without any pair."""
        return max((abs(pair.confidence_change) for pair in self.pairs), default=float("nan"))


def compare(answers: Sequence[tuple[Answer, Answer]]) -> tuple[Agreement, tuple[Agreement, ...]]:
    """Over all classes, and for each class by itself.

    Objects of one class whose boxes have an IoU of 0.5 or more are one, the most alike first. Of whole pictures, a
    class that both name is a pair. Where one of the two models has no class names, the other's are taken by number.
    """
    answers = _with_names(answers)
    pairs: dict[str, list[Pair]] = {}
    only: dict[str, list[int]] = {}
    for first, second in answers:
        names = dict.fromkeys(one.class_name for one in (*first.predictions, *second.predictions))
        for name in names:
            ours = [one for one in first.predictions if one.class_name == name]
            theirs = [one for one in second.predictions if one.class_name == name]
            matched = _pairs(ours, theirs, whole=first.task in _WHOLE)
            pairs.setdefault(name, []).extend(matched)
            rest = only.setdefault(name, [0, 0])
            rest[0] += len(ours) - len(matched)
            rest[1] += len(theirs) - len(matched)
    classes = tuple(Agreement(name, tuple(pairs[name]), *only[name]) for name in sorted(pairs))
    every = tuple(pair for each in classes for pair in each.pairs)
    sums = (sum(each.first_only for each in classes), sum(each.second_only for each in classes))
    return Agreement("all", every, *sums), classes


def _with_names(answers: Sequence[tuple[Answer, Answer]]) -> Sequence[tuple[Answer, Answer]]:
    nameless = [all(is_nameless(pair[side]) for pair in answers if pair[side].predictions) for side in (0, 1)]
    if nameless[0] == nameless[1]:
        return answers
    names = {one.class_id: one.class_name for pair in answers for one in pair[nameless[0]].predictions}

    def named(answer: Answer) -> Answer:
        found = (replace(one, class_name=names.get(one.class_id, one.class_name)) for one in answer.predictions)
        return replace(answer, predictions=tuple(found))

    return [(named(one), named(other)) for one, other in answers]


def _pairs(ours: Sequence[Prediction], theirs: Sequence[Prediction], *, whole: bool) -> list[Pair]:
    alike = [
        (1.0 if whole else iou(one, other), mine, yours)
        for mine, one in enumerate(ours)
        for yours, other in enumerate(theirs)
    ]
    taken: tuple[set[int], set[int]] = (set(), set())
    found = []
    for likeness, mine, yours in sorted(alike, key=lambda each: -each[0]):
        if likeness >= _SAME and mine not in taken[0] and yours not in taken[1]:
            taken[0].add(mine)
            taken[1].add(yours)
            found.append(Pair(likeness, theirs[yours].confidence - ours[mine].confidence))
    return found


def iou(one: Prediction, other: Prediction) -> float:
    """Intersection over union of two boxes, 0..1."""
    across = _shared(one.x, one.width, other.x, other.width)
    down = _shared(one.y, one.height, other.y, other.height)
    union = one.width * one.height + other.width * other.height - across * down
    return across * down / union if union > 0 else 0.0


def _shared(middle: float, length: float, other_middle: float, other_length: float) -> float:
    """How much two stretches have in common."""
    end = min(middle + length / 2, other_middle + other_length / 2)
    return max(0.0, end - max(middle - length / 2, other_middle - other_length / 2))
