"""What goes over the wire: properties, versions, websockets, and a network thread that dies."""

import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from real import broker as world
from real.broker import Broker, wait_until
from real.mqtt_sinks import (
    AVAILABLE,
    RESULTS,
    Shifted,
    Sinks,
    deliveries,
    health,
    network_threads,
    received,
    refused,
    status,
)

from agent.errors import Cause, SinkUnavailable
from agent.flow import Delivery, Kind, Outcome
from agent.sinks import mqtt

pytestmark = pytest.mark.skipif(bool(world.MISSING), reason=world.REASON)
RECORD = b'{"schema":"vedette.result/1","id":"porch/door/boot/1/0"}'


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path / "plain").start()
    yield broker
    broker.stop()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Sinks]:
    with Sinks(tmp_path) as sinks:
        yield sinks


# Properties


def test_a_result_says_whose_it_is_what_it_holds_and_how_long_it_lasts(plain: Broker, make: Sinks) -> None:
    sink = make(plain.port, message_expiry_s=90, user_properties={"site": "north", "größe": "ü €"})
    with plain.subscribe(RESULTS) as subscriber:
        sink.open()
        assert sink.send([Delivery("porch/door/boot/1/0", "door", RECORD)]) == [Outcome.ACCEPTED]
        wait_until(lambda: subscriber.messages() != [], "the result")
        properties = subscriber.messages()[0].properties
    assert properties["user-properties"] == {
        "site": "north",
        "größe": "ü €",
        "id": "porch/door/boot/1/0",
        "schema": "vedette.result/1",
    }
    assert properties["content-type"] == "application/json"
    assert 85 <= properties["message-expiry-interval"] <= 90


def test_by_default_nothing_expires_and_states_never_do(plain: Broker, make: Sinks) -> None:
    lasting, passing = make(plain.port), make(plain.port, client_id="another", message_expiry_s=90)
    with plain.subscribe("vedette/#") as subscriber:
        lasting.open()
        lasting.send(deliveries(1))
        passing.open()
        passing.show([health(), status("door")])
        wait_until(lambda: len(subscriber.messages()) >= 5, "five messages")
        assert not [message for message in subscriber.messages() if "message-expiry-interval" in message.properties]


def test_states_carry_the_owners_properties_and_the_last_will_does_too(plain: Broker, make: Sinks) -> None:
    sink = make(plain.port, user_properties={"site": "north"})
    with plain.subscribe("vedette/#") as subscriber:
        sink.open()
        sink.show([health(), status("door")])
        post = sink._post
        assert post is not None
        post.session.end(politely=False)
        wait_until(lambda: subscriber.texts(AVAILABLE) == ["online", "offline"], "the last will")
        carried = {(m.topic, m.text): m.properties["user-properties"] for m in subscriber.messages()}
    assert carried.pop(("vedette/porch/health", '{"schema": "vedette.health/1"}'))["schema"] == "vedette.health/1"
    assert set(map(str, carried.values())) == {str({"site": "north"})}


def test_with_mqtt_3_1_1_the_same_goes_without_properties(plain: Broker, make: Sinks) -> None:
    sink = make(plain.port, protocol="3.1.1", message_expiry_s=90, user_properties={"site": "north"})
    with plain.subscribe("vedette/#") as subscriber:
        sink.open()
        assert sink.send([Delivery("a", "door", RECORD)]) == [Outcome.ACCEPTED]
        sink.show([health()])
        wait_until(lambda: len(subscriber.messages()) == 3, "all three")
        assert not any(message.properties for message in subscriber.messages())


def test_results_and_events_go_to_topics_of_their_own_and_both_are_acknowledged(plain: Broker, make: Sinks) -> None:
    sink = make(plain.port)
    batch = [Delivery("1", "door", b'{"id": "1"}'), Delivery("2", "door", b'{"id": "2"}', Kind.EVENT)]
    with plain.subscribe("vedette/porch/door/#") as subscriber:
        sink.open()
        assert sink.send(batch) == [Outcome.ACCEPTED] * 2
        wait_until(lambda: len(subscriber.messages()) == 2, "both")
        assert [(m.topic, m.text, m.qos, m.retained) for m in subscriber.messages()] == [
            (RESULTS, '{"id": "1"}', 1, False),
            ("vedette/porch/door/events", '{"id": "2"}', 1, False),
        ]


