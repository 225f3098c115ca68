"""The agent as a process with cameras, and what it makes of them: frames with their times, its words, its children."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import yaml
from cameras import survey
from real.agent_process import REPOSITORY, environment

_PROGRAM = Path(__file__).with_name("agent_on_trial.py")
_LOOK_EVERY_S = 0.02
_T = TypeVar("_T")


class Missed(AssertionError):
    """What should have come did not come in time."""


@dataclass(frozen=True)
class Seen:
    """A frame that the agent decided on; monotonic seconds."""

    camera: str
    decided_s: float
    captured_s: float
    made_s: float
    size: tuple[int, int]

    @property
    def age_s(self) -> float:
        """When the agent got it."""
        return self.captured_s - self.made_s


def wait(until: Callable[[], _T], limit_s: float, what: Callable[[], str]) -> _T:
    """What `until` gives, once that is true. Raises Missed."""
    end_s = time.monotonic() + limit_s
    while not (found := until()):
        if time.monotonic() >= end_s:
            raise Missed(f"not within {max(0.0, limit_s):.1f} s: {what()}")
        time.sleep(_LOOK_EVERY_S)
    return found


class Trial:
    """One agent, from entering the block to leaving it."""

    def __init__(
        self, folder: Path, sources: Mapping[str, Mapping[str, Any]], *, env: Mapping[str, str] | None = None
    ) -> None:
        """`sources`: camera name -> its `source` section."""
        self.folder = folder
        self.config = folder / "vedette.yaml"
        self.words: list[tuple[float, str]] = []
        """What it has said, each line with the monotonic second at which it came."""
        self._frames = folder / "frames.txt"
        self._process: subprocess.Popen[str] | None = None
        self._listeners = [threading.Thread(target=self._listen), threading.Thread(target=self._be_notified)]
        self._notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ready = threading.Event()
        self._env = dict(env or {})
        folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(yaml.safe_dump(self._settings(sources)))

    def _settings(self, sources: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        return {
            "agent": "trial",
            "cameras": [{"name": name, "source": dict(source)} for name, source in sources.items()],
            "engines": {"local": {"type": "timecode_log", "path": str(self._frames)}},
            "sinks": [{"type": "jsonl", "path": str(self.folder / "results.jsonl"), "outbox": {"keep_free_mb": 0}}],
            "log": {"level": "debug"},
        }

    def command(self, *arguments: str) -> list[str]:
        """The agent's program with the test plugins."""
        return [sys.executable, str(_PROGRAM), *arguments, str(self.config)]

    @property
    def environment(self) -> dict[str, str]:
        """In which it finds them, and its reader."""
        path = os.pathsep.join([str(REPOSITORY), str(_PROGRAM.parent)])
        return {**environment(self.folder), "PYTHONPATH": path, **self._env}

    def __enter__(self) -> "Trial":  # noqa: PYI034 - typing.Self needs Python 3.11
        address = str(self.folder / "notify")
        self._notices.bind(address)
        self._process = subprocess.Popen(
            self.command("run"),
            cwd=self.folder,
            env={**self.environment, "NOTIFY_SOCKET": address},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        for listener in self._listeners:
            listener.start()
        return self

    def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.words.append((time.monotonic(), line))

    def _be_notified(self) -> None:
        """As systemd is; an empty notice ends it."""
        while notice := self._notices.recv(4096):
            if notice == b"READY=1":
                self._ready.set()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        if self._process.poll() is None:
            self.kill()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(b"", str(self.folder / "notify"))
        for listener in self._listeners:
            listener.join(10)
        self._process.stderr.close()
        self._notices.close()

    @property
    def pid(self) -> int:
        """Of the agent."""
        assert self._process is not None
        return self._process.pid

    def await_ready(self) -> None:
        """Until it tells systemd that it is ready."""
        if not self._ready.wait(20):
            raise Missed(f"it is not ready; it says:\n{self.tail}")

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def await_end(self, limit_s: float = 30.0) -> int:
        """The exit code."""
        assert self._process is not None
        return self._process.wait(limit_s)

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    @property
    def log(self) -> str:
        """All that it has said."""
        return "".join(line for _, line in list(self.words))

    @property
    def tail(self) -> str:
        """The end of that."""
        return "".join(line for _, line in self.words[-12:])

    @property
    def readers(self) -> set[int]:
        """Its children."""
        return survey.children(self.pid)

    def frames(self, camera: str = "door") -> list[Seen]:
        """Those of a camera so far, in the order of decision."""
        if not self._frames.exists():
            return []
        lines = [line.split() for line in self._frames.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [
            Seen(name, int(decided) / 1e3, int(captured) / 1e3, int(made) / 1e3, (int(width), int(height)))
            for name, decided, captured, made, width, height in lines
            if name == camera
        ]

    def await_frame(self, after_s: float, *, limit_s: float, camera: str = "door") -> float:
        """When the first frame that was made after `after_s` was decided on, in seconds after that. Raises Missed."""

        def found() -> list[Seen]:
            return [seen for seen in self.frames(camera) if seen.made_s > after_s]

        left_s = limit_s + after_s - time.monotonic()
        first = wait(found, left_s, lambda: f"a frame of {camera}; it says:\n{self.tail}")[0]
        return first.decided_s - after_s

    def await_word(self, pattern: str, after_s: float, *, limit_s: float) -> float:
        """When it said `pattern` after `after_s`, in seconds after that. Raises Missed."""

        def found() -> list[float]:
            return [at_s for at_s, line in list(self.words) if at_s > after_s and re.search(pattern, line)]

        left_s = limit_s + after_s - time.monotonic()
        return wait(found, left_s, lambda: f"{pattern!r}; it says:\n{self.tail}")[0] - after_s


def faults_in(frames: Sequence[Seen], *, oldest_s: float) -> list[str]:
    """What is wrong with a camera's frames: one twice, one out of order, one invented, one too old."""
    faults = [
        f"{seen.camera}: a frame made at {seen.made_s:.3f} came after one of {before.made_s:.3f}"
        for before, seen in pairwise(frames)
        if seen.made_s <= before.made_s
    ]
    strange = [seen for seen in frames if not -0.002 <= seen.age_s <= oldest_s]
    return faults + [f"{seen.camera}: a frame was {seen.age_s:.3f} s old" for seen in strange]
