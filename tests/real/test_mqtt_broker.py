import gc
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from canary import secret
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from real import broker as world
from real.broker import Broker, Certificates, wait_until
from real.mqtt_sinks import (
    AVAILABLE,
    RESULTS,
    Shifted,
    Sinks,
    count,
    deliveries,
    health,
    network_threads,
    received,
    refused,
    status,
)

from agent import logs
from agent.errors import Cause, ConfigError, SinkTakenOver, SinkUnavailable
from agent.flow import Delivery, Outcome
from agent.sinks import mqtt

pytestmark = pytest.mark.skipif(bool(world.MISSING), reason=world.REASON)

USER, PASSWORD = "agent", secret("pass-phrase")


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return world.make_certificates(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def secure(tmp_path: Path, certificates: Certificates) -> Iterator[Broker]:
    broker = Broker(tmp_path / "secure", certificates=certificates, users={USER: PASSWORD}).start()
    yield broker
    broker.stop()


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path / "plain").start()
    yield broker
    broker.stop()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Sinks]:
    with Sinks(tmp_path) as sinks:
        yield sinks


@pytest.fixture
def login(tmp_path: Path, certificates: Certificates) -> dict[str, Any]:
    (tmp_path / "password").write_text(PASSWORD + "\n")
    return {
        "username": USER,
        "password": {"file": str(tmp_path / "password")},
        "tls": {"ca_file": str(certificates.ca)},
    }


def test_every_result_reaches_an_independent_subscriber_over_tls_in_order(
    secure: Broker, make: Sinks, login: dict[str, Any]
) -> None:
    sink, batch = make(secure.port, **login), deliveries(500)
    with secure.subscribe("vedette/#") as subscriber:
        sink.open()
        outcomes = [outcome for at in range(0, 500, 50) for outcome in sink.send(batch[at : at + 50])]
        wait_until(lambda: len(received(subscriber)) >= 500, "500 results")
        sink.close()
        wait_until(lambda: "stopped" in subscriber.texts(AVAILABLE), "stopped")
        assert outcomes == [Outcome.ACCEPTED] * 500
        assert received(subscriber) == [delivery.id for delivery in batch]
        assert {message.qos for message in subscriber.messages()} == {1}
        assert subscriber.texts(RESULTS)[0].encode() == batch[0].body
    assert "as vedette-porch (p5, c1, k30, u'agent')" in secure.log()


def test_availability_is_retained_but_results_are_not(plain: Broker, make: Sinks) -> None:
    sink = make(plain.port)
    sink.open()
    assert sink.send(deliveries(1)) == [Outcome.ACCEPTED]
    with plain.subscribe("vedette/#") as late:
        wait_until(lambda: late.texts(AVAILABLE) == ["online"], "online")
        assert late.messages()[0].retained
        sink.close()
        wait_until(lambda: late.texts(AVAILABLE) == ["online", "stopped"], "stopped")
        sink.open()
        wait_until(lambda: late.texts(AVAILABLE) == ["online", "stopped", "online"], "online again")
        assert received(late) == []


def test_stopped_is_retained_and_the_last_will_stays_silent_after_a_clean_end(plain: Broker, make: Sinks) -> None:
    sink = make(plain.port)
    sink.open()
    sink.close()
    wait_until(lambda: "Client vedette-porch disconnected." in plain.log(), "the broker to see DISCONNECT")
    with plain.subscribe("vedette/#") as late:
        wait_until(lambda: late.texts(AVAILABLE) != [], "the retained availability")
        assert late.texts(AVAILABLE) == ["stopped"]


_CHILD = """
import sys
from pathlib import Path
from agent.clock import SystemClock
from agent.ports import Context
from agent.sinks import mqtt
options = mqtt.Options(type="mqtt", host="localhost", port=int(sys.argv[1]))
sink = mqtt.build(options, Context("porch", SystemClock(), Path(), Path()))
sink.open()
print("open", flush=True)
sys.stdin.read()
"""


def test_the_last_will_says_offline_when_the_agent_is_killed(plain: Broker) -> None:
    command = [sys.executable, "-c", _CHILD, str(plain.port)]
    with (
        plain.subscribe("vedette/#") as subscriber,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child,
    ):
        assert child.stdout is not None
        assert child.stdout.readline() == b"open\n"
        child.send_signal(signal.SIGKILL)
        wait_until(lambda: subscriber.texts(AVAILABLE) == ["online", "offline"], "offline by last will")
    with plain.subscribe("vedette/#") as late:
        wait_until(lambda: late.texts(AVAILABLE) == ["offline"], "offline, retained")


