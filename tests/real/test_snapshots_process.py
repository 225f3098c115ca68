"""Snapshots as their users have them: an agent process with a drawn scene and the shipped model."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from real.agent_process import records, start_vedette, vedette

from agent import imaging
from agent.snapshots import caption
from agent.snapshots.annotation import colour_of
from agent.sources._scene import Scene

CONFIG = """
agent: yard
cameras:
  - name: gate
    source: {{type: synthetic, width: 320, height: 240, fps: 20, seed: 1, frames: {frames}}}
  - name: road
    source: {{type: synthetic, width: 480, height: 360, fps: 20, seed: 2, frames: {frames}}}
engines:
  local: {{type: tflite, model: shapes}}
snapshots:
  folder: pictures
  keep_free_mb: 0
  quality: 95
{snapshots}
sinks:
  - {{type: jsonl, path: results.jsonl}}
"""
BOTH = """
  rules:
    - {cameras: [gate], every_s: 0.5}
    - {confidence: 0.4, every_s: 1.0, annotate: false}
    - {classes: [unicorn]}
"""


def write_config(folder: Path, snapshots: str, *, frames: int) -> Path:
    path = folder / "vedette.yaml"
    path.write_text(CONFIG.format(snapshots=snapshots, frames=frames), encoding="utf-8")
    return path


def pictures(folder: Path, camera: str, ending: str = ".jpg") -> dict[int, Path]:
    """The pictures with that ending, by the seq in their names, in the order of their names."""
    found = {}
    for path in sorted((folder / "pictures" / "yard" / camera).iterdir()):
        known = caption.parsed(path.name)
        assert known is not None, path
        if path.name.endswith(ending) and path.name.endswith(".clean.jpg") == (ending == ".clean.jpg"):
            found[known.caption.seq] = path
    return found


def by_seq(folder: Path, camera: str) -> dict[int, dict[str, Any]]:
    return {record["seq"]: record for record in records(folder / "results.jsonl") if record["camera"] == camera}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("snapshots")
    done = vedette("run", write_config(folder, BOTH, frames=60), folder=folder)
    assert done.returncode == 0, done.stderr
    assert "no result met snapshots.rules[2], classes unicorn" in done.stderr
    assert "ERROR" not in done.stderr
    return folder


def test_every_picture_leads_to_a_result_that_was_published_and_its_record_is_the_same(ran: Path) -> None:
    for camera in ("gate", "road"):
        published = by_seq(ran, camera)
        found = {**pictures(ran, camera), **pictures(ran, camera, ".clean.jpg")}
        assert found
        for seq, path in found.items():
            record = json.loads(path.with_name(path.name.split(".")[0] + ".json").read_bytes())
            assert record == published[seq]
            assert record["id"].encode() in path.read_bytes()
            assert record["boot_id"].startswith(path.name.split("-")[-3])


def test_the_rules_are_followed_in_time(ran: Path) -> None:
    assert len(pictures(ran, "gate")) >= 3
    assert pictures(ran, "road") == {}, "the rule with boxes is the gate's alone"
    for camera, ending, every_s in (("gate", ".jpg", 0.5), ("gate", ".clean.jpg", 1.0), ("road", ".clean.jpg", 1.0)):
        published = by_seq(ran, camera)
        taken_s = [published[seq]["captured_monotonic_s"] for seq in pictures(ran, camera, ending)]
        assert taken_s == sorted(taken_s)
        assert min(np.diff(taken_s), default=every_s) >= every_s - 1e-5
        assert all(
            max(p["confidence"] for p in published[seq]["predictions"]) >= 0.4 for seq in pictures(ran, camera, ending)
        )


def test_a_clean_picture_is_the_frame_that_was_captured_and_a_box_lies_round_the_object(ran: Path) -> None:
    scene = Scene(320, 240, seed=1, shapes=6)
    frames = [scene.render(index) for index in range(60)]
    first = min(by_seq(ran, "gate"))
    clean, boxes = pictures(ran, "gate", ".clean.jpg"), pictures(ran, "gate")
    for seq, path in clean.items():
        near = [np.abs(imaging.read_image(path).astype(int) - frame).mean() for frame in frames]
        assert min(near) < 4
        assert 0 <= int(np.argmin(near)) - (seq - first) < 60
    both = clean.keys() & boxes.keys()
    assert both
    for seq in both:
        drawn = imaging.read_image(boxes[seq]).astype(int)
        on_top = max(reversed(by_seq(ran, "gate")[seq]["predictions"]), key=lambda found: found["confidence"])
        is_colour = np.abs(drawn - colour_of(on_top["class_id"])).max(axis=2) < 90
        top, bottom = (max(0, int(on_top["y"] + sign * on_top["height"] / 2)) for sign in (-1, 1))
        for sign in (-1, 1):
            x = int(min(max(on_top["x"] + sign * on_top["width"] / 2, 3), 316))
            assert is_colour[top:bottom, x - 3 : x + 4].any(axis=1).mean() > 0.6
        changed = np.abs(imaging.read_image(clean[seq]) - drawn).max(axis=2) > 60
        assert changed.mean() < 0.5


def test_a_stopped_agent_leaves_whole_pictures_and_the_next_run_goes_on_in_their_order(tmp_path: Path) -> None:
    config = write_config(tmp_path, "  rules: [{every_s: 0.0}]\n  max_mb: 1\n", frames=100_000)
    for _ in range(2):
        process = start_vedette("run", config, folder=tmp_path)
        before = len(records(tmp_path / "results.jsonl")) if (tmp_path / "results.jsonl").exists() else 0
        until_s = time.monotonic() + 30
        while time.monotonic() < until_s:
            time.sleep(0.05)
            if (tmp_path / "results.jsonl").exists() and _lines(tmp_path / "results.jsonl") > before + 40:
                break
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, (tmp_path / "stderr.txt").read_text()
    folder = tmp_path / "pictures"
    assert not list(folder.rglob("*.new"))
    assert sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file()) <= 1_000_000
    for camera in ("gate", "road"):
        found, published = pictures(tmp_path, camera), by_seq(tmp_path, camera)
        assert len(found) > 3
        assert max(found) == max(seq for seq, record in published.items() if _is_met(record)), "the last one, too"
        taken_s = [published[seq]["captured_monotonic_s"] for seq in found]
        assert taken_s == sorted(taken_s)
        for path in found.values():
            assert imaging.read_image(path).ndim == 3
    assert "pictures of earlier runs" in (tmp_path / "stderr.txt").read_text()


def _is_met(record: dict[str, Any]) -> bool:
    return any(found["confidence"] >= 0.5 for found in record["predictions"])


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")
