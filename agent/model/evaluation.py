"""A model's answers to annotated pictures, and what they are worth. Main thread."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from agent import imaging
from agent.clock import Clock
from agent.errors import AgentError, EngineRefused, EngineUnavailable, FrameUnreadable
from agent.flow import Answer, Prediction, Score, Task
from agent.model import metrics
from agent.model.contender import Contender
from agent.model.dataset import Dataset
from agent.model.metrics import Figures, Kind, Ranks
from agent.words import plural

LOW_CONFIDENCE: Final = 0.001
WIDE_OVERLAP: Final = 0.7
MOST_OBJECTS: Final = 300
"""Of a picture, the surest: with these three average precision is usually measured, by YOLOv8's own validation, too."""
_TELL_EVERY_S: Final = 0.5
_MOST_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class Asked:
    """All answers of one model."""

    answers: Mapping[int, Answer]
    """By the picture's number."""
    failed: Sequence[str]
    """In words, of each picture without an answer."""
    sizes: Mapping[int, tuple[int, int]]
    """Width and height of each answered picture, in pixels."""
    inference_ms: float | None
    """The median; of the hosted API what the server states; None: nothing tells."""
    whole_ms: float
    """The median from the decoded picture to the answer."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a model is worth on these pictures."""

    model: str
    task: Task
    pictures: int
    confidence: float
    """What precision and recall are for."""
    asked: Asked
    figures: tuple[Figures, ...] = ()
    ranks: Ranks | None = None
    notes: tuple[str, ...] = ()
    """What was left out, and why."""
    data_faults: tuple[str, ...] = ()
    """What is wrong with the data."""


def ask_all(contender: Contender, pictures: Mapping[int, Path], clock: Clock, tell: Callable[[str], None]) -> Asked:
    """Every picture once. Raises AgentError: the model cannot be used at all."""
    answers: dict[int, Answer] = {}
    sizes: dict[int, tuple[int, int]] = {}
    failed, inference_s, whole_s = [], [], []
    told_s = clock.now()
    for place, (number, path) in enumerate(pictures.items()):
        try:
            pixels = imaging.read_image(path)
            begun_s = clock.now()
            answer = contender.ask(number, pixels)
        except EngineRefused:
            raise
        except (FrameUnreadable, EngineUnavailable) as error:
            failed.append(f"{path.name}: {error}")
            continue
        whole_s.append(clock.now() - begun_s)
        timings = answer.timings
        inference_s.append(timings.inference_s if timings.processing_s is None else timings.processing_s)
        answers[number], sizes[number] = answer, (pixels.shape[1], pixels.shape[0])
        if clock.now() - told_s >= _TELL_EVERY_S:
            told_s = clock.now()
            tell(f"{contender.name}: {place + 1} of {len(pictures)} pictures")
    if not answers:
        raise AgentError(f"{contender.name} answered no picture; the first: {failed[0]}")
    known_s = [value for value in inference_s if value is not None]
    return Asked(answers, failed, sizes, median(known_s) * 1000 if known_s else None, median(whole_s) * 1000)


def evaluate(contender: Contender, data: Dataset, asked: Asked, *, confidence: float) -> Evaluation:
    """Hold the answers against what is known of the pictures. Raises AgentError: they cannot be compared."""
    task = next(iter(asked.answers.values())).task
    whole = task in (Task.CLASSIFICATION, Task.MULTI_LABEL_CLASSIFICATION)
    if task is Task.SEMANTIC_SEGMENTATION:
        raise AgentError(f"{contender.name} gives areas of classes, and those cannot be judged here; --against can")
    if data.classes is not None and not whole:
        raise AgentError(f"{contender.name} finds objects, and {data.folder} tells the class of whole pictures alone")
    if data.coco is not None and whole:
        raise AgentError(
            f"{contender.name} gives classes of whole pictures, and {data.folder} has objects; it takes a "
            "folder for each class"
        )
    judge = _ranked if whole else _judged
    return judge(contender, data, asked, task=task, confidence=confidence)


def _judged(contender: Contender, data: Dataset, asked: Asked, *, task: Task, confidence: float) -> Evaluation:
    truth = data.coco or {}
    names, notes = _common(contender, data)
    kept = set(names.values())
    annotations = [each for each in truth["annotations"] if each["category_id"] in kept]
    images, faults = _measured([image for image in truth["images"] if image["id"] in asked.answers], asked.sizes)
    wanted = {
        "images": images,
        "annotations": [each for each in annotations if each["image_id"] in asked.answers],
        "categories": [each for each in truth["categories"] if each["id"] in kept],
    }
    found = {number: list(_objects(answer, names)) for number, answer in asked.answers.items()}
    kinds, missing = _kinds(task, wanted["annotations"])
    figures = tuple(metrics.judge(wanted, found, kind, confidence=confidence) for kind in kinds)
    told = (*notes, *missing)
    return Evaluation(
        contender.name, task, len(asked.answers), confidence, asked, figures, notes=told, data_faults=tuple(faults)
    )


