"""The webhook sink against real receivers on the loopback."""

import base64
import gc
import hashlib
import hmac
import json
import logging
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from canary import MARK, secret
from fakes import FakeClock
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from real import broker as world
from webhook_receiver import Answer, Receiver, Request, receiving, scripted_port

from agent import logs
from agent.clock import Clock, SystemClock
from agent.errors import Cause, ConfigError, SinkUnavailable
from agent.flow import Delivery, Kind, Outcome
from agent.ports import Context
from agent.sinks import webhook
from agent.sinks._webhook_signature import message_id
from agent.sinks._webhook_words import Reply, is_page

KEY_TEXT = "whsec_" + secret("x" * 24)
KEY = base64.b64decode(KEY_TEXT.removeprefix("whsec_"))
HTML = Answer(200, (("Content-Type", "text/html; charset=utf-8"),), b"<!DOCTYPE html><html><body>Sign in</body></html>")
OK, KEPT, REJECTED = Outcome.ACCEPTED, Outcome.KEPT, Outcome.REJECTED


def batch(count: int, *, start: int = 0) -> list[Delivery]:
    ids = [f"porch/door/boot/{seq}/0" for seq in range(start, start + count)]
    return [Delivery(each, "door", json.dumps({"id": each}).encode()) for each in ids]


def options(port: int = 1, **more: Any) -> webhook.Options:
    return webhook.Options.model_validate({"type": "webhook", "url": f"http://127.0.0.1:{port}/hook", **more})


@contextmanager
def opened(port: int, folder: Path = Path(), clock: Clock | None = None, **more: Any) -> Iterator[webhook.Webhook]:
    sink = webhook.build(options(port, **more), Context("porch", clock or SystemClock(), folder, folder))
    assert isinstance(sink, webhook.Webhook)
    try:
        sink.open()
        yield sink
    finally:
        sink.close()


def open_and_close(folder: Path = Path(), **more: Any) -> None:
    with opened(1, folder, **more):
        pass


def ids_in(request: Request) -> list[str]:
    found = json.loads(request.body)
    return [each["id"] for each in found] if isinstance(found, list) else [found["id"]]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


# What is sent


def test_a_result_is_the_body_of_a_post_with_its_id_and_the_time_in_the_headers(receiver: Receiver) -> None:
    clock = FakeClock()
    with opened(receiver.port, clock=clock) as sink:
        assert sink.send(batch(2)) == [OK, OK]
    first, second = receiver.requests
    assert first.path == "/hook"
    assert first.body == batch(1)[0].body
    assert first.headers["content-type"] == "application/json"
    assert first.headers["user-agent"].startswith("vedette/")
    assert first.headers["webhook-id"] == "porch/door/boot/0/0"
    assert second.headers["webhook-id"] == "porch/door/boot/1/0"
    assert first.headers["webhook-timestamp"] == "1800000000"
    assert "webhook-signature" not in first.headers


def test_one_connection_is_kept_and_the_one_that_open_made_is_the_first(receiver: Receiver) -> None:
    with opened(receiver.port) as sink:
        for start in range(3):
            sink.send(batch(2, start=start))
    assert len(receiver.requests) == 6
    assert receiver.accepted == 1


def test_opening_sends_nothing(receiver: Receiver) -> None:
    with opened(receiver.port) as sink:
        assert sink.send([]) == []
    assert receiver.requests == []


def test_a_batch_is_one_json_array_even_of_one(receiver: Receiver) -> None:
    with opened(receiver.port, batch=3) as sink:
        assert sink.send(batch(7)) == [OK] * 7
    assert [len(json.loads(request.body)) for request in receiver.requests] == [3, 3, 1]
    assert [each for request in receiver.requests for each in ids_in(request)] == [each.id for each in batch(7)]


def test_a_batch_that_is_sent_again_has_the_same_id_and_another_one_another(receiver: Receiver) -> None:
    receiver.answers.extend([Answer(503), Answer(), Answer()])
    with opened(receiver.port, batch=3) as sink:
        with pytest.raises(SinkUnavailable):
            sink.send(batch(3))
        sink.send(batch(3))
        sink.send(batch(3, start=1))
    first, again, other = (request.headers["webhook-id"] for request in receiver.requests)
    assert first == again != other
    assert first.startswith("batch_")


