"""The cloud absent, there, slow, cut off and killed within one run: every frame keeps its one fate and its deadline."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from canary import secret
from real.agent_process import environment, records

from agent import app, config, document
from agent.clock import SystemClock
from agent.demo import free_port
from agent.flow import Fate
from agent.service import Service

pytestmark = pytest.mark.alone

DEADLINE_MS, FPS = 500, 10

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
routing: {{deadline_ms: 500}}
sinks:
  - {{type: jsonl, path: results.jsonl}}
"""


class Cloud:
    """The emulated API as a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._control_port = free_port()
        self._folder = folder
        (folder / "key").write_text(secret())
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "agent", "emulate", "--port", str(self.port), "--key-file", "key"]
        command += ["--control-port", str(self._control_port), "--server-ms", "60"]
        self._process = subprocess.Popen(
            command, cwd=self._folder, env=environment(self._folder), stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline().startswith("emulating shapes/1")

    def set_link(self, **weather: object) -> None:
        httpx.put(f"http://127.0.0.1:{self._control_port}/emulator/link", json=weather).raise_for_status()

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(5)
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    it = Cloud(tmp_path)
    yield it
    it.kill()


def eventually(condition: Callable[[], bool], limit_s: float) -> bool:
    clock, never = SystemClock(), threading.Event()
    until_s = clock.now() + limit_s
    while not condition() and clock.now() < until_s:
        clock.wait(never, 0.02)
    return condition()


def test_whatever_the_cloud_does_every_frame_has_one_fate_and_its_answer_in_time(cloud: Cloud, tmp_path: Path) -> None:
    settings = config.validate(document.parse(CONFIG.format(port=cloud.port), name="test"))
    service = Service(settings, partial(app.build, base_dir=tmp_path, state_dir=tmp_path / "state"))
    agent, runner = service.agent, threading.Thread(target=service.run)
    runner.start()
    results = tmp_path / "results.jsonl"

    def served_by(route: str, count: int) -> Callable[[], bool]:
        have = len(list(of_route(results, route)))
        return lambda: len(list(of_route(results, route))) >= have + count

    try:
        assert eventually(served_by("local", 10), 10), "no answer while the API is not there"
        cloud.start()
        assert eventually(served_by("cloud", 20), 20), "the API was not used after it started"
        cloud.set_link(rate_mbit_s=0.1, rtt_ms=300, outage=False)
        assert eventually(served_by("local", 20), 20), "a slow link was not left"
        cloud.set_link(rate_mbit_s=None, rtt_ms=0, outage=True)
        assert eventually(served_by("local", 20), 20), "a dead link was not left"
        cloud.set_link(rate_mbit_s=None, rtt_ms=0, outage=False)
        assert eventually(served_by("cloud", 10), 20), "the link was not used again"
        cloud.kill()
        assert eventually(served_by("local", 10), 10), "the killed API was not left"
    finally:
        agent.stop.ask()
        runner.join(20)
    assert not runner.is_alive()
    for pipeline in agent.pipelines:
        status = pipeline.telemetry.status()
        assert status.captured == sum(status.fates.values()), status
        assert status.fates.get(Fate.FAILED, 0) == 0, status
        check_records([r for r in records(results) if r["camera"] == pipeline.camera], status.fates[Fate.DONE])


def of_route(path: Path, route: str) -> Iterator[dict[str, Any]]:
    """First answers of `route` among the whole lines of a file that is being written."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for line in text.splitlines(keepends=True):
        if line.endswith("\n"):
            record = json.loads(line)
            if record["revision"] == 0 and record["route"]["published"] == route:
                yield record


def check_records(found: list[dict[str, Any]], done: int) -> None:
    """Each answered frame once, in capture order, by its deadline and one frame period."""
    first = [record for record in found if record["revision"] == 0]
    assert len(first) == done
    assert len({record["id"] for record in found}) == len(found)
    seqs = [record["seq"] for record in first]
    assert seqs == sorted(set(seqs))
    slowest = max(first, key=lambda record: record["latency_ms"]["total"])
    assert slowest["latency_ms"]["total"] <= DEADLINE_MS + 1000 / FPS, slowest["route"]
