"""The second look as a user has it: an agent whose link dies and comes back, killed in between, over real sockets."""

import json
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from real.agent_process import start_vedette
from real.test_cloud_weather import DEADLINE_MS, FPS, Cloud, eventually

from agent.clock import SystemClock

CONFIG = """
agent: tester
cameras:
  - name: east
    source: {{type: synthetic, fps: 10, seed: 1}}
  - name: west
    source: {{type: synthetic, fps: 10, seed: 2}}
engines:
  local: {{type: tflite, model: shapes, threads: 1}}
  cloud: {{type: roboflow, model: shapes/1, url: "http://127.0.0.1:{port}", api_key: {{file: key}}, input_px: 320}}
backfill:
  below: 0.999
  every_s: 0.5
  contribute: {{project: shapes, per_hour: 4, batch: field, tags: [doubtful], url: "http://127.0.0.1:{port}"}}
sinks:
  - {{type: jsonl, path: results.jsonl}}
"""


class Post:
    """The agent on its pole, and the files it leaves."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        (folder / "vedette.yaml").write_text(CONFIG.format(port=port))
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._process = start_vedette("run", "vedette.yaml", folder=self.folder)

    def end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(30)

    @property
    def kept(self) -> set[str]:
        """The pictures on disk that wait to be shown to the cloud."""
        return {path.name for path in (self.folder / "state" / "vedette" / "kept" / "tester").glob("*.ask")}

    def records(self) -> list[dict[str, Any]]:
        path = self.folder / "results.jsonl"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def backfilled(self) -> list[dict[str, Any]]:
        """Corrections of frames that were never sent while they were live."""
        return [r for r in self.records() if r["revision"] and r["route"]["decided"] == "local"]


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    it = Cloud(tmp_path)
    it.start()
    yield it
    it.kill()


@pytest.fixture
def post(cloud: Cloud, tmp_path: Path) -> Iterator[Post]:
    it = Post(tmp_path, cloud.port)
    yield it
    it.end(signal.SIGKILL)


def dataset(cloud: Cloud) -> dict[str, Any]:
    state = httpx.get(f"http://127.0.0.1:{cloud._control_port}/emulator/state").json()
    found: dict[str, Any] = state["dataset"]
    return found


def wait(condition: Callable[[], bool], limit_s: float, said: str) -> None:
    assert eventually(condition, limit_s), said


@pytest.mark.timeout(120)
def test_every_frame_that_was_kept_is_corrected_once_though_the_agent_was_killed_in_between(
    cloud: Cloud, post: Post
) -> None:
    cloud.set_link(outage=True)
    post.start()
    wait(lambda: len(post.kept) >= 8, 30, "no doubtful frame was kept while the link was dead")
    post.end(signal.SIGKILL)
    first_run = post.kept
    before = {r["seq"] for r in post.records()}
    post.start()
    wait(lambda: len(post.kept) >= len(first_run) + 6, 30, "no more frames were kept after the restart")
    assert first_run <= post.kept
    expected = len(post.kept)
    cloud.set_link(outage=False, rate_mbit_s=20, rtt_ms=40)
    wait(lambda: len(post.backfilled()) >= 5, 40, "no correction came after the link was back")
    post.end(signal.SIGKILL)
    post.start()
    wait(lambda: not post.kept, 60, "pictures wait still though the link is good")
    wait(lambda: len(post.backfilled()) >= expected, 10, "a correction is missing")
    wait(lambda: dataset(cloud)["uploads"] >= 4, 20, "no training image arrived")
    SystemClock().wait(threading.Event(), 2.0)  # long enough for a fifth to come, or a correction a second time
    post.end(signal.SIGTERM)
    check_corrections(post, before)
    slowest = max((r for r in post.records() if not r["revision"]), key=lambda r: r["latency_ms"]["total"])
    assert slowest["latency_ms"]["total"] <= DEADLINE_MS + 1000 / FPS, slowest["route"]
    check_training_images(cloud)


def check_corrections(post: Post, of_the_first_run: set[int]) -> None:
    records = {record["id"]: record for record in post.records() if not record["revision"]}
    corrections = post.backfilled()
    assert max(Counter(record["id"] for record in corrections).values()) == 1
    assert any(record["seq"] in of_the_first_run for record in corrections)
    for record in corrections:
        original = records[record["supersedes"]]
        assert original["route"]["published"] == "local"
        for name in ("agent", "camera", "boot_id", "seq", "captured_at", "captured_monotonic_s", "image"):
            assert record[name] == original[name]
        assert record["id"] == original["id"][:-1] + "1"
        route = record["route"]
        assert (route["published"], route["late"], route["engine"]) == ("cloud", True, "roboflow")
        assert route["reason"] == original["route"]["reason"]


def check_training_images(cloud: Cloud) -> None:
    """No more than the hour's four, each once, whatever was killed."""
    state = dataset(cloud)
    assert (state["uploads"], state["duplicates"]) == (4, 0)
    for image in state["images"]:
        assert (image["batch"], image["tags"], image["split"]) == ("field", ["doubtful"], "train")
        assert image["name"].startswith("tester-")
