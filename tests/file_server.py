"""A server on loopback that answers each request as the next entry of a script says."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_BEGINS = len("bytes=")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_at: int | None = None
    """After so many bytes of the body the connection ends; None: it does not."""


Act = Callable[["Asked"], Answer]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    path: str
    headers: Mapping[str, str]

    @property
    def begins(self) -> int:
        """Of the range that is asked for."""
        asked = self.headers.get("range", "bytes=0-")
        return int(asked[_BEGINS:].rstrip("-"))


def whole(data: bytes, *, cut_at: int | None = None, ranges: bool = True) -> Act:
    """The part of `data` that is asked for, as a good server gives it."""

    def act(asked: Asked) -> Answer:
        begins = asked.begins if ranges else 0
        if not begins:
            return Answer(data, cut_at=cut_at)
        if begins >= len(data):
            return Answer(status=416)
        span = {"Content-Range": f"bytes {begins}-{len(data) - 1}/{len(data)}"}
        return Answer(data[begins:], 206, span, cut_at)

    return act


@dataclass(slots=True)
class FileServer:
    """Where it is, and what it was asked."""

    url: str
    asked: list[Asked] = field(default_factory=list)


@contextlib.contextmanager
def serving(*script: Act, last: Act | None = None) -> Iterator[FileServer]:
    """Answer request after request as `script` says, and all further ones as `last`, or as its last entry."""
    server = FileServer("")
    acts, lock = list(script), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = Asked(self.path, {name.lower(): value for name, value in self.headers.items()})
            with lock:
                server.asked.append(asked)
                act = acts.pop(0) if acts and (last is not None or len(acts) > 1) else last or acts[0]
            self._give(act(asked))

        def _give(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body if answer.cut_at is None else answer.body[: answer.cut_at])
            if answer.cut_at is not None:
                self.close_connection = True
                with contextlib.suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    server.url = f"http://127.0.0.1:{httpd.server_address[1]}"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def unused_address(paths: Sequence[str] = ("",)) -> str:
    """Where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}{paths[0]}"
