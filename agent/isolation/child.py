"""The child's life: open the camera, grab every picture, hand over those that are asked for. One thread.

It ends with its agent, whatever the driver does: the kernel kills it when the agent's camera thread is gone. It speaks
to nobody but the agent; what libraries print goes to the agent, too.
"""

import contextlib
import ctypes
import faulthandler
import importlib
import os
import resource
import signal
import socket
import sys
from pathlib import Path

from agent import errors
from agent.errors import FrameUnreadable, SourceError
from agent.isolation.channel import Gone, ReaderEnd
from agent.isolation.reader import Reader

_PR_SET_PDEATHSIG = 1
_FIRST_TO_GO = "700"
"""Of 1000: when memory runs out, the kernel takes the reader before the agent."""


class _Stopped(BaseException):
    """The agent asks for an end in good order."""


def main() -> None:
    """Run as `child.py MODULE SOCKET MEMORY AGENT`, the last three being numbers."""
    module, connection, memory, agent = sys.argv[-4:]
    _guard(int(agent))
    end = ReaderEnd(socket.socket(fileno=int(connection)), int(memory))
    try:
        _serve(module, end)
    except (SourceError, errors.ConfigError) as error:
        _say(end, error)
    except (Gone, _Stopped):
        pass


def _serve(module: str, end: ReaderEnd) -> None:
    settings = end.settings()
    reader: Reader = importlib.import_module(module).open_reader(settings)
    try:
        while True:
            _pass_on(reader, end)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        reader.close()


def _pass_on(reader: Reader, end: ReaderEnd) -> None:
    """One picture of the camera: each question has one answer."""
    unreadable = None
    try:
        reader.grab()
    except FrameUnreadable as error:
        unreadable = error
    if not end.wanted():
        return
    try:
        if unreadable is not None:
            raise unreadable
        end.put(reader.picture())
    except FrameUnreadable as error:
        _say(end, error)


def _say(end: ReaderEnd, error: errors.AgentError) -> None:
    with contextlib.suppress(Gone):
        end.say(error=type(error).__name__, text=str(error))


def _guard(agent: int) -> None:
    """Never outlive the agent, never leave a core with pictures in it, and end in good order when asked to."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != agent:
        sys.exit("the agent is gone")
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.enable()
    signal.signal(signal.SIGTERM, _stop)
    with contextlib.suppress(OSError):  # a sandbox without /proc: the kernel decides by size
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO, encoding="ascii")


def _stop(*_: object) -> None:
    raise _Stopped
