"""One connection: TLS, sending, receiving, each wait as long as its request allows. State: the thread that uses it.

Prepared for a path that dies: a peer that acknowledges nothing ends the connection, and what nobody wants any more is
not sent.
"""

import contextlib
import select
import socket
import ssl
import struct
from typing import Any, Final, Protocol

from agent.engines import _tcp_info

_CHUNK_BYTES: Final = 16 * 1024
_UNSENT_BYTES: Final = 16 * 1024
"""TCP_NOTSENT_LOWAT: more than this does not wait in the kernel, where a picture could not be taken back."""
_USER_TIMEOUT_MS: Final = 10_000
"""TCP_USER_TIMEOUT: with nothing acknowledged for so long the connection is dead; TCP itself takes a quarter hour."""
_OPTIONS: Final = (("TCP_NODELAY", 1), ("TCP_NOTSENT_LOWAT", _UNSENT_BYTES), ("TCP_USER_TIMEOUT", _USER_TIMEOUT_MS))
"""Those that a system does not have are left out."""
_DISCARD: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: to close is to send a reset, and nothing else."""
_SEGMENT_BYTES, _HEADERS_BYTES = 1448, 52
_AGAIN: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Patience(Protocol):
    """How long may be waited, and what is to be done meanwhile: a request's business."""

    def slice_s(self) -> float:
        """Seconds to wait before `tick`. Raises TimeoutError when the deadline has passed."""

    def tick(self) -> None:
        """Called after every wait. Raises EngineUnavailable when there is nothing more to wait for."""


class Connection:
    """TCP, and TLS from `start_tls` on. One thread at a time."""

    def __init__(self, opened: socket.socket, path: _tcp_info.Path, *, now_s: float) -> None:
        self.socket = opened
        self.path = path
        self.kept = False
        """It was open before the request that uses it."""
        self.proven_s = now_s
        """When it last showed that it works: it was opened, or an answer came."""
        self.billed_bytes = 0
        self._payload_bytes = 0
        self._carried_bytes = 0
        opened.setblocking(False)

    @property
    def secure(self) -> bool:
        """Whether it speaks TLS."""
        return isinstance(self.socket, ssl.SSLSocket)

    def start_tls(self, context: ssl.SSLContext, host: str | None, limit_s: float) -> None:
        """Shake hands. Raises OSError, of which ssl.SSLError and TimeoutError are kinds."""
        self.socket.settimeout(limit_s)
        try:
            self.socket = context.wrap_socket(self.socket, server_hostname=host)
        except BaseException:
            self.socket.close()
            raise
        self.socket.setblocking(False)

    def send(self, data: bytes, patience: Patience) -> None:
        """Hand all of `data` to the kernel. Raises OSError, EngineUnavailable."""
        left = memoryview(data)
        while left:
            try:
                left = left[self.socket.send(left[:_CHUNK_BYTES]) :]
            except _AGAIN as error:
                self._wait(select.POLLOUT, error, patience)
            patience.tick()
        self._payload_bytes += len(data)

    def receive(self, most_bytes: int, patience: Patience) -> bytes:
        """What is there, once something is; b"" at the end. Raises OSError, EngineUnavailable."""
        data = None
        while data is None:
            try:
                data = self.socket.recv(most_bytes)
            except _AGAIN as error:  # noqa: PERF203 - it says what to wait for
                self._wait(select.POLLIN, error, patience)
                patience.tick()
        self._payload_bytes += len(data)
        return data

    def _wait(self, event: int, error: OSError, patience: Patience) -> None:
        """Wait for a slice of time, or less. Raises TimeoutError at the deadline."""
        if isinstance(error, ssl.SSLWantReadError | ssl.SSLWantWriteError):
            event = select.POLLIN if isinstance(error, ssl.SSLWantReadError) else select.POLLOUT
        poll = select.poll()
        poll.register(self.socket, event)
        poll.poll(patience.slice_s() * 1000)

    def carried_bytes(self) -> int:
        """What it cost, both ways; an estimate where the system does not tell."""
        info = _tcp_info.read(self.socket)
        segments = self._payload_bytes // _SEGMENT_BYTES + 1
        estimate = self._payload_bytes + segments * _HEADERS_BYTES
        self._carried_bytes = max(self._carried_bytes, estimate if info is None else info.carried_bytes)
        return self._carried_bytes

    def has_ended(self) -> bool:
        """Whether the peer has ended it, or spoke unasked. Only while nothing is under way on it."""
        poll = select.poll()
        try:
            poll.register(self.socket, select.POLLIN)
        except ValueError:  # closed on this side
            return True
        return bool(poll.poll(0))

    def is_quiet(self) -> bool:
        """Whether the peer has neither ended it nor said anything. Only for one that never carried a request.

        Reading is the way to know: a TLS server sends tickets by itself, which are no reason for distrust.
        """
        try:
            self.socket.recv(1)
        except _AGAIN:
            return True
        except OSError:
            pass
        return False

    def close(self) -> None:
        """Let go of it, and of all that was not sent yet; never raises."""
        info = _tcp_info.read(self.socket)
        with contextlib.suppress(OSError):
            if info is None or not info.idle:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DISCARD)
            self.socket.close()


def connected(address: Any, limit_s: float) -> socket.socket:  # noqa: ANN401 - a family and what belongs to it
    """A TCP connection to an address as getaddrinfo gives it. Raises OSError."""
    opened = socket.socket(address[0], socket.SOCK_STREAM)
    try:
        for name, value in _OPTIONS:
            if hasattr(socket, name):
                opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        opened.settimeout(limit_s)
        opened.connect(address[1])
    except BaseException:
        opened.close()
        raise
    return opened
