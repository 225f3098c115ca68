"""One POST with one total deadline, over a connection that is kept. The only file of the sinks that imports httpx.

httpx limits each socket operation, never the whole request: a receiver that drips a byte a second holds it for ever.
Here every wait ends by the deadline of the request, in our own backend below httpx. Nothing is tried again: a kept
connection that broke unnoticed fails its request, and the runtime repeats that.

State is owned by the one thread of the sink.
"""

import contextlib
import socket
import ssl
from collections.abc import Iterable
from typing import Any, Final

import httpcore
import httpx

from agent.clock import Clock
from agent.sinks._webhook_words import Reply

_KEEP_S: Final = 4.0
"""How long a connection may lie idle: less than the 5 s after which Node.js and uvicorn close theirs, so that a request
does not meet a connection that is being closed."""
_BEGINNING_BYTES: Final = 64 * 1024
"""What is read of an answer's body; it is looked at, and not used."""

_LEFT_OUT: Final = (b"content-encoding", b"set-cookie")
"""httpx would undo the one, where only part of a body may be here, and keep the other for the next request."""


class _Stream(httpcore.NetworkStream):
    """A connection whose every wait ends by the deadline of the request under way."""

    def __init__(self, opened: socket.socket, backend: "_Backend") -> None:
        self._socket = opened
        self._backend = backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - the deadline holds
        self._socket.settimeout(self._backend.left_s())
        return self._socket.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - the deadline holds
        left = memoryview(buffer)
        try:
            while left:
                self._socket.settimeout(self._backend.left_s())
                left = left[self._socket.send(left) :]
        except TimeoutError:
            raise
        except OSError as error:  # httpcore goes on to read: the answer may be there already
            raise httpcore.WriteError(str(error)) from error

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002 - the deadline holds
    ) -> httpcore.NetworkStream:
        if isinstance(self._socket, ssl.SSLSocket):  # it was dialled
            return self
        try:
            self._socket.settimeout(self._backend.left_s())
            self._socket = ssl_context.wrap_socket(self._socket, server_hostname=server_hostname)
        except BaseException:
            self.close()
            raise
        return self

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - httpcore's signature
        if info == "ssl_object" and isinstance(self._socket, ssl.SSLSocket):
            return self._socket
        return not self.is_quiet() if info == "is_readable" else None  # asked of an idle connection

    def is_quiet(self) -> bool:
        """Whether the receiver has neither ended it nor said anything. Only while nothing is under way on it.

        Reading is the way to know: a TLS server sends tickets by itself, which are no reason for distrust.
        """
        try:
            self._socket.settimeout(0)
            self._socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            pass
        return False


class _Backend(httpcore.NetworkBackend):
    """Opens connections for httpcore, and knows until when the request under way may last."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends_s = 0.0
        self._dialled: tuple[float, _Stream] | None = None

    def begin(self, timeout_s: float) -> None:
        """A request begins, and ends after `timeout_s` at the latest."""
        self._ends_s = self._clock.now() + timeout_s

    def left_s(self) -> float:
        """Seconds that may still be waited. Raises TimeoutError when there are none."""
        left_s = self._ends_s - self._clock.now()
        if left_s <= 0:
            raise TimeoutError("the request's deadline has passed")
        return left_s

    def connect_tcp(  # noqa: PLR0917 - httpcore's signature
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the deadline holds
        local_address: str | None = None,  # noqa: ARG002 - httpcore's signature
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002 - httpcore's signature
    ) -> httpcore.NetworkStream:
        if self._dialled is not None:
            (at_s, stream), self._dialled = self._dialled, None
            if self._clock.now() - at_s < _KEEP_S and stream.is_quiet():
                return stream
            stream.close()
        return self._connected(host, port)

    def dial(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        """Open a connection for the next request, with TLS where there is a `context`. Raises OSError, UnicodeError."""
        stream = self._connected(host, port)
        if context is not None:
            stream.start_tls(context, host)
        self._dialled = self._clock.now(), stream

    def _connected(self, host: str, port: int) -> _Stream:
        """To the first address that answers; one that is silent leaves time for the next."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for number, (family, kind, protocol, _, address) in enumerate(found):
            opened = socket.socket(family, kind, protocol)
            try:
                opened.settimeout(self.left_s() / (len(found) - number))
                opened.connect(address)
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError:
                opened.close()
                if number == len(found) - 1:
                    raise
            else:
                return _Stream(opened, self)
        raise OSError("the name has no address")

    def close(self) -> None:
        """Close what was dialled and not used."""
        if self._dialled is not None:
            self._dialled[1].close()
            self._dialled = None

    def sleep(self, seconds: float) -> None:
        raise NotImplementedError(f"retries are the runtime's, not the pool's (asked to sleep {seconds} s)")


class _Transport(httpx.BaseTransport):
    """httpx over an httpcore pool with our backend; of an answer, only the beginning is read."""

    def __init__(self, pool: httpcore.ConnectionPool) -> None:
        self._pool = pool

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        response = self._pool.handle_request(
            httpcore.Request(
                request.method,
                httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                content=request.read(),
            )
        )
        try:
            body = _beginning(response.iter_stream())
        finally:
            response.close()
        headers = [(name, value) for name, value in response.headers if name.lower() not in _LEFT_OUT]
        return httpx.Response(response.status, headers=headers, content=body)

    def close(self) -> None:
        self._pool.close()


class Client:
    """POSTs to one address; one thread."""

    def __init__(self, url: str, clock: Clock, context: ssl.SSLContext | None) -> None:
        """Nothing is opened yet. `context`: whose certificates are accepted; None for an http:// address."""
        self._url = httpx.URL(url)
        self._context = context
        self._backend = _Backend(clock)
        pool = httpcore.ConnectionPool(
            ssl_context=context, max_connections=1, keepalive_expiry=_KEEP_S, network_backend=self._backend
        )
        self._client = httpx.Client(transport=_Transport(pool), trust_env=False)

    def dial(self, timeout_s: float) -> None:
        """Open a connection and keep it for the next request. Raises OSError, UnicodeError."""
        self._backend.begin(timeout_s)
        port = self._url.port or (80 if self._context is None else 443)
        self._backend.dial(self._url.raw_host.decode("ascii"), port, self._context)

    def post(self, body: bytes, headers: dict[str, str], timeout_s: float) -> Reply:
        """Send `body` and hear the answer, all within `timeout_s`; redirects are not followed.

        Raises:
            OSError: there is no complete answer; of this kind are TimeoutError, ssl.SSLError and socket.gaierror.
            UnicodeError: no host can have this name.
        """
        self._backend.begin(timeout_s)
        try:
            response = self._client.post(self._url, content=body, headers=headers)
        except httpcore.LocalProtocolError as error:  # its text repeats what was to be sent, secrets included
            raise ConnectionError("the request is not one that HTTP allows") from error
        except httpcore.ProtocolError as error:
            raise ConnectionError(str(error)) from error
        found = {name.lower(): value for name, value in response.headers.items()}
        return Reply(response.status_code, found, response.content)

    def close(self) -> None:
        """Close every connection."""
        self._client.close()
        self._backend.close()


def _beginning(parts: Iterable[bytes]) -> bytes:
    body = bytearray()
    for part in parts:
        body += part
        if len(body) >= _BEGINNING_BYTES:
            break
    return bytes(body[:_BEGINNING_BYTES])