def test_it_asks_for_results_and_events() -> None:
    assert mqtt.Options(type="mqtt", host="b").kinds == {Kind.RESULT, Kind.EVENT}


@pytest.mark.parametrize(("in_flight", "protocol"), [(1, "5"), (7, "5"), (100, "5"), (100, "3.1.1")])
def test_any_window_delivers_all_in_order(plain: Broker, make: Sinks, in_flight: int, protocol: str) -> None:
    sink = make(plain.port, in_flight=in_flight, protocol=protocol)
    with plain.subscribe(RESULTS) as subscriber:
        sink.open()
        assert sink.send(deliveries(300)) == [Outcome.ACCEPTED] * 300
        wait_until(lambda: len(received(subscriber)) >= 300, "300 results")
        assert received(subscriber) == [delivery.id for delivery in deliveries(300)]


# Versions


def test_a_version_that_worked_is_remembered_so_that_a_reconnect_is_one_connection(plain: Broker, make: Sinks) -> None:
    with world.without_mqtt5(plain, bytes.fromhex("2003008400")) as gate:
        sink = make(gate.port)
        sink.open()
        assert gate.connections == 2
        for reconnects in (1, 2, 3):
            sink.close()
            sink.open()
            assert gate.connections == 2 + reconnects
        assert sink.send(deliveries(1)) == [Outcome.ACCEPTED]
        sink.close()


def test_a_broker_that_was_renewed_is_found_to_know_mqtt_5_within_a_day(plain: Broker, tmp_path: Path) -> None:
    clock = Shifted()
    with world.without_mqtt5(plain, bytes.fromhex("2003008400")) as gate, Sinks(tmp_path, clock) as make:
        sink = make(gate.port)
        sink.open()
        sink.close()
        gate.refusal = None
        sink.open()
        sink.close()
        assert "(p5," not in plain.log()
        clock.shift_s = 86_400.0
        sink.open()
        assert "as vedette-porch (p5," in plain.log()


# A network thread that dies


@pytest.fixture
def dying_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exception that ends a thread is expected, and nobody keeps it: it would keep the thread's sockets."""
    monkeypatch.setattr(threading, "excepthook", lambda _: None)


@pytest.mark.usefixtures("dying_quietly")
def test_a_dead_network_thread_is_a_lost_connection_and_a_new_one_takes_its_place(plain: Broker, make: Sinks) -> None:
    sink = make(plain.port)
    sink.open()
    kill_the_network_thread(sink)
    with pytest.raises(SinkUnavailable, match="is lost"):
        sink.send([])
    sink.close()
    sink.open()
    with plain.subscribe(RESULTS) as subscriber:
        assert sink.send(deliveries(3)) == [Outcome.ACCEPTED] * 3
        wait_until(lambda: len(received(subscriber)) == 3, "three results")
    assert len(network_threads()) == 1


@pytest.mark.usefixtures("dying_quietly")
def test_a_network_thread_that_dies_while_results_are_on_the_wire_is_noticed_at_once(
    plain: Broker, make: Sinks
) -> None:
    sink = make(plain.port, ack_timeout_s=20)
    sink.open()
    _client(sink).on_publish = _fault
    with pytest.raises(SinkUnavailable, match="is lost"):
        sink.send(deliveries(30))
    sink.close()
    sink.open()
    assert sink.send(deliveries(30)) == [Outcome.ACCEPTED] * 30


