"""One HTTP request with one total deadline. The only file that imports httpx, and what comes with it.

httpx limits each socket operation, never the whole request: a peer that drips a byte a second holds it for ever. Here
every read and write of a request gets the time that is left until its deadline, headers and body alike. The deadline
belongs to the thread that makes the request; the connection pool is shared by the cloud lane's threads. What has no
limit here is looking up a name, which takes what the system's resolver allows; kept connections make it rare.
"""

import socket
import ssl
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import certifi
import httpcore
import httpx

from agent.clock import Clock
from agent.errors import Cause, EngineUnavailable
from agent.trust import tls_context

_CHUNK_BYTES = 16 * 1024
_ANSWER_LIMIT_BYTES = 16 * 1024 * 1024
_LEAST_S = 0.001


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server said."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Upload:
    """One file, sent as a multipart form."""

    url: str
    params: dict[str, str]
    headers: dict[str, str]
    data: bytes = field(repr=False)


class _Deadline(threading.local):
    """When the request of this thread must have ended, monotonic."""

    at_s: float = float("inf")


class _Stream(httpcore.NetworkStream):
    """A connection whose every operation ends by the deadline of the thread that uses it."""

    def __init__(self, inner: httpcore.NetworkStream, backend: "_Backend") -> None:
        self._inner = inner
        self._backend = backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._backend.left_s(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for begin in range(0, len(buffer), _CHUNK_BYTES):
            self._inner.write(buffer[begin : begin + _CHUNK_BYTES], self._backend.left_s(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        limit_s = self._backend.left_s(timeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, limit_s), self._backend)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - httpcore's signature
        return self._inner.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    """Opens connections that know the deadline."""

    def __init__(self, clock: Clock) -> None:
        self.deadline = _Deadline()
        self._clock = clock
        self._inner = httpcore.SyncBackend()

    def left_s(self, timeout: float | None) -> float:
        """Seconds for one operation. Raises httpcore.TimeoutException when the deadline has passed."""
        left_s = self.deadline.at_s - self._clock.now()
        if left_s <= 0:
            raise httpcore.ReadTimeout("the deadline has passed")
        return max(_LEAST_S, left_s if timeout is None else min(timeout, left_s))

    def connect_tcp(  # noqa: PLR0917 - httpcore's signature
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = _addresses(host, port)
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            share_s = self.left_s(timeout) / left  # one that is silent leaves time for the next
            try:
                return _Stream(self._inner.connect_tcp(address, port, share_s, local_address, socket_options), self)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if left == 1:
                    raise
        raise httpcore.ConnectError(f"{host} has no address")

    def sleep(self, seconds: float) -> None:
        raise NotImplementedError(f"retries are the runtime's, not the pool's (asked to sleep {seconds} s)")


def _addresses(host: str, port: int) -> list[str]:
    """The host's addresses in the system's order of preference. Raises httpcore.ConnectError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(str(error)) from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class _Body(httpx.SyncByteStream):
    def __init__(self, inner: Any) -> None:  # noqa: ANN401 - httpcore leaves its response stream untyped
        self._inner = inner

    def __iter__(self) -> Iterator[bytes]:
        yield from self._inner

    def close(self) -> None:
        self._inner.close()


class _Transport(httpx.BaseTransport):
    """httpx over an httpcore pool with our backend."""

    def __init__(self, pool: httpcore.ConnectionPool) -> None:
        self._pool = pool

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        response = self._pool.handle_request(
            httpcore.Request(
                request.method,
                httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        body = _Body(response.stream)
        return httpx.Response(response.status, headers=response.headers, stream=body, extensions=response.extensions)

    def close(self) -> None:
        self._pool.close()


class DeadlineClient:
    """Makes requests that end by their deadline, over connections that are kept. Several threads."""

    def __init__(self, clock: Clock, *, connections: int, connect_timeout_s: float, ca_file: Path | None) -> None:
        self._backend = _Backend(clock)
        pool = httpcore.ConnectionPool(
            ssl_context=_tls_context(ca_file),
            max_connections=connections,
            keepalive_expiry=60.0,
            network_backend=self._backend,
        )
        self._client = httpx.Client(transport=_Transport(pool), trust_env=False)
        self._timeout = httpx.Timeout(None, connect=connect_timeout_s)

    def post(self, upload: Upload, *, deadline_s: float) -> Reply:
        """Upload one file.

        Args:
            upload: what goes where.
            deadline_s: monotonic; nothing is waited for longer.

        Raises:
            EngineUnavailable: no complete answer by the deadline, with the cause told apart by name.
        """
        self._backend.deadline.at_s = deadline_s
        try:
            return self._post(upload)
        except (httpcore.TimeoutException, httpx.TimeoutException) as error:
            host = urlsplit(upload.url).hostname
            raise EngineUnavailable(f"{host} did not answer in time", Cause.TIMEOUT) from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpx.TransportError, UnicodeError) as error:
            raise _translated(error, urlsplit(upload.url).hostname or upload.url) from error
        finally:
            self._backend.deadline.at_s = float("inf")

    def _post(self, upload: Upload) -> Reply:
        files = {"file": ("frame.jpg", upload.data, "image/jpeg")}
        request = {"params": upload.params, "headers": upload.headers, "files": files, "timeout": self._timeout}
        with self._client.stream("POST", upload.url, **request) as response:  # type: ignore[arg-type]
            parts: list[bytes] = []
            size_bytes = 0
            for part in response.iter_raw():
                parts.append(part)
                size_bytes += len(part)
                if size_bytes > _ANSWER_LIMIT_BYTES:
                    raise EngineUnavailable("the answer is over 16 MB; that is not the API", Cause.BAD_ANSWER)
            return Reply(response.status_code, {k.lower(): v for k, v in response.headers.items()}, b"".join(parts))

    def close(self) -> None:
        """Close every connection."""
        self._client.close()


def _tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Trusts `ca_file`, else the system's CAs and those that come with httpx. Raises ConfigError."""
    context = tls_context(ca_file, key="ca_file")
    if ca_file is None:
        context.load_verify_locations(certifi.where())
    return context


def _translated(error: Exception, host: str) -> EngineUnavailable:
    """The error as a sentence, with its cause by name."""
    chain = tuple(_chain(error))
    for cause in chain:
        if isinstance(cause, socket.gaierror | UnicodeError):
            return EngineUnavailable(f"the name {host} cannot be resolved; is there a DNS server?", Cause.DNS)
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = cause.verify_message or str(cause)
            return EngineUnavailable(f"the certificate of {host} is not accepted: {reason}", Cause.TLS)
        if isinstance(cause, ssl.SSLError):
            return EngineUnavailable(f"TLS with {host} failed: {cause.reason}", Cause.TLS)
    if isinstance(error, httpcore.ConnectError):
        return EngineUnavailable(f"{host} cannot be reached: {error}", Cause.CONNECT)
    return EngineUnavailable(f"the connection to {host} broke: {str(error) or type(error).__name__}", Cause.NETWORK)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
