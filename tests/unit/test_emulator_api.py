import argparse
import base64
import concurrent.futures
import json
import logging
import re
import socket
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
from unit.emulator_engine import FORKLIFT, KEY, AheadClock, ScriptedEngine, emulating

from agent import imaging
from agent.emulator import command, faults, keys, replies, schedule
from agent.emulator.faults import Fault, FaultBox, Kind
from agent.emulator.model import HostedModel, ServerTiming
from agent.emulator.server import Emulator
from agent.emulator.settings import EmulatorSettings
from agent.errors import ConfigError, EngineBroken

_PIXELS = np.random.default_rng(0).integers(0, 255, (360, 640, 3), dtype=np.uint8)
JPEG = imaging.encode_jpeg(_PIXELS, 70)
BASE64 = base64.b64encode(JPEG)
BEARER = {"authorization": f"Bearer {KEY}"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
_UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_LIMIT_S = 20.0


@pytest.fixture(scope="module")
def shared() -> Iterator[Emulator]:
    known = keys.parse([KEY, "poor=no_credits", "narrow=forbidden", "asleep=paused"])
    with emulating(keys=known) as emulator:
        yield emulator


@pytest.fixture
def client(shared: Emulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=shared.url, timeout=_LIMIT_S) as client:
        yield client


def ask(client: httpx.Client, **changes: Any) -> httpx.Response:
    request: dict[str, Any] = {"params": {"api_key": KEY}, "content": BASE64, "headers": FORM} | changes
    return client.post("/shapes/1", **request)


def client_of(emulator: Emulator, timeout_s: float = _LIMIT_S) -> httpx.Client:
    return httpx.Client(base_url=emulator.url, timeout=timeout_s)


def wire(emulator: Emulator, request: bytes) -> bytes:
    """All bytes of the answer to raw `request`, which asks for the connection's end."""
    with socket.create_connection(("127.0.0.1", int(emulator.url.rsplit(":", 1)[1])), timeout=_LIMIT_S) as raw:
        raw.sendall(request)
        answer = b""
        while data := raw.recv(65536):
            answer += data
    return answer


def until_reset(raw: socket.socket) -> bytes:
    """All bytes before a reset; a polite end is none."""
    answer = b""
    try:
        while data := raw.recv(65536):
            answer += data
    except ConnectionResetError:
        return answer
    pytest.fail(f"the connection ended politely after {answer!r}")


def raw_post(target: str, body: bytes = BASE64, *headers: str) -> bytes:
    lines = [f"POST {target} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


# The answer


def test_an_answer_is_compact_json_in_the_services_field_order(client: httpx.Client) -> None:
    answer = ask(client)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    time_s = repr(answer.json()["time"]).encode()
    assert _UUID.sub(b"ID", answer.content) == (
        b'{"inference_id":"ID","time":' + time_s + b',"image":{"width":640,"height":360},"predictions":['
        b'{"x":350.0,"y":200.5,"width":300.0,"height":201.0,"confidence":0.8731,"class":"forklift","class_id":3,'
        b'"detection_id":"ID"}]}'
    )
    assert answer.json()["inference_id"] != answer.json()["predictions"][0]["detection_id"]


def test_boxes_are_whole_pixels_inside_the_picture() -> None:
    at_the_corner = replace(FORKLIFT, x=638.0, y=2.0, width=20.6, height=9.0)
    with emulating(ScriptedEngine([at_the_corner])) as emulator, client_of(emulator) as client:
        (box,) = ask(client).json()["predictions"]
    assert (box["x"], box["width"]) == (634.0, 12.0)
    assert (box["y"], box["height"]) == (3.0, 6.0)


def test_no_objects_are_an_empty_list_and_status_200() -> None:
    with emulating(ScriptedEngine([])) as emulator, client_of(emulator) as client:
        answer = ask(client)
    assert (answer.status_code, answer.json()["predictions"]) == (200, [])


def test_an_answer_carries_the_services_headers(client: httpx.Client) -> None:
    answer = ask(client)
    assert answer.headers["x-model-id"] == "shapes/1"
    assert answer.headers["x-model-cold-start"] == "false"
    assert answer.headers["x-model-cold-start-count"] == "0"
    assert "x-model-load-time" not in answer.headers
    assert answer.headers["x-inference-engine"] == "inference-models"
    assert answer.headers["x-workspace-id"] == "vedette"
    assert float(answer.headers["x-processing-time"]) >= answer.json()["time"] > 0
    assert answer.headers["x-request-id"] != ask(client).headers["x-request-id"]


def test_an_error_carries_its_processing_time_too(client: httpx.Client) -> None:
    for answer in (ask(client, params={}), ask(client, content=b"!"), client.get("/a/b/c", headers=BEARER)):
        assert answer.status_code >= 400
        assert float(answer.headers["x-processing-time"]) >= 0
        assert answer.headers["x-request-id"]


def test_the_official_clients_request_is_answered(shared: Emulator) -> None:
    target = (
        f"/shapes/1?api_key={KEY}&confidence=0.5&allow_reduced_mask_resolution=False&overlap=0.4"
        "&disable_active_learning=False"
    )
    body = BASE64
    request = (
        f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: python-requests/2.32\r\nAccept: */*\r\n"
        f"Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    port = int(shared.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=_LIMIT_S) as raw:
        for _ in range(2):  # the connection is kept
            raw.sendall(request)
            answer = b""
            while not answer.endswith(b"]}"):
                answer += raw.recv(65536)
            head, _, text = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert [one["class"] for one in json.loads(text)["predictions"]] == ["forklift"]


def test_a_get_is_answered_like_a_post(client: httpx.Client) -> None:
    answer = client.request("GET", "/shapes/1", params={"api_key": KEY}, content=BASE64, headers=FORM)
    assert len(answer.json()["predictions"]) == 1


# The key


def test_the_key_is_taken_from_the_query_or_from_a_bearer_header(client: httpx.Client) -> None:
    assert ask(client).status_code == 200
    assert ask(client, params={}, headers=FORM | BEARER).status_code == 200


def test_no_key_is_401_in_the_gates_words(client: httpx.Client) -> None:
    answer = ask(client, params={})
    assert (answer.status_code, answer.content) == (401, b'{"status":401,"message":"Unauthorized api_key"}')


def test_a_wrong_key_is_401(client: httpx.Client) -> None:
    expected = b'{"status":401,"message":"Unauthorized api_key. This key is not authorized for serverless inference."}'
    answer = ask(client, params={"api_key": "wrong"})
    assert (answer.status_code, answer.content) == (401, expected)
    assert ask(client, params={}, headers=FORM | {"authorization": "Bearer wrong"}).content == expected


def test_a_wrong_key_in_the_query_beats_the_right_one_in_the_header(client: httpx.Client) -> None:
    assert ask(client, params={"api_key": "wrong"}, headers=FORM | BEARER).status_code == 401


@pytest.mark.parametrize("header", [{"x-api-key": KEY}, {"authorization": KEY}, {"authorization": f"Basic {KEY}"}])
def test_other_headers_carry_no_key(client: httpx.Client, header: dict[str, str]) -> None:
    assert ask(client, params={}, headers=FORM | header).status_code == 401


def test_each_verdict_on_a_key_has_its_status(client: httpx.Client) -> None:
    poor, narrow, asleep = (ask(client, params={"api_key": key}) for key in ("poor", "narrow", "asleep"))
    assert [answer.status_code for answer in (poor, narrow, asleep)] == [402, 403, 423]
    assert poor.json()["status"] == 402
    assert "cannot currently spend credits" in poor.json()["message"]
    assert list(narrow.json()) == list(asleep.json()) == ["message"]


@pytest.mark.parametrize(("text", "word"), [("", "not KEY"), ("k=rich", "no_credits"), ("=ok", "not KEY")])
def test_a_key_that_is_none_is_a_sentence(text: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        keys.parse([text])


# The picture


@pytest.mark.parametrize("media_type", ["application/x-www-form-urlencoded", "application/json", "text/plain"])
def test_any_other_content_type_means_base64(client: httpx.Client, media_type: str) -> None:
    assert ask(client, headers={"content-type": media_type}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [b"data:image/jpeg;base64," + BASE64, base64.encodebytes(JPEG), BASE64 + b"\n"],
    ids=["data url", "lines", "newline at the end"],
)
def test_a_data_url_and_newlines_are_base64_too(client: httpx.Client, body: bytes) -> None:
    assert ask(client, content=body).json()["image"] == {"width": 640, "height": 360}


def test_a_part_called_file_is_a_picture(client: httpx.Client) -> None:
    answer = ask(client, content=None, headers={}, files={"file": ("a.jpg", JPEG, "image/jpeg")})
    assert answer.json()["image"] == {"width": 640, "height": 360}


def test_a_part_by_another_name_is_400(client: httpx.Client) -> None:
    answer = ask(client, content=None, headers={}, files={"image": ("a.jpg", JPEG, "image/jpeg")})
    assert answer.status_code == 400
    assert answer.json()["message"].endswith("parts: image")


def test_raw_jpeg_bytes_are_400(client: httpx.Client) -> None:
    answer = ask(client, content=JPEG, headers={"content-type": "image/jpeg"})
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("Could not load input image. Cause: ")


@pytest.mark.parametrize(
    "body",
    [b"", base64.urlsafe_b64encode(b"\xff\xfe\xfd" * 40), b"abc", base64.b64encode(b"no picture at all")],
    ids=["empty", "url-safe alphabet", "cut short", "not a picture"],
)
def test_what_is_no_picture_is_400(client: httpx.Client, body: bytes) -> None:
    answer = ask(client, content=body)
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("Could not load input image. Cause: ")


def test_a_missing_content_type_is_400(shared: Emulator) -> None:
    answer = wire(shared, raw_post(f"/shapes/1?api_key={KEY}"))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b'{"message":"Content-Type header not provided with request."}')


def test_a_picture_by_url_is_refused_with_the_reason(client: httpx.Client) -> None:
    answer = ask(client, params={"api_key": KEY, "image": "https://example.org/a.jpg"})
    assert answer.status_code == 400
    assert "fetches no URLs" in answer.json()["message"]


def test_one_thread_looks_at_all_pictures() -> None:
    engine = ScriptedEngine()
    with emulating(engine) as emulator, client_of(emulator) as client:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: ask(client).status_code, range(12)))
        assert engine.opened == 1
    assert answers == [200] * 12
    assert len(engine.sizes) == 12
    assert len(engine.threads) == 1
    assert engine.opened == 0


# The parameters


def classes(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [one["class"] for one in answer.json()["predictions"]]


@pytest.mark.parametrize(
    ("confidence", "found"),
    [
        ("0.3", ["forklift", "person"]),
        ("30", ["forklift", "person"]),
        ("0.4", ["forklift"]),
        ("40", ["forklift"]),
        ("90", []),
        ("0", ["forklift", "person"]),
        ("best", ["forklift"]),
    ],
)
def test_confidence_is_a_share_or_a_percentage(client: httpx.Client, confidence: str, found: list[str]) -> None:
    assert classes(ask(client, params={"api_key": KEY, "confidence": confidence})) == found


@pytest.mark.parametrize(("overlap", "count"), [("0.3", 1), ("30", 1), ("0.9", 2), ("90", 2)])
def test_overlap_decides_which_boxes_are_one_object(client: httpx.Client, overlap: str, count: int) -> None:
    assert classes(ask(client, params={"api_key": KEY, "overlap": overlap})) == ["forklift"] * count


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "0", "1e300"])
@pytest.mark.parametrize("name", ["confidence", "overlap"])
def test_strange_numbers_are_numbers_too(client: httpx.Client, name: str, value: str) -> None:
    assert len(classes(ask(client, params={"api_key": KEY, name: value}))) <= 3


@pytest.mark.parametrize(("most", "count"), [(0, 0), (1, 1), (2, 2), (50, 3)])
def test_max_detections_keeps_the_best(client: httpx.Client, most: int, count: int) -> None:
    wanted = {"api_key": KEY, "max_detections": most, "confidence": 0.1, "overlap": 0.9}
    assert classes(ask(client, params=wanted)) == ["forklift", "forklift", "person"][:count]


def test_unknown_parameters_and_the_class_filter_are_ignored(client: httpx.Client) -> None:
    wanted = {"api_key": KEY, "classes": "person", "class_filter": "person", "name": "a.jpg", "colour": "red"}
    assert classes(ask(client, params=wanted)) == ["forklift"]


def test_badly_typed_parameters_are_422_in_the_frameworks_words(client: httpx.Client) -> None:
    wanted = {"api_key": KEY, "overlap": "lots", "max_detections": "1.5", "labels": "maybe"}
    answer = ask(client, params=wanted)
    assert answer.status_code == 422
    assert answer.content == (
        b'{"detail":[{"type":"float_parsing","loc":["query","overlap"],"msg":"Input should be a valid number, unable '
        b'to parse string as a number","input":"lots"},{"type":"int_parsing","loc":["query","max_detections"],"msg":'
        b'"Input should be a valid integer, unable to parse string as an integer","input":"1.5"},{"type":'
        b'"bool_parsing","loc":["query","labels"],"msg":"Input should be a valid boolean, unable to interpret input",'
        b'"input":"maybe"}]}'
    )


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("format", "image", 501),
        ("format", "image_and_json", 501),
        ("format", "json", 200),
        ("countinference", "false", 500),
        ("image_type", "numpy", 400),
    ],
)
def test_what_is_not_there_is_said(client: httpx.Client, name: str, value: str, status: int) -> None:
    assert ask(client, params={"api_key": KEY, name: value}).status_code == status


# Paths and verbs


def test_another_project_or_version_is_404(client: httpx.Client) -> None:
    for path in ("/shapes/2", "/other/1", "/infer/object_detection"):
        answer = client.post(path, params={"api_key": KEY}, content=BASE64, headers=FORM)
        assert answer.status_code == 404
        assert answer.json()["message"].startswith("Requested Roboflow resource not found.")


def test_a_path_of_another_shape_is_404_in_the_frameworks_words(client: httpx.Client) -> None:
    answer = client.post("/a/b/c", params={"api_key": KEY}, content=BASE64, headers=FORM)
    assert (answer.status_code, answer.content) == (404, b'{"detail":"Not Found"}')


@pytest.mark.parametrize("verb", ["PUT", "DELETE", "PATCH", "HEAD"])
def test_another_verb_is_405_without_a_key(client: httpx.Client, verb: str) -> None:
    answer = client.request(verb, "/shapes/1")
    assert answer.status_code == 405
    assert answer.content == (b"" if verb == "HEAD" else b'{"detail":"Method Not Allowed"}')


def test_some_paths_need_no_key(client: httpx.Client) -> None:
    assert "vedette emulate" in client.get("/").text
    assert sorted(client.get("/info").json()) == ["name", "uuid", "version"]
    assert client.get("/healthz").json() == {"status": "healthy"}
    assert client.get("/readiness").json() == {"status": "ready"}
    assert client.post("/info").status_code == 405


# Limits


def test_a_body_over_the_limit_is_413_before_it_is_sent(shared: Emulator) -> None:
    head = f"POST /shapes/1?api_key={KEY} HTTP/1.1\r\nHost: x\r\nContent-Length: 20000001\r\n\r\n"
    port = int(shared.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=_LIMIT_S) as raw:
        raw.sendall(head.encode())
        answer = b""
        while not answer.endswith(b"}"):
            answer += raw.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b'{"message":"Request body is too large."}')


def test_a_body_without_a_length_is_413_when_it_grows_too_large() -> None:
    with emulating(max_body_bytes=10_000) as emulator, client_of(emulator) as client:
        chunked = ask(client, content=iter([b"A" * 4000] * 4))
        exact = ask(client, content=b"A" * 10_000)
        form = ask(client, content=None, headers={}, files={"file": ("a.jpg", b"A" * 11_000)})
    assert (chunked.status_code, exact.status_code, form.status_code) == (413, 400, 413)


@pytest.mark.parametrize("retry_after_s", [3.0, None])
def test_too_many_requests_are_429_until_time_has_passed(retry_after_s: float | None) -> None:
    clock = AheadClock()
    with (
        emulating(clock=clock, rate_limit_per_s=0.01, retry_after_s=retry_after_s) as emulator,
        client_of(emulator) as client,
    ):
        first, second = ask(client), ask(client)
        clock.ahead_s = 100.0
        third = ask(client)
    assert [answer.status_code for answer in (first, second, third)] == [200, 429, 200]
    assert second.headers.get("retry-after") == (None if retry_after_s is None else "3")
    assert list(second.json()) == ["message"]


# Time


def test_the_first_request_and_the_one_after_an_idle_time_start_the_model() -> None:
    clock = AheadClock()
    with emulating(clock=clock, cold_start_s=0.2, idle_unload_s=600) as emulator, client_of(emulator) as client:
        cold, warm = ask(client), ask(client)
        clock.ahead_s = 599.0
        kept = ask(client)
        clock.ahead_s = 1200.0
        again = ask(client)
    assert [answer.headers["x-model-cold-start"] for answer in (cold, warm, kept, again)] == [
        "true",
        "false",
        "false",
        "true",
    ]
    assert cold.headers["x-model-cold-start-count"] == "1"
    assert float(cold.headers["x-model-load-time"]) == 0.2
    assert json.loads(cold.headers["x-model-load-details"]) == [{"m": "shapes/1", "t": 0.2}]
    assert float(cold.headers["x-processing-time"]) >= 0.2
    assert cold.json()["time"] < 0.2


def test_requests_that_come_during_a_cold_start_wait_for_it() -> None:
    with (
        emulating(cold_start_s=0.3) as emulator,
        client_of(emulator) as client,
        concurrent.futures.ThreadPoolExecutor(3) as pool,
    ):
        answers = list(pool.map(lambda _: ask(client), range(3)))
    assert sorted(answer.headers["x-model-cold-start"] for answer in answers) == ["false", "false", "true"]
    assert all(answer.elapsed.total_seconds() >= 0.2 for answer in answers)


def test_server_time_is_billed_but_is_not_the_models() -> None:
    with emulating(server_s=0.2, server_spread=0.0) as emulator, client_of(emulator) as client:
        answer = ask(client)
    assert float(answer.headers["x-processing-time"]) >= 0.2
    assert answer.json()["time"] < 0.2


def test_server_time_spreads_around_its_mean_the_same_way_for_the_same_seed() -> None:
    def draws(seed: int) -> list[float]:
        timing = ServerTiming(cold_start_s=0, idle_unload_s=1, server_s=0.3, spread=0.5, seed=seed)
        model = HostedModel(ScriptedEngine(), AheadClock(), timing)
        return [model._extra_s() for _ in range(4000)]

    assert draws(1) == draws(1) != draws(2)
    assert statistics.fmean(draws(1)) == pytest.approx(0.3, rel=0.05)
    assert statistics.median(draws(1)) < 0.3


def test_a_slow_upload_is_not_billed() -> None:
    plan = schedule.parse("own=1mbit/20ms")
    with emulating(schedule=plan) as emulator, client_of(emulator) as client:
        answer = ask(client)
    assert answer.elapsed.total_seconds() > len(BASE64) * 8 / 1e6
    assert float(answer.headers["x-processing-time"]) < len(BASE64) * 8 / 1e6 / 2


@pytest.mark.alone
def test_no_answer_waits_for_a_delayed_acknowledgement(client: httpx.Client) -> None:
    # Linux delays one by 40 ms, and Nagle's algorithm would wait for it in every single request.
    # It delays none of a connection's first ones.
    times_s = [ask(client).elapsed.total_seconds() for _ in range(40)]
    assert min(times_s[20:]) < 0.03


def test_an_engine_that_breaks_is_500_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(ScriptedEngine):
        def infer(self, frame: Any, give_up_s: float) -> Any:  # noqa: ARG002 - as the engine's
            raise EngineBroken("the tensor is bent")

    with (
        caplog.at_level(logging.ERROR, "agent"),
        emulating(Broken()) as emulator,
        client_of(emulator) as client,
    ):
        answer = ask(client)
    assert (answer.status_code, answer.content) == (500, b'{"message":"Internal error."}')
    assert "the tensor is bent" in caplog.text


# Faults


@pytest.mark.parametrize("status", replies.STATUSES)
def test_any_status_can_be_asked_for(status: int) -> None:
    fault = faults.parse(f"status:{status}:retry_after_s=3")
    with emulating(fault=fault) as emulator, client_of(emulator) as client:
        answer = ask(client)
    assert (answer.status_code, answer.headers["retry-after"]) == (status, "3")
    assert float(answer.headers["x-processing-time"]) >= 0
    if status in {502, 504}:
        assert answer.headers["content-type"].startswith("text/html")
        assert str(status) in answer.text
    else:
        assert answer.json()["message"]
        assert answer.json().get("status") == (status if status in {401, 402} else None)


def test_a_delay_comes_before_the_usual_answer() -> None:
    with emulating(fault=faults.parse("delay:0.3")) as emulator, client_of(emulator) as client:
        answer = ask(client)
    assert classes(answer) == ["forklift"]
    assert answer.elapsed.total_seconds() >= 0.3


def test_a_drip_gives_the_whole_answer_byte_by_byte() -> None:
    with emulating(fault=faults.parse("drip:0.004")) as emulator:
        port = int(emulator.url.rsplit(":", 1)[1])
        begun_s, pieces = time.monotonic(), list[bytes]()
        with socket.create_connection(("127.0.0.1", port), timeout=_LIMIT_S) as raw:
            raw.sendall(raw_post("/info"))
            while data := raw.recv(65536):
                pieces.append(data)
        taken_s = time.monotonic() - begun_s
    answer = b"".join(pieces)
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert answer.endswith(b'{"detail":"Method Not Allowed"}')
    assert len(pieces) > len(answer) / 8, "only bytes that come while the reader sleeps are read together"
    assert taken_s >= len(answer) * 0.004


def test_a_reset_breaks_the_answer_in_the_middle() -> None:
    with emulating(fault=faults.parse("reset")) as emulator:
        port = int(emulator.url.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=_LIMIT_S) as raw:
            raw.sendall(raw_post(f"/shapes/1?api_key={KEY}", BASE64, "Content-Type: text/plain"))
            answer = until_reset(raw)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert body.startswith(b'{"inference_id"')
        assert not body.endswith(b"}")
        with client_of(emulator) as client, pytest.raises(httpx.ReadError):
            ask(client)


def test_a_blackhole_takes_the_request_and_says_nothing() -> None:
    with emulating(fault=faults.parse("blackhole")) as emulator:
        with client_of(emulator, timeout_s=0.4) as client, pytest.raises(httpx.ReadTimeout):
            ask(client)
        state = httpx.get(f"{emulator.url}/emulator/state").json()
        assert state["body_bytes_received"] == len(BASE64)
        assert state["answers"] == {}


def test_a_captive_portal_answers_html_with_status_200() -> None:
    with emulating(fault=faults.parse("captive_portal")) as emulator, client_of(emulator) as client:
        answer = ask(client)
        assert client.get("/info").text == answer.text
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "<html>" in answer.text


def test_bad_json_ends_too_early() -> None:
    with emulating(fault=faults.parse("bad_json")) as emulator, client_of(emulator) as client:
        answer = ask(client)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    with pytest.raises(ValueError, match=r"delimiter|Expecting"):
        answer.json()


def test_a_fault_for_some_requests_ends_by_itself_and_is_counted() -> None:
    with emulating() as emulator, client_of(emulator) as client:
        set_to = client.put("/emulator/fault", json={"kind": "status", "status": 503, "requests": 2}).json()
        answers = [ask(client).status_code for _ in range(3)]
        state = client.get("/emulator/state").json()
    assert set_to["fault"] == {"kind": "status", "status": 503, "requests": 2}
    assert answers == [503, 503, 200]
    assert (state["fault"], state["faults"]) == (None, {"status": 2})
    assert (state["requests"], state["answers"]) == (3, {"200": 1, "503": 2})


def test_a_fault_stays_until_it_is_taken_away() -> None:
    with emulating() as emulator, client_of(emulator) as client:
        client.put("/emulator/fault", json={"kind": "status", "status": 429, "retry_after_s": 2, "requests": None})
        answers = [ask(client) for _ in range(3)]
        assert client.delete("/emulator/fault").json()["fault"] is None
        assert ask(client).status_code == 200
    assert {(answer.status_code, answer.headers["retry-after"]) for answer in answers} == {(429, "2")}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("slow", "delay, drip"),
        ("delay", "needs its seconds"),
        ("delay:x", "not a number"),
        ("delay:-1", "above 0"),
        ("reset:3", "takes no seconds"),
        ("status", "needs its number"),
        ("status:418", "there are 400"),
        ("reset:retry_after_s=3", "takes no retry_after_s"),
        ("reset:colour=3", "has no colour"),
        ("reset:requests=1.5", "whole number"),
    ],
)
def test_a_fault_that_is_none_says_what_would_be(text: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        faults.parse(text)


def test_a_fault_is_read_from_one_word() -> None:
    assert faults.parse("status:429:retry_after_s=3") == Fault(Kind.STATUS, status=429, retry_after_s=3)
    assert faults.parse("delay:2.0:requests=5") == Fault(Kind.DELAY, seconds=2, requests=5)
    box = FaultBox(faults.parse("blackhole:requests=1"))
    assert (box.take(), box.take()) == (Fault(Kind.BLACKHOLE, requests=1), None)


# Control


@pytest.mark.parametrize("body", ["no json", "[]", '{"kind":"slow"}', '{"kind":"delay","seconds":"1"}'])
def test_a_wrong_fault_by_http_is_400_with_a_sentence(client: httpx.Client, body: str) -> None:
    answer = client.put("/emulator/fault", content=body)
    assert answer.status_code == 400
    assert answer.json()["message"]
    assert client.get("/emulator/state").json()["fault"] is None


def test_the_link_is_set_and_shown_by_http() -> None:
    with emulating(schedule=schedule.parse("fair")) as emulator, client_of(emulator) as client:
        before = client.get("/emulator/state").json()["link"]
        after = client.put("/emulator/link", json={"rate_mbit_s": None, "rtt_ms": 0}).json()["link"]
        assert client.put("/emulator/link", json={"rtt": 0}).status_code == 400
    assert (before["phase"], before["rate_mbit_s"], before["rtt_ms"]) == ("fair", 3, 90)
    assert (after["phase"], after["rate_mbit_s"], after["rtt_ms"]) == ("by hand", None, 0)


def test_the_control_port_answers_in_an_outage() -> None:
    with emulating(schedule=schedule.parse("dead")) as emulator:
        with client_of(emulator, timeout_s=0.3) as client, pytest.raises(httpx.TimeoutException):
            ask(client)
        with httpx.Client(base_url=emulator.control_url, timeout=_LIMIT_S) as control:
            assert control.get("/emulator/state").json()["link"]["outage"] is True
            control.put("/emulator/link", json={"outage": False})
        with client_of(emulator) as client:
            assert classes(ask(client)) == ["forklift"]


def test_the_link_can_be_reset_by_http() -> None:
    with emulating(fault=faults.parse("blackhole")) as emulator:
        port = int(emulator.url.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=_LIMIT_S) as raw:
            raw.sendall(raw_post("/info"))
            end_s = time.monotonic() + _LIMIT_S
            while httpx.get(f"{emulator.control_url}/emulator/state").json()["requests"] == 0:
                assert time.monotonic() < end_s
            httpx.put(f"{emulator.control_url}/emulator/link", json={"reset": True})
            with pytest.raises(ConnectionResetError):
                raw.recv(16)


def test_on_a_public_address_control_is_refused_through_the_link() -> None:
    with emulating(host="0.0.0.0", allow_remote=True) as emulator:  # noqa: S104 - what is tested
        port = emulator.url.rsplit(":", 1)[1]
        answer = httpx.put(f"http://127.0.0.1:{port}/emulator/fault", json={"kind": "reset"})
        direct = httpx.get(f"{emulator.control_url}/emulator/state")
    assert (answer.status_code, direct.status_code) == (403, 200)
    assert direct.json()["fault"] is None


# Settings


def settings_of(*words: str) -> EmulatorSettings:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.settings_from(parser.parse_args(words))


def test_the_command_line_gives_the_defaults_of_the_record() -> None:
    assert settings_of() == EmulatorSettings()


def test_who_gets_the_weights_gets_the_answers_of_the_same_model() -> None:
    assert settings_of("--weights", "m.onnx").model == "m.onnx"
    assert settings_of("--weights", "m.onnx", "--model", "other.tflite").model == "other.tflite"


def test_every_option_arrives_in_its_setting() -> None:
    words = (
        "--host ::1 --port 0 --control-port 1234 --model a.tflite --project blocks/7 --key a --key b=paused "
        "--cold-start-s 2 --idle-unload-s 60 --server-ms 80 --rate-limit-per-s 5 --fault delay:1 --link good:3,dead:2 "
        "--once"
    )
    assert settings_of(*words.split()) == EmulatorSettings(
        host="::1",
        port=0,
        control_port=1234,
        model="a.tflite",
        project="blocks/7",
        keys=keys.parse(["a", "b=paused"]),
        cold_start_s=2,
        idle_unload_s=60,
        server_s=0.08,
        rate_limit_per_s=5,
        fault=Fault(Kind.DELAY, seconds=1),
        schedule=schedule.parse("good:3,dead:2", once=True),
    )


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"host": "0.0.0.0"}, "this machine alone"),  # noqa: S104 - what is refused
        ({"host": "example.org"}, "this machine alone"),
        ({"port": 70000}, "--port is 70000; give 0 to 65535"),
        ({"project": "shapes"}, "PROJECT/VERSION"),
        ({"project": "emulator/1"}, "PROJECT/VERSION"),
        ({"cold_start_s": -1}, "--cold-start-s is -1; give 0 or more"),
        ({"rate_limit_per_s": 0}, "--rate-limit-per-s is 0; give a number above 0"),
        ({"server_s": float("nan")}, "--server-ms is nan"),
        ({"server_s": -0.005}, "--server-ms is -5; give 0 or more"),
    ],
)
def test_a_wrong_setting_is_a_sentence(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        EmulatorSettings(**changes)


def test_all_wrong_settings_are_said_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        EmulatorSettings(port=-1, project="x", cold_start_s=-1)
    assert len(caught.value.problems) == 3


def test_a_port_that_is_taken_is_a_clear_error_and_frees_the_engine(shared: Emulator) -> None:
    engine = ScriptedEngine()
    port = int(shared.url.rsplit(":", 1)[1])
    with (
        pytest.raises(ConfigError, match=f"port {port}: Address already in use; choose another"),
        emulating(engine, port=port),
    ):
        pass
    assert engine.opened == 0


def test_an_engine_that_cannot_be_opened_ends_the_start_and_is_closed() -> None:
    class Unopenable(ScriptedEngine):
        def open(self) -> None:
            super().open()
            raise EngineBroken("no such model")

    engine = Unopenable()
    with pytest.raises(EngineBroken, match="no such model"), emulating(engine):
        pass
    assert engine.opened == 0


def test_after_the_end_nobody_listens() -> None:
    with emulating() as emulator:
        urls = (emulator.url, emulator.control_url)
    for url in urls:
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/info")


def test_ipv6_loopback_is_served() -> None:
    with emulating(host="::1") as emulator, client_of(emulator) as client:
        assert emulator.url.startswith("http://[::1]:")
        assert classes(ask(client)) == ["forklift"]
