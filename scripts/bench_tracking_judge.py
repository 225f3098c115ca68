"""The library's part of scripts/bench-tracking, run by the Python of its own environment: JSON lines in, JSON out.

Each line in is one case: `frames`, a list of [seconds, truth, detections, ours]; truth and ours are lists of
[id, x1, y1, x2, y2], detections of [x1, y1, x2, y2, confidence, class]. Each line out has the figures of both trackers,
by py-motmetrics.
"""

import json
import sys
import warnings
from typing import Any

import motmetrics
import numpy as np
import supervision as sv
from trackers import ByteTrackTracker

METRICS = ("idf1", "mota", "num_switches", "num_fragmentations", "num_objects")
SAME_OBJECT_IOU = 0.5
OURS = {"track_activation_threshold": 0.5, "high_conf_det_threshold": 0.5, "lost_track_buffer": 60}
"""Our tracker's thresholds, and 2 s of its frames of 1/30 s."""

Rows = list[list[float]]


def tracked(frames: list[list[Any]], settings: dict[str, Any]) -> list[Rows]:
    """The library's tracks of each frame."""
    tracker = ByteTrackTracker(frame_rate=10.0, **settings)
    found = []
    for at_s, _, detections, _ in frames:
        table = np.array([row[:5] for row in detections], dtype=float).reshape(-1, 5)
        classes = np.array([row[5] for row in detections], dtype=int)
        given = sv.Detections(xyxy=table[:, :4], confidence=table[:, 4], class_id=classes)
        answer = tracker.update(given, timestamp=at_s)
        ids = answer.tracker_id if answer.tracker_id is not None else []
        found.append([[int(n), *map(float, box)] for n, box in zip(ids, answer.xyxy, strict=True) if n >= 0])
    return found


def distances(truth: Rows, answer: Rows) -> "np.ndarray[Any, Any]":
    """1 - IoU; NaN where two boxes are not the same object. py-motmetrics' own function needs an older NumPy."""
    boxes = [np.array([row[1:5] for row in rows], dtype=float).reshape(-1, 4) for rows in (truth, answer)]
    apart = 1 - sv.box_iou_batch(*boxes)
    return np.where(apart <= 1 - SAME_OBJECT_IOU, apart, np.nan)


def judged(frames: list[list[Any]], answers: list[Rows]) -> dict[str, float]:
    account = motmetrics.MOTAccumulator(auto_id=True)
    for (_, truth, _, _), answer in zip(frames, answers, strict=True):
        account.update([int(row[0]) for row in truth], [int(row[0]) for row in answer], distances(truth, answer))
    figures = motmetrics.metrics.create().compute(account, metrics=list(METRICS), name="case")
    return {name: float(figures[name].iloc[0]) for name in METRICS}


def main() -> None:
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        frames = json.loads(line)["frames"]
        figures = {
            "ours": judged(frames, [frame[3] for frame in frames]),
            "library": judged(frames, tracked(frames, OURS)),
            "library as it comes": judged(frames, tracked(frames, {})),
        }
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
