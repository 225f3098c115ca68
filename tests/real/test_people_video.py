"""A real video of pedestrians through the whole agent, judged by ONNX Runtime on the same weights."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from real.agent_process import records, vedette

CONFIDENCE, OVERLAP, INPUT = 0.4, 0.3, 320
FRAMES, EVERY = 240, 8
PERSON = 0

CONFIG = """
agent: tester
cameras:
  - name: street
    source: {{type: video_file, path: "{video}"}}
engines:
  local: {{type: tflite, model: "{model}", confidence: 0.4, overlap: 0.3}}
sinks:
  - {{type: jsonl, path: results.jsonl}}
"""


@pytest.fixture(scope="module")
def video(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its first frames, as a file of its own."""
    whole, part = cv2.VideoCapture(str(shared / "media" / "vtest.avi")), tmp_path_factory.mktemp("video") / "street.avi"
    size = int(whole.get(cv2.CAP_PROP_FRAME_WIDTH)), int(whole.get(cv2.CAP_PROP_FRAME_HEIGHT))
    written = cv2.VideoWriter(str(part), cv2.VideoWriter.fourcc(*"MJPG"), 10, size)
    for _ in range(FRAMES):
        written.write(whole.read()[1])
    written.release()
    return part


@pytest.fixture(scope="module")
def results(shared: Path, video: Path) -> list[dict[str, Any]]:
    folder = video.parent
    model = shared / "models" / "yolov8n_320_float32_nhwc.tflite"
    (folder / "vedette.yaml").write_text(CONFIG.format(video=video, model=model))
    done = vedette("run", "vedette.yaml", folder=folder, timeout_s=150)
    assert done.returncode == 0, done.stderr
    return records(folder / "results.jsonl")


@pytest.mark.timeout(200)
def test_every_frame_of_the_file_has_one_result_in_order(results: list[dict[str, Any]]) -> None:
    seqs = [record["seq"] for record in results]
    assert seqs == list(range(seqs[0], seqs[0] + FRAMES))


@pytest.mark.timeout(200)
def test_people_are_found_in_every_sampled_frame(results: list[dict[str, Any]]) -> None:
    people = [sum(found["class_id"] == PERSON for found in record["predictions"]) for record in results[::EVERY]]
    assert min(people) >= 1
    assert sum(people) / len(people) >= 3


@pytest.mark.timeout(200)
def test_the_boxes_agree_with_onnx_runtime_on_the_same_weights(
    results: list[dict[str, Any]], video: Path, shared: Path
) -> None:
    session = onnxruntime.InferenceSession(str(shared / "models" / "yolov8n_320.onnx"))
    matched = missed = invented = 0
    worst = 1.0
    for pixels, record in zip(frames(video), results, strict=True):
        if pixels is None:
            continue
        expected = judge(session, pixels)
        found = [(f["class_id"], f["x"], f["y"], f["width"], f["height"]) for f in record["predictions"]]
        pairs = match(expected, found)
        matched += len(pairs)
        missed += len(expected) - len(pairs)
        invented += len(found) - len(pairs)
        worst = min([worst, *pairs])
    f1 = 2 * matched / (2 * matched + missed + invented)
    assert matched > 100
    assert f1 >= 0.98, (matched, missed, invented)
    assert worst >= 0.95


def frames(video: Path) -> list[NDArray[np.uint8] | None]:
    """Every sampled frame of the video; None for the others."""
    capture, found = cv2.VideoCapture(str(video)), []
    while True:
        ok, pixels = capture.read()
        if not ok:
            return found
        found.append(pixels if len(found) % EVERY == 0 else None)


def judge(session: onnxruntime.InferenceSession, pixels: NDArray[np.uint8]) -> list[tuple[float, ...]]:
    """Boxes as YOLOv8's own steps give them, written out here independently of the agent."""
    height, width = pixels.shape[:2]
    scale = min(INPUT / width, INPUT / height)
    size = round(width * scale), round(height * scale)
    left, top = (INPUT - size[0]) // 2, (INPUT - size[1]) // 2
    canvas = np.full((INPUT, INPUT, 3), 114, np.uint8)
    canvas[top : top + size[1], left : left + size[0]] = cv2.resize(pixels, size)
    tensor = canvas[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255
    (output,) = session.run(None, {session.get_inputs()[0].name: tensor})
    rows = [(row[4:].max(), int(row[4:].argmax()), *row[:4]) for row in output[0].T if row[4:].max() >= CONFIDENCE]
    kept: list[tuple[float, ...]] = []
    for row in sorted(rows, reverse=True):
        if all(row[1] != other[1] or iou(row[2:], other[2:]) <= OVERLAP for other in kept):
            kept.append(row)
    return [(r[1], (r[2] - left) / scale, (r[3] - top) / scale, r[4] / scale, r[5] / scale) for r in kept]


def iou(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Of two boxes given by centre and size."""
    overlap = 1.0
    for axis in (0, 1):
        low = max(one[axis] - one[axis + 2] / 2, other[axis] - other[axis + 2] / 2)
        high = min(one[axis] + one[axis + 2] / 2, other[axis] + other[axis + 2] / 2)
        overlap *= max(0.0, high - low)
    return overlap / (one[2] * one[3] + other[2] * other[3] - overlap)


def match(expected: list[tuple[float, ...]], found: list[tuple[float, ...]]) -> list[float]:
    """The IoU of each pair of one class that belongs together: the best first, each box once."""
    candidates = sorted(
        ((iou(e[1:], f[1:]), i, j) for i, e in enumerate(expected) for j, f in enumerate(found) if e[0] == f[0]),
        reverse=True,
    )
    pairs, used_e, used_f = [], set[int](), set[int]()
    for score, i, j in candidates:
        if score >= 0.5 and i not in used_e and j not in used_f:
            pairs.append(score)
            used_e.add(i)
            used_f.add(j)
    return pairs