def _measured(
    images: Sequence[Mapping[str, Any]], sizes: Mapping[int, tuple[int, int]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """The images with the size that they have, and in words where the data says another."""
    odd = [
        f"{image.get('file_name', image['id'])}: {width}x{height}, said to be {said[0]}x{said[1]}"
        for image in images
        for width, height in [sizes.get(image["id"], (0, 0))]
        if None not in (said := (image.get("width"), image.get("height"))) and width and said != (width, height)
    ]
    told = f"{plural(len(odd), 'picture')} of another size than the data says, so that its boxes may lie elsewhere"
    whole = [
        {**image, "width": sizes[image["id"]][0], "height": sizes[image["id"]][1]}
        if image["id"] in sizes
        else {**image}
        for image in images
    ]
    return whole, [f"{told}: {_listed(odd[:1])}"] if odd else []


def _objects(answer: Answer, names: Mapping[str, int]) -> Iterator[tuple[int, Prediction]]:
    """The surest, with COCO's category of each; those of other classes are left out."""
    best = sorted(answer.predictions, key=lambda one: -one.confidence)[:MOST_OBJECTS]
    yield from ((names[_plain(one.class_name)], one) for one in best if _plain(one.class_name) in names)


def _common(contender: Contender, data: Dataset) -> tuple[dict[str, int], list[str]]:
    """The category of each class that model and data both know, by its name, and what only one of them knows.

    Raises AgentError: they have none in common.
    """
    theirs = {_plain(name): number for number, name in data.names.items()}
    card = contender.card
    if card is None:
        return theirs, []
    if not card.labels:
        by_number = {f"class_{place}": number for place, number in enumerate(sorted(data.names))}
        return by_number, [
            "the model carries no class names: its classes were taken in the order of the data's numbers"
        ]
    ours = {_plain(name) for name in card.labels}
    both = {name: number for name, number in theirs.items() if name in ours}
    if not both:
        ours_and_theirs = f"({_listed(card.labels)}) is one of the data's ({_listed(data.names.values())})"
        raise AgentError(f"no class of {contender.name} {ours_and_theirs}; the names must be the same")
    notes = []
    if strange := [name for name in data.names.values() if _plain(name) not in ours]:
        notes.append(f"left out, for the model does not know them: {_listed(strange)}")
    if more := [name for name in card.labels if _plain(name) not in theirs]:
        notes.append(f"left out, for the data does not know them: {_listed(more)}")
    return both, notes


def _plain(name: str) -> str:
    return name.strip().casefold()


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    return ", ".join(every[:_MOST_NAMED]) + (
        f" and {len(every) - _MOST_NAMED} more" if len(every) > _MOST_NAMED else ""
    )


def _kinds(task: Task, annotations: Sequence[Mapping[str, object]]) -> tuple[list[Kind], list[str]]:
    """What can be compared, and why the rest cannot."""
    more = {
        Task.INSTANCE_SEGMENTATION: (Kind.MASKS, "segmentation"),
        Task.KEYPOINT_DETECTION: (Kind.KEYPOINTS, "keypoints"),
    }
    if task not in more:
        return [Kind.BOXES], []
    kind, key = more[task]
    without = sum(not each.get(key) for each in annotations)
    if not without:
        return [Kind.BOXES, kind], []
    return [Kind.BOXES], [f"no {kind.value} were judged: {without} of {len(annotations)} objects of the data have none"]


def _ranked(contender: Contender, data: Dataset, asked: Asked, *, task: Task, confidence: float) -> Evaluation:
    right = {number: _plain(name) for number, name in (data.classes or {}).items() if number in asked.answers}
    _, notes = _common(contender, data)
    answers = {number: [_plain(name) for name in _best_first(answer)] for number, answer in asked.answers.items()}
    ranks = metrics.rank(right, answers)
    return Evaluation(contender.name, task, len(answers), confidence, asked, ranks=ranks, notes=tuple(notes))


def _best_first(answer: Answer) -> list[str]:
    scores: Sequence[Score | Prediction] = answer.scores or answer.predictions
    return [one.class_name for one in sorted(scores, key=lambda one: -one.confidence)]
