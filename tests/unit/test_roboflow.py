"""The hosted engine against a server that does what a script says, over real sockets."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from agent import config, document
from agent.clock import SystemClock
from agent.engines.roboflow import ALIASES, Options, Roboflow
from agent.errors import Cause, ConfigError, EngineError, EngineRefused, EngineUnavailable
from agent.flow import Frame
from agent.imaging import decode_image
from agent.ports import Context

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
        self.seen: list[tuple[str, dict[str, str], bytes]] = []


@pytest.fixture
def script() -> Script:
    return Script()


def drip(stream: BinaryIO, interval_s: float, stop: threading.Event) -> None:
    """Headers that never end, a byte at a time."""
    with contextlib.suppress(OSError):
        stream.write(b"X-Drip: ")
        for _ in range(200):
            stream.write(b"X")
            stream.flush()
            if stop.wait(interval_s):
                return


@pytest.fixture
def url(script: Script) -> Iterator[str]:
    stop = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            script.seen.append((self.path, dict(self.headers), body))
            refused = script.only_query_key and "api_key=" not in self.path
            self._reply(401 if refused else script.status, b'{"message":"no"}' if refused else script.body)

        def _reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **script.headers}.items():
                self.send_header(name, value)
            if script.drip_s is None:
                self.end_headers()
                self.wfile.write(body)
                return
            drip(self.wfile, script.drip_s, stop)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        stop.set()
        server.shutdown()


def an_engine(url: str, folder: Path, **more: object) -> Roboflow:
    (folder / "key").write_text("s3cret\n")
    fields = {"type": "roboflow", "model": "yard/3", "api_key": {"file": "key"}, "url": url, **more}
    engine = Roboflow(Options.model_validate(fields), Context("tester", SystemClock(), folder, folder))
    engine.open()
    return engine


def a_frame(width: int = 1280, height: int = 960) -> Frame:
    return Frame("cam", 1, 0.0, 0.0, clock_synchronized=True, pixels=np.full((height, width, 3), 90, np.uint8))


def in_s(seconds: float) -> float:
    return SystemClock().now() + seconds


def error_of(url: str, folder: Path, *, within_s: float = 5.0) -> EngineError:
    engine = an_engine(url, folder)
    with pytest.raises(EngineError) as caught:
        engine.infer(a_frame(), in_s(within_s))
    engine.close()
    return caught.value


def test_the_picture_is_shrunk_to_the_models_input_and_answers_are_scaled_back(
    script: Script, url: str, tmp_path: Path
) -> None:
    engine = an_engine(url, tmp_path, input_px=64)
    answer = engine.infer(a_frame(), in_s(5))
    engine.close()
    path, headers, body = script.seen[0]
    assert path == "/yard/3?confidence=0.4&overlap=0.3"
    assert headers["Authorization"] == "Bearer s3cret"
    assert b'name="file"; filename="frame.jpg"' in body
    jpeg = body[body.index(b"\r\n\r\n") + 4 : body.rindex(b"\r\n--")]
    assert decode_image(jpeg).shape == (48, 64, 3)
    assert answer.size_bytes == len(jpeg)
    (found,) = answer.predictions
    assert (found.x, found.y, found.width, found.height) == (640.0, 480.0, 320.0, 160.0)
    assert (found.class_name, found.class_id, found.confidence) == ("crate", 2, 0.9)


def test_an_alias_is_resolved_to_its_project_and_version(script: Script, url: str, tmp_path: Path) -> None:
    engine = an_engine(url, tmp_path, model="yolov8n-640")
    engine.infer(a_frame(), in_s(5))
    engine.close()
    assert script.seen[0][0].startswith("/coco/3?")
    assert ALIASES["yolov8x-1280"] == "coco/13"
    assert ALIASES["yolov8m-640"] == "coco/8"


def test_a_key_refused_in_the_header_is_sent_in_the_query_from_then_on(
    script: Script, url: str, tmp_path: Path
) -> None:
    script.only_query_key = True
    engine = an_engine(url, tmp_path)
    engine.infer(a_frame(), in_s(5))
    engine.infer(a_frame(), in_s(5))
    engine.close()
    assert ["api_key=" in path for path, _, _ in script.seen] == [False, True, True]
    assert "Authorization" not in script.seen[2][1]


@pytest.mark.parametrize(
    ("status", "headers", "kind", "cause"),
    [
        (401, {}, EngineRefused, Cause.AUTH),
        (402, {}, EngineRefused, Cause.CREDITS),
        (403, {}, EngineRefused, Cause.AUTH),
        (404, {}, EngineRefused, Cause.NOT_FOUND),
        (413, {}, EngineRefused, Cause.TOO_LARGE),
        (423, {}, EngineRefused, Cause.PAUSED),
        (418, {}, EngineRefused, Cause.BAD_REQUEST),
        (400, {}, EngineUnavailable, Cause.BAD_REQUEST),
        (429, {}, EngineUnavailable, Cause.RATE_LIMITED),
        (500, {}, EngineUnavailable, Cause.SERVER),
        (502, {}, EngineUnavailable, Cause.SERVER),
        (503, {"Retry-After": "1"}, EngineUnavailable, Cause.SERVER),
        (504, {}, EngineUnavailable, Cause.SERVER),
        (302, {"Location": "http://portal.example/login"}, EngineUnavailable, Cause.CAPTIVE_PORTAL),
    ],
)
def test_each_status_has_its_meaning(
    status: int,
    headers: dict[str, str],
    kind: type[EngineError],
    cause: Cause,
    *,
    script: Script,
    url: str,
    tmp_path: Path,
) -> None:
    script.status, script.headers, script.body = status, headers, b'{"message":"the server says why"}'
    error = error_of(url, tmp_path)
    assert type(error) is kind
    assert error.cause is cause
    if status != 302:
        assert "the server says why" in str(error)
    if isinstance(error, EngineUnavailable):
        assert error.retry_after_s == (1.0 if "Retry-After" in headers else None)


@pytest.mark.parametrize(
    ("body", "headers", "cause"),
    [
        (b"<!DOCTYPE html><html>Please sign in</html>", {}, Cause.CAPTIVE_PORTAL),
        (b"Please sign in", {"Content-Type": "text/html"}, Cause.CAPTIVE_PORTAL),
        (b'{"predictions": [', {}, Cause.BAD_ANSWER),
        (b"[]", {}, Cause.BAD_ANSWER),
        (b"{}", {}, Cause.BAD_ANSWER),
        (b'{"predictions": [{"x": 1}]}', {}, Cause.BAD_ANSWER),
        (b'{"image": {"width": 0, "height": 0}, "predictions": []}', {}, Cause.BAD_ANSWER),
        (b'{"predictions": {"helmet": {"confidence": 0.9}}}', {}, Cause.BAD_ANSWER),
        (json.dumps({"predictions": [{**DETECTION, "x": float("nan")}]}).encode(), {}, Cause.BAD_ANSWER),
        (
            json.dumps({"image": {"width": float("nan"), "height": 1}, "predictions": [DETECTION]}).encode(),
            {},
            Cause.BAD_ANSWER,
        ),
        (json.dumps({"image": {"width": -1, "height": 1}, "predictions": [DETECTION]}).encode(), {}, Cause.BAD_ANSWER),
        (b"[" * 50_000, {}, Cause.BAD_ANSWER),
        (json.dumps({"predictions": [{**DETECTION, "x": 10**400}]}).encode(), {}, Cause.BAD_ANSWER),
        (json.dumps({"predictions": [{**DETECTION, "class_id": 1e999}]}).encode(), {}, Cause.BAD_ANSWER),
    ],
)
def test_an_answer_that_is_not_the_apis_is_named_and_never_published(
    body: bytes, headers: dict[str, str], cause: Cause, *, script: Script, url: str, tmp_path: Path
) -> None:
    script.body, script.headers = body, headers
    assert error_of(url, tmp_path).cause is cause


def test_the_servers_own_time_and_a_cold_start_are_taken_from_the_headers(
    script: Script, url: str, tmp_path: Path
) -> None:
    script.headers = {"X-Processing-Time": "0.031", "X-Model-Cold-Start": "true"}
    engine = an_engine(url, tmp_path)
    answer = engine.infer(a_frame(), in_s(5))
    engine.close()
    assert answer.timings.server_s == 0.031
    assert answer.cold_start


def test_the_deadline_holds_while_the_server_drips_its_headers(script: Script, url: str, tmp_path: Path) -> None:
    script.drip_s = 0.05
    begun_s = SystemClock().now()
    assert error_of(url, tmp_path, within_s=0.6).cause is Cause.TIMEOUT
    assert SystemClock().now() - begun_s < 3  # the drip alone would take 10 s


def test_the_deadline_holds_while_the_server_takes_nothing(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        engine = an_engine(f"http://127.0.0.1:{listener.getsockname()[1]}", tmp_path, input_px=4096, jpeg_quality=100)
        noise = np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), np.uint8)
        frame = Frame("cam", 1, 0.0, 0.0, clock_synchronized=True, pixels=noise)
        begun_s = SystemClock().now()
        with pytest.raises(EngineUnavailable) as caught:
            engine.infer(frame, in_s(1.5))
        engine.close()
    assert caught.value.cause is Cause.TIMEOUT
    assert SystemClock().now() - begun_s < 6


def silent_everywhere(stack: contextlib.ExitStack, addresses: list[str]) -> int:
    """A port at which none of `addresses` answers a connection: the backlog is full."""
    port = 0
    for address in addresses:
        listener = stack.enter_context(socket.socket())
        listener.bind((address, port))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex((address, port))
    return port


def test_the_deadline_holds_for_a_name_with_many_silent_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = [f"127.0.0.{n}" for n in range(1, 6)]
    with contextlib.ExitStack() as stack:
        port = silent_everywhere(stack, addresses)
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]
        monkeypatch.setattr("agent.engines._http.socket.getaddrinfo", lambda *_, **__: found)
        begun_s = SystemClock().now()
        error = error_of(f"http://many.test:{port}", tmp_path, within_s=1.0)
    assert error.cause is Cause.TIMEOUT
    assert SystemClock().now() - begun_s < 3  # a second for each would be five


def test_requests_that_timed_out_leave_the_connection_pool_usable(script: Script, url: str, tmp_path: Path) -> None:
    engine = an_engine(url, tmp_path)
    script.drip_s = 0.05
    for _ in range(12):  # twice the pool's connections
        with pytest.raises(EngineUnavailable):
            engine.infer(a_frame(64, 48), in_s(0.05))
    script.drip_s = None
    assert engine.infer(a_frame(64, 48), in_s(5)).predictions
    engine.close()


def test_a_server_that_is_not_there_and_a_name_that_does_not_exist_are_told_apart(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert error_of(f"http://127.0.0.1:{port}", tmp_path).cause is Cause.CONNECT
    assert error_of("http://no-such-host.invalid", tmp_path).cause is Cause.DNS
    assert error_of(f"http://{'x' * 70}.invalid", tmp_path).cause is Cause.DNS


def test_an_address_that_speaks_no_tls_is_named_as_such(script: Script, url: str, tmp_path: Path) -> None:
    assert script.status == 200
    assert error_of(url.replace("http:", "https:"), tmp_path).cause is Cause.TLS


def test_a_missing_key_is_a_configuration_error_that_names_it(tmp_path: Path) -> None:
    fields = {"type": "roboflow", "model": "yard/3", "api_key": {"env": "NO_SUCH_VARIABLE_HERE"}}
    engine = Roboflow(Options.model_validate(fields), Context("tester", SystemClock(), tmp_path, tmp_path))
    with pytest.raises(ConfigError, match="NO_SUCH_VARIABLE_HERE"):
        engine.open()


@pytest.mark.parametrize(
    ("content", "said"), [(None, "cannot be read"), ("no certificate", "no certificate in PEM form")]
)
def test_a_ca_file_that_is_none_is_a_configuration_error_that_names_it(
    content: str | None, said: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_text(content)
    with pytest.raises(ConfigError, match=said) as caught:
        an_engine("https://127.0.0.1:1", tmp_path, ca_file="ca.pem")
    assert str(tmp_path / "ca.pem") in str(caught.value)


@pytest.mark.parametrize("url", ["https://user:hunter2@host", "https://host/?api_key=hunter2"])
def test_a_secret_in_the_address_is_refused_and_not_repeated(url: str) -> None:
    text = f"""
cameras: [{{name: cam, source: {{type: synthetic}}}}]
engines: {{cloud: {{type: roboflow, model: a/1, api_key: {{env: KEY}}, url: "{url}"}}}}
sinks: [{{type: stdout}}]
"""
    with pytest.raises(ConfigError) as caught:
        config.validate(document.parse(text, name="page"))
    assert "engines.cloud.url" in str(caught.value)
    assert "hunter2" not in str(caught.value)
