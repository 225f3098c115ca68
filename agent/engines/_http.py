"""One HTTP request with one total deadline, measured while it is under way. The only file that imports httpx.

httpx limits each socket operation, never the whole request: a peer that drips a byte a second holds it for ever. Here
every wait ends by the deadline of the request, which belongs to the thread that makes it; the connection pool is shared
by the cloud lane's threads. httpx's `trace` tells when head and body begin, the streams of our own backend over which
connection they go.
"""

import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import certifi
import httpcore
import httpx

from agent.clock import Clock
from agent.engines import _causes
from agent.engines._body import Body
from agent.engines._connections import Connection
from agent.engines._connector import KEEP_S, Connector
from agent.engines._exchange import Exchange
from agent.errors import Cause, EngineUnavailable
from agent.ports import Watch
from agent.trust import tls_context

_ANSWER_LIMIT_BYTES = 16 * 1024 * 1024
_SYN_BYTES = 60
"""What a connection costs that nobody answers."""
_BROKEN: Final = (httpcore.NetworkError, httpcore.ProtocolError)


@dataclass(frozen=True, slots=True)
class Call:
    """What goes where."""

    url: str
    params: Mapping[str, str | Sequence[str]] = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    body: Body | None = None

    @property
    def picture_bytes(self) -> int:
        """How large the picture is that it carries."""
        return 0 if self.body is None else self.body.picture_bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server said, and what it took."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    connect_s: float
    upload_s: float | None
    server_s: float | None
    metered_bytes: int


class _Threads(threading.local):
    """The request that this thread makes."""

    exchange: Exchange | None = None


class _Stream(httpcore.NetworkStream):
    """A connection as httpcore wants it. Whatever it does, it does for the request of the thread that calls."""

    def __init__(self, connection: Connection, backend: "_Backend") -> None:
        self._connection = connection
        self._backend = backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - the deadline holds
        exchange = self._backend.exchange
        try:
            data = self._connection.receive(max_bytes, exchange)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error
        if data:
            exchange.note_answer()
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - the deadline holds
        exchange = self._backend.exchange
        exchange.carry(self._connection)
        if exchange.writes_head:
            exchange.head += buffer
            return
        exchange.begin_body()
        data, exchange.head = exchange.head + buffer, b""
        try:
            self._connection.send(data, exchange)
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    def close(self) -> None:
        self._connection.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        if self._connection.secure:  # it was dialled
            return self
        try:
            self._connection.start_tls(ssl_context, server_hostname, self._backend.exchange.left_s(timeout))
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        return self

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - httpcore's signature
        if info == "is_readable":  # asked of an idle connection; True: it has ended
            return not self._backend.connector.trusts(self._connection) or self._connection.has_ended()
        if info == "ssl_object" and self._connection.secure:
            return self._connection.socket
        return self._connection.socket if info == "socket" else None


