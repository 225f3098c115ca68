"""Holds every file of a model package against its ONNX original, on your own pictures, and prints a table.

    scripts/compare-models models/forklifts --images frames/
    scripts/compare-models models/forklifts --images frames/ --least float16=0.99 int8=0.9

Each file is run by the agent's own engine, with its scaling, decoding and suppression, so that the figures are those
of what the agent would say. The pictures should be others than those that int8 was calibrated on. Ends with 1 when a
file agrees less than --least asks for, with 2 when something cannot be compared.
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from compare_figures import SAME_IOU, Tally  # noqa: E402 - the checkout goes first on the path
from export_pictures import Album, album  # noqa: E402

from agent import document, package, plugins  # noqa: E402
from agent.clock import SystemClock  # noqa: E402
from agent.engines import onnx, tflite  # noqa: E402
from agent.errors import AgentError  # noqa: E402
from agent.flow import Answer, Frame, Task  # noqa: E402
from agent.ports import Context  # noqa: E402

REFERENCE = "onnx"
MOST_PICTURES = 300
FRAME_LIMIT_S = 60.0
ANY = 1e-6
"""For classification the best class counts, however sure it is."""
NOTHING = "-"


class Incomparable(Exception):
    """There is nothing to compare; the text says why, and what to do."""


@dataclass(slots=True)
class Run:
    """One file over all pictures."""

    variant: str
    file: Path
    answers: list[Answer] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    @property
    def median_ms(self) -> float:
        """Of the inferences alone."""
        return statistics.median((answer.timings.inference_s or 0.0) * 1000 for answer in self.answers)


def main() -> None:
    wanted = arguments()
    try:
        runs = compared(wanted)
    except (AgentError, Incomparable) as error:
        print(f"compare-models: {error}", file=sys.stderr)
        sys.exit(2)
    print(table(runs, wanted))
    if wanted.json is not None:
        wanted.json.write_text(json.dumps([figures(run) for run in runs], indent=1) + "\n", encoding="utf-8")
    poor = [line for run in runs if (line := shortfall(run, wanted.least))]
    print(*poor, sep="\n", end="\n" if poor else "")
    sys.exit(bool(poor))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="compare-models", description=__doc__.partition("\n")[0])
    parser.add_argument("package", type=Path, help="folder of a model package with a variant onnx")
    parser.add_argument("--images", type=Path, required=True, help="folder of your own camera's pictures")
    parser.add_argument("--pictures", type=int, default=MOST_PICTURES, help="at most so many of them")
    parser.add_argument("--confidence", type=float, default=0.4, help="as in the configuration")
    parser.add_argument("--overlap", type=float, default=0.3, help="as in the configuration")
    parser.add_argument("--threads", type=int, help="CPU threads; left out: as many as are fastest here")
    parser.add_argument("--json", type=Path, help="write the figures into this file, too")
    parser.add_argument("--least", nargs="+", type=_least, default=[], help="VARIANT=AGREEMENT: end with 1 below it")
    found = parser.parse_args()
    found.least = dict(found.least)
    return found


def _least(text: str) -> tuple[str, float]:
    variant, _, value = text.partition("=")
    try:
        return variant, float(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} should be like int8=0.9") from error


def compared(wanted: argparse.Namespace) -> list[Run]:
    """Every file of the package, the reference first. Raises Incomparable, AgentError."""
    files = variants(wanted.package)
    absent = sorted(set(wanted.least) - set(files))
    if absent:
        raise Incomparable(f"--least names {', '.join(absent)}, but the package has {', '.join(files)}")
    if not wanted.images.is_dir():
        raise Incomparable(f"--images {wanted.images} is no folder; give one with pictures of your own camera")
    chosen = album(wanted.images, wanted.pictures)
    if chosen.complaint:
        print(chosen.complaint, file=sys.stderr)
    if not chosen.readable:
        raise Incomparable(f"{wanted.images} holds no picture that can be read")
    with tempfile.TemporaryDirectory() as state:
        runs = [run(variant, files[variant], chosen, wanted=wanted, state=Path(state)) for variant in files]
    for each in runs:
        for answer, reference in zip(each.answers, runs[0].answers, strict=True):
            each.tally.add(answer, reference)
    if not runs[0].tally.reference:
        raise Incomparable(
            f"the original found nothing in {len(chosen.readable)} pictures; give pictures with its objects in them, "
            "or a lower --confidence"
        )
    return runs


def variants(folder: Path) -> dict[str, Path]:
    """The package's files by variant, the reference first. Raises Incomparable, AgentError."""
    wrong = list(package.problems(folder))
    if wrong:
        raise Incomparable("; ".join(wrong))
    names: dict[str, str] = document.read(folder / package.MANIFEST).data.get("variants", {})
    if REFERENCE not in names:
        raise Incomparable(f"{folder} has no variant {REFERENCE} to compare with; scripts/export-model puts one in")
    return {each: folder / names[each] for each in (REFERENCE, *(name for name in names if name != REFERENCE))}


