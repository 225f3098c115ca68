"""The two ends between an agent and its reader: a socket for words, a shared memory for the picture.

The agent asks, and the reader answers with the next picture that it grabs. So one picture is in the memory, never in
doubt whose turn it is, and a picture that nobody wants is neither converted nor copied. The memory has no name: nothing
is left behind, however the two end. Each end belongs to one thread.
"""

import fcntl
import json
import mmap
import os
import socket
import struct
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from agent.flow import Pixels

MOST_BYTES: Final = 300_000_000
"""A picture of 10,000 by 10,000; more is no picture."""
_PICTURE = struct.Struct("<cII")
_PICTURE_KIND, _WORDS_KIND, _ASKED = b"P", b"W", b"N"
_LONGEST_WORDS: Final = 100_000
_PATIENCE_S: Final = 10.0


class Gone(Exception):
    """The other end is not there any more, or says what nobody understands."""


def pair() -> tuple[socket.socket, socket.socket, int]:
    """The agent's socket, the reader's, and the memory's descriptor. Raises OSError: there are none left."""
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        memory = os.memfd_create("vedette-picture", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        # A picture that its writer cut short while it is read would end the agent with SIGBUS.
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    except OSError:
        mine.close()
        theirs.close()
        raise
    return mine, theirs, memory


class _Memory:
    """One picture's pixels, as large as the largest so far."""

    def __init__(self, descriptor: int, *, writes: bool) -> None:
        self._descriptor = descriptor
        self._access = mmap.ACCESS_WRITE if writes else mmap.ACCESS_READ
        self._map: mmap.mmap | None = None

    def pixels(self, height: int, width: int) -> Pixels:
        """(height, width, 3) pixels of the memory itself. Raises Gone: it is not so large."""
        size_bytes = height * width * 3
        if not 0 < size_bytes <= min(MOST_BYTES, os.fstat(self._descriptor).st_size):
            raise Gone(f"a picture of {width}x{height} is not in the memory")
        if self._map is None or len(self._map) < size_bytes:
            self._map = mmap.mmap(self._descriptor, size_bytes, access=self._access)  # the old one goes with its views
        return np.frombuffer(self._map, np.uint8, size_bytes).reshape(height, width, 3)

    def grow(self, size_bytes: int) -> None:
        """Have room for so much."""
        if os.fstat(self._descriptor).st_size < size_bytes:
            os.ftruncate(self._descriptor, size_bytes)

    def close(self) -> None:
        """May be called again: by then the number may be another file's."""
        if self._descriptor >= 0:
            self._map = None
            os.close(self._descriptor)
            self._descriptor = -1


class AgentEnd:
    """The agent's end."""

    def __init__(self, connection: socket.socket, memory: int) -> None:
        self._connection = connection
        self._connection.settimeout(_PATIENCE_S)
        self._memory = _Memory(memory, writes=False)

    def fileno(self) -> int:
        """For poll(2)."""
        return self._connection.fileno()

    def brief(self, settings: Mapping[str, Any]) -> None:
        """Tell the reader what to open. Raises Gone."""
        _send(self._connection, json.dumps(dict(settings)).encode())

    def ask(self) -> None:
        """Want the next picture. Raises Gone."""
        _send(self._connection, _ASKED)

    def receive(self) -> Pixels | dict[str, Any]:
        """A picture, copied, or the reader's words. Raises Gone."""
        try:
            message = self._heard()
            if message[:1] == _PICTURE_KIND:
                _, height, width = _PICTURE.unpack(message)
                return np.array(self._memory.pixels(height, width))
            if message[:1] == _WORDS_KIND:
                return dict(json.loads(message[1:]))
        except (OSError, ValueError, TypeError, RecursionError, struct.error) as error:
            raise Gone(str(error)) from error
        raise Gone("it closed the connection" if not message else "it says what is not understood")

    def _heard(self) -> bytes:
        try:
            return self._connection.recv(_LONGEST_WORDS)
        except ConnectionResetError:  # it ended with our question unread; what it said before that is still there
            return self._connection.recv(_LONGEST_WORDS)

    def close(self) -> None:
        """The reader sees it at its next picture. May be called again."""
        self._connection.close()
        self._memory.close()


class ReaderEnd:
    """The reader's end."""

    def __init__(self, connection: socket.socket, memory: int) -> None:
        self._connection = connection
        self._memory = _Memory(memory, writes=True)

    def settings(self) -> dict[str, Any]:
        """What to open. Raises Gone."""
        try:
            settings = json.loads(self._connection.recv(_LONGEST_WORDS))
        except (OSError, ValueError) as error:
            raise Gone(str(error)) from error
        if not isinstance(settings, dict):
            raise Gone("no settings came")
        return settings

    def wanted(self) -> bool:
        """Whether a picture is asked for. Raises Gone."""
        try:
            asked = self._connection.recv(1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError as error:
            raise Gone(str(error)) from error
        if not asked:
            raise Gone("the agent is not there any more")
        return True

    def put(self, pixels: Pixels) -> None:
        """Hand over a picture that was asked for. Raises Gone, ValueError: it is none."""
        if pixels.shape[2:] != (3,) or pixels.dtype != np.uint8 or not 0 < pixels.size <= MOST_BYTES:
            raise ValueError(f"not a picture: {pixels.shape} of {pixels.dtype}")
        height, width = pixels.shape[:2]
        self._memory.grow(pixels.size)
        np.copyto(self._memory.pixels(height, width), pixels)
        _send(self._connection, _PICTURE.pack(_PICTURE_KIND, height, width))

    def say(self, **words: str) -> None:
        """Tell the agent something. Raises Gone."""
        _send(self._connection, _WORDS_KIND + json.dumps(words).encode()[:_LONGEST_WORDS])


def _send(connection: socket.socket, message: bytes) -> None:
    """Raises Gone."""
    try:
        connection.send(message)
    except OSError as error:
        raise Gone(str(error)) from error
