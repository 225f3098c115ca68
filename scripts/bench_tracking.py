"""How well objects are tracked: this tracker and the ByteTrack of the library `trackers`, by the same judge.

    scripts/bench-tracking --fine yolov8n_640.tflite --small yolov8n_224_full_int8.tflite people.avi

The video has no ground truth. A pseudo ground truth is made of what the finer model finds in every frame: boxes are
linked from frame to frame, and the pieces are joined over gaps of up to 2 s by how they move before and after. So it
shares the finer model's mistakes. The drawn scenes have an exact one; detections of it are given misses, jitter, noise
of the scores, other classes and false boxes. One detector of them is fine, one coarse.

Both trackers get the same boxes, scored 0.4 and above, and the times of the frames. The first half of the video and the
scenes 0 to 4 were for choosing constants (--tuning); the figures are of the second half and of the scenes 100 to 109.
Each cell has this tracker / the library with the same thresholds / the library as it comes.
"""

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from agent.clock import SystemClock  # noqa: E402 - the checkout goes first on the path
from agent.engines import tflite  # noqa: E402
from agent.flow import Frame, Prediction  # noqa: E402
from agent.imaging import open_video  # noqa: E402
from agent.ports import Context  # noqa: E402
from agent.sources._scene import CLASSES, Scene  # noqa: E402
from agent.tracking.assignment import assign  # noqa: E402
from agent.tracking.tracker import Tracker  # noqa: E402

THRESHOLD = 0.4
"""The engines' default."""
FPS = 10.0
"""Of the video and, as a third of 30, of the scenes."""
SCENE_FRAMES, SCENE_STEP, SHAPES = 300, 3, 8
"""Frames looked at, of which each is the third after the one before."""
LINK_IOU, LINK_CONFIDENCE, GAP_FRAMES, FIT_FRAMES = 0.4, 0.3, 20, 8
LEAST_PIECE, LEAST_FRAMES = 3, 10
"""Frames of a piece that may be joined, and of an object of the pseudo ground truth."""
BURST, CHANGE = 0.6, 0.3
"""Chances that the next frame follows at once, and that the other model answers it."""

COLUMNS = {"idf1": 3, "mota": 3, "num_switches": 0, "num_fragmentations": 0}
"""Of the judge's figures, and how many digits each has; none: a count."""

Found = list[Prediction]
Truth = dict[int, Prediction]
World = tuple[list[Truth], list[Found], list[Found]]
"""For each frame: what is there, and what the finer and the coarser detector find."""
Piece = dict[int, Prediction]
"""A box for each of some frames."""


def detections(video: Path, model: Path, cache: Path) -> list[Found]:
    """What a model finds in each frame, from the cache where it has been asked before."""
    kept = cache / f"{video.stem}-{model.stem}.json"
    if not kept.exists():
        clock = SystemClock()
        options = tflite.Options(type="tflite", model=str(model), confidence=0.1)
        engine = tflite.build(options, Context("bench", clock, Path.cwd(), Path.cwd(), trial=True))
        engine.open()
        capture, rows = open_video(video), []
        while (pixels := capture.read()) is not None:
            frame = Frame("bench", len(rows), clock.now(), clock.wall(), clock.synchronized(), pixels)
            rows.append([astuple(one) for one in engine.infer(frame, clock.now() + 60).predictions])
        kept.write_text(json.dumps(rows), encoding="utf-8")
    return [[Prediction(*row) for row in rows] for rows in json.loads(kept.read_text(encoding="utf-8"))]


def overlap(one: Prediction, other: Prediction) -> float:
    """Intersection over union of two boxes."""
    (a, b, c, d), (e, f, g, h) = corners(one), corners(other)
    shared = max(0.0, min(c, g) - max(a, e)) * max(0.0, min(d, h) - max(b, f))
    return shared / (one.width * one.height + other.width * other.height - shared or 1.0)


def corners(box: Prediction) -> tuple[float, float, float, float]:
    half_x, half_y = box.width / 2, box.height / 2
    return box.x - half_x, box.y - half_y, box.x + half_x, box.y + half_y


# The pseudo ground truth


def pseudo_truth(found: Sequence[Found]) -> list[Truth]:
    pieces = stitched([piece for piece in linked(found) if len(piece) >= LEAST_PIECE])
    truth: list[Truth] = [{} for _ in found]
    for number, piece in enumerate(piece for piece in pieces if len(piece) >= LEAST_FRAMES):
        for frame, box in filled(piece):
            truth[frame][number] = box
    return truth


