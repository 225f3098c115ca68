"""The built-in defaults: a drawn scene, the shipped model, and an emulated hosted API whose link changes as you watch.

The emulator is a process of its own, so the agent meets it through real sockets. Owner: main thread.
"""

import contextlib
import logging
import os
import secrets
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent import config, document
from agent.config import Config
from agent.errors import AgentError, ConfigError

_log = logging.getLogger(__name__)

RESULTS_FILE = "vedette-results.jsonl"
LINK = "good:12,slow:8,good:8,dead:8"
"""The link's weather: presets of the emulator, and seconds of each."""
START_LIMIT_S = 10.0
_STOP_LIMIT_S = 5.0
_SAID_LIMIT = 2000
"""Characters of what the emulator said that are repeated: the last ones tell why it ended."""

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
    state_dir: Path
    """Gone when the demonstration ends, and with it what no sink had taken."""


@contextlib.contextmanager
def defaults(*, print_results: bool) -> Iterator[Demo]:
    """Start the emulated API and give the configuration that uses it.

    Args:
        print_results: also write each result to standard output.
    """
    results = results_file()
    with tempfile.TemporaryDirectory(prefix="vedette-demo-") as name:
        folder, port = Path(name), free_port()
        key_file = folder / "key"
        key_file.write_text(secrets.token_hex(8), encoding="ascii")
        stdout = "\n  - {type: stdout}" if print_results else ""
        text = _DEFAULTS.format(port=port, key_file=key_file, results=results, stdout=stdout)
        with _emulator(port, key_file, folder / "emulator.log"):
            yield Demo(config.validate(document.parse(text, name="built-in defaults")), folder)


def results_file() -> Path:
    """Where the demonstration's results go. Raises ConfigError when nothing can be written there."""
    folder = Path.cwd()
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"the demonstration writes its results into {folder}, where you may not write; go elsewhere")
    return folder / RESULTS_FILE


@contextlib.contextmanager
def _emulator(port: int, key_file: Path, log: Path) -> Iterator[None]:
    """The emulated API, from the moment it listens; what it says goes to the file `log`, not into the live line."""
    command = [sys.executable, "-m", "agent", "emulate", "--port", str(port), "--key-file", str(key_file)]
    command += ["--link", LINK, "--model", "shapes", "--project", "shapes/1", "--server-ms", "80"]
    command += ["--cold-start-s", "0", "--until-input-ends"]
    with (
        log.open("wb") as said,
        subprocess.Popen(  # noqa: S603 - ourselves
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            cwd=log.parent,  # not the user's folder, where modules of theirs might go by our names
            start_new_session=True,  # a Ctrl-C is for the agent, whose last requests are still answered
        ) as process,
    ):
        try:
            _wait_until_ready(process, log)
            yield
            if process.poll() is not None:
                _log.warning("the emulated API had ended before the agent: %s", _last_words(process, log))
        finally:
            _end(process)


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    assert process.stdout is not None  # noqa: S101 - for the type checker: it was asked for
    readable, _, _ = select.select([process.stdout], [], [], START_LIMIT_S)
    if not readable:
        raise AgentError(
            f"the emulated API was not ready within {START_LIMIT_S:.0f} s, perhaps because the machine is busy; "
            "try again, or name a configuration: vedette run CONFIG.yaml"
        )
    if not process.stdout.readline():
        raise AgentError(
            f"the emulated API of the demonstration could not start: {_last_words(process, log)}\n"
            "Mend that, or name a configuration: vedette run CONFIG.yaml"
        )


def _last_words(process: subprocess.Popen[bytes], log: Path) -> str:
    """How it ended, and the end of what it wrote to standard error."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_LIMIT_S)
    said = log.read_text(encoding="utf-8", errors="replace").strip()[-_SAID_LIMIT:]
    return f"exit code {process.returncode}, {said or 'without a word'}"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()


def free_port() -> int:
    """A TCP port of loopback that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
