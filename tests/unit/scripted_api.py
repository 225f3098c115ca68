"""A server that does what a script says, over real sockets, and the hosted engine that asks it: for tests."""

import contextlib
import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from canary import secret

from agent.clock import SystemClock
from agent.engines.roboflow import Options, build
from agent.errors import EngineError
from agent.flow import Picture, Reading
from agent.imaging import encode
from agent.ports import CloudEngine, Context

KEY = secret("s3cret")


DETECTION = {"x": 32.0, "y": 24.0, "width": 16.0, "height": 8.0, "confidence": 0.9, "class": "crate", "class_id": 2}
ANSWER = {"inference_id": "i", "time": 0.01, "image": {"width": 64, "height": 48}, "predictions": [DETECTION]}


class Script:
    """What the server does with requests, and what it saw of them."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = json.dumps(ANSWER).encode()
        self.only_query_key = False
        self.drip_s: float | None = None
        self.connections = 0
        self.hang_up = False
        """End each connection after its first answer, without a word of it in the head."""
        self.ended = threading.Event()
        """Set when a connection has ended."""
        self.answer = threading.Event()
        """Cleared: requests are taken in and wait for it."""
        self.answer.set()
        self.seen: list[tuple[str, dict[str, str], bytes]] = []


def drip(stream: BinaryIO, interval_s: float, stop: threading.Event) -> None:
    """Headers that never end, a byte at a time."""
    with contextlib.suppress(OSError):
        stream.write(b"X-Drip: ")
        for _ in range(200):
            stream.write(b"X")
            stream.flush()
            if stop.wait(interval_s):
                return


class Scripted(ThreadingHTTPServer):
    """Listens at a free port of loopback, and does what the script says."""

    daemon_threads = True

    def __init__(self, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = script
        self.stop = threading.Event()

    def handle_error(self, *_: object) -> None: ...  # a client that goes away is what some tests are about


class Handler(BaseHTTPRequestHandler):
    server: Scripted
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.server.script.connections += 1

    def finish(self) -> None:
        super().finish()
        self.connection.close()
        self.server.script.ended.set()

    def do_POST(self) -> None:
        script = self.server.script
        body = self.rfile.read(int(self.headers["Content-Length"]))
        script.seen.append((self.path, dict(self.headers), body))
        script.answer.wait(20)
        refused = script.only_query_key and "api_key=" not in self.path
        self._reply(401 if refused else script.status, b'{"message":"no"}' if refused else script.body)
        self.close_connection = script.hang_up

    def _reply(self, status: int, body: bytes) -> None:
        script = self.server.script
        self.send_response_only(status)
        for name, value in {"Content-Length": str(len(body)), **script.headers}.items():
            self.send_header(name, value)
        if script.drip_s is None:
            self.end_headers()
            self.wfile.write(body)
            return
        drip(self.wfile, script.drip_s, self.server.stop)

    def log_message(self, *_: object) -> None: ...


@contextlib.contextmanager
def serving(script: Script, certificate: Path | None = None) -> Iterator[str]:
    """The server's address; with `certificate`, a PEM file that holds its key too, over TLS."""
    with Scripted(script) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}"
        server.stop.set()
        script.answer.set()
        server.shutdown()


def an_engine(url: str, folder: Path, **more: object) -> CloudEngine:
    (folder / "key").write_text(f"{KEY}\n")
    fields = {"type": "roboflow", "model": "yard/3", "api_key": {"file": "key"}, "url": url, **more}
    engine = build(Options.model_validate(fields), Context("tester", SystemClock(), folder, folder))
    engine.open()
    return engine


def a_picture(size_bytes: int = 0, *, longest_px: int = 64) -> Picture:
    """A grey frame of 1280x960, encoded; with noise after the JPEG's end up to `size_bytes`."""
    picture = encode(np.full((960, 1280, 3), 90, np.uint8), longest_px, 85)
    return replace(picture, data=picture.data.ljust(size_bytes, b"\x5a"))


def unwatched(_: Reading) -> bool:
    return True


def in_s(seconds: float) -> float:
    return SystemClock().now() + seconds


def error_of(url: str, folder: Path, *, within_s: float = 5.0, **more: object) -> EngineError:
    engine = an_engine(url, folder, **more)
    with pytest.raises(EngineError) as caught:
        engine.infer(a_picture(), in_s(within_s), unwatched)
    engine.close()
    return caught.value
