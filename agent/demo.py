"""The built-in defaults: a drawn scene, the shipped model, and an emulated hosted API whose link changes as you watch.

The emulator is a process of its own, so the agent meets it through real sockets. Owner: main thread.
"""

import contextlib
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent import config, document
from agent.config import Config

RESULTS_FILE = "vedette-results.jsonl"
LINK = "good:12,slow:8,good:8,dead:8"
"""The link's weather: presets of the emulator, and seconds of each."""

_DEFAULTS = """
agent: demo
cameras:
  - name: scene
    source: {{type: synthetic, width: 640, height: 480, fps: 10}}
engines:
  local: {{type: tflite, model: shapes}}
  cloud:
    type: roboflow
    model: shapes/1
    url: "http://127.0.0.1:{port}"
    api_key: {{file: "{key_file}"}}
    input_px: 320
routing:
  deadline_ms: 500
sinks:
  - {{type: jsonl, path: "{results}"}}{stdout}
"""


@dataclass(frozen=True, slots=True)
class Demo:
    """A configuration whose cloud runs for as long as the context lasts."""

    config: Config
    results: Path


@contextlib.contextmanager
def defaults(*, print_results: bool) -> Iterator[Demo]:
    """Start the emulated API and give the configuration that uses it.

    Args:
        print_results: also write each result to standard output.
    """
    results = Path.cwd() / RESULTS_FILE
    with tempfile.TemporaryDirectory(prefix="vedette-demo-") as folder:
        key_file, port, key = Path(folder) / "key", free_port(), secrets.token_hex(8)
        key_file.write_text(key, encoding="ascii")
        stdout = "\n  - {type: stdout}" if print_results else ""
        text = _DEFAULTS.format(port=port, key_file=key_file, results=results, stdout=stdout)
        with _emulator(port, key):
            yield Demo(config.validate(document.parse(text, name="built-in defaults")), results)


@contextlib.contextmanager
def _emulator(port: int, key: str) -> Iterator[None]:
    command = [sys.executable, "-m", "agent", "emulate", "--port", str(port), "--key", key, "--link", LINK]
    command += ["--model", "shapes", "--project", "shapes/1", "--server-ms", "80"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # noqa: S603 - ourselves
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()


def free_port() -> int:
    """A TCP port of loopback that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
