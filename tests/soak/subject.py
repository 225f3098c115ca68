"""The agent that is soaked: `vedette run` with all of its parts, a process of its own, and what it says of itself."""

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from real.agent_process import environment
from soak.gauge import catches

PRODUCT = (sys.executable, "-m", "agent")
FPS = 5
PICTURES_MB, KEPT_MB = 8, 4
CONFIG = """
agent: soak
cameras:
  - name: gate
    source: {{type: rtsp, url: "{camera}", first_frame_s: 8, next_frame_s: 3}}
    fps: {fps}
  - name: yard
    source: {{type: video_file, path: scene.avi, realtime: true, loop: true}}
    tracking: {{}}
    zones: [{{name: left, points: [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]], dwell_s: 3}}]
    lines: [{{name: middle, from: [0.5, 1.0], to: [0.5, 0.0]}}]
engines:
  local: {{type: tflite, model: shapes, threads: 1}}
  cloud: {{type: roboflow, model: shapes/1, url: "http://127.0.0.1:{api}", api_key: {{file: key}}, input_px: 320}}
routing: {{deadline_ms: 1000}}
backfill: {{below: 0.95, empty: true, every_s: 2, max_mb: {kept_mb}}}
snapshots:
  folder: {state}/pictures
  max_mb: {pictures_mb}
  keep_free_mb: 12
  rules: [{{confidence: 0.4, every_s: 2}}]
page: {{port: {page}}}
sinks:
  - {{type: jsonl, path: results.jsonl}}
  - type: mqtt
    client_id: vedette-faults
    host: localhost
    port: {broker}
    tls: {{ca_file: "{ca}"}}
    outbox: {{keep_free_mb: 8}}
"""
"""The client's id is the one that the fault suite's rival takes."""
_ASK_S, _STOP_S = 3.0, 60.0


class Subject:
    """One process, in a folder of its own; its state may be on a disk of its own."""

    def __init__(self, folder: Path, page: int, *, program: Sequence[str] = PRODUCT) -> None:
        """Not started yet. `program`: what stands for `vedette` in `vedette run`."""
        self.folder = folder
        self.state = folder / "state"
        self.results = folder / "results.jsonl"
        self.page = page
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **places: object) -> None:
        """`places`: ports and paths for CONFIG."""
        more = {"fps": FPS, "page": self.page, "state": self.state, "pictures_mb": PICTURES_MB, "kept_mb": KEPT_MB}
        (self.folder / "key").write_text("k")
        (self.folder / "vedette.yaml").write_text(CONFIG.format(**more, **places))
        with (self.folder / "agent.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._program, "run", "vedette.yaml"],
                cwd=self.folder,
                env=environment(self.folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        """Of the agent."""
        assert self._process is not None
        return self._process.pid

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process is not None and self._process.poll() is None

    def says(self) -> dict[str, Any] | None:
        """How it stands, as its page has it; None when it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.page}/state.json", timeout=_ASK_S) as answer:
                found: dict[str, Any] = json.load(answer)
        except (OSError, ValueError):
            return None
        return found

    @property
    def reloads(self) -> bool:
        """Whether it takes up a new configuration while it runs."""
        return catches(self.pid, signal.SIGHUP)

    def reload(self) -> None:
        """Take up the same configuration once more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> int:
        """As a service is stopped; its exit code."""
        assert self._process is not None
        self._process.terminate()
        try:
            return self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.wait()

    def kill(self) -> None:
        """Whatever it is doing."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        """What it has said."""
        return (self.folder / "agent.log").read_text(errors="replace")


def is_calm(said: dict[str, Any] | None) -> bool:
    """Every camera gives frames, every sink takes results, and nothing waits."""
    if said is None:
        return False
    cameras, sinks = said["cameras"].values(), said["outboxes"].values()
    return all(each["online"] for each in cameras) and all(s["connected"] and not s["waiting"] for s in sinks)
