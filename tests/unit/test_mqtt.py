import contextlib
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeClock
from pydantic import ValidationError

from agent.clock import SystemClock
from agent.errors import Cause, SinkTakenOver, SinkUnavailable
from agent.flow import Delivery, Outcome
from agent.ports import Context
from agent.sinks import mqtt
from agent.sinks._mqtt_announcer import Announcer
from agent.sinks._mqtt_discovery import Discovery, _id
from agent.sinks._mqtt_topics import Topics
from agent.states import Direction, State, Subject

CONNECT, PUBLISH, SUBSCRIBE = 0x10, 0x30, 0x80
CONNACK_OK = b"\x20\x03\x00\x00\x00"
BATCH = [Delivery("a", "door", b"{}"), Delivery("b", "door", b"{}")]


class _Conversation(socketserver.StreamRequestHandler):
    """Speaks just enough MQTT 5 to give the answers that the test wants."""

    timeout = 5.0
    server: "_Scripted"

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self._talk()

    def _talk(self) -> None:
        while header := self.rfile.read(1):
            body = self.rfile.read(self._length())
            self.server.heard.append(header + body)
            kind = header[0] & 0xF0
            if kind == CONNECT:
                self.wfile.write(self.server.connack)
            elif kind == PUBLISH:
                self._answer(body)
            elif kind == SUBSCRIBE:
                self.wfile.write(b"\x90\x04" + body[:2] + b"\x00" + bytes([self.server.to_subscribe]))

    def _length(self) -> int:
        length = shift = 0
        while (byte := self.rfile.read(1)[0]) & 0x80:
            length |= (byte & 0x7F) << shift
            shift += 7
        return length | byte << shift

    def _answer(self, body: bytes) -> None:
        topic_end = 2 + int.from_bytes(body[:2], "big")
        packet_id = body[topic_end : topic_end + 2]
        if body[2:topic_end].endswith(b"/available"):
            self.wfile.write(b"\x40\x02" + packet_id)
        else:
            self.wfile.write(self.server.to_result.replace(b"ID", packet_id))