@pytest.mark.usefixtures("dying_quietly")
def test_dead_network_threads_leave_no_descriptor_and_the_last_will_speaks(plain: Broker, make: Sinks) -> None:
    sink = make(plain.port)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - iterdir would hold a descriptor of its own
    with plain.subscribe(AVAILABLE) as subscriber:
        for times in range(1, 6):
            sink.open()
            kill_the_network_thread(sink)
            sink.close()
            wait_until(lambda: subscriber.texts(AVAILABLE).count("offline") == times, "the last will")  # noqa: B023
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208 - as above


def _client(sink: mqtt.Mqtt) -> Any:
    assert sink._post is not None
    return sink._post.session._client


def _fault(*_: object) -> None:
    raise RuntimeError("a fault in a callback")


def kill_the_network_thread(sink: mqtt.Mqtt) -> None:
    """A callback of paho's raises in it, as a fault of ours or the library's would."""
    thread = next(thread for thread in threading.enumerate() if thread.name.startswith("paho"))
    _client(sink).on_publish = _fault
    _client(sink).publish("vedette/porch/last-words", b"", 1)
    thread.join(15)
    assert not thread.is_alive()


# Websockets


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[Broker, int]]:
    port = world.free_port()
    broker = Broker(tmp_path / "web", settings=(f"listener {port} 127.0.0.1", "protocol websockets"))
    try:
        broker.start()
    except AssertionError as error:
        if "Websockets support" in str(error):
            pytest.skip("this Mosquitto was built without websockets")
        raise
    yield broker, port
    broker.stop()


def test_the_same_works_inside_a_websocket(web: tuple[Broker, int], make: Sinks) -> None:
    broker, port = web
    sink = make(port, websockets={})
    with broker.subscribe("vedette/#") as subscriber:
        sink.open()
        assert sink.send(deliveries(300, padding=800)) == [Outcome.ACCEPTED] * 300
        sink.show([status("door")])
        sink.close()
        wait_until(lambda: subscriber.texts(AVAILABLE) == ["online", "stopped"], "stopped")
        assert received(subscriber) == [delivery.id for delivery in deliveries(300)]
    assert network_threads() == []


def test_a_websocket_goes_over_tls_as_well(tmp_path: Path, make: Sinks) -> None:
    port, certificates = world.free_port(), world.make_certificates(tmp_path / "ca")
    more = (f"certfile {certificates.certificate}", f"keyfile {certificates.key}")
    broker = Broker(tmp_path / "b", settings=(f"listener {port} 127.0.0.1", "protocol websockets", *more)).start()
    try:
        sink = make(port, websockets={"path": "/mqtt"}, tls={"ca_file": str(certificates.ca)})
        sink.open()
        assert sink.send(deliveries(50)) == [Outcome.ACCEPTED] * 50
        sink.close()
        assert refused(make(port, websockets={}, tls={})).cause is Cause.TLS
        error = refused(make(port, websockets={}))
        assert "if this is its TLS port, set tls" in str(error)
    finally:
        broker.stop()


def test_a_port_without_websockets_is_a_clear_error_and_leaves_nothing_behind(plain: Broker, make: Sinks) -> None:
    error = refused(make(plain.port, websockets={}))
    assert error.cause is Cause.CONNECT
    assert f"localhost:{plain.port} does not speak MQTT over websockets at /mqtt" in str(error)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - iterdir would hold a descriptor of its own
    for _ in range(5):
        refused(make(plain.port, websockets={}))
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208 - as above


def test_a_web_server_that_stays_silent_is_a_timeout(make: Sinks) -> None:
    with world.silent_port() as port:
        assert refused(make(port, websockets={}, connect_timeout_s=0.3)).cause is Cause.TIMEOUT


def test_a_websocket_that_the_broker_drops_is_a_lost_connection(web: tuple[Broker, int], make: Sinks) -> None:
    broker, port = web
    sink = make(port, websockets={})
    sink.open()
    broker.kill()
    wait_until(lambda: network_threads() == [], "the connection to end")
    with pytest.raises(SinkUnavailable, match="is lost"):
        sink.send([])
    sink.close()
    broker.start()
    sink.open()
    assert sink.send(deliveries(1)) == [Outcome.ACCEPTED]
