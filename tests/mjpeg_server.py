"""A network camera on loopback: MJPEG over HTTP, with basic authentication if wanted. It can freeze, go and come back.

Frame n is grey, of brightness 5 * n modulo 250, so that a reader can tell frames apart.
"""

import base64
import http.server
import ssl
import threading
from collections.abc import Callable

import numpy as np

from agent import imaging

WIDTH, HEIGHT = 64, 48


class MjpegServer:
    """Serves /stream on a port of its own until stopped; `start` after `stop` uses the same port."""

    def __init__(
        self, *, user: str | None = None, password: str = "", fps: float = 50.0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.port = 0
        self.refused = 0
        """Requests without the right user and password."""
        self.asked: list[str] = []
        """The paths of all requests."""
        self.frozen = threading.Event()
        self._gone = threading.Event()
        self._wanted = None if user is None else base64.b64encode(f"{user}:{password}".encode()).decode()
        self._pause_s = 1 / fps
        self._tls = tls
        self._server: http.server.ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}/stream"

    def start(self) -> "MjpegServer":
        self._gone.clear()
        self.frozen.clear()
        self._server = _Server(("127.0.0.1", self.port), _handler(self._serve))
        self.port = self._server.server_port
        if self._tls is not None:
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """As if the power were cut: every connection ends, and none is accepted any more."""
        self._gone.set()
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
        self._server = None

    def _serve(self, request: http.server.BaseHTTPRequestHandler) -> None:
        self.asked.append(request.path)
        if self._wanted and request.headers.get("Authorization") != f"Basic {self._wanted}":
            self.refused += 1
            request.send_response(401)
            request.send_header("WWW-Authenticate", 'Basic realm="camera"')
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(200)
        request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        request.end_headers()
        number = 0
        while not self._gone.wait(self._pause_s):
            if not self.frozen.is_set():
                request.wfile.write(_part(number))
                number += 1


def _part(number: int) -> bytes:
    pixels = np.full((HEIGHT, WIDTH, 3), 5 * number % 250, dtype=np.uint8)
    jpeg = imaging.encode_jpeg(pixels, 95)
    return b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(jpeg), jpeg)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = False  # so that server_close waits for every connection to end

    def handle_error(self, *_: object) -> None:
        """A reader that has gone away is nothing to speak of."""


def _handler(serve: Callable[[http.server.BaseHTTPRequestHandler], None]) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            serve(self)

        def log_message(self, *_: object) -> None:
            """Tests speak for themselves."""

    return Handler