@given(st.text(min_size=1))
def test_any_id_becomes_a_header_without_the_full_stop_that_parts_what_is_signed(text: str) -> None:
    name = message_id([text.encode("utf-8", "replace").decode()])
    assert name.isascii()
    assert name.isprintable()
    assert not set(name) & set(". ")


@pytest.mark.parametrize(
    ("what", "kinds"),
    [("results", {Kind.RESULT}), ("events", {Kind.EVENT}), ("both", {Kind.RESULT, Kind.EVENT})],
)
def test_what_is_sent_is_what_was_asked_for(what: str, kinds: set[Kind]) -> None:
    assert options(what=what).kinds == kinds


def test_headers_are_added_with_their_secrets(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_AUTH", f"Bearer {secret()}\n")
    headers = {"X-Site": "north", "Authorization": {"env": "HOOK_AUTH"}, "User-Agent": "mine"}
    with opened(receiver.port, tmp_path, headers=headers) as sink:
        sink.send(batch(1))
    (request,) = receiver.requests
    assert [request.headers[name] for name in ("x-site", "authorization", "user-agent")] == [
        "north",
        f"Bearer {secret()}",
        "mine",
    ]


def test_a_receivers_cookies_are_not_kept_and_its_encoding_is_not_undone(receiver: Receiver) -> None:
    receiver.answers.append(Answer(200, (("Set-Cookie", "a=b"), ("Content-Encoding", "gzip")), b"no gzip"))
    with opened(receiver.port) as sink:
        assert sink.send(batch(2)) == [OK, OK]
    assert "cookie" not in receiver.requests[1].headers
    assert receiver.requests[1].headers["accept-encoding"] == "identity"


# The signature


def verified(request: Request, key: bytes) -> bool:
    """By the words of the specification, and by none of the agent's code."""
    signed = b".".join(
        (request.headers["webhook-id"].encode(), request.headers["webhook-timestamp"].encode(), request.body)
    )
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return f"v1,{expected}" in request.headers["webhook-signature"].split(" ")


@pytest.mark.parametrize("size", [1, 5])
def test_the_signature_is_that_of_standard_webhooks(receiver: Receiver, tmp_path: Path, size: int) -> None:
    (tmp_path / "key").write_text(KEY_TEXT + "\n")
    with opened(receiver.port, tmp_path, secret={"file": "key"}, batch=size) as sink:
        sink.send(batch(5))
    assert all(verified(request, KEY) for request in receiver.requests)
    assert not any(verified(request, KEY[::-1]) for request in receiver.requests)


def test_the_timestamp_is_that_of_the_attempt(receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY_TEXT)
    clock = FakeClock()
    with opened(receiver.port, tmp_path, clock, secret={"file": "key"}) as sink:
        sink.send(batch(1))
        clock.wall_s += 60.5
        sink.send(batch(1))
    assert [request.headers["webhook-timestamp"] for request in receiver.requests] == ["1800000000", "1800000060"]
    assert all(verified(request, KEY) for request in receiver.requests)


def test_while_the_key_is_changed_both_keys_sign(receiver: Receiver, tmp_path: Path) -> None:
    other = bytes(24)
    (tmp_path / "key").write_text(f"{KEY_TEXT}\nwhsec_{base64.b64encode(other).decode()}\n")
    with opened(receiver.port, tmp_path, secret={"file": "key"}) as sink:
        sink.send(batch(1))
    (request,) = receiver.requests
    assert verified(request, KEY)
    assert verified(request, other)


def test_the_specifications_own_example_is_reproduced() -> None:
    from agent.sinks._webhook_signature import signed_headers

    # From the tests of the specification's Python library.
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', wall_s=1614265330.9, keys=(key,))
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("text", [secret(), f"whsec_{MARK}", "whsec_" + MARK * 25, f"{KEY_TEXT} {secret()}"])
def test_a_key_that_no_receiver_could_use_is_a_mistake_that_is_never_repeated(text: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(text)
    with (
        pytest.raises(ConfigError, match="make one with: echo whsec_") as caught,
        opened(1, tmp_path, secret={"file": "key"}),
    ):
        pass
    assert MARK[:4] not in str(caught.value)


# What a receiver answers


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_2xx_means_that_it_was_taken(receiver: Receiver, status: int) -> None:
    receiver.answers.append(Answer(status))
    with opened(receiver.port) as sink:
        assert sink.send(batch(1)) == [OK]


@pytest.mark.parametrize(
    ("status", "words", "cause"),
    [
        (401, "check secret and headers", Cause.AUTH),
        (403, "the receiver's access list", Cause.AUTH),
        (404, "nothing at this address \\(404\\); check url", Cause.NOT_FOUND),
        (405, "takes no POST", Cause.NOT_FOUND),
        (407, "proxies are not supported", Cause.AUTH),
        (410, "give a new url, or remove the sink", Cause.NOT_FOUND),
        (408, "it is sent again", Cause.TIMEOUT),
        (409, "answers a repeated webhook-id with 200", Cause.SERVER),
        (415, "check url, headers and what it expects", Cause.BAD_REQUEST),
        (425, "is not ready", Cause.SERVER),
        (429, "limits the rate", Cause.RATE_LIMITED),
        (500, "failed with status 500", Cause.SERVER),
        (502, "failed with status 502", Cause.SERVER),
        (503, "failed with status 503", Cause.SERVER),
        (599, "failed with status 599", Cause.SERVER),
        (511, "sign in to the network", Cause.CAPTIVE_PORTAL),
    ],
)
def test_what_may_pass_or_a_person_can_mend_is_kept_with_what_to_do(
    receiver: Receiver, status: int, words: str, cause: Cause
) -> None:
    receiver.answers.append(Answer(status, body=b'{"error":\n "because"}'))
    with opened(receiver.port) as sink:
        with pytest.raises(SinkUnavailable, match=words) as caught:
            sink.send(batch(3))
        assert caught.value.cause is cause
        assert caught.value.least_pause_s == (60 if status in {401, 403, 404, 405, 407, 410} else 0)
        assert str(caught.value).startswith(f"127.0.0.1:{receiver.port} ")
        assert str(caught.value).endswith('; it says: {"error": "because"}')
        assert len(receiver.requests) == 1
        assert sink.send(batch(3)) == [OK] * 3


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_the_receiver_will_never_take_is_rejected_and_others_go_on(
    receiver: Receiver, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers.extend([Answer(), Answer(status, body=b"no such camera"), Answer()])
    with opened(receiver.port) as sink, caplog.at_level(logging.WARNING):
        assert sink.send(batch(3)) == [OK, REJECTED, OK]
        receiver.answers.append(Answer(status))
        assert sink.send(batch(1, start=3)) == [REJECTED]
    assert f"id=porch/door/boot/1/0 status={status}; it says: no such camera" in caplog.text


@pytest.mark.parametrize("size", [1, 10])
def test_a_receiver_that_never_took_anything_is_taken_for_the_wrong_one_and_nothing_is_lost(
    receiver: Receiver, size: int
) -> None:
    receiver.answers.extend([Answer(400, body=b"invalid_payload")] * 4)
    with opened(receiver.port, batch=size) as sink:
        with pytest.raises(SinkUnavailable, match=r"has taken nothing yet.*check url, batch and.*invalid_payload"):
            sink.send(batch(3))
        sink.close()
        sink.open()
        receiver.answers.clear()
        receiver.usual = lambda _: Answer()
        assert sink.send(batch(3)) == [OK] * 3


def test_a_refused_batch_is_sent_one_by_one_to_find_what_is_refused_in_it() -> None:
    def usual(request: Request) -> Answer:
        return Answer(400 if "porch/door/boot/2/0" in ids_in(request) else 200)

    with receiving(usual=usual) as picky, opened(picky.port, batch=4) as sink:
        assert sink.send(batch(8)) == [OK, OK, REJECTED, OK, OK, OK, OK, OK]
        assert [len(ids_in(request)) for request in picky.requests] == [4, 1, 1, 1, 1, 4]
        assert sink.send(batch(4, start=8)) == [OK] * 4
        assert len(picky.requests) == 7


def test_what_was_refused_together_still_goes_alone_when_there_is_no_time_left() -> None:
    clock = FakeClock()

    def usual(request: Request) -> Answer:
        clock.advance(3)
        return Answer(413 if len(ids_in(request)) > 1 else 200)

    with receiving(usual=usual) as slow, opened(slow.port, clock=clock, batch=4) as sink:
        assert sink.send(batch(2)) == [KEPT, KEPT]
        assert sink.send(batch(2)) == [OK, KEPT]
        assert sink.send(batch(2, start=1)) == [OK, KEPT]


def test_what_came_before_a_failure_counts_and_the_failure_is_told_before_anything_is_sent_again(
    receiver: Receiver,
) -> None:
    receiver.answers.extend([Answer(), Answer(), Answer(429, (("Retry-After", "17"),))])
    with opened(receiver.port) as sink:
        assert sink.send(batch(5)) == [OK, OK, KEPT, KEPT, KEPT]
        with pytest.raises(SinkUnavailable, match="limits the rate") as caught:
            sink.send(batch(3, start=2))
        assert caught.value.least_pause_s == 17
        assert len(receiver.requests) == 3
        assert sink.send(batch(3, start=2)) == [OK] * 3


def test_a_receiver_that_is_slow_is_not_given_more_than_it_can_take_in_two_seconds() -> None:
    clock = FakeClock()

    def usual(_request: Request) -> Answer:
        clock.advance(0.5)
        return Answer()

    with receiving(usual=usual) as slow, opened(slow.port, clock=clock) as sink:
        assert sink.send(batch(9)) == [OK] * 4 + [KEPT] * 5


# Retry-After


@pytest.mark.parametrize(
    ("headers", "least_s"),
    [
        ({"Retry-After": "120"}, 120),
        ({"Retry-After": "999999999"}, 3600),
        ({"Retry-After": "-5"}, 0),
        ({"Retry-After": "soon"}, 0),
        ({"Retry-After": "1e9"}, 0),
        ({}, 0),
    ],
)
def test_retry_after_is_the_least_pause_up_to_an_hour(
    receiver: Receiver, headers: dict[str, str], least_s: float
) -> None:
    receiver.answers.append(Answer(503, tuple(headers.items())))
    with opened(receiver.port) as sink, pytest.raises(SinkUnavailable) as caught:
        sink.send(batch(1))
    assert caught.value.least_pause_s == least_s
    assert SinkUnavailable("another").least_pause_s == 0


def test_a_date_in_retry_after_counts_from_the_receivers_own_date(receiver: Receiver) -> None:
    # http.server sends the Date itself, by this machine's clock; the agent's is years away.
    until = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=100), usegmt=True)
    receiver.answers.append(Answer(503, (("Retry-After", until),)))
    with opened(receiver.port, clock=FakeClock()) as sink, pytest.raises(SinkUnavailable) as caught:
        sink.send(batch(1))
    assert 95 <= caught.value.least_pause_s <= 100


# Captive portals and redirects


@pytest.mark.parametrize(
    ("location", "words", "cause"),
    [
        ("http://portal.example/login?token=hunter2", "redirects to portal.example", Cause.CAPTIVE_PORTAL),
        ("/hunter2", "redirects to another address of its own", Cause.NOT_FOUND),
        ("http://[", "redirects to nowhere", Cause.CAPTIVE_PORTAL),
    ],
)
def test_a_redirect_is_not_followed_and_nothing_is_lost(
    receiver: Receiver, location: str, words: str, cause: Cause
) -> None:
    statuses = (301, 302, 303, 307, 308)
    receiver.answers.extend(Answer(status, (("Location", location),)) for status in statuses)
    for sent, _ in enumerate(statuses, start=1):
        with opened(receiver.port) as sink, pytest.raises(SinkUnavailable, match=words) as caught:
            sink.send(batch(1))
        assert caught.value.cause is cause
        assert "not followed; put the final address into url" in str(caught.value)
        assert "hunter2" not in str(caught.value)
        assert len(receiver.requests) == sent


def test_a_web_page_is_not_the_receivers_answer_unless_that_is_configured(receiver: Receiver) -> None:
    receiver.answers.extend([HTML, HTML])
    with opened(receiver.port) as sink, pytest.raises(SinkUnavailable, match="set accept_html: true") as caught:
        sink.send(batch(1))
    assert caught.value.cause is Cause.CAPTIVE_PORTAL
    with opened(receiver.port, accept_html=True) as sink:
        assert sink.send(batch(1)) == [OK]


@pytest.mark.parametrize(
    ("kind", "body", "page"),
    [
        ("text/html; charset=utf-8", b"ok", False),  # Flask's and PHP's default
        ("text/html", b"", False),
        ("text/plain", b"ok", False),
        ("application/json", b'{"ok": true}', False),
        ("application/xml", b'<?xml version="1.0"?><Response/>', False),  # an answer to Twilio's fashion
        ("", b"<head-count>3</head-count>", False),
        ("text/html", b"<script>location='/login'</script>", True),
        ("text/html", b"\xef\xbb\xbf\r\n <META http-equiv=refresh>", True),
        ("", b"<HTML>", True),
        ("application/octet-stream", b"\n<!doctype  html>", True),
    ],
)
def test_a_page_is_told_from_an_ordinary_receivers_answer(kind: str, body: bytes, page: bool) -> None:
    assert is_page(Reply(200, {"content-type": kind}, body)) is page


# Receivers that fail


def drip(connection: socket.socket, over: threading.Event, head: bytes) -> None:
    connection.recv(65536)
    connection.sendall(head)
    while not over.wait(0.05):
        connection.sendall(b"x")


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nX-Long: ", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"], ids=["head", "body"]
)
def test_a_receiver_that_drips_ends_by_the_timeout(head: bytes) -> None:
    def script(connection: socket.socket, over: threading.Event) -> None:
        drip(connection, over, head)

    with scripted_port(script) as port, opened(port, timeout_s=0.4) as sink:
        begun_s = time.monotonic()
        with pytest.raises(SinkUnavailable, match="did not answer in time; is it up") as caught:
            sink.send(batch(3))
        assert 0.35 < time.monotonic() - begun_s < 2
        assert caught.value.cause is Cause.TIMEOUT


