"""What a model is worth, and how far two agree, as text and as JSON. No state."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

from agent.model.agreement import Agreement
from agent.model.evaluation import Evaluation
from agent.model.metrics import Figures, Ranks
from agent.words import plural, table

NOTHING: Final = "-"
_MOST_FAILURES: Final = 5


def text(evaluation: Evaluation, *, classes: bool) -> str:
    """For people.

    Args:
        evaluation: of one model.
        classes: also each class by itself.
    """
    one = evaluation
    parts = [list(one.data_faults)] if one.data_faults else []
    parts += [[f"{one.model}: {one.task.value}, {plural(one.pictures, 'picture')}"], *_tables(one, classes=classes)]
    parts.append([f"median {_ms(one.asked.inference_ms)} inference, {_ms(one.asked.whole_ms)} from picture to answer"])
    if one.figures:
        parts[-1].append(f"precision and recall: of objects scored {one.confidence:g} and above, at IoU 0.50")
    parts[-1] += one.notes
    parts[-1] += _failures(one.asked.failed)
    return "\n\n".join("\n".join(part) for part in parts)


def _tables(one: Evaluation, *, classes: bool) -> Iterable[list[str]]:
    if one.figures:
        rows = [
            (each.kind.value, *map(_share, (each.map50_95, each.map50, each.precision, each.recall)))
            for each in one.figures
        ]
        yield table(("", "mAP50-95", "mAP50", "precision", "recall"), rows)
    for each in one.figures if classes else ():
        shown = [
            (own.name, str(own.objects), _share(own.map50_95), _share(own.map50)) for own in each.classes if own.objects
        ]
        yield table((f"{each.kind.value} of", "objects", "mAP50-95", "mAP50"), shown)
    if one.ranks is not None:
        yield [f"top-1 {_share(one.ranks.top1)}, top-5 {_share(one.ranks.top5)}"]
        if classes:
            own_rows = [(name, str(count), _share(top1)) for name, count, top1 in one.ranks.classes]
            yield table(("class", "pictures", "top-1"), own_rows)


def _failures(failed: Sequence[str]) -> list[str]:
    if not failed:
        return []
    more = [f"and {len(failed) - _MOST_FAILURES} more"] if len(failed) > _MOST_FAILURES else []
    return [f"no answer to {plural(len(failed), 'picture')}, which are left out:", *failed[:_MOST_FAILURES], *more]


def agreement_text(names: tuple[str, str], every: Agreement, each: Sequence[Agreement], *, classes: bool) -> str:
    """For people: two models, over all classes and, if asked for, each by itself."""
    head = ("", "both", f"only {names[0]}", f"only {names[1]}", "F1", "mean IoU", "confidence apart", "at most")
    shown = [every, *(each if classes else ())]
    rows = [
        (
            one.name,
            str(len(one.pairs)),
            str(one.first_only),
            str(one.second_only),
            *map(_share, (one.f1, one.mean_iou, one.mean_change, one.largest_change)),
        )
        for one in shown
    ]
    return "\n".join([f"{names[0]} and {names[1]}, object by object:", "", *table(head, rows)])


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """For programs; what is not known is null."""
    one = evaluation
    return {
        "model": one.model,
        "task": one.task.value,
        "pictures": one.pictures,
        "confidence": one.confidence,
        "inference_ms": _known(one.asked.inference_ms),
        "whole_ms": _known(one.asked.whole_ms),
        "failed": list(one.asked.failed),
        "notes": list(one.notes),
        "data_faults": list(one.data_faults),
        "figures": {each.kind.value: _figures(each) for each in one.figures},
        "ranks": None if one.ranks is None else _ranks(one.ranks),
    }


def _figures(each: Figures) -> dict[str, Any]:
    names = ("map50_95", "map50", "precision", "recall")
    classes = [
        {"name": own.name, "objects": own.objects, "map50_95": _known(own.map50_95), "map50": _known(own.map50)}
        for own in each.classes
    ]
    return {name: _known(getattr(each, name)) for name in names} | {"classes": classes}


def _ranks(ranks: Ranks) -> dict[str, Any]:
    classes = [{"name": name, "pictures": count, "top1": _known(top1)} for name, count, top1 in ranks.classes]
    return {"top1": _known(ranks.top1), "top5": _known(ranks.top5), "classes": classes}


def agreement_json(names: tuple[str, str], every: Agreement, each: Sequence[Agreement]) -> dict[str, Any]:
    """For programs."""
    return {"models": list(names), **_agreement(every), "classes": [_agreement(one) for one in each]}


def _agreement(one: Agreement) -> dict[str, Any]:
    return {
        "name": one.name,
        "both": len(one.pairs),
        "first_only": one.first_only,
        "second_only": one.second_only,
        "f1": _known(one.f1),
        "mean_iou": _known(one.mean_iou),
        "mean_confidence_change": _known(one.mean_change),
        "largest_confidence_change": _known(one.largest_change),
    }


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else round(value, 5)


def _share(value: float) -> str:
    return NOTHING if math.isnan(value) else f"{value:.3f}"


def _ms(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} ms"
