"""The hosted engine against a server that does what a script says, over real sockets."""

import contextlib
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from canary import secret
from unit.scripted_api import ANSWER, DETECTION, KEY, Script, a_picture, an_engine, error_of, in_s, serving, unwatched

from agent import config, document
from agent.clock import SystemClock
from agent.engines._aliases import ALIASES
from agent.engines.roboflow import Options, build
from agent.errors import Cause, ConfigError, EngineError, EngineRefused, EngineUnavailable
from agent.flow import Reading
from agent.imaging import decode_image
from agent.ports import Context


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def url(script: Script) -> Iterator[str]:
    with serving(script) as address:
        yield address


def test_the_picture_is_sent_as_it_is_and_answers_are_scaled_to_the_captured_frame(
    script: Script, url: str, tmp_path: Path
) -> None:
    engine = an_engine(url, tmp_path)
    answer = engine.infer(a_picture(), in_s(5), unwatched)
    engine.close()
    path, headers, body = script.seen[0]
    assert path == "/yard/3?confidence=0.4&overlap=0.3"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert b'name="file"; filename="frame.jpg"' in body
    jpeg = body[body.index(b"\r\n\r\n") + 4 : body.rindex(b"\r\n--")]
    assert decode_image(jpeg).shape == (48, 64, 3)
    assert jpeg == a_picture().data
    assert (answer.size_bytes, answer.quality) == (len(jpeg), 85)
    (found,) = answer.predictions
    assert (found.x, found.y, found.width, found.height) == (640.0, 480.0, 320.0, 160.0)
    assert (found.class_name, found.class_id, found.confidence) == ("crate", 2, 0.9)


def test_an_alias_is_resolved_to_its_project_and_version(script: Script, url: str, tmp_path: Path) -> None:
    engine = an_engine(url, tmp_path, model="yolov8n-640")
    engine.infer(a_picture(), in_s(5), unwatched)
    engine.close()
    assert script.seen[0][0].startswith("/coco/3?")
    assert ALIASES["yolov8x-1280"] == "coco/13"
    assert ALIASES["yolov8m-640"] == "coco/8"


def test_a_key_refused_in_the_header_is_sent_in_the_query_from_then_on(
    script: Script, url: str, tmp_path: Path
) -> None:
    script.only_query_key = True
    engine = an_engine(url, tmp_path)
    engine.infer(a_picture(), in_s(5), unwatched)
    engine.infer(a_picture(), in_s(5), unwatched)
    engine.close()
    assert ["api_key=" in path for path, _, _ in script.seen] == [False, True, True, True]
    assert "Authorization" not in script.seen[3][1]


def test_a_key_that_is_refused_either_way_costs_one_picture(script: Script, url: str, tmp_path: Path) -> None:
    script.status = 401
    engine = an_engine(url, tmp_path)
    with pytest.raises(EngineRefused):
        engine.infer(a_picture(), in_s(5), unwatched)
    engine.close()
    assert ["multipart" in headers.get("Content-Type", "") for _, headers, _ in script.seen] == [True, False]


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
        (408, {}, EngineUnavailable, Cause.TIMEOUT),
        (425, {}, EngineUnavailable, Cause.SERVER),
        (429, {}, EngineUnavailable, Cause.RATE_LIMITED),
        (500, {}, EngineUnavailable, Cause.SERVER),
        (502, {}, EngineUnavailable, Cause.SERVER),
        (503, {"Retry-After": "1"}, EngineUnavailable, Cause.SERVER),
        (504, {}, EngineUnavailable, Cause.SERVER),
        (522, {}, EngineUnavailable, Cause.SERVER),
        (511, {}, EngineUnavailable, Cause.CAPTIVE_PORTAL),
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
    if cause is not Cause.CAPTIVE_PORTAL:
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
    answer = engine.infer(a_picture(), in_s(5), unwatched)
    engine.close()
    assert answer.timings.processing_s == 0.031
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
        engine = an_engine(f"http://127.0.0.1:{listener.getsockname()[1]}", tmp_path)
        begun_s = SystemClock().now()
        with pytest.raises(EngineUnavailable) as caught:
            engine.infer(a_picture(10_000_000), in_s(1.5), unwatched)
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
        monkeypatch.setattr("agent.engines._connector.socket.getaddrinfo", lambda *_, **__: found)
        begun_s = SystemClock().now()
        error = error_of(f"http://many.test:{port}", tmp_path, within_s=1.0)
    assert error.cause is Cause.TIMEOUT
    assert SystemClock().now() - begun_s < 3  # a second for each would be five