def run(variant: str, file: Path, chosen: Album, *, wanted: argparse.Namespace, state: Path) -> Run:
    """What the agent says of each picture, with this file. Raises AgentError."""
    clock = SystemClock()
    context = Context("compare-models", clock, wanted.package, state)
    task = package.about(wanted.package).task
    engine = plugins.build_engine(
        options(file, variant, wanted, confidence=ANY if task is Task.CLASSIFICATION else wanted.confidence), context
    )
    done = Run(variant, file)
    try:
        engine.open()
        for number, pixels in enumerate(chosen.pictures()):
            frame = Frame("compare", number, clock.now(), clock.wall(), clock_synchronized=True, pixels=pixels)
            done.answers.append(engine.infer(frame, clock.now() + FRAME_LIMIT_S))
    finally:
        engine.close()
    return done


def options(
    file: Path, variant: str, wanted: argparse.Namespace, *, confidence: float
) -> tflite.Options | onnx.Options:
    """The engine for one file of the package."""
    kind = onnx.Options if file.suffix == ".onnx" else tflite.Options
    return kind.model_validate(
        {
            "type": "onnx" if file.suffix == ".onnx" else "tflite",
            "model": str(wanted.package.resolve()),
            "variant": variant,
            "confidence": confidence,
            "overlap": wanted.overlap,
            "masks": "rle",
            "threads": wanted.threads,
        }
    )


def figures(run: Run) -> dict[str, Any]:
    """One file's row as data; null where there is nothing to average."""
    tally = run.tally
    return {
        "variant": run.variant,
        "file": run.file.name,
        "size_bytes": run.file.stat().st_size,
        "median_ms": round(run.median_ms, 2),
        "pictures": tally.pictures,
        "reference": tally.reference,
        "found": tally.found,
        "matched": tally.matched,
        "missed": tally.missed,
        "extra": tally.extra,
        "agreement": None if math.isnan(tally.agreement) else round(tally.agreement, 4),
        "mean_iou": _mean(tally.ious),
        "mean_mask_iou": _mean(tally.mask_ious),
        "mean_confidence_difference": _mean(tally.confidences),
        "mean_keypoint_distance": _mean(tally.points),
    }


def _mean(values: Sequence[float]) -> float | None:
    return round(statistics.fmean(values), 4) if values else None


COLUMNS = {
    "variant": "variant",
    "size_bytes": "MB",
    "median_ms": "ms",
    "found": "found",
    "matched": "matched",
    "missed": "missed",
    "extra": "extra",
    "agreement": "agreement",
    "mean_iou": "IoU",
    "mean_mask_iou": "mask IoU",
    "mean_keypoint_distance": "keypoints off",
    "mean_confidence_difference": "confidence off",
}


def table(runs: Sequence[Run], wanted: argparse.Namespace) -> str:
    """The figures for people; a column that has none is left out."""
    rows = [figures(each) for each in runs]
    shown = [name for name in COLUMNS if any(row[name] is not None for row in rows)]
    cells = [[COLUMNS[name] for name in shown], *([_cell(name, row[name]) for name in shown] for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(shown))]
    lines = ["  ".join(f"{text:>{width}}" for text, width in zip(line, widths, strict=True)) for line in cells]
    head = f"{wanted.package}: {rows[0]['pictures']} pictures, confidence {wanted.confidence}, overlap {wanted.overlap}"
    return "\n".join([head, "", *lines, "", LEGEND])


LEGEND = f"""\
Against the ONNX original: an object is matched when a box of its class overlaps it by at least {SAME_IOU} (IoU);
agreement is F1, 2 x matched / (found by both); of classifiers, the share of pictures with the same best class, and of
semantic segmentation, the share of pixels. IoU, confidence and keypoints: means over the matched; keypoints as a share
of the object's size. ms: the median inference on this machine, without scaling and decoding."""


def _cell(name: str, value: float | str | None) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, str):
        return value
    if name == "size_bytes":
        return f"{value / 1e6:.1f}"
    return f"{value:.1f}" if name == "median_ms" else str(value)


def shortfall(run: Run, least: dict[str, float]) -> str:
    """Why the file is not good enough; empty when it is."""
    asked = least.get(run.variant)
    if asked is None or run.tally.agreement >= asked:
        return ""
    return f"{run.variant} agrees with the original by {run.tally.agreement:.4f}, and at least {asked:g} is asked for"


if __name__ == "__main__":
    main()