def test_a_wrong_password_is_a_clear_error_and_is_shown_nowhere(
    secure: Broker, make: Sinks, login: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    sink = make(secure.port, **login)
    Path(login["password"]["file"]).write_text(secret("not-the-pass-phrase"))
    with caplog.at_level(logging.DEBUG):
        error = refused(sink)
    assert error.cause is Cause.AUTH
    assert "check username and password" in str(error)
    assert "not-the-pass-phrase" not in caplog.text + str(error) + repr(sink) + repr(error.__cause__)
    assert logs.redact(f"it is {secret('not-the-pass-phrase')}") == "it is ***"


def test_after_a_wrong_password_the_same_sink_works_with_the_right_one(
    secure: Broker, make: Sinks, login: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "password").write_text(secret("wrong-at-first"))
    sink = make(secure.port, **login)
    refused(sink)
    (tmp_path / "password").write_text(PASSWORD)
    sink.open()
    assert sink.send(deliveries(3)) == [Outcome.ACCEPTED] * 3


def test_a_wrong_ca_is_a_clear_error(secure: Broker, make: Sinks, login: dict[str, Any], tmp_path: Path) -> None:
    other = world.make_certificates(tmp_path / "other")
    error = refused(make(secure.port, **{**login, "tls": {"ca_file": str(other.ca)}}))
    assert error.cause is Cause.TLS
    assert f"does not come from the CA in {other.ca}; set tls.ca_file" in str(error)


def test_without_a_ca_file_the_system_decides_and_the_error_says_what_to_set(
    secure: Broker, make: Sinks, login: dict[str, Any]
) -> None:
    error = refused(make(secure.port, **{**login, "tls": {}}))
    assert error.cause is Cause.TLS
    assert "does not come from a CA of this system (Debian: ca-certificates); set tls.ca_file" in str(error)


def test_a_certificate_for_another_name_is_a_clear_error(secure: Broker, make: Sinks, login: dict[str, Any]) -> None:
    error = refused(make(secure.port, **login, host="127.0.0.1"))
    assert error.cause is Cause.TLS
    assert "a certificate for another name; set host" in str(error)


def test_verify_false_connects_all_the_same(secure: Broker, make: Sinks, login: dict[str, Any]) -> None:
    sink = make(secure.port, **{**login, "tls": {"verify": False}}, host="127.0.0.1")
    sink.open()
    assert sink.send(deliveries(1)) == [Outcome.ACCEPTED]


def test_an_expired_certificate_is_a_clear_error(tmp_path: Path, make: Sinks) -> None:
    expired = world.make_certificates(tmp_path / "expired", days=-1)
    broker = Broker(tmp_path / "old", certificates=expired).start()
    try:
        error = refused(make(broker.port, tls={"ca_file": "expired/ca.crt"}))
    finally:
        broker.stop()
    assert error.cause is Cause.TLS
    assert "expired" in str(error)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_ca_file_that_cannot_be_used_is_a_configuration_error(
    make: Sinks, tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "my.crt").write_text(content)
    sink = make(1, tls={"ca_file": "my.crt"})
    with pytest.raises(ConfigError, match=str(tmp_path / "my.crt")):
        sink.open()
    sink.close()


def test_tls_to_a_port_without_it_is_a_clear_error(plain: Broker, make: Sinks) -> None:
    error = refused(make(plain.port, tls={}))
    assert error.cause is Cause.TLS
    assert "give the broker's TLS port, or leave out tls" in str(error)


def test_no_tls_to_a_tls_port_is_a_clear_error(secure: Broker, make: Sinks) -> None:
    error = refused(make(secure.port))
    assert error.cause is Cause.CONNECT
    assert "if this is its TLS port, set tls" in str(error)


def test_a_broker_that_is_down_is_a_clear_error_and_the_sink_works_when_it_is_back(plain: Broker, make: Sinks) -> None:
    plain.stop()
    sink = make(plain.port)
    error = refused(sink)
    assert error.cause is Cause.CONNECT
    assert f"localhost:{plain.port} refuses connections" in str(error)
    plain.start()
    sink.open()
    assert sink.send(deliveries(1)) == [Outcome.ACCEPTED]


def test_a_name_that_dns_does_not_know_is_a_clear_error(make: Sinks) -> None:
    error = refused(make(1883, host="no-such-broker.invalid"))
    assert error.cause is Cause.DNS
    assert "no-such-broker.invalid:1883" in str(error)


@pytest.mark.parametrize("security", [{}, {"tls": {}}], ids=["off", "on"])
def test_a_port_that_takes_connections_and_says_nothing_is_a_timeout(make: Sinks, security: dict[str, Any]) -> None:
    with world.silent_port() as port:
        error = refused(make(port, **security, connect_timeout_s=0.3))
    assert error.cause is Cause.TIMEOUT


def test_a_broker_killed_in_the_middle_of_a_batch_loses_nothing(plain: Broker, make: Sinks) -> None:
    sink, batch = make(plain.port), deliveries(6000, padding=400)
    sink.open()
    with plain.subscribe("vedette/+/+/results") as subscriber:
        killer = threading.Thread(
            target=lambda: (wait_until(lambda: len(received(subscriber)) >= 20, "20 results"), plain.kill())
        )
        killer.start()
        outcomes = sink.send(batch)
        killer.join()
    first_kept = outcomes.index(Outcome.KEPT)
    assert first_kept >= 20
    assert set(outcomes[first_kept:]) == {Outcome.KEPT}
    with pytest.raises(SinkUnavailable, match="is lost") as caught:
        sink.send(batch[first_kept:])
    assert caught.value.cause is Cause.NETWORK
    sink.close()
    plain.start()
    with plain.subscribe("vedette/+/+/results") as subscriber:
        sink.open()
        kept = batch[first_kept:]
        assert set(sink.send(kept)) == {Outcome.ACCEPTED}
        wait_until(lambda: len(received(subscriber)) >= len(kept), "the rest")
        assert received(subscriber) == [delivery.id for delivery in kept]


def test_a_broker_that_falls_silent_is_a_timeout_and_every_result_arrives_afterwards(
    plain: Broker, make: Sinks
) -> None:
    sink, batch = make(plain.port, ack_timeout_s=0.5), deliveries(60)
    with plain.subscribe("vedette/#") as subscriber:
        sink.open()
        plain.suspend()
        with pytest.raises(SinkUnavailable) as caught:
            sink.send(batch)
        assert caught.value.cause is Cause.TIMEOUT
        sink.close()
        assert network_threads() == []
        plain.resume()
        wait_until(lambda: subscriber.texts(AVAILABLE) == ["online", "offline"], "offline, since nobody said stopped")
        early = received(subscriber)
        retry = make(plain.port)
        retry.open()
        assert set(retry.send(batch)) == {Outcome.ACCEPTED}
        wait_until(lambda: len(received(subscriber)) >= len(early) + 60, "all 60")
        assert received(subscriber) == early + [delivery.id for delivery in batch]
        assert early == [delivery.id for delivery in batch[: len(early)]]
        assert len(early) <= 20
        assert subscriber.texts(AVAILABLE) == ["online", "offline", "online"]


def test_what_is_on_the_wire_when_time_is_up_is_not_sent_again_on_the_same_connection(
    plain: Broker, make: Sinks
) -> None:
    sink, batch = make(plain.port, ack_timeout_s=1.0), deliveries(10)
    with plain.subscribe("vedette/+/+/results") as subscriber:
        sink.open()
        assert sink.send(batch[:1]) == [Outcome.ACCEPTED]
        oversized = Delivery("porch/door/boot/big/0", "door", b"x" * 268_435_456)
        plain.suspend()
        assert sink.send([oversized, *batch[1:]]) == [Outcome.REJECTED] + [Outcome.KEPT] * 9
        plain.resume()
        assert sink.send(batch[1:]) == [Outcome.ACCEPTED] * 9
        wait_until(lambda: len(received(subscriber)) >= 10, "10 results")
        sink.close()
        assert received(subscriber) == [delivery.id for delivery in batch]


def test_answers_that_nobody_asked_for_are_remembered_up_to_a_limit_and_beyond_it_a_result_comes_twice(
    plain: Broker, make: Sinks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.sinks._mqtt_window._UNCLAIMED", 4)
    sink, batch = make(plain.port, ack_timeout_s=0.5), deliveries(10)
    with plain.subscribe("vedette/+/+/results") as subscriber:
        sink.open()
        plain.suspend()
        with pytest.raises(SinkUnavailable):
            sink.send(batch)
        plain.resume()
        wait_until(lambda: len(received(subscriber)) == 10, "10 results")
        other = deliveries(1, start=50)
        assert sink.send(other) == [Outcome.ACCEPTED]
        assert sink.send(batch) == [Outcome.ACCEPTED] * 10
        wait_until(lambda: len(received(subscriber)) == 17, "six of them twice")
        assert received(subscriber)[11:] == [delivery.id for delivery in batch[:6]]


@pytest.mark.parametrize("refusal", ["2003008400", "20020001"], ids=["as MQTT 5", "as MQTT 3"])
def test_a_broker_that_refuses_mqtt_5_is_used_with_3_1_1(plain: Broker, make: Sinks, refusal: str) -> None:
    with (
        world.without_mqtt5(plain, bytes.fromhex(refusal)) as gate,
        plain.subscribe("vedette/#") as subscriber,
    ):
        sink = make(gate.port)
        sink.open()
        assert sink.send(deliveries(40)) == [Outcome.ACCEPTED] * 40
        sink.close()
        wait_until(lambda: subscriber.texts(AVAILABLE) == ["online", "stopped"], "stopped")
        assert received(subscriber) == [delivery.id for delivery in deliveries(40)]
    assert "as vedette-porch (p2, c1, k30)" in plain.log()


def test_a_fixed_protocol_is_not_changed_behind_the_users_back(plain: Broker, make: Sinks) -> None:
    with world.without_mqtt5(plain, bytes.fromhex("2003008400")) as gate:
        error = refused(make(gate.port, protocol="5"))
    assert "does not know MQTT 5; set protocol: auto" in str(error)


def test_mqtt_3_1_1_can_be_chosen_and_also_says_which_login_is_wrong(
    secure: Broker, make: Sinks, login: dict[str, Any], tmp_path: Path
) -> None:
    sink = make(secure.port, **login, protocol="3.1.1")
    sink.open()
    assert sink.send(deliveries(1)) == [Outcome.ACCEPTED]
    sink.close()
    assert "(p2, c1, k30, u'agent')" in secure.log()
    (tmp_path / "password").write_text(secret("not-the-pass-phrase"))
    assert refused(sink).cause is Cause.AUTH


def test_a_topic_that_the_access_list_denies_is_kept_until_a_person_allows_it(
    tmp_path: Path, make: Sinks, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Broker(tmp_path / "acl", access="topic write vedette/porch/available\ntopic write vedette/porch/yard/#\n")
    broker.start()
    try:
        sink = make(broker.port)
        sink.open()
        mixed = [*deliveries(1, camera="door"), *deliveries(1, camera="yard")]
        assert sink.send(mixed) == [Outcome.KEPT, Outcome.ACCEPTED]
        assert sink.send(deliveries(3, camera="door")) == [Outcome.KEPT] * 3
        assert sink.send(deliveries(1, start=1, camera="yard")) == [Outcome.ACCEPTED]
        cure = (
            "does not let this user publish on vedette/porch/door/results; allow the topic in the broker's access list"
        )
        assert caplog.text.count(cure) == 1
    finally:
        broker.stop()


def test_an_availability_that_is_denied_is_said_and_results_go_on(
    tmp_path: Path, make: Sinks, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Broker(tmp_path / "acl", access="topic write vedette/porch/+/results\n").start()
    try:
        sink = make(broker.port)
        sink.open()
        assert "does not let this user publish on vedette/porch/available" in caplog.text
        assert sink.send(deliveries(2)) == [Outcome.ACCEPTED] * 2
    finally:
        broker.stop()


def test_a_result_too_large_for_the_broker_is_rejected_and_the_others_go_on(tmp_path: Path, make: Sinks) -> None:
    broker = Broker(tmp_path / "small", settings=("max_packet_size 2000",)).start()
    try:
        sink = make(broker.port)
        sink.open()
        batch = [*deliveries(1), *deliveries(1, start=1, padding=3000), *deliveries(1, start=2)]
        assert sink.send(batch) == [Outcome.ACCEPTED, Outcome.REJECTED, Outcome.ACCEPTED]
    finally:
        broker.stop()


@pytest.mark.parametrize(("expiry_s", "named"), [(0, {}), (3600, {}), (3600, {"site": "north", "row": "ü" * 80})])
@pytest.mark.parametrize("limit_bytes", [2000, 20_000])
def test_the_largest_packet_that_the_broker_takes_is_taken_and_one_byte_more_is_not(
    tmp_path: Path, expiry_s: int, named: dict[str, str], limit_bytes: int
) -> None:
    broker = Broker(tmp_path / "small", settings=(f"max_packet_size {limit_bytes}",)).start()
    try:
        with Sinks(tmp_path) as make:
            sink = make(broker.port, user_properties=named, message_expiry_s=expiry_s)
            sink.open()
            _send_what_just_fits(sink, named, expiry_s=expiry_s, limit_bytes=limit_bytes)
    finally:
        broker.stop()


def _send_what_just_fits(sink: mqtt.Mqtt, named: dict[str, str], *, expiry_s: int, limit_bytes: int) -> None:
    carried = Properties(PacketTypes.PUBLISH)
    carried.UserProperty = [*named.items(), ("id", "the one"), ("schema", "vedette.result/1")]
    carried.ContentType = "application/json"
    if expiry_s:
        carried.MessageExpiryInterval = expiry_s
    length_bytes = 2 if limit_bytes < 16_384 else 3
    around = 1 + length_bytes + 2 + len(RESULTS) + 2 + len(carried.pack())
    body = b'{"schema":"vedette.result/1"'.ljust(limit_bytes - around, b" ")
    assert sink.send([Delivery("the one", "door", body)]) == [Outcome.ACCEPTED]
    assert sink.send([Delivery("the one", "door", body + b" ")]) == [Outcome.REJECTED]
    assert sink.send(deliveries(1)) == [Outcome.ACCEPTED]


def test_a_new_connection_of_the_same_agent_ends_the_old_one_and_stays_online(plain: Broker, make: Sinks) -> None:
    first, second = make(plain.port), make(plain.port)
    first.open()
    second.open()
    wait_until(lambda: network_threads() == ["paho-mqtt-client-vedette-porch"], "the first connection to end")
    with pytest.raises(SinkUnavailable) as caught:
        first.send(deliveries(1))
    # Mosquitto 2.0.11 hangs up without a DISCONNECT; tests/unit/test_mqtt.py has a broker that sends one.
    assert isinstance(caught.value, SinkTakenOver) == ("Sending DISCONNECT to vedette-porch (rc142)" in plain.log())
    assert "same client_id" in str(caught.value)
    first.close()
    assert second.send(deliveries(1)) == [Outcome.ACCEPTED]
    with plain.subscribe("vedette/#") as late:
        wait_until(lambda: late.texts(AVAILABLE) != [], "the retained availability")
        assert late.texts(AVAILABLE) == ["online"]


def test_a_connection_that_lasted_is_lost_without_a_guess_at_the_cause(plain: Broker, tmp_path: Path) -> None:
    clock = Shifted()
    with Sinks(tmp_path, clock) as make:
        sink = make(plain.port)
        sink.open()
        plain.kill()
        wait_until(lambda: network_threads() == [], "the connection to end")
        clock.shift_s = 60.0
        with pytest.raises(SinkUnavailable, match=r"is lost$"):
            sink.send([])


def test_the_first_send_after_the_broker_was_restarted_says_so_and_reopening_mends_it(
    plain: Broker, make: Sinks
) -> None:
    sink = make(plain.port)
    sink.open()
    plain.stop()
    plain.start()
    wait_until(lambda: network_threads() == [], "the connection to end")
    with pytest.raises(SinkUnavailable, match="the connection to"):
        sink.send([])
    with pytest.raises(SinkUnavailable, match="the connection to"):
        sink.send(deliveries(1))
    sink.close()
    sink.open()
    assert sink.send(deliveries(1)) == [Outcome.ACCEPTED]


def test_opening_and_closing_a_hundred_times_leaves_no_thread_and_no_descriptor(plain: Broker, make: Sinks) -> None:
    sink = make(plain.port)
    sink.open()
    sink.close()
    gc.disable()
    try:
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - iterdir would hold a descriptor of its own
        for _ in range(100):
            sink.open()
            sink.close()
        assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208 - as above
    finally:
        gc.enable()
    assert network_threads() == []


def test_a_failed_handshake_leaves_no_descriptor(secure: Broker, make: Sinks) -> None:
    sink = make(secure.port, tls={})
    refused(sink)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - iterdir would hold a descriptor of its own
    for _ in range(10):
        refused(sink)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208 - as above


def test_a_check_beside_a_running_agent_neither_pushes_it_off_nor_speaks_for_it(plain: Broker, make: Sinks) -> None:
    with plain.subscribe("#") as subscriber:
        running = make(plain.port)
        running.open()
        trial = make(plain.port, trial=True, home_assistant={})
        trial.open()
        trial.show([health(), status("door"), count("door", "person", 1)])
        assert trial.send([Delivery("of the trial", "door", b"{}")]) == [Outcome.KEPT]
        trial.close()
        assert running.send([Delivery("1", "door", b"{}")]) == [Outcome.ACCEPTED]
        wait_until(lambda: bool(subscriber.texts(RESULTS)), "the result")
        assert [message.text for message in subscriber.messages()] == ["online", "{}"]
