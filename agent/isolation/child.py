"""The child's life: open the camera, grab every picture, hand over those that are asked for. One thread.

It ends with its agent, whatever the driver does: the kernel kills it when the agent's camera thread is gone (guard.py).
It speaks to nobody but the agent; what libraries print goes to the agent, too.
"""

import contextlib
import faulthandler
import importlib
import os
import signal
import socket
import sys

from agent import errors
from agent.errors import FrameUnreadable, SourceError
from agent.isolation.channel import Gone, ReaderEnd
from agent.isolation.reader import Reader


class _Stopped(BaseException):
    """The agent asks for an end in good order."""


def main() -> None:
    """Run as `child.py MODULE SOCKET MEMORY AGENT`, the last three being numbers."""
    module, connection, memory, _ = sys.argv[-4:]
    os.dup2(2, 1)
    faulthandler.enable()
    signal.signal(signal.SIGTERM, _stop)
    end = ReaderEnd(socket.socket(fileno=int(connection)), int(memory))
    try:
        _serve(module, end)
    except (SourceError, errors.ConfigError) as error:
        _say(end, error)
    except ImportError as error:
        _say(end, errors.LibraryMissing(f"{sys.executable} cannot read the camera: {error}; install what it needs"))
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


def _stop(*_: object) -> None:
    raise _Stopped
