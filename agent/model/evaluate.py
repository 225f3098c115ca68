"""`vedette model eval`: what a model is worth on a person's own pictures, and whether two models agree. Main thread."""

import argparse
import contextlib
from pathlib import Path
from typing import Any, Final

from agent import words
from agent.bench import output
from agent.bench.command import whole
from agent.errors import AgentError
from agent.model import agreement, dataset, evaluation, scorecard
from agent.model.contender import HOSTED, opened
from agent.model.dataset import Dataset
from agent.model.evaluation import LOW_CONFIDENCE, WIDE_OVERLAP, Asked
from agent.model.session import DONE, Commands, Session

SCHEMA: Final = "vedette.eval/1"
_CONFIDENCE: Final = 0.4
_MOST_PICTURES: Final = 1_000_000


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """See Command."""
    parser = commands.add_parser(
        "eval",
        help="measure how good a model is on annotated pictures, or whether two models agree",
        description="Average precision as COCO has it, precision and recall, for boxes, masks and keypoints; top-1 and "
        "top-5 for classes of whole pictures. Annotations: COCO's JSON, YOLO's label files with data.yaml, or a folder "
        "for each class. Classes are matched by name. Needs pycocotools: "
        f"{words.pip_install('vedette[eval]')}.",
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help=f"an installed model, a package, a model file, or {HOSTED}")
    add("--data", type=Path, required=True, metavar="FOLDER", help="the pictures and their annotations")
    add("--annotations", type=Path, metavar="FILE", help="COCO's JSON, where it is not the only one in FOLDER")
    add("--against", metavar="MODEL", help=f"also compare with another model, or with {HOSTED}; needs no annotations")
    add("--config", type=Path, metavar="CONFIG", help=f"the configuration whose hosted API {HOSTED} means")
    add("--variant", metavar="NAME", help="which file of the package (of MODEL alone)")
    add("--threads", type=whole(1, 64), metavar="N", help="CPU threads; left out: as the engine chooses")
    confidence = f"for precision, recall and --against: objects scored so and above (default {_CONFIDENCE:g})"
    add("--confidence", type=_share, default=_CONFIDENCE, metavar="C", help=confidence)
    add("--limit", type=whole(1, _MOST_PICTURES), metavar="N", help="only the first N pictures, by name")
    add("--classes", action="store_true", help="also each class by itself")
    add("--json", type=Path, metavar="FILE", help="also write the figures as JSON; -: to standard output, and no text")
    return parser


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number between 0 and 1")
    return value


def run(options: argparse.Namespace, session: Session) -> int:
    """See Command."""
    output.ensure_writable(options.json, None, schema=SCHEMA)
    data = dataset.read(options.data, options.annotations).first(options.limit)
    if not data.annotated and options.against is None:
        why = "; ".join([f"{words.plural(len(data.pictures), 'picture')} without annotations", *data.notes])
        raise AgentError(f"--data {options.data}: has {why}; {_ANNOTATIONS}, or give --against")
    told: dict[str, Any] = {"schema": SCHEMA, "data": str(options.data), "left_out": list(data.notes)}
    texts = ["\n".join(data.notes)] if data.notes else []
    if data.annotated:
        found = _evaluated(options, session, data)
        told["evaluation"] = scorecard.as_json(found)
        texts.append(scorecard.text(found, classes=options.classes))
    if options.against is not None:
        names, every, each = _compared(options, session, data)
        told["agreement"] = scorecard.agreement_json(names, every, each)
        texts.append(scorecard.agreement_text(names, every, each, classes=options.classes))
    session.say(output.text(told) if options.json == output.STDOUT else "\n\n".join(texts))
    if options.json not in {None, output.STDOUT}:
        output.write(options.json, told)
    return DONE


_ANNOTATIONS: Final = "put COCO's JSON or data.yaml there, or the pictures into a folder for each class"


def _evaluated(options: argparse.Namespace, session: Session, data: Dataset) -> evaluation.Evaluation:
    """Every object that the model holds possible at all, as average precision wants it."""
    wanted = {"confidence": LOW_CONFIDENCE, "overlap": WIDE_OVERLAP, "variant": options.variant}
    contender = opened(options.model, session, page=options.config, threads=options.threads, **wanted)
    with contextlib.closing(contender):
        asked = evaluation.ask_all(contender, data.pictures, session.clock, session.meter.say)
        return evaluation.evaluate(contender, data, asked, confidence=options.confidence)


def _compared(
    options: argparse.Namespace, session: Session, data: Dataset
) -> tuple[tuple[str, str], agreement.Agreement, tuple[agreement.Agreement, ...]]:
    """Both as an agent would use them, one after the other. Raises AgentError: they cannot be compared."""
    first, ours = _answers(options.model, options, session, data, variant=options.variant)
    second, theirs = _answers(options.against, options, session, data)
    both = [(ours.answers[number], theirs.answers[number]) for number in ours.answers if number in theirs.answers]
    if not both:
        raise AgentError(f"{first} and {second} answered no picture that is the same")
    if (one := both[0][0].task) is not (other := both[0][1].task):
        raise AgentError(f"{first} is for {one.value}, {second} for {other.value}: there is nothing to compare")
    return ((first, second), *agreement.compare(both))


def _answers(
    model: str, options: argparse.Namespace, session: Session, data: Dataset, *, variant: str | None = None
) -> tuple[str, Asked]:
    wanted = {"confidence": options.confidence, "threads": options.threads, "variant": variant}
    contender = opened(model, session, page=options.config, **wanted)
    with contextlib.closing(contender):
        return contender.name, evaluation.ask_all(contender, data.pictures, session.clock, session.meter.say)
