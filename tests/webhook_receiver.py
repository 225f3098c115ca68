"""A real HTTP receiver for webhooks: answers as a test says, and remembers every request; stops and starts again."""

import contextlib
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Request:
    """What came."""

    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What goes back."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.path, headers, body)
        self.server.requests.append(request)
        answer = self.server.answers.popleft() if self.server.answers else self.server.usual(request)
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def handle(self) -> None:
        self.server.connections.add(self.connection)
        with contextlib.suppress(OSError):
            super().handle()
        self.server.connections.discard(self.connection)

    def log_message(self, *_: Any) -> None:
        """Nothing: the tests say what is wrong."""


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self, port: int, receiver: "Receiver") -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.requests = receiver.requests
        self.answers = receiver.answers
        self.usual = receiver.usual
        self.connections: set[socket.socket] = set()
        self.accepted = 0
        self.tls = receiver.tls

    def get_request(self) -> Any:
        connection, address = super().get_request()
        self.accepted += 1
        return (connection if self.tls is None else self.tls.wrap_socket(connection, server_side=True)), address

    def handle_error(self, *_: Any) -> None:
        """A client that goes away is a test's business."""


class Receiver:
    """One HTTP server at a time, always on the same port of the loopback."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, usual: Callable[[Request], Answer] | None = None) -> None:
        self.requests: list[Request] = []
        self.answers: deque[Answer] = deque()
        """The next ones, before the usual one."""
        self.usual = usual or (lambda _request: Answer())
        self.tls = tls
        self.port = 0
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> "Receiver":
        self._server = _Server(self.port, self)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    @property
    def accepted(self) -> int:
        """Connections since the start."""
        return 0 if self._server is None else self._server.accepted

    def stop(self) -> None:
        server, self._server = self._server, None
        if server is None or self._thread is None:
            return
        server.shutdown()
        for connection in list(server.connections):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        server.server_close()
        self._thread.join(5)


@contextmanager
def receiving(
    *, tls: ssl.SSLContext | None = None, usual: Callable[[Request], Answer] | None = None
) -> Iterator[Receiver]:
    """A receiver that runs until the block ends."""
    receiver = Receiver(tls=tls, usual=usual)
    try:
        yield receiver.start()
    finally:
        receiver.stop()


@contextmanager
def scripted_port(script: Callable[[socket.socket, threading.Event], None]) -> Iterator[int]:
    """A port where `script` has each connection for itself, until the event: the test is over."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.02)
        threads: list[threading.Thread] = []

        def run(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                script(connection, over)

        def accept() -> None:
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    connection, _ = listener.accept()
                    connection.settimeout(10)
                    threads.append(threading.Thread(target=run, args=(connection,), daemon=True))
                    threads[-1].start()

        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            over.set()
            for thread in (acceptor, *threads):
                thread.join(10)