def linked(found: Sequence[Found]) -> list[Piece]:
    """Boxes of one frame and the next that overlap well are one object's."""
    pieces: list[Piece] = []
    for frame, boxes in enumerate(found):
        sure = [box for box in boxes if box.confidence >= LINK_CONFIDENCE]
        open_ones = [piece for piece in pieces if frame - 1 in piece]
        table = np.array([[overlap(piece[frame - 1], box) for box in sure] for piece in open_ones])
        table = table.reshape(len(open_ones), len(sure))
        pairs = {column: row for row, column in assign(np.where(table >= LINK_IOU, table, 0.0))}
        for column, box in enumerate(sure):
            if column in pairs:
                open_ones[pairs[column]][frame] = box
            else:
                pieces.append({frame: box})
    return pieces


def stitched(pieces: list[Piece]) -> list[Piece]:
    """Join pieces over gaps, until none fit: by where the earlier goes on to, and where the later came from."""
    while True:
        table = np.array([[fit(one, other) for other in pieces] for one in pieces]).reshape(len(pieces), len(pieces))
        row, column = np.unravel_index(table.argmax(), table.shape)
        if not table[row, column] > 0:
            return pieces
        joined = pieces[row] | pieces[column]
        pieces = [piece for n, piece in enumerate(pieces) if n not in (row, column)] + [joined]


def fit(one: Piece, other: Piece) -> float:
    """How well `other` goes on from `one`, 0..1; 0: it does not."""
    last, first = max(one), min(other)
    if not 0 < first - last <= GAP_FRAMES:
        return 0.0
    ahead, back = extrapolated(one, first, newest=True), extrapolated(other, last, newest=False)
    likeness = (overlap(ahead, other[first]) + overlap(one[last], back)) / 2
    return likeness if likeness >= LINK_IOU else 0.0


def extrapolated(piece: Piece, frame: int, *, newest: bool) -> Prediction:
    frames = sorted(piece)[-FIT_FRAMES:] if newest else sorted(piece)[:FIT_FRAMES]
    end = piece[frames[-1] if newest else frames[0]]
    span = max(1, frames[-1] - frames[0])
    ahead = frame - (frames[-1] if newest else frames[0])
    x = end.x + ahead * (piece[frames[-1]].x - piece[frames[0]].x) / span
    y = end.y + ahead * (piece[frames[-1]].y - piece[frames[0]].y) / span
    return Prediction(x, y, end.width, end.height, end.confidence, end.class_name, end.class_id)


def filled(piece: Piece) -> Iterator[tuple[int, Prediction]]:
    """All frames from the first to the last; between two boxes, along the straight line."""
    frames = sorted(piece)
    for before, after in zip(frames, [*frames[1:], frames[-1] + 1], strict=True):
        one, other = piece[before], piece.get(after, piece[before])
        for frame in range(before, after):
            share = (frame - before) / (after - before)
            x, y, width, height = (
                a + share * (b - a) for a, b in zip(astuple(one)[:4], astuple(other)[:4], strict=True)
            )
            yield frame, Prediction(x, y, width, height, one.confidence, one.class_name, one.class_id)


# The drawn scenes


def scene_truth(seed: int) -> list[Truth]:
    scene = Scene(1280, 720, seed=seed, shapes=SHAPES)
    bodies = scene._bodies  # noqa: SLF001 - the truth says which shape is where, not which one it is
    truth = []
    for index in range(0, SCENE_FRAMES * SCENE_STEP, SCENE_STEP):
        shown: Truth = {}
        for shape in scene.truth(index):
            mine = [n for n, body in enumerate(bodies) if body.class_id == shape.class_id and n not in shown]
            near = min(mine, key=lambda n: abs(bodies[n].x.at(index) - shape.x) + abs(bodies[n].y.at(index) - shape.y))
            shown[near] = Prediction(shape.x, shape.y, shape.width, shape.height, 1.0, shape.class_name, shape.class_id)
        truth.append(shown)
    return truth


def noisy(truth: Sequence[Truth], draw: random.Random, *, fine: bool) -> list[Found]:
    """What a detector might make of it; a miss lasts for a few frames."""
    missing, jitter, score, flip, false = (0.08, 0.02, 0.70, 0.03, 0.05) if fine else (0.20, 0.05, 0.55, 0.12, 0.15)
    hidden: dict[int, int] = {}
    found = []
    for frame, shown in enumerate(truth):
        seen = []
        for number, box in shown.items():
            if hidden.get(number, -1) < frame and draw.random() < missing / 2:
                hidden[number] = frame + draw.randint(0, 2)
            if hidden.get(number, -1) < frame:
                seen.append(blurred(box, draw, jitter=jitter, score=score, flip=flip))
        if draw.random() < false:
            size = draw.uniform(40, 160)
            seen.append(
                Prediction(draw.uniform(0, 1280), draw.uniform(0, 720), size, size, draw.uniform(0.3, 0.6), "star", 3)
            )
        found.append(seen)
    return found