def test_requests_that_timed_out_leave_the_connection_pool_usable(script: Script, url: str, tmp_path: Path) -> None:
    engine = an_engine(url, tmp_path)
    script.drip_s = 0.05
    for _ in range(12):  # twice the pool's connections
        with pytest.raises(EngineUnavailable):
            engine.infer(a_picture(), in_s(0.05), unwatched)
    script.drip_s = None
    assert engine.infer(a_picture(), in_s(5), unwatched).predictions
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
    engine = build(Options.model_validate(fields), Context("tester", SystemClock(), tmp_path, tmp_path))
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


class Log:
    """A watch that remembers, and wants the upload for the first `wanted` readings."""

    def __init__(self, wanted: int = 1_000_000) -> None:
        self.readings: list[Reading] = []
        self._wanted = wanted

    def __call__(self, reading: Reading) -> bool:
        self.readings.append(reading)
        return len(self.readings) <= self._wanted


def read_slowly(listener: socket.socket, ended: list[str], piece_bytes: int, interval_s: float) -> None:
    """Take one request in, a piece at a time, and answer it; how the connection ended goes into `ended`."""
    connection, _ = listener.accept()
    taken, pause = bytearray(), threading.Event()
    with connection, contextlib.suppress(OSError):
        while b"\r\n--" not in taken[-64:] or len(taken) < 1000:
            try:
                piece = connection.recv(piece_bytes)
            except ConnectionResetError:
                ended.append("reset")
                return
            if not piece:
                ended.append("closed")
                return
            taken += piece
            pause.wait(interval_s)
        body = json.dumps(ANSWER).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


@contextlib.contextmanager
def a_slow_reader(ended: list[str], *, piece_bytes: int, interval_s: float) -> Iterator[str]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=read_slowly, args=(listener, ended, piece_bytes, interval_s), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)


def test_the_watch_is_told_of_every_acknowledged_byte_until_the_last(tmp_path: Path) -> None:
    log = Log()
    with a_slow_reader([], piece_bytes=4096, interval_s=0.01) as url:
        engine = an_engine(url, tmp_path)
        answer = engine.infer(a_picture(200_000), in_s(20), log)
        engine.close()
    assert engine.measures
    assert len(log.readings) > 10
    assert {reading.acked_bytes + reading.unacked_bytes for reading in log.readings} == {200_000}
    acked = [reading.acked_bytes for reading in log.readings]
    assert acked == sorted(acked)
    assert (acked[0], acked[-1]) == (0, 200_000)
    assert len(set(acked)) > 5
    assert sorted(reading.at_s for reading in log.readings) == [reading.at_s for reading in log.readings]
    assert 200_000 < log.readings[-1].metered_bytes < 250_000
    assert answer.timings.upload_s is not None
    assert answer.timings.upload_s > 0.2
    assert answer.timings.server_s is not None
    assert answer.timings.server_s < answer.timings.upload_s


def test_an_upload_that_is_not_wanted_any_more_is_broken_off_and_what_was_not_sent_stays_here(tmp_path: Path) -> None:
    log, ended = Log(wanted=3), list[str]()
    with a_slow_reader(ended, piece_bytes=1024, interval_s=0.01) as url:
        engine = an_engine(url, tmp_path)
        begun_s = SystemClock().now()
        with pytest.raises(EngineUnavailable) as caught:
            engine.infer(a_picture(5_000_000), in_s(20), log)
        took_s = SystemClock().now() - begun_s
        engine.close()
    assert caught.value.cause is Cause.TIMEOUT
    assert took_s < 2
    assert ended == ["reset"]
    assert log.readings[-1].unacked_bytes > 4_000_000