def hang(_connection: socket.socket, over: threading.Event) -> None:
    over.wait()


@pytest.mark.parametrize("size_bytes", [10, 30_000_000], ids=["small", "more than the system's buffers"])
def test_a_receiver_that_hangs_ends_by_the_timeout(size_bytes: int) -> None:
    big = Delivery("a", "door", b'"' + b"x" * size_bytes + b'"')
    with scripted_port(hang) as port, opened(port, timeout_s=0.4) as sink:
        begun_s = time.monotonic()
        with pytest.raises(SinkUnavailable, match="in time") as caught:
            sink.send([big])
        assert time.monotonic() - begun_s < 2
        assert caught.value.cause is Cause.TIMEOUT


def test_the_longest_send_stays_below_twenty_seconds() -> None:
    longest_s = max(limit.le for limit in webhook.Options.model_fields["timeout_s"].metadata if hasattr(limit, "le"))
    assert webhook._WINDOW_S + longest_s < 20


def reset(connection: socket.socket, start: bytes) -> None:
    connection.recv(65536)
    connection.sendall(start)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize(
    "start", [b"", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"], ids=["before", "head", "body"]
)
def test_a_connection_that_is_reset_in_the_middle_of_an_answer_keeps_the_result(start: bytes) -> None:
    with scripted_port(lambda connection, _: reset(connection, start)) as port, opened(port) as sink:
        with pytest.raises(SinkUnavailable, match=r"broke \(.*\); it is tried again") as caught:
            sink.send(batch(1))
        assert caught.value.cause is Cause.NETWORK


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"\x15\x03\x01\x00\x02\x02\x46"])
def test_what_does_not_speak_http_is_no_receiver(answer: bytes) -> None:
    def script(connection: socket.socket, _over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(answer)

    with scripted_port(script) as port, opened(port) as sink, pytest.raises(SinkUnavailable, match=r"; it is tried"):
        sink.send(batch(1))


def test_an_answer_that_comes_before_the_whole_request_counts() -> None:
    big = Delivery("a", "door", b'"' + b"x" * 30_000_000 + b'"')

    def script(connection: socket.socket, _over: threading.Event) -> None:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 429 Slow down\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n")

    with scripted_port(script) as port, opened(port, timeout_s=5) as sink, pytest.raises(SinkUnavailable) as caught:
        sink.send([big])
    assert caught.value.cause is Cause.RATE_LIMITED
    assert caught.value.least_pause_s == 9


def test_an_endless_answer_is_read_no_further_than_its_beginning() -> None:
    sent = []

    def script(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")
        while not over.is_set():
            sent.append(connection.send(bytes(65536)))

    with scripted_port(script) as port, opened(port, timeout_s=5) as sink:
        assert sink.send(batch(1)) == [OK]
    assert sum(sent) < 50_000_000


def test_a_receiver_that_closes_after_each_answer_is_given_a_new_connection_each_time() -> None:
    closed = threading.Semaphore(0)

    def script(connection: socket.socket, _over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        connection.close()
        closed.release()

    with scripted_port(script) as port, opened(port) as sink:
        for start in range(5):
            assert sink.send(batch(1, start=start)) == [OK]
            assert closed.acquire(timeout=5)


def test_a_kept_connection_that_the_receiver_has_closed_is_not_used_again(receiver: Receiver) -> None:
    with opened(receiver.port) as sink:
        assert sink.send(batch(1)) == [OK]
        receiver.stop()
        receiver.start()
        assert sink.send(batch(1, start=1)) == [OK]


def test_nobody_listens(receiver: Receiver) -> None:
    receiver.stop()
    with pytest.raises(SinkUnavailable, match="does the receiver run, on this port") as caught, opened(receiver.port):
        pass
    assert caught.value.cause is Cause.CONNECT


def test_a_name_without_address_is_a_matter_of_dns() -> None:
    sink = opened(1, url="http://receiver.invalid/hook")
    with pytest.raises(SinkUnavailable, match="check url, and the network's DNS") as caught, sink:
        pass
    assert caught.value.cause is Cause.DNS


def test_nothing_stays_open_after_a_close(receiver: Receiver) -> None:
    def sockets() -> int:
        gc.collect()
        links = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.exists()]  # noqa: PTH115
        return sum(link.startswith("socket:") for link in links)

    threads = threading.active_count()
    receiver.stop()
    before = sockets()
    receiver.start()
    for _ in range(5):
        with opened(receiver.port):
            pass
        with opened(receiver.port) as sink:
            sink.send(batch(2))
    receiver.stop()
    assert sockets() == before
    assert threading.active_count() <= threads


# TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> world.Certificates:
    if "openssl" in world.MISSING:
        pytest.skip(world.REASON)
    return world.make_certificates(tmp_path_factory.mktemp("tls"))


def serving(certificates: world.Certificates) -> AbstractContextManager[Receiver]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    return receiving(tls=context)


def test_over_tls_with_the_right_ca_results_arrive_over_one_connection(certificates: world.Certificates) -> None:
    with serving(certificates) as receiver:
        with opened(1, url=f"https://localhost:{receiver.port}/x?y=1", ca_file=str(certificates.ca)) as sink:
            assert sink.send(batch(3)) == [OK] * 3
        assert [request.path for request in receiver.requests] == ["/x?y=1"] * 3
        assert receiver.requests[0].headers["host"] == f"localhost:{receiver.port}"
        assert receiver.accepted == 1


def test_a_certificate_from_an_unknown_ca_is_refused_and_says_which_key_to_set(
    certificates: world.Certificates,
) -> None:
    with serving(certificates) as receiver, pytest.raises(SinkUnavailable, match="set ca_file to the") as caught:
        open_and_close(url=f"https://localhost:{receiver.port}/")
    assert caught.value.cause is Cause.TLS
    assert receiver.requests == []


def test_a_certificate_for_another_name_is_refused(certificates: world.Certificates) -> None:
    with serving(certificates) as receiver, pytest.raises(SinkUnavailable, match="for another name; check url"):
        open_and_close(url=f"https://127.0.0.1:{receiver.port}/", ca_file=str(certificates.ca))


def test_without_verification_any_certificate_will_do(certificates: world.Certificates) -> None:
    with serving(certificates) as receiver:
        address = f"https://127.0.0.1:{receiver.port}/"
        with opened(1, url=address, verify=False) as sink:
            assert sink.send(batch(1)) == [OK]


def test_a_receiver_without_tls_behind_https_says_so(receiver: Receiver) -> None:
    with pytest.raises(SinkUnavailable, match="should url be http://") as caught:
        open_and_close(url=f"https://127.0.0.1:{receiver.port}/")
    assert caught.value.cause is Cause.TLS


def test_a_receiver_that_hangs_in_the_handshake_ends_by_the_timeout() -> None:
    with scripted_port(hang) as port, pytest.raises(SinkUnavailable, match="in time"):
        open_and_close(url=f"https://127.0.0.1:{port}/", timeout_s=0.3)


def test_a_ca_file_that_is_none_is_a_mistake_in_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ca_file"), opened(1, tmp_path, url="https://localhost/", ca_file="absent"):
        pass


# What is never shown

PATH, QUERY, WORD = secret("path"), secret("query"), secret("word")


def test_the_address_may_come_from_a_secret_and_nothing_of_it_but_the_host_is_shown(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "url").write_text(f"http://127.0.0.1:{receiver.port}/hooks/{PATH}?token={QUERY}\n")
    echo = f"Cannot POST /hooks/{PATH}?token={QUERY}; /hooks/{PATH}; token={QUERY}; {QUERY}; Bearer {WORD}; {WORD}"
    (tmp_path / "auth").write_text(f"Bearer {WORD}")
    receiver.answers.append(Answer(404, body=echo.encode()))
    more = {"url": {"file": "url"}, "headers": {"Authorization": {"file": "auth"}}}
    with caplog.at_level(logging.DEBUG), opened(1, tmp_path, **more) as sink:
        with pytest.raises(SinkUnavailable, match="Cannot POST") as caught:
            sink.send(batch(1))
        shown = repr(sink)
        sink.send(batch(1))
    assert [request.path for request in receiver.requests] == [f"/hooks/{PATH}?token={QUERY}"] * 2
    told = str(caught.value) + shown + logs.redact(caplog.text)
    assert f"127.0.0.1:{receiver.port}" in shown
    assert MARK not in told


def test_an_address_in_the_file_shows_no_more_than_its_host_either() -> None:
    made = options(url="https://hooks.example/services/hunter2?token=swordfish")
    sink = webhook.build(made, Context("porch", SystemClock(), Path(), Path()))
    told = f"{made!r} {made.target} {sink!r}"
    assert "hooks.example" in made.target
    assert "hunter2" not in told
    assert "swordfish" not in told


@pytest.mark.parametrize(
    "more",
    [
        {"url": "https://user:hunter2@host/"},
        {"url": "https://hunter2@host/"},
        {"url": "hunter2"},
        {"url": "ftp://host/hunter2"},
        {"secret": "hunter2"},
        {"headers": {"Authorization": "Bearer hunter2"}},
        {"headers": {"X-Api-Key": "hunter2"}},
        {"headers": {"X-Token": "hunter2"}},
        {"headers": {"X-A": "hunter2\r\nX-B: 1"}},
        {"headers": {"X-A": 5}},
        {"headers": {"bad name": "x"}},
        {"headers": {"Content-Length": "5"}},
        {"headers": {"Webhook-Id": "5"}},
        {"url": "http://host/", "ca_file": "x"},
        {"url": "http://host/", "verify": False},
        {"batch": 0},
        {"batch": 101},
        {"timeout_s": 16},
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        options(**more)


def test_mistakes_in_a_file_never_repeat_what_may_be_secret() -> None:
    from agent import config, document

    for line in (
        "url: 'https://user:hunter2@host/'",
        "url: 'http//hunter2@host/'",
        "url: 'https://h/', headers: {Authorization: hunter2}",
        "url: 'https://h/', secret: hunter2",
    ):
        text = "cameras: [{name: a, source: {type: synthetic}}]\nengines: {local: {type: tflite, model: m}}\nsinks:\n"
        text += f"  - {{type: webhook, {line}}}\n"
        with pytest.raises(ConfigError) as caught:
            config.validate(document.parse(text, name="f.yaml"))
        (problem,) = caught.value.problems
        assert problem.startswith("f.yaml:4: sinks[0].")
        assert "hunter2" not in problem


@pytest.mark.parametrize(
    "url", ["hunter2", "http//hunter2", "", 5, None, [], {}, {"env": "A", "file": "b"}, {"url": "hunter2"}]
)
def test_an_address_that_is_none_is_one_mistake_that_says_what_is_allowed(url: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        options(url=url)
    (problem,) = caught.value.errors()
    assert problem["msg"].startswith("give an address, https://HOST/PATH, or a reference")


@pytest.mark.parametrize("text", [f"nonsense {MARK}", f"https://user:{MARK}@host/", f"ftp://{MARK}/"])
def test_a_secret_that_holds_no_address_is_named_and_not_repeated(text: str, tmp_path: Path) -> None:
    (tmp_path / "url").write_text(text)
    with pytest.raises(ConfigError, match=r"\{file: url\}") as caught, opened(1, tmp_path, url={"file": "url"}):
        pass
    assert MARK[:4] not in str(caught.value)


def test_a_header_that_its_secret_cannot_be_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "auth").write_text(f"Bearer {secret('ü')}")
    with pytest.raises(ConfigError, match="cannot be the header Authorization") as caught:
        open_and_close(tmp_path, headers={"Authorization": {"file": "auth"}})
    assert MARK not in str(caught.value)


def test_two_sinks_are_told_apart_by_address_and_by_what_they_are_sent() -> None:
    one, other = options(url="http://h/a"), options(url="http://h/b")
    assert len({one.target, other.target, options(url="http://h/a", what="events").target}) == 3
    assert one.target == options(url="http://h/a", batch=5).target
