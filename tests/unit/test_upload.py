"""The Upload API over real sockets: the emulator's, and servers that say odd things."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from canary import secret
from unit.emulator_engine import KEY, emulating

from agent import config, document, imaging, plugins
from agent.clock import SystemClock
from agent.emulator import faults, keys
from agent.emulator.faults import Fault, Kind, Target
from agent.emulator.server import Emulator
from agent.errors import Cause, ConfigError, EngineRefused, EngineUnavailable
from agent.flow import Picture, Reading
from agent.options import Options
from agent.ports import Context, Contributor, Project

POOR, NARROW, ASLEEP = secret("poor"), secret("narrow"), secret("asleep")
PIXELS = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
PICTURE = imaging.encode(PIXELS, 64, 80)
NAME = "agent-gate-0123abcd-42.jpg"


def cloud_options(folder: Path, key: str = KEY) -> Options:
    (folder / "key").write_text(key)
    text = (
        "cameras: [{name: gate, source: {type: synthetic}}]\n"
        "engines: {cloud: {type: roboflow, model: shapes/1, api_key: {file: key}}}\n"
        "sinks: [{type: stdout}]"
    )
    cloud = config.validate(document.parse(text, name="test")).engines.cloud
    assert cloud is not None
    return cloud


@contextlib.contextmanager
def uploads(folder: Path, url: str, key: str = KEY, **project: Any) -> Iterator[Contributor]:
    context = Context("agent", SystemClock(), folder, folder)
    wanted = replace(Project(url, "shapes", "night", ("doubtful", "pole 7")), **project)
    it = plugins.build_contributor(cloud_options(folder, key), context, wanted)
    it.open()
    yield it
    it.close()


def give(it: Contributor, picture: Picture = PICTURE, *, limit_s: float = 10.0, watch: Any = None) -> bool:
    give_up_s = SystemClock().now() + limit_s
    return it.contribute(picture, NAME, give_up_s=give_up_s, watch=watch or (lambda _: True))


def taken(emulator: Emulator) -> dict[str, Any]:
    state: dict[str, Any] = httpx.get(f"{emulator.control_url}/emulator/state").json()["dataset"]
    return state


def test_a_picture_arrives_with_its_name_batch_tags_and_split(tmp_path: Path) -> None:
    with emulating() as emulator, uploads(tmp_path, emulator.url, split="valid") as it:
        assert give(it)
        (image,) = taken(emulator)["images"]
    assert image == {
        "name": NAME,
        "split": "valid",
        "batch": "night",
        "tags": ["doubtful", "pole 7"],
        "size_bytes": len(PICTURE.data),
        "width": 64,
        "height": 48,
        "duplicate": False,
    }


def test_a_picture_that_the_project_has_is_no_error(tmp_path: Path) -> None:
    with emulating() as emulator, uploads(tmp_path, emulator.url) as it:
        assert [give(it), give(it)] == [True, False]
        assert (taken(emulator)["uploads"], taken(emulator)["duplicates"]) == (2, 1)


def test_the_watch_is_told_how_the_upload_stands(tmp_path: Path) -> None:
    readings: list[Reading] = []

    def watch(reading: Reading) -> bool:
        readings.append(reading)
        return True

    with emulating() as emulator, uploads(tmp_path, emulator.url) as it:
        give(it, watch=watch)
    assert readings[-1].unacked_bytes == 0
    assert readings[-1].metered_bytes > len(PICTURE.data)


@pytest.mark.parametrize(
    ("key", "project", "cause", "said"),
    [
        (
            secret("wrong"),
            "shapes",
            Cause.AUTH,
            "the API key is not accepted for uploads (Unauthorized api_key. This key",
        ),
        (POOR, "shapes", Cause.CREDITS, "nothing left for uploads"),
        (NARROW, "shapes", Cause.AUTH, "may not upload to shapes"),
        (ASLEEP, "shapes", Cause.PAUSED, "paused its API use"),
        (KEY, "yard", Cause.NOT_FOUND, "there is no project yard (The project yard does not exist"),
    ],
)
def test_a_refusal_says_what_a_person_must_do(
    tmp_path: Path, *, key: str, project: str, cause: Cause, said: str
) -> None:
    known = keys.parse([KEY, f"{POOR}=no_credits", f"{NARROW}=forbidden", f"{ASLEEP}=paused"])
    with (
        emulating(keys=known) as emulator,
        uploads(tmp_path, emulator.url, key, name=project) as it,
        pytest.raises(EngineRefused) as caught,
    ):
        give(it)
    assert caught.value.cause is cause
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (Fault(Kind.STATUS, status=502), Cause.SERVER),
        (Fault(Kind.STATUS, status=429, retry_after_s=7.0), Cause.RATE_LIMITED),
        (Fault(Kind.STATUS, status=400), Cause.BAD_REQUEST),
        (Fault(Kind.CAPTIVE_PORTAL), Cause.CAPTIVE_PORTAL),
        (Fault(Kind.BAD_JSON), Cause.BAD_ANSWER),
        (Fault(Kind.BLACKHOLE), Cause.TIMEOUT),
        (Fault(Kind.RESET), Cause.NETWORK),
    ],
)
def test_a_failure_is_told_apart_by_its_cause_and_meets_uploads_alone_if_asked(
    tmp_path: Path, fault: Fault, cause: Cause
) -> None:
    with (
        emulating(fault=replace(fault, on=Target.UPLOAD)) as emulator,
        uploads(tmp_path, emulator.url) as it,
        httpx.Client(base_url=emulator.url) as client,
    ):
        with pytest.raises(EngineUnavailable) as caught:
            give(it, limit_s=1.0)
        assert client.get("/info").status_code == 200
    assert caught.value.cause is cause
    assert caught.value.retry_after_s == fault.retry_after_s


def test_what_is_no_picture_is_refused_as_such(tmp_path: Path) -> None:
    said = pytest.raises(EngineUnavailable, match="not taken as a training image")
    with emulating() as emulator, uploads(tmp_path, emulator.url) as it, said:
        give(it, replace(PICTURE, data=b"no jpeg"))


def test_an_address_where_nobody_listens_cannot_be_reached(tmp_path: Path) -> None:
    with uploads(tmp_path, "http://127.0.0.1:9") as it, pytest.raises(EngineUnavailable) as caught:
        give(it)
    assert caught.value.cause is Cause.CONNECT


class OldServer(BaseHTTPRequestHandler):
    """Knows the key in the query alone, and repeats it."""

    protocol_version = "HTTP/1.1"
    answer = (200, b'{"success":true,"id":"x"}')
    seen: list[tuple[str, int]]

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"] or 0)
        self.rfile.read(length)
        self.seen.append((self.path, length))
        status, body = self.answer if "api_key=" in self.path else (401, b'{"error":"no"}')
        if status == 200 and not length:
            status, body = 400, b'{"error":"no image"}'
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@contextlib.contextmanager
def old_server(status: int, body: bytes) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    handler = type("Handler", (OldServer,), {"answer": (status, body), "seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", handler.seen
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_server_that_wants_the_key_in_the_query_gets_it_there_from_then_on(tmp_path: Path) -> None:
    with old_server(200, b'{"success":true}') as (url, seen), uploads(tmp_path, url) as it:
        assert [give(it), give(it)] == [True, True]
    assert ["api_key=" in path for path, _ in seen] == [False, True, True, True]
    assert seen[1][1] == 0, "the key is tried without the picture"


def test_a_key_that_the_server_repeats_is_struck_out(tmp_path: Path) -> None:
    body = f'{{"error":{{"message":"{KEY} may not"}}}}'.encode()
    with old_server(403, body) as (url, _), uploads(tmp_path, url) as it, pytest.raises(EngineRefused) as caught:
        give(it)
    assert KEY not in str(caught.value)
    assert "*** may not" in str(caught.value)


@pytest.mark.parametrize(
    ("status", "body", "new"),
    [(409, b'{"error":"already there"}', False), (200, b'{"duplicate":true,"id":"x"}', False)],
)
def test_both_ways_to_say_that_it_is_there_already_are_understood(
    tmp_path: Path, status: int, body: bytes, *, new: bool
) -> None:
    with old_server(status, body) as (url, _), uploads(tmp_path, url) as it:
        assert give(it) is new


def test_an_answer_that_promises_nothing_is_no_success(tmp_path: Path) -> None:
    said = pytest.raises(EngineUnavailable, match="does not say that it has the picture")
    with old_server(200, b'{"ok":1}') as (url, _), uploads(tmp_path, url) as it, said:
        give(it)


def test_a_key_that_is_missing_is_a_config_error(tmp_path: Path) -> None:
    context = Context("agent", SystemClock(), tmp_path, tmp_path)
    it = plugins.build_contributor(cloud_options(tmp_path), context, Project("http://127.0.0.1:9", "p", "b"))
    (tmp_path / "key").unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        it.open()


# The emulator's side


@pytest.mark.parametrize("text", ["status:503:on=upload", "status:503:on=upload:requests=2"])
def test_a_fault_may_be_for_uploads_alone(text: str) -> None:
    assert faults.parse(text).on is Target.UPLOAD
    box = faults.FaultBox(faults.parse(text))
    assert box.take() is None
    assert box.take(Target.UPLOAD) is not None


def test_a_fault_for_something_else_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="the fault's on is 'downloads'; there are inference, upload"):
        faults.parse("status:503:on=downloads")


def test_an_upload_needs_a_file_part_and_a_split_that_exists() -> None:
    with emulating() as emulator, httpx.Client(base_url=emulator.url, params={"api_key": KEY}) as client:
        bare = client.post("/dataset/shapes/upload")
        odd = client.post("/dataset/shapes/upload", files={"file": PICTURE.data}, data={"split": "best"})
    assert (bare.status_code, odd.status_code) == (400, 400)
    assert "no file part" in bare.text
    assert "train, valid, test" in odd.text
