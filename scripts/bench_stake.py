"""What the content-aware gain is worth: accuracy won by each upload, when the stake picks the frames, over chance.

    scripts/bench-stake --local yolov8n_224_full_int8.tflite --cloud yolov8n_640.tflite cars.mp4 people.avi

Both models look at every third frame of each video; the larger one's answers count as the truth. With a budget for a
tenth, a quarter or a half of the frames, the larger model answers those with the highest stake, judged as the agent
does, by the on-device answer to the frame before. The figure is the F1 score won so, over what as many frames picked by
chance win; 1.0 means that the stake knows nothing.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from agent.clock import SystemClock  # noqa: E402 - the checkout goes first on the path
from agent.engines import tflite  # noqa: E402
from agent.flow import Frame, Pixels, Prediction, Route  # noqa: E402
from agent.imaging import open_video  # noqa: E402
from agent.ports import Context, Engine  # noqa: E402
from agent.stake import Stakes  # noqa: E402

SHARES = (0.10, 0.25, 0.50)
EVERY = 3
SAME_OBJECT_IOU = 0.5


class Score(NamedTuple):
    """How an answer compares with the truth."""

    hits: int
    false: int
    missed: int


class Seen(NamedTuple):
    """One frame and what both models made of it."""

    stake: float
    local: Score
    cloud: Score


def engine(model: Path) -> Engine:
    context = Context("bench", SystemClock(), Path.cwd(), Path.cwd(), trial=True)
    made = tflite.build(tflite.Options(type="tflite", model=str(model)), context)
    made.open()
    return made


def pictures(video: Path) -> Iterator[Pixels]:
    capture = open_video(video)
    while (pixels := capture.read()) is not None:
        yield pixels
    capture.close()


def overlap(one: Prediction, other: Prediction) -> float:
    """Intersection over union of two boxes."""
    across = min(one.x + one.width / 2, other.x + other.width / 2) - max(
        one.x - one.width / 2, other.x - other.width / 2
    )
    down = min(one.y + one.height / 2, other.y + other.height / 2) - max(
        one.y - one.height / 2, other.y - other.height / 2
    )
    shared = max(0.0, across) * max(0.0, down)
    return shared / (one.width * one.height + other.width * other.height - shared or 1.0)


def score(found: Sequence[Prediction], truth: Sequence[Prediction]) -> Score:
    """Match the boxes of a class, the surest first."""
    left, hits = list(truth), 0
    for mine in sorted(found, key=lambda one: -one.confidence):
        same = [other for other in left if other.class_name == mine.class_name]
        best = max(same, key=lambda other: overlap(mine, other), default=None)
        if best is not None and overlap(mine, best) >= SAME_OBJECT_IOU:
            left.remove(best)
            hits += 1
    return Score(hits, len(found) - hits, len(left))


def look(video: Path, local: Engine, cloud: Engine, frames: int) -> list[Seen]:
    clock, stakes, seen = SystemClock(), Stakes(), []
    for seq, pixels in enumerate(islice(pictures(video), 0, frames * EVERY, EVERY)):
        frame = Frame("bench", seq, clock.now(), clock.wall(), clock.synchronized(), pixels)
        here, there = (model.infer(frame, clock.now() + 60).predictions for model in (local, cloud))
        seen.append(Seen(stakes.next, score(here, there), score(there, there)))
        stakes.note(Route.LOCAL, here, width=frame.width, height=frame.height)
    return seen


def f1(scores: Sequence[Score]) -> float:
    hits, false, missed = (sum(column) for column in zip(*scores, strict=True))
    return 2 * hits / (2 * hits + false + missed or 1)


def advantage(seen: Sequence[Seen], share: float) -> float:
    """Accuracy won by spending on the frames of the highest stake, over that of frames picked by chance."""
    chosen = set(sorted(range(len(seen)), key=lambda n: -seen[n].stake)[: round(share * len(seen))])
    mixed = [frame.cloud if n in chosen else frame.local for n, frame in enumerate(seen)]
    least, most = f1([frame.local for frame in seen]), f1([frame.cloud for frame in seen])
    return (f1(mixed) - least) / (most - least or 1) / share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--local", type=Path, required=True, help="the on-device model, a .tflite file")
    parser.add_argument("--cloud", type=Path, required=True, help="the larger model, a .tflite file")
    parser.add_argument("--frames", type=int, default=250, help="of each video (default: 250)")
    options = parser.parse_args()
    local, cloud = engine(options.local), engine(options.cloud)
    print(f"{'video':24} {'frames':>6} {'F1 on device':>12}   won by an upload, over chance, with a budget for")
    print(f"{'':45} " + " ".join(f"{share:>8.0%}" for share in SHARES))
    for video in options.videos:
        seen = look(video, local, cloud, options.frames)
        won = " ".join(f"{advantage(seen, share):8.2f}" for share in SHARES)
        print(f"{video.name:24} {len(seen):6} {f1([frame.local for frame in seen]):12.3f}   {won}")


if __name__ == "__main__":
    main()
