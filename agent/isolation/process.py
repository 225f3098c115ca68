"""A reader's process: started, watched, and ended for certain. Owner: the camera's thread, which must be its parent."""

import contextlib
import math
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from agent.clock import Clock
from agent.flow import Pixels
from agent.isolation import channel
from agent.isolation.channel import AgentEnd, Gone
from agent.isolation.reader import OWN_PYTHON, Recipe

_LAST_WORDS_BYTES: Final = 4000
_GRACE_S: Final = 0.7
_KILL_S: Final = 0.5
"""Less than a stop of the agent gives to its cameras, together."""
_BOOT: Final = (
    "import sys; sys.path[:] = [p for p in sys.path if p] + [sys.argv[1]]; "
    "from agent.isolation.child import main; main()"
)
"""The agent's own folder comes last: the system's Python must not take libraries from there that it has itself."""
_HOME = str(Path(__file__).resolve().parents[2])
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Process:
    """One child, from its start to its end."""

    def __init__(self, recipe: Recipe, python: str, clock: Clock) -> None:
        """Start it. Raises OSError: no such interpreter, or no more processes."""
        self._clock = clock
        self._said = b""
        mine, theirs, memory = channel.pair()
        with theirs:
            try:
                self._popen = _spawn(recipe, python, (theirs.fileno(), memory))
            except OSError:
                mine.close()
                os.close(memory)
                raise
        self._end = AgentEnd(mine, memory)
        assert self._popen.stderr is not None  # noqa: S101 - it was asked for
        self._stderr = self._popen.stderr.fileno()
        os.set_blocking(self._stderr, False)
        self._heard = [self._end.fileno(), self._stderr]
        with contextlib.suppress(Gone):  # it says itself why, when it is listened to
            self._end.brief(recipe.settings)

    def ask(self) -> None:
        """Want the next picture."""
        with contextlib.suppress(Gone):
            self._end.ask()

    def receive(self, timeout_s: float) -> Pixels | dict[str, Any] | None:
        """What the reader has for us; None: nothing within `timeout_s`. Raises Gone."""
        until_s = self._clock.now() + timeout_s
        while ready := _ready(self._heard, max(0.0, until_s - self._clock.now())):
            if self._stderr in ready:
                self._listen()
            if self._end.fileno() in ready:
                return self._end.receive()
        return None

    def _listen(self) -> None:
        """Take what it printed, lest it wait for us, and keep the end of it."""
        with contextlib.suppress(BlockingIOError):
            said = os.read(self._stderr, 65_536)
            self._said = (self._said + said)[-_LAST_WORDS_BYTES:]
            if not said and self._stderr in self._heard:
                self._heard.remove(self._stderr)

    @property
    def last_words(self) -> str:
        """The end of what it printed, but for the stack of a crash."""
        self._listen()
        return self._said.decode(errors="replace").split("Fatal Python error", maxsplit=1)[0].strip()

    @property
    def memory_bytes(self) -> int:
        """Its resident memory; 0 when it has ended, or cannot be known."""
        try:
            pages = Path(f"/proc/{self._popen.pid}/statm").read_text(encoding="ascii").split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * _PAGE_BYTES

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._popen.pid

    def fate(self) -> str:
        """How it ended, in words; waits a moment for it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._popen.wait(_KILL_S)
            return f"ended with {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return "has not ended"

    @property
    def ended(self) -> bool:
        """Whether it is gone, and nothing of it is left."""
        return self._popen.poll() is not None

    def close(self) -> None:
        """End it: in good order if it will, else by force. A driver may hold even that up; see `ended`."""
        with contextlib.suppress(ProcessLookupError):
            self._popen.send_signal(signal.SIGTERM)
        self._end.close()
        if not self._wait(_GRACE_S):
            self._popen.kill()
            self._wait(_KILL_S)
        if self._popen.stderr is not None:
            self._popen.stderr.close()

    def _wait(self, limit_s: float) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(limit_s)
        return self.ended


def _spawn(recipe: Recipe, python: str, descriptors: tuple[int, int]) -> "subprocess.Popen[bytes]":
    """The child, in a session of its own: what interrupts the agent at a terminal is the agent's to pass on."""
    interpreter = sys.executable if python == OWN_PYTHON else python
    numbers = [str(number) for number in (*descriptors, os.getpid())]
    return subprocess.Popen(  # noqa: S603 - our own module, and the interpreter that runs it
        [interpreter, "-c", _BOOT, _HOME, recipe.name, recipe.module, *numbers],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=descriptors,
        start_new_session=True,
    )


def _ready(descriptors: Sequence[int], timeout_s: float) -> set[int]:
    """Those of `descriptors` that can be read, or have ended; none: `timeout_s` has passed."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return {descriptor for descriptor, _ in poll.poll(math.ceil(timeout_s * 1000))}