class _Backend(httpcore.NetworkBackend):
    """Gives httpcore connections that know the request they work for."""

    def __init__(self, connector: Connector) -> None:
        self.connector = connector
        self.threads = _Threads()

    @property
    def exchange(self) -> Exchange:
        """This thread's request."""
        exchange = self.threads.exchange
        if exchange is None:
            raise RuntimeError("no request is under way in this thread")
        return exchange

    def connect_tcp(  # noqa: PLR0917 - httpcore's signature
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002 - httpcore's signature
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002 - httpcore's signature
    ) -> httpcore.NetworkStream:
        limit_s = float("inf") if timeout is None else timeout
        try:
            return _Stream(self.connector.connect((host, port), self.exchange, limit_s=limit_s), self)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from error

    def sleep(self, seconds: float) -> None:
        raise NotImplementedError(f"retries are the runtime's, not the pool's (asked to sleep {seconds} s)")


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
        context = _tls_context(ca_file)
        self._clock = clock
        self._connector = Connector(clock, context)
        self._backend = _Backend(self._connector)
        self._connect_timeout_s = connect_timeout_s
        pool = httpcore.ConnectionPool(
            ssl_context=context,
            max_connections=connections,
            keepalive_expiry=KEEP_S,
            network_backend=self._backend,
        )
        self._client = httpx.Client(transport=_Transport(pool), trust_env=False)

    def post(self, call: Call, *, deadline_s: float, watch: Watch | None = None, spent_bytes: int = 0) -> Reply:
        """Make one request.

        A connection that was kept may have ended unnoticed: where one breaks before any byte of the answer, the request
        is made once more, over a new one.

        Args:
            call: what goes where.
            deadline_s: monotonic; nothing is waited for longer.
            watch: is told how the upload of the picture stands.
            spent_bytes: what was metered for it before.

        Raises:
            EngineUnavailable: no complete answer by the deadline, with the cause told apart by name.
        """
        size_bytes = call.picture_bytes
        exchange = Exchange(self._clock, deadline_s, picture_bytes=size_bytes, watch=watch, spent_bytes=spent_bytes)
        try:
            return self._attempt(call, exchange)
        except EngineUnavailable as error:
            if not exchange.reused or exchange.answered_s is not None or error.cause is not Cause.NETWORK:
                raise
        self._connector.distrust()
        spent_bytes = exchange.metered_bytes
        exchange = Exchange(self._clock, deadline_s, picture_bytes=size_bytes, watch=watch, spent_bytes=spent_bytes)
        return self._attempt(call, exchange)

    def dial(self, url: str, *, deadline_s: float) -> int:
        """Open a connection for the next request; what it cost in bytes. Raises EngineUnavailable."""
        address = httpx.URL(url)
        secure = address.scheme == "https"
        place = address.raw_host.decode("ascii"), address.port or (443 if secure else 80)
        exchange = Exchange(self._clock, deadline_s)
        try:
            return self._connector.dial(place, exchange, secure=secure, limit_s=self._connect_timeout_s)
        except (OSError, UnicodeError) as error:
            raise _metered(_translated(error, place[0]), exchange.metered_bytes or _SYN_BYTES) from error

    def _attempt(self, call: Call, exchange: Exchange) -> Reply:
        host = urlsplit(call.url).hostname or call.url
        self._backend.threads.exchange = exchange
        try:
            return self._exchanged(call, exchange)
        except (httpcore.TimeoutException, httpx.TimeoutException, TimeoutError) as error:
            if exchange.unfinished:
                self._connector.distrust()
            raise EngineUnavailable(f"{host} did not answer in time", Cause.TIMEOUT) from error
        except (*_BROKEN, httpx.TransportError, UnicodeError) as error:
            raise _translated(error, host) from error
        except RuntimeError as error:
            if not self._client.is_closed:
                raise
            raise EngineUnavailable(f"{host} is not asked any more, for the agent stops", Cause.NETWORK) from error
        except EngineUnavailable as error:
            if error.cause is Cause.TIMEOUT:  # given up by its watch
                self._connector.distrust()
            raise
        finally:
            self._backend.threads.exchange = None

    def _exchanged(self, call: Call, exchange: Exchange) -> Reply:
        headers, content = call.headers, b""
        if call.body is not None:
            headers, content = {**headers, "Content-Type": call.body.media_type}, call.body.content
        exchange.body_bytes = len(content)
        timeout = httpx.Timeout(None, connect=self._connect_timeout_s, pool=exchange.left_s())
        request = self._client.build_request(
            "POST",
            call.url,
            params=call.params,
            headers=headers,
            content=content,
            timeout=timeout,
            extensions={"trace": exchange.note_event},
        )
        response = self._client.send(request, stream=True)
        try:
            body = _whole(response)
        finally:
            response.close()
        return Reply(
            status=response.status_code,
            headers={name.lower(): value for name, value in response.headers.items()},
            body=body,
            connect_s=exchange.connect_s,
            upload_s=exchange.upload_s,
            server_s=exchange.server_s,
            metered_bytes=exchange.metered_bytes,
        )

    def close(self) -> None:
        """Close every connection."""
        self._client.close()
        self._connector.close()


def _whole(response: httpx.Response) -> bytes:
    """The answer's body. Raises EngineUnavailable when there is too much of it."""
    body = bytearray()
    for part in response.iter_raw():
        body += part
        if len(body) > _ANSWER_LIMIT_BYTES:
            raise EngineUnavailable("the answer is over 16 MB; that is not the API", Cause.BAD_ANSWER)
    return bytes(body)


def _tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Trusts `ca_file`, else the system's CAs and those that come with httpx. Raises ConfigError."""
    context = tls_context(ca_file, key="ca_file")
    if ca_file is None:
        context.load_verify_locations(certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


def _metered(error: EngineUnavailable, size_bytes: int) -> EngineUnavailable:
    """In a function, for a name for an error where it is raised is a cycle: error, traceback, frame."""
    error.metered_bytes = size_bytes
    return error


def _translated(error: Exception, host: str) -> EngineUnavailable:
    """The error as a sentence, with its cause by name; what was sent is no part of it."""
    named = _causes.named(error, host)
    if named is not None:
        return named
    if isinstance(error, httpcore.ConnectError | OSError):
        return EngineUnavailable(f"{host} cannot be reached: {error}", Cause.CONNECT)
    if isinstance(error, httpcore.LocalProtocolError):  # its text repeats what was to be sent, the key included
        return EngineUnavailable("the request is not one that HTTP allows; check url and api_key", Cause.NETWORK)
    return EngineUnavailable(f"the connection to {host} broke: {str(error) or type(error).__name__}", Cause.NETWORK)