def test_without_acknowledgements_from_the_system_uploads_are_timed_end_to_end_and_the_log_says_so(
    script: Script, url: str, tmp_path: Path, *, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(socket, "TCP_INFO")
    log = Log()
    engine = an_engine(url, tmp_path)
    answer = engine.infer(a_picture(50_000), in_s(5), log)
    engine.close()
    assert script.seen
    assert not engine.measures
    assert [record.message for record in caplog.records if record.name == "agent.engines._hosted"] == [
        "this system does not tell what was acknowledged (TCP_INFO); uploads are timed end to end"
    ]
    assert [reading.unacked_bytes for reading in log.readings] == [50_000, 0, 0]
    assert 50_000 < log.readings[-1].metered_bytes < 60_000
    assert answer.timings.upload_s is None


def test_a_connection_is_kept_for_the_next_request(script: Script, url: str, tmp_path: Path) -> None:
    engine = an_engine(url, tmp_path)
    first, second = (engine.infer(a_picture(), in_s(5), unwatched).timings for _ in range(2))
    engine.close()
    assert script.connections == 1
    assert first.connect_s
    assert second.connect_s == 0.0


def test_a_kept_connection_that_the_server_ended_costs_no_frame(script: Script, url: str, tmp_path: Path) -> None:
    engine = an_engine(url, tmp_path)
    script.hang_up = True
    for n in range(1, 4):
        script.ended.clear()
        assert engine.infer(a_picture(), in_s(5), unwatched).predictions
        assert script.ended.wait(5)
        assert script.connections == n
    engine.close()


@contextlib.contextmanager
def a_breaker(answers: int) -> Iterator[tuple[str, list[int]]]:
    """A server that hangs up on each request after the first `answers` of a connection; the requests of each."""
    counts: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            counts.append(0)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            counts[-1] += 1
            if counts[-1] > answers:
                self.close_connection = True
                return
            body = json.dumps(ANSWER).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", counts
        server.shutdown()


def test_a_kept_connection_that_breaks_before_the_answer_is_replaced_once(tmp_path: Path) -> None:
    with a_breaker(answers=1) as (url, counts):
        engine = an_engine(url, tmp_path)
        for _ in range(3):
            assert engine.infer(a_picture(), in_s(5), unwatched).predictions
        engine.close()
    assert counts == [2, 2, 1]


def test_a_new_connection_that_breaks_before_the_answer_is_a_failure(tmp_path: Path) -> None:
    with a_breaker(answers=0) as (url, counts):
        assert error_of(url, tmp_path).cause is Cause.NETWORK
    assert counts == [1]


def test_after_a_stall_no_idle_connection_is_used_again(script: Script, url: str, tmp_path: Path) -> None:
    engine = an_engine(url, tmp_path)
    script.answer.clear()
    both = [
        threading.Thread(target=engine.infer, args=(a_picture(), in_s(10), unwatched), daemon=True) for _ in range(2)
    ]
    for one in both:
        one.start()
    until(lambda: len(script.seen) == 2)
    script.answer.set()
    for one in both:
        one.join(10)
    assert script.connections == 2
    with pytest.raises(EngineUnavailable):
        engine.infer(a_picture(), in_s(5), lambda _: False)
    engine.infer(a_picture(), in_s(5), unwatched)
    engine.close()
    assert script.connections == 3


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    limit, pause = in_s(5), threading.Event()
    while not condition():
        assert SystemClock().now() < limit
        pause.wait(0.005)


def test_a_dialled_connection_carries_the_next_request(script: Script, url: str, tmp_path: Path) -> None:
    engine = an_engine(url, tmp_path)
    log = Log()
    assert 100 < engine.dial(in_s(5)) < 1000
    until(lambda: script.connections == 1)
    assert script.seen == []
    timings = engine.infer(a_picture(), in_s(5), log).timings
    engine.close()
    assert script.connections == 1
    assert timings.connect_s is not None
    assert timings.connect_s < 0.05
    assert log.readings[0].metered_bytes < 100  # the handshake was told by the dial


def test_a_dialled_connection_that_has_ended_is_not_used(script: Script, tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = listener.getsockname()
        engine = an_engine(f"http://127.0.0.1:{address[1]}", tmp_path)
        engine.dial(in_s(5))
        listener.accept()[0].close()
        listener.settimeout(5)
        with pytest.raises(EngineUnavailable):
            engine.infer(a_picture(), in_s(0.3), unwatched)
        listener.accept()[0].close()  # the request came over a connection of its own
        engine.close()
    assert script.seen == []


def test_only_the_connection_that_was_dialled_last_is_held(script: Script, url: str, tmp_path: Path) -> None:
    engine = an_engine(url, tmp_path)
    for n in range(1, 5):
        script.ended.clear()
        engine.dial(in_s(5))
        until(lambda n=n: script.connections == n)  # type: ignore[misc]
        assert n == 1 or script.ended.wait(5)
    script.ended.clear()
    engine.close()
    assert script.ended.wait(5)


def test_dialling_what_does_not_answer_says_why_by_its_deadline(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        port = silent_everywhere(stack, ["127.0.0.1"])
        engine = an_engine(f"http://127.0.0.1:{port}", tmp_path)
        begun_s = SystemClock().now()
        with pytest.raises(EngineUnavailable) as caught:
            engine.dial(in_s(0.3))
        engine.close()
    assert caught.value.cause is Cause.TIMEOUT
    assert SystemClock().now() - begun_s < 1.5


def test_a_knock_asks_without_a_picture_and_is_cheap(script: Script, url: str, tmp_path: Path) -> None:
    script.status, script.body = 400, b'{"message":"Content-Type header not provided with request."}'
    engine = an_engine(url, tmp_path)
    spent = [engine.knock(in_s(5)) for _ in range(2)]
    engine.close()
    assert max(spent) < 2000
    path, headers, body = script.seen[0]
    assert path.startswith("/yard/3?")
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body == b""


@pytest.mark.parametrize(
    ("status", "body", "kind", "cause"),
    [
        (401, b"{}", EngineRefused, Cause.AUTH),
        (402, b"{}", EngineRefused, Cause.CREDITS),
        (423, b"{}", EngineRefused, Cause.PAUSED),
        (429, b"{}", EngineUnavailable, Cause.RATE_LIMITED),
        (503, b"<html>sorry</html>", EngineUnavailable, Cause.SERVER),
        (302, b"", EngineUnavailable, Cause.CAPTIVE_PORTAL),
        (200, b"<html>sign in</html>", EngineUnavailable, Cause.CAPTIVE_PORTAL),
    ],
)
def test_a_knock_that_is_not_welcome_says_why(
    status: int, body: bytes, kind: type[EngineError], cause: Cause, *, script: Script, url: str, tmp_path: Path
) -> None:
    script.status, script.body = status, body
    engine = an_engine(url, tmp_path)
    with pytest.raises(EngineError) as caught:
        engine.knock(in_s(5))
    engine.close()
    assert type(caught.value) is kind
    assert caught.value.cause is cause


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT", "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 30.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-1"}, None),
    ],
)
def test_a_server_may_say_when_to_come_again_in_seconds_or_as_a_date(
    headers: dict[str, str], seconds: float | None, *, script: Script, url: str, tmp_path: Path
) -> None:
    script.status, script.headers = 429, headers
    error = error_of(url, tmp_path)
    assert isinstance(error, EngineUnavailable)
    assert error.retry_after_s == seconds


@pytest.mark.parametrize("status", [302, 400, 401, 500])
def test_a_server_that_repeats_the_key_does_not_bring_it_into_the_error(
    status: int, script: Script, url: str, tmp_path: Path
) -> None:
    script.status, script.body = status, f'{{"message":"the key {KEY} is bad"}}'.encode()
    script.headers = {"Location": f"http://portal.example/{KEY}/?api_key={KEY}"}
    assert KEY not in str(error_of(url, tmp_path))


@pytest.mark.parametrize("key", [secret("two\nlines"), secret("schlüssel"), secret("a\x00b")])
def test_a_key_that_no_header_can_carry_is_a_configuration_error(key: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(key)
    fields = {"type": "roboflow", "model": "yard/3", "api_key": {"file": "key"}}
    engine = build(Options.model_validate(fields), Context("tester", SystemClock(), tmp_path, tmp_path))
    with pytest.raises(ConfigError, match="no API key has") as caught:
        engine.open()
    assert key not in str(caught.value)


def test_a_name_is_not_looked_up_while_its_address_serves(
    script: Script, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def resolver(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        if len(asked) > 1:
            raise socket.gaierror(socket.EAI_AGAIN, "no server answers")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr("agent.engines._connector.socket.getaddrinfo", resolver)
    engine = an_engine(url.replace("127.0.0.1", "api.test"), tmp_path)
    script.headers = {"Connection": "close"}
    for _ in range(3):
        assert engine.infer(a_picture(), in_s(5), unwatched).predictions
    engine.close()
    assert script.connections == 3
    assert asked == ["api.test"]


def a_certificate(folder: Path, name: str, *, days: int = 2) -> Path:
    """A PEM file with a key and a certificate for `name`, signed with itself; `days` below 0: out of date."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the program openssl")
    key, request, made = folder / "tls.key", folder / "tls.csr", folder / "tls.pem"
    new = ("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, "-subj", "/CN=tester")
    sign = ("x509", "-req", "-in", request, "-signkey", key, "-days", str(days), "-out", made)
    for arguments in ((*new, "-addext", f"subjectAltName={name}"), (*sign, "-copy_extensions", "copy")):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)
    made.write_text(made.read_text() + key.read_text())
    return made


@pytest.mark.parametrize(
    ("name", "days", "trusted", "cause", "said"),
    [
        ("IP:127.0.0.1", -1, True, Cause.TLS_EXPIRED, "clock"),
        ("DNS:portal.example", 2, True, Cause.TLS_HOST, "not that of 127.0.0.1"),
        ("IP:127.0.0.1", 2, False, Cause.TLS, "not accepted"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_told_by_name(
    name: str, days: int, trusted: bool, cause: Cause, *, said: str, script: Script, tmp_path: Path
) -> None:
    certificate = a_certificate(tmp_path, name, days=days)
    with serving(script, certificate) as url:
        error = error_of(url, tmp_path, **({"ca_file": str(certificate)} if trusted else {}))
    assert error.cause is cause
    assert said in str(error)
    assert script.seen == []


def test_over_tls_an_upload_is_measured_and_a_dialled_connection_used_as_without(
    script: Script, tmp_path: Path
) -> None:
    log, certificate = Log(), a_certificate(tmp_path, "IP:127.0.0.1")
    with serving(script, certificate) as url:
        engine = an_engine(url, tmp_path, ca_file=str(certificate))
        cost = engine.dial(in_s(5))
        timings = [engine.infer(a_picture(300_000), in_s(5), log).timings for _ in range(3)]
        engine.close()
    assert script.connections == 1
    assert 1000 < cost < 8000
    assert timings[0].connect_s is not None
    assert timings[0].connect_s < 0.05
    assert [reading.acked_bytes for reading in log.readings].count(0) >= 3
    assert log.readings[-1].unacked_bytes == 0
    assert all(timing.upload_s is not None for timing in timings)
    assert 300_000 < log.readings[-1].metered_bytes < 330_000
