"""Work with a model that may crash, hang or eat all memory, done by a process of its own: not the agent is what dies.

Owner: the lane's thread, which is the process's parent and tells of its progress. The process says JSON objects, one a
line: `doing`, in words; at last `result`, or `error`. What libraries print in between is kept for its obituary.
"""

import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent import logs
from agent.errors import EngineBroken
from agent.ports import Context

_LOOK_EVERY_S: Final = 0.1
_KILL_S: Final = 0.5
_LAST_WORDS: Final = 2000
_HOME: Final = str(Path(__file__).resolve().parents[2])
_BOOT: Final = (
    "import sys; sys.path[:] = [p for p in sys.path if p] + [sys.argv[1]]; "
    "from agent.isolation.guard import guard; guard(int(sys.argv[2])); "
    "from agent.engines._child import serve; serve(sys.argv[3], sys.argv[4], int(sys.argv[5]))"
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the process may take."""

    longest_s: float
    memory_bytes: int = 0
    """Of its own; 0: all there is."""


def run(module: str, task: Mapping[str, Any], *, doing: str, limits: Limits, context: Context) -> Any:  # noqa: ANN401
    """What `module.main(task)` gives, as JSON has it.

    Args:
        module: with a function `main(task)`, which returns what can be JSON.
        task: what can be JSON.
        doing: in words, for people.
        limits: what it may take.
        context: whose `progress` is told several times a second.

    Raises:
        EngineBroken: it failed, crashed, or took too much, with the reason; what it began is gone.
    """
    begun_s, heard = context.clock.now(), _Heard()
    with _started(module, task, limits.memory_bytes) as process:
        while heard.listen(process, _LOOK_EVERY_S):
            elapsed_s = context.clock.now() - begun_s
            context.progress(f"{doing}: {elapsed_s:.0f} s{heard.words}")
            if elapsed_s > limits.longest_s:
                raise EngineBroken(f"did not end within {limits.longest_s:.0f} s, and was given up")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_KILL_S)
    if heard.error:
        raise EngineBroken(heard.error)
    if not heard.done:
        raise EngineBroken(_fate(process.returncode, heard.last_words))
    return heard.result


class _Heard:
    """What the process has said so far."""

    def __init__(self) -> None:
        self.words = self.error = self.last_words = ""
        self.done = False
        self.result: Any = None
        self._rest = b""

    def listen(self, process: "subprocess.Popen[bytes]", timeout_s: float) -> bool:
        """Wait for more; whether there can be any."""
        assert process.stdout is not None  # noqa: S101 - it was started with a pipe
        poll = select.poll()
        poll.register(process.stdout, select.POLLIN)
        if not poll.poll(timeout_s * 1000):
            return True
        said = os.read(process.stdout.fileno(), 65_536)
        *lines, self._rest = (self._rest + said).split(b"\n")
        for line in lines:
            self._take(line)
        return bool(said)

    def _take(self, line: bytes) -> None:
        with contextlib.suppress(ValueError, RecursionError):
            word = json.loads(line)
            if isinstance(word, dict):
                self.words = f", {word['doing']}" if "doing" in word else self.words
                self.error = str(word.get("error", self.error))
                if "result" in word:
                    self.done, self.result = True, word["result"]
                return
        self.last_words = (self.last_words + line.decode(errors="replace") + "\n")[-_LAST_WORDS:]


@contextlib.contextmanager
def _started(module: str, task: Mapping[str, Any], memory_bytes: int) -> "Iterator[subprocess.Popen[bytes]]":
    """The process, which is gone afterwards, with what it has started."""
    numbers = str(os.getpid()), module, json.dumps(task), str(memory_bytes)
    try:
        process = subprocess.Popen(  # noqa: S603 - our own module and interpreter
            [sys.executable, "-c", _BOOT, _HOME, *numbers],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={name: value for name, value in os.environ.items() if not logs.is_secret(value)},  # noqa: TID251 - not read
        )
    except OSError as error:
        raise EngineBroken(f"no process could be started for it: {error.strerror}") from error
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):  # one that hangs in a driver goes when that lets it
            process.wait(_KILL_S)
        if process.stdout is not None:
            process.stdout.close()


def _fate(code: int | None, last_words: str) -> str:
    """How it ended without a word, for people."""
    if code is not None and code < 0:
        how = f"crashed the runtime ({signal.strsignal(-code) or -code})"
        how += "; likely because the device ran out of memory" if -code == signal.SIGKILL else ""
    else:
        how = f"ended the process that tried it (code {code})"
    said = " ".join(last_words.split("Fatal Python error", maxsplit=1)[0].split())[-300:]
    return f"{how}: {said}" if said else how


def serve(module: str, task: str, memory_bytes: int) -> None:
    """The process's life: everything that it says goes to its standard output."""
    import importlib

    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    try:
        word = {"result": importlib.import_module(module).main(json.loads(task))}
    except EngineBroken as error:
        word = {"error": str(error)}
    except MemoryError:
        word = {"error": f"needs more than {memory_bytes / 1e6:.0f} MB of memory"}
    say(word)


def say(word: Mapping[str, Any]) -> None:
    """One JSON object on a line of its own, whatever a library has left unfinished there."""
    sys.stdout.write("\n" + json.dumps(word) + "\n")
    sys.stdout.flush()
