"""A reader's process: started, watched, and ended for certain. Owner: the camera's thread, which must be its parent."""

import contextlib
import math
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import Any, Final

from agent import logs
from agent.clock import Clock
from agent.flow import Pixels
from agent.isolation import channel
from agent.isolation.channel import AgentEnd, Gone
from agent.isolation.reader import OWN_PYTHON, Recipe

_LAST_WORDS_BYTES: Final = 4000
_GRACE_S: Final = 0.7
_KILL_S: Final = 0.5
"""Less than a stop of the agent gives to its cameras, together."""
_LOOK_EVERY_S: Final = 0.01
_BOOT: Final = (
    "import sys; sys.path[:] = [p for p in sys.path if p] + [sys.argv[1]]; "
    "from agent.isolation.guard import guard; guard(int(sys.argv[-1])); "
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
        with contextlib.ExitStack() as ours:
            mine, theirs, memory = channel.pair()
            ours.callback(mine.close)
            ours.callback(os.close, memory)
            with theirs:
                self._popen, said = _spawn(recipe, python, (theirs.fileno(), memory))
            ours.pop_all()
        self._end = AgentEnd(mine, memory)
        self._pipe = said
        self._stderr = said.fileno()
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
        ready = _ready(self._heard, timeout_s)
        if self._stderr in ready:
            self._listen()
            if self._end.fileno() not in ready:  # once: who prints without end must neither keep nor occupy us
                ready = _ready([self._end.fileno()], max(0.0, until_s - self._clock.now()))
        return self._end.receive() if self._end.fileno() in ready else None

    def _listen(self) -> None:
        """Take what it printed, lest it wait for us, and keep the end of it."""
        with contextlib.suppress(BlockingIOError):
            said = os.read(self._stderr, 65_536)
            self._said = self._said + said
            if len(self._said) > _LAST_WORDS_BYTES:  # whole lines: half a password would not be known for one
                self._said = self._said[-_LAST_WORDS_BYTES:].partition(b"\n")[2]
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
        end = self._await_death(_KILL_S)
        if end is None:
            return "says no more, and has not ended"
        if end.si_code == os.CLD_EXITED:
            return f"ended with code {end.si_status}"
        return f"was killed ({signal.strsignal(end.si_status) or end.si_status})"

    @property
    def ended(self) -> bool:
        """Whether it is gone, and nothing of it is left."""
        return self._popen.poll() is not None

    def close(self) -> None:
        """End it and what it has started: in good order if it will, else by force.

        A driver may hold even that up; see `ended`. May be called again.
        """
        self._end.close()
        if self._popen.returncode is None:
            self._end_life()
        self._pipe.close()  # not before its end: what prints its farewell would fail over it

    def _end_life(self) -> None:
        self._popen.send_signal(signal.SIGTERM)
        self._await_death(_GRACE_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)  # not reaped yet, so the number is nobody else's
        self._await_death(_KILL_S)
        self._popen.poll()

    def _await_death(self, limit_s: float) -> "os.waitid_result | None":
        """How it died, its number left to it; None: it has not within `limit_s`."""
        never, until_s = threading.Event(), self._clock.now() + limit_s
        with contextlib.suppress(ChildProcessError):  # whoever started the agent had SIGCHLD ignored: nothing is left
            while (end := os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is None:
                if self._clock.now() >= until_s:
                    return None
                self._clock.wait(never, _LOOK_EVERY_S)
            return end
        return None


def _spawn(recipe: Recipe, python: str, descriptors: tuple[int, int]) -> "tuple[subprocess.Popen[bytes], FileIO]":
    """The child and what it prints. Raises OSError.

    It has a session of its own: what interrupts the agent at a terminal is the agent's to pass on. What it is given is
    opened here, because a Popen of Python 3.10 that lacks one descriptor keeps the others.
    """
    interpreter = sys.executable if python == OWN_PYTHON else python
    numbers = [str(number) for number in (*descriptors, os.getpid())]
    with FileIO(os.devnull, "r+") as nowhere:
        heard, said = os.pipe()
        with contextlib.ExitStack() as ours, FileIO(said, "w"):
            last_words = ours.enter_context(FileIO(heard))
            popen = subprocess.Popen(  # noqa: S603 - our own module, and the interpreter that runs it
                [interpreter, "-c", _BOOT, _HOME, recipe.name, recipe.module, *numbers],
                stdin=nowhere,
                stdout=nowhere,
                stderr=said,
                pass_fds=descriptors,
                start_new_session=True,
                env=_environment(python),
            )
            ours.pop_all()
    return popen, last_words


def _environment(python: str) -> dict[str, str]:
    """The agent's own without secrets. Another Python must not take its libraries from where this one has them."""
    kept = {name: value for name, value in os.environ.items() if not logs.is_secret(value)}  # noqa: TID251 - not read
    return kept if python == OWN_PYTHON else {name: value for name, value in kept.items() if name != "PYTHONPATH"}


def _ready(descriptors: Sequence[int], timeout_s: float) -> set[int]:
    """Those of `descriptors` that can be read, or have ended; none: `timeout_s` has passed."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return {descriptor for descriptor, _ in poll.poll(math.ceil(timeout_s * 1000))}