class _Scripted(socketserver.ThreadingTCPServer):
    """Waits for its conversations to end when the block that uses it ends."""

    def __init__(self, connack: bytes, to_result: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.connack = connack
        self.to_result = to_result
        self.to_subscribe = 1
        self.heard: list[bytes] = []


@contextmanager
def scripted(connack: bytes = CONNACK_OK, to_result: bytes = b"\x40\x02ID") -> Iterator[_Scripted]:
    with _Scripted(connack, to_result) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(5)


def sink_for(server: _Scripted, **options: Any) -> mqtt.Mqtt:
    settings = {"type": "mqtt", "host": "127.0.0.1", "port": server.server_address[1], "protocol": "5", **options}
    context = Context("porch", SystemClock(), Path(), Path())
    sink = mqtt.build(mqtt.Options.model_validate(settings), context)
    assert isinstance(sink, mqtt.Mqtt)
    return sink


def puback(code: int) -> bytes:
    return b"\x40\x04ID" + bytes([code, 0])


@pytest.mark.parametrize(
    ("code", "outcome"),
    [(0x00, Outcome.ACCEPTED), (0x10, Outcome.ACCEPTED), (0x90, Outcome.REJECTED), (0x99, Outcome.REJECTED)],
)
def test_a_result_ends_as_its_acknowledgement_says(code: int, outcome: Outcome) -> None:
    with scripted(to_result=puback(code)) as server:
        sink = sink_for(server)
        sink.open()
        try:
            assert sink.send(BATCH) == [outcome] * 2
        finally:
            sink.close()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0x80, "takes nothing on vedette/porch/door/results now: Unspecified error"),
        (0x83, "takes nothing on vedette/porch/door/results now: Implementation specific error"),
        (0x87, "allow the topic in the broker's access list"),
        (0x91, "takes nothing on vedette/porch/door/results now: Packet identifier in use"),
        (0x97, "takes nothing on vedette/porch/door/results now: Quota exceeded"),
    ],
)
def test_results_that_may_be_taken_later_are_kept_and_the_reason_is_said_once(
    code: int, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    with scripted(to_result=puback(code)) as server:
        sink = sink_for(server)
        sink.open()
        try:
            assert sink.send(BATCH) == [Outcome.KEPT] * 2
            assert sink.send(BATCH) == [Outcome.KEPT] * 2
        finally:
            sink.close()
    assert caplog.text.count(words) == 1


@pytest.mark.parametrize(
    ("code", "words", "cause"),
    [
        (0x85, "refuses the connection: Client identifier not valid", Cause.CONNECT),
        (0x86, "refuses the user name or password", Cause.AUTH),
        (0x87, r"\(not authorised\); check username and password", Cause.AUTH),
        (0x88, "refuses the connection: Server unavailable", Cause.CONNECT),
        (0x9A, "refuses the connection: Retain not supported", Cause.CONNECT),
    ],
)
def test_a_refused_connection_says_why(code: int, words: str, cause: Cause) -> None:
    with scripted(connack=bytes([0x20, 3, 0, code, 0])) as server:
        sink = sink_for(server)
        with pytest.raises(SinkUnavailable, match=words) as caught:
            sink.open()
        sink.close()
    assert caught.value.cause is cause


@pytest.mark.parametrize(
    ("code", "words", "cause"),
    [
        (0x8B, "ended: Server shutting down", Cause.NETWORK),
        (0x8E, "give every agent a client_id of its own", Cause.NETWORK),
        (0x87, "ended: Not authorized", Cause.AUTH),
    ],
)
def test_a_connection_that_the_broker_ends_says_why(code: int, words: str, cause: Cause) -> None:
    reason_string = b"\x04\x1f\x00\x01x"
    with scripted(to_result=b"\xe0\x06" + bytes([code]) + reason_string) as server:
        sink = sink_for(server)
        sink.open()
        try:
            with pytest.raises(SinkUnavailable, match=words) as caught:
                sink.send(BATCH)
        finally:
            sink.close()
    assert caught.value.cause is cause


def test_a_client_of_the_same_name_is_an_error_of_its_own_with_a_long_pause() -> None:
    with scripted(to_result=b"\xe0\x01\x8e") as server:
        sink = sink_for(server)
        sink.open()
        with pytest.raises(SinkTakenOver, match="another client with the same client_id") as caught:
            sink.send(BATCH)
        with pytest.raises(SinkTakenOver):
            sink.send([])
        sink.close()
    assert caught.value.least_pause_s >= 60


class _OldBroker(_Conversation):
    """Knows MQTT 3.1.1 only, unless `versions` says otherwise, and answers any login of it with `login`."""

    server: "_OldServer"

    def _talk(self) -> None:
        self.rfile.read(1)
        body = self.rfile.read(self._length())
        version = body[6]
        self.server.asked.append(version)
        known = version in self.server.versions
        if version == 5:
            self.wfile.write(b"\x20\x03\x00" + (b"\x86" if known else b"\x84") + b"\x00")
        else:
            self.wfile.write(b"\x20\x02\x00" + (b"\x05" if known else b"\x01"))
        self.rfile.read(1)


class _OldServer(socketserver.ThreadingTCPServer):
    def __init__(self, *versions: int) -> None:
        super().__init__(("127.0.0.1", 0), _OldBroker)
        self.versions = versions
        self.asked: list[int] = []
        """The versions of the connections that came: 4 is MQTT 3.1.1."""


@contextmanager
def old_broker(*versions: int) -> Iterator[_OldServer]:
    """Refuses every login; of other versions than these it says that it does not know them."""
    with _OldServer(*versions) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(5)


class _LaterClock(SystemClock):
    ahead_s = 0.0

    def now(self) -> float:
        return super().now() + self.ahead_s


def refused_sink(server: _OldServer, clock: SystemClock) -> mqtt.Mqtt:
    settings = {"type": "mqtt", "host": "127.0.0.1", "port": server.server_address[1], "protocol": "auto"}
    sink = mqtt.build(mqtt.Options.model_validate(settings), Context("porch", clock, Path(), Path()))
    assert isinstance(sink, mqtt.Mqtt)
    return sink


def refusal(sink: mqtt.Mqtt) -> SinkUnavailable:
    with pytest.raises(SinkUnavailable) as caught:
        sink.open()
    sink.close()
    return caught.value


def test_a_login_that_an_old_broker_refuses_costs_one_connection_an_attempt_after_the_first() -> None:
    with old_broker(4) as server:
        sink = refused_sink(server, SystemClock())
        causes = [refusal(sink).cause for _ in range(5)]
        assert server.asked == [5, 4, 4, 4, 4, 4]
    assert causes == [Cause.AUTH] * 5


def test_an_old_broker_is_asked_for_mqtt_5_again_after_a_day_in_an_attempt_of_its_own() -> None:
    clock = _LaterClock()
    with old_broker(4) as server:
        sink = refused_sink(server, clock)
        refusal(sink)
        clock.ahead_s = 86_401.0
        assert "does not know MQTT 5; MQTT 3.1.1 is next" in str(refusal(sink))
        refusal(sink)
        refusal(sink)
        assert server.asked == [5, 4, 5, 4, 4]


def test_a_broker_that_knows_mqtt_3_1_1_no_more_is_asked_for_5_with_the_next_attempt() -> None:
    with old_broker(4) as server:
        sink = refused_sink(server, SystemClock())
        refusal(sink)
        server.versions = (5,)
        refusal(sink)
        assert refusal(sink).cause is Cause.AUTH
        assert server.asked == [5, 4, 4, 5]


def test_a_broker_of_neither_version_has_one_connection_an_attempt_after_the_first() -> None:
    with old_broker() as server:
        sink = refused_sink(server, SystemClock())
        for _ in range(4):
            refusal(sink)
        assert server.asked == [5, 4, 5, 4, 5]


def test_nobody_is_told_stopped_when_the_connection_failed() -> None:
    with scripted(to_result=b"") as server:
        sink = sink_for(server, ack_timeout_s=0.2)
        sink.open()
        with pytest.raises(SinkUnavailable):
            sink.send(BATCH)
        sink.close()
    assert not [packet for packet in server.heard if packet.endswith(b"stopped") or packet[0] == 0xE0]


def test_a_clean_end_says_stopped_and_then_disconnect() -> None:
    with scripted() as server:
        sink = sink_for(server)
        sink.open()
        sink.close()
    assert server.heard[-2].endswith(b"stopped")
    assert server.heard[-1][0] == 0xE0


def test_a_result_that_waits_for_its_acknowledgement_is_published_once() -> None:
    with scripted(to_result=b"") as server:
        sink = sink_for(server, ack_timeout_s=0.2)
        sink.open()
        with pytest.raises(SinkUnavailable, match="did not answer within"):
            sink.send(BATCH)
        with pytest.raises(SinkUnavailable, match="did not answer within"):
            sink.send(BATCH)
        sink.close()
    assert len([packet for packet in server.heard if packet.endswith(b"{}")]) == 2


@pytest.mark.parametrize(
    ("receive_maximum", "in_flight", "at_once"), [(3, 20, 3), (1000, 20, 20), (1000, 45, 45), (30, 2, 2)]
)
def test_no_more_is_on_the_wire_than_broker_and_owner_want_at_once(
    receive_maximum: int, in_flight: int, at_once: int
) -> None:
    connack = b"\x20\x06\x00\x00\x03\x21" + receive_maximum.to_bytes(2, "big")
    with scripted(connack, to_result=b"") as server:
        sink = sink_for(server, ack_timeout_s=0.3, in_flight=in_flight)
        sink.open()
        with pytest.raises(SinkUnavailable):
            sink.send([Delivery(str(number), "door", b"{}") for number in range(50)])
        assert f"{at_once} not acknowledged" in repr(sink)
        sink.close()
    assert len([packet for packet in server.heard if packet.endswith(b"{}")]) == at_once


def test_a_birth_topic_that_may_not_be_read_is_said_once_and_the_rest_works(caplog: pytest.LogCaptureFixture) -> None:
    with scripted() as server:
        server.to_subscribe = 0x87
        sink = sink_for(server, home_assistant={})
        sink.open()
        sink.show([])
        for _ in range(3):
            assert sink.send(BATCH) == [Outcome.ACCEPTED] * 2
        sink.close()
    assert caplog.text.count("does not let this user read homeassistant/status (Not authorized (0x87)); allow it") == 1


def test_a_birth_message_is_answered_at_a_time_of_our_own_without_sleeping() -> None:
    clock = FakeClock()
    topics = Topics("vedette/porch")
    announcer = Announcer(Discovery("porch", topics, "homeassistant"), "homeassistant/status", clock)
    announcer.begin()
    assert announcer.due() is None
    announcer.note([])
    assert announcer.due() is not None
    waits = []
    for _ in range(20):
        announcer.hear(b"online")
        begun_s = clock.now()
        while announcer.due() is None:
            announcer.hear(b"online")
            clock.advance(0.1)
        waits.append(clock.now() - begun_s)
    assert 2 < max(waits) <= 5.2
    assert min(waits) < 2
    for word in (b"offline", None):
        announcer.hear(word)
        clock.advance(60)
        assert announcer.due() is None


def test_sending_nothing_is_nothing() -> None:
    with scripted() as server:
        sink = sink_for(server)
        sink.open()
        assert sink.send([]) == []
        sink.close()


def test_sending_before_open_says_so() -> None:
    with scripted() as server:
        sink = sink_for(server)
        with pytest.raises(SinkUnavailable, match="there is no connection to 127"):
            sink.send(BATCH)
        sink.close()


def test_characters_that_mqtt_keeps_for_itself_are_replaced_in_a_cameras_name() -> None:
    with scripted() as server:
        sink = sink_for(server, topic_prefix="site/7")
        sink.open()
        assert sink.send([Delivery("a", "a/b+c#", b"{}")]) == [Outcome.ACCEPTED]
        sink.close()
    assert any(b"site/7/a_b_c_/results" in packet for packet in server.heard)


@pytest.mark.parametrize(
    ("settings", "port"),
    [({}, 1883), ({"tls": {}}, 8883), ({"websockets": {}}, 80), ({"websockets": {}, "tls": {}}, 443)],
)
def test_the_default_port_depends_on_what_is_spoken(settings: dict[str, Any], port: int) -> None:
    options = mqtt.Options.model_validate({"type": "mqtt", "host": "broker", **settings})
    sink = mqtt.build(options, Context("porch", SystemClock(), Path(), Path()))
    assert f"broker:{port} closed" in repr(sink)


@pytest.mark.parametrize("value", [5, "5"])
def test_the_protocol_may_be_written_with_or_without_quotes(value: object) -> None:
    assert mqtt.Options.model_validate({"type": "mqtt", "host": "b", "protocol": value}).protocol == "5"


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ({"host": ""}, "at least 1 character"),
        ({"password": "s3cret", "username": "me"}, "reference"),
        ({"password": {"env": "P"}}, "a password needs a username"),
        ({"topic_prefix": "a/#"}, "has no"),
        ({"topic_prefix": "/a"}, "neither begins nor ends with /"),
        ({"topic_prefix": ""}, "is not empty"),
        ({"protocol": 4}, "'auto', '5' or '3.1.1'"),
        ({"qos": 0}, "Extra inputs"),
        ({"tls": {"insecure": True}}, "Extra inputs"),
        ({"tls": {"client_key": "k.pem"}}, "need a client_certificate"),
        ({"tls": {"client_certificate": "c.pem", "client_key_password": "s3cret"}}, "reference"),
        ({"tls": {"min_version": 1.1}}, "'1.2' or '1.3'"),
        ({"websockets": {"path": "mqtt"}}, "begins with /"),
        ({"home_assistant": {"birth_topic": "ha/#"}}, "has no"),
        ({"home_assistant": {}, "states": False}, "home_assistant shows states"),
        ({"in_flight": 0}, "greater than or equal to 1"),
        ({"in_flight": 1001}, "less than or equal to 1000"),
        ({"message_expiry_s": 2**32}, "at most 4294967295"),
        ({"user_properties": {"id": "x"}}, "take another name"),
        ({"user_properties": {"site\n": "x"}}, "control character"),
    ],
)
def test_a_mistake_in_the_options_is_named(mistake: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        mqtt.Options.model_validate({"type": "mqtt", "host": "broker", **mistake})


# Zones and lines


INSIDE = State(Subject.ZONE, b"2", "yard/1", "traffic light", "door")
CROSSED = State(Subject.LINE, b"7", "yard/1", place="gate", direction=Direction.OUT)


def test_counts_of_zones_and_lines_have_topics_below_their_camera() -> None:
    topics = Topics("site/7")
    assert topics.of(INSIDE) == "site/7/yard_1/zones/door/traffic light"
    assert topics.of(CROSSED) == "site/7/yard_1/lines/gate/out"
    assert topics.of(State(Subject.COUNT, b"1", "yard", "zones")) == "site/7/yard/zones_"
    message = topics.state(CROSSED)
    assert (message.body, message.retain) == (b"7", True)


def test_home_assistant_is_told_of_zones_as_occupancy_and_of_lines_as_totals() -> None:
    topics = Topics("v/porch")
    discovery = Discovery("porch", topics, "homeassistant")
    assert discovery.note([INSIDE, CROSSED, State(Subject.COUNT, b"1", "yard/1", "door")])
    assert not discovery.note([replace(INSIDE, body=b"0"), replace(CROSSED, body=b"8")])
    entities = json.loads(discovery.message().body)["components"]
    yard = _id("yard/1")
    zone, light = f"{yard}-zone-door", _id("traffic light")
    assert {key for key in entities if key.endswith(("count", "occupancy")) or "line" in key} == {
        f"{yard}-door-count",
        f"{yard}-door-occupancy",
        f"{zone}-{light}-count",
        f"{zone}-{light}-occupancy",
        f"{yard}-line-gate-out",
    }
    count = entities[f"{zone}-{light}-count"]
    assert (count["name"], count["state_class"]) == ("yard/1 door traffic light count", "measurement")
    assert count["state_topic"] == entities[f"{zone}-{light}-occupancy"]["state_topic"] == topics.of(INSIDE)
    total = entities[f"{yard}-line-gate-out"]
    assert (total["name"], total["state_class"]) == ("yard/1 gate out", "total_increasing")
    assert total["state_topic"] == topics.of(CROSSED)
    assert len({entity["unique_id"] for entity in entities.values()}) == len(entities)
