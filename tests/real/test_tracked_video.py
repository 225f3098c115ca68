"""A real video of pedestrians, tracked by the whole agent: its events against a count of their own from its results."""

from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import pytest
from real.agent_process import records, vedette

FRAMES, WIDTH, HEIGHT = 120, 768, 576
ZONE = (0.35, 0.2, 0.75, 0.6)

CONFIG = """
agent: tester
cameras:
  - name: square
    source: {{type: video_file, path: short.avi}}
    tracking: {{classes: [class_0]}}
    zones: [{{name: path, points: [[0.35, 0.2], [0.75, 0.2], [0.75, 0.6], [0.35, 0.6]]}}]
    lines: [{{name: middle, from: [0.5, 1.0], to: [0.5, 0.0]}}]
engines:
  local: {{type: tflite, model: "{model}", confidence: 0.3}}
sinks:
  - {{type: jsonl, path: results.jsonl}}
  - {{type: jsonl, path: events.jsonl, what: events}}
"""
Way = list[tuple[float, float, float]]
"""The middle of the lower edge of an object's box in pixels, and the box's size, from result to result."""


@pytest.fixture(scope="module")
def folder(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("square")
    cut(shared / "media" / "vtest.avi", folder / "short.avi")
    model = shared / "models" / "yolov8n_320_full_int8_nhwc.tflite"
    (folder / "vedette.yaml").write_text(CONFIG.format(model=model))
    done = vedette("run", "vedette.yaml", folder=folder, timeout_s=50)
    assert done.returncode == 0, done.stderr
    return folder


def cut(video: Path, target: Path) -> None:
    """Its first frames."""
    capture = cv2.VideoCapture(str(video))
    out = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"MJPG"), 10, (WIDTH, HEIGHT))
    for _ in range(FRAMES):
        out.write(capture.read()[1])
    out.release()


@pytest.fixture
def events(folder: Path) -> list[dict[str, Any]]:
    return records(folder / "events.jsonl")


@pytest.fixture
def ways(folder: Path) -> dict[int, Way]:
    found: dict[int, Way] = defaultdict(list)
    for result in records(folder / "results.jsonl"):
        for each in result["predictions"]:
            assert each["tracker_id"] == -1 or each["class"] == "class_0"
            if each["tracker_id"] != -1:
                size = (each["width"] * each["height"]) ** 0.5
                found[each["tracker_id"]].append((each["x"], each["y"] + each["height"] / 2, size))
    return found


def of(events: list[dict[str, Any]], number: int, *causes: str) -> list[dict[str, Any]]:
    return [event for event in events if event["tracker_id"] == number and event["cause"] in causes]


def test_each_track_is_new_once_and_people_are_tracked(events: list[dict[str, Any]], ways: dict[int, Way]) -> None:
    assert [event["tracker_id"] for event in events if event["type"] == "new"] == sorted(ways)
    assert len(ways) >= 4
    assert max(map(len, ways.values())) > FRAMES / 2


def test_the_line_is_crossed_by_those_who_change_sides(events: list[dict[str, Any]], ways: dict[int, Way]) -> None:
    total = 0
    for number, way in ways.items():
        right = [x > WIDTH / 2 for x, _, size in way if abs(x - WIDTH / 2) >= max(1, 0.1 * size)]
        changes = ["in" if after else "out" for before, after in pairwise(right) if before != after]
        assert [event["direction"] for event in of(events, number, "crossed")] == changes
        total += len(changes)
    last = [event for event in events if event["cause"] == "crossed"][-1]
    assert sum(last["totals"].values()) == total >= 1


def test_the_zone_is_entered_by_those_who_stand_in_it(events: list[dict[str, Any]], ways: dict[int, Way]) -> None:
    entered = 0
    for number, way in ways.items():
        inside = [ZONE[0] <= x / WIDTH < ZONE[2] and ZONE[1] <= y / HEIGHT < ZONE[3] for x, y, _ in way]
        expected = inside[0] or any(before and after for before, after in pairwise(inside))
        assert bool(of(events, number, "entered")) == expected
        entered += expected
    assert entered >= 3