def blurred(box: Prediction, draw: random.Random, *, jitter: float, score: float, flip: float) -> Prediction:
    kind = draw.randrange(len(CLASSES)) if draw.random() < flip else box.class_id
    return Prediction(
        box.x + draw.gauss(0, jitter) * box.width,
        box.y + draw.gauss(0, jitter) * box.height,
        box.width * (1 + draw.gauss(0, jitter)),
        box.height * (1 + draw.gauss(0, jitter)),
        min(0.99, max(0.05, draw.gauss(score, 0.12))),
        CLASSES[kind],
        kind,
    )


# The cases


def every(step: int) -> Callable[[int, random.Random], list[int]]:
    return lambda frames, _: list(range(0, frames, step))


def irregular(frames: int, draw: random.Random) -> list[int]:
    """Bursts and waits: steps of 1 for a while, then of up to 1.2 s."""
    chosen, at = [], 0
    while at < frames:
        chosen.append(at)
        at += 1 if draw.random() < BURST else draw.randint(2, 12)
    return chosen


CASES = {
    "every frame, fine": (every(1), "fine"),
    "every 3rd frame, fine": (every(3), "fine"),
    "irregular times, fine": (irregular, "fine"),
    "every frame, alternating": (every(1), "both"),
    "every 3rd frame, alternating": (every(3), "both"),
    "irregular times, alternating": (irregular, "both"),
}


def case(name: str, world: World, seed: int) -> dict[str, Any]:
    """One line for the judge: what happened, what was detected, and what this tracker made of it."""
    (truth, fine, small), (choose, routes) = world, CASES[name]
    draw, tracker, frames = random.Random(seed), Tracker(), []
    on_device = False
    for frame in choose(len(truth), draw):
        on_device = routes == "both" and (on_device != (draw.random() < CHANGE))
        found = [one for one in (small if on_device else fine)[frame] if one.confidence >= THRESHOLD]
        at_s = frame / FPS
        ids = tracker.update(found, at_s).ids
        ours = [[n, *corners(one)] for n, one in zip(ids, found, strict=True) if n is not None]
        shown = [[n, *corners(box)] for n, box in truth[frame].items()]
        given = [[*corners(one), one.confidence, one.class_id] for one in found]
        frames.append([at_s, shown, given, ours])
    return {"frames": frames}


def worlds(options: argparse.Namespace) -> Iterator[tuple[str, list[World]]]:
    """The video, and the scenes."""
    for video in options.videos:
        fine, small = (detections(video, model, options.cache) for model in (options.fine, options.small))
        truth, half = pseudo_truth(fine), len(fine) // 2
        part = slice(0, half) if options.tuning else slice(half, None)
        yield video.name, [(truth[part], fine[part], small[part])]
    drawn = []
    for seed in range(5) if options.tuning else range(100, 110):
        truth, draw = scene_truth(seed), random.Random(seed)
        drawn.append((truth, noisy(truth, draw, fine=True), noisy(truth, draw, fine=False)))
    yield f"{len(drawn)} drawn scenes", drawn


def judge(python: Path, cases: list[dict[str, Any]]) -> list[dict[str, dict[str, float]]]:
    command = [str(python), str(REPOSITORY / "scripts" / "bench_tracking_judge.py")]
    given = "\n".join(json.dumps(one) for one in cases)
    done = subprocess.run(command, input=given, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def row(name: str, figures: list[dict[str, dict[str, float]]]) -> str:
    """Means of the shares and sums of the counts, of each tracker in turn."""
    cells = [name]
    for key, digits in COLUMNS.items():
        sums = [sum(one[who][key] for one in figures) for who in figures[0]]
        cells.append(" / ".join(f"{total / len(figures) if digits else total:.{digits}f}" for total in sums))
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*", type=Path)
    parser.add_argument("--fine", type=Path, help="the finer model, a .tflite file")
    parser.add_argument("--small", type=Path, help="the on-device model, a .tflite file")
    parser.add_argument("--python", type=Path, required=True, help="that of an environment with trackers, motmetrics")
    parser.add_argument("--cache", type=Path, required=True, help="a folder for the detections")
    parser.add_argument("--draws", type=int, default=5, help="of times and routes, for each case (default: 5)")
    parser.add_argument("--tuning", action="store_true", help="the half that constants were chosen on")
    options = parser.parse_args()
    for name, world in worlds(options):
        print(f"\n{name}\n\n| case | IDF1 | MOTA | id switches | fragmentations |\n|---|---|---|---|---|")
        for title in CASES:
            cases = [case(title, one, seed) for one in world for seed in range(options.draws)]
            print(row(title, judge(options.python, cases)), flush=True)


if __name__ == "__main__":
    main()
