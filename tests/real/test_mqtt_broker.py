import gc
import json
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
from real import broker as world
from real.broker import Broker, Certificates, Subscriber, wait_until

from agent import logs
from agent.clock import SystemClock
from agent.errors import Cause, ConfigError, SinkUnavailable
from agent.flow import Delivery, Outcome
from agent.ports import Context
from agent.sinks import mqtt

pytestmark = pytest.mark.skipif(bool(world.MISSING), reason=world.REASON)

USER, PASSWORD = "agent", "s3cret-pass-phrase"
RESULTS = "vedette/porch/door/results"
AVAILABLE = "vedette/porch/available"


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
def closing() -> Iterator[list[mqtt.Mqtt]]:
    sinks: list[mqtt.Mqtt] = []
    yield sinks
    for sink in sinks:
        sink.close()


@pytest.fixture
def make(tmp_path: Path, closing: list[mqtt.Mqtt]) -> Any:
    def sink(port: int, **options: Any) -> mqtt.Mqtt:
        context = Context("porch", SystemClock(), tmp_path, tmp_path)
        settings = {"type": "mqtt", "host": "localhost", "port": port, "ack_timeout_s": 20.0, **options}
        made = mqtt.build(mqtt.Options.model_validate(settings), context)
        assert isinstance(made, mqtt.Mqtt)
        closing.append(made)
        return made

    return sink


@pytest.fixture
def login(tmp_path: Path, certificates: Certificates) -> dict[str, Any]:
    (tmp_path / "password").write_text(PASSWORD + "\n")
    return {
        "username": USER,
        "password": {"file": str(tmp_path / "password")},
        "tls": {"ca_file": str(certificates.ca)},
    }


def deliveries(count: int, *, start: int = 0, camera: str = "door", padding: int = 0) -> list[Delivery]:
    ids = [f"porch/{camera}/boot/{seq}/0" for seq in range(start, start + count)]
    return [Delivery(each, camera, json.dumps({"id": each, "more": "x" * padding}).encode()) for each in ids]


def received(subscriber: Subscriber, topic: str = RESULTS) -> list[str]:
    return [json.loads(text)["id"] for text in subscriber.texts(topic)]


def network_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("paho")]


def refused(sink: mqtt.Mqtt) -> SinkUnavailable:
    with pytest.raises(SinkUnavailable) as caught:
        sink.open()
    sink.close()
    assert network_threads() == []
    return caught.value


def test_every_result_reaches_an_independent_subscriber_over_tls_in_order(
    secure: Broker, make: Any, login: dict[str, Any]
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


def test_availability_is_retained_but_results_are_not(plain: Broker, make: Any) -> None:
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


def test_stopped_is_retained_and_the_last_will_stays_silent_after_a_clean_end(plain: Broker, make: Any) -> None:
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
    secure: Broker, make: Any, login: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    sink = make(secure.port, **login)
    Path(login["password"]["file"]).write_text("not-the-pass-phrase")
    with caplog.at_level(logging.DEBUG):
        error = refused(sink)
    assert error.cause is Cause.AUTH
    assert "check username and password" in str(error)
    assert "not-the-pass-phrase" not in caplog.text + str(error) + repr(sink) + repr(error.__cause__)
    assert logs.redact("it is not-the-pass-phrase") == "it is ***"


def test_after_a_wrong_password_the_same_sink_works_with_the_right_one(
    secure: Broker, make: Any, login: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("wrong-at-first")
    sink = make(secure.port, **login)
    refused(sink)
    (tmp_path / "password").write_text(PASSWORD)
    sink.open()
    assert sink.send(deliveries(3)) == [Outcome.ACCEPTED] * 3


def test_a_wrong_ca_is_a_clear_error(secure: Broker, make: Any, login: dict[str, Any], tmp_path: Path) -> None:
    other = world.make_certificates(tmp_path / "other")
    error = refused(make(secure.port, **{**login, "tls": {"ca_file": str(other.ca)}}))
    assert error.cause is Cause.TLS
    assert f"does not come from the CA in {other.ca}; set tls.ca_file" in str(error)


def test_without_a_ca_file_the_system_decides_and_the_error_says_what_to_set(
    secure: Broker, make: Any, login: dict[str, Any]
) -> None:
    error = refused(make(secure.port, **{**login, "tls": {}}))
    assert error.cause is Cause.TLS
    assert "does not come from a CA of this system; set tls.ca_file" in str(error)


def test_a_certificate_for_another_name_is_a_clear_error(secure: Broker, make: Any, login: dict[str, Any]) -> None:
    error = refused(make(secure.port, **login, host="127.0.0.1"))
    assert error.cause is Cause.TLS
    assert "a certificate for another name; set host" in str(error)


def test_verify_false_connects_all_the_same(secure: Broker, make: Any, login: dict[str, Any]) -> None:
    sink = make(secure.port, **{**login, "tls": {"verify": False}}, host="127.0.0.1")
    sink.open()
    assert sink.send(deliveries(1)) == [Outcome.ACCEPTED]


def test_an_expired_certificate_is_a_clear_error(tmp_path: Path, make: Any) -> None:
    expired = world.make_certificates(tmp_path / "expired", days=-1)
    broker = Broker(tmp_path / "old", certificates=expired).start()
    try:
        error = refused(make(broker.port, tls={"ca_file": "expired/ca.crt"}))
    finally:
        broker.stop()
    assert error.cause is Cause.TLS
    assert "expired" in str(error)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_ca_file_that_cannot_be_used_is_a_configuration_error(make: Any, tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "my.crt").write_text(content)
    sink = make(1, tls={"ca_file": "my.crt"})
    with pytest.raises(ConfigError, match=str(tmp_path / "my.crt")):
        sink.open()
    sink.close()


def test_tls_to_a_port_without_it_is_a_clear_error(plain: Broker, make: Any) -> None:
    error = refused(make(plain.port, tls={}))
    assert error.cause is Cause.TLS
    assert "give the broker's TLS port, or leave out tls" in str(error)


def test_no_tls_to_a_tls_port_is_a_clear_error(secure: Broker, make: Any) -> None:
    error = refused(make(secure.port))
    assert error.cause is Cause.CONNECT
    assert "if this is its TLS port, set tls" in str(error)


def test_a_broker_that_is_down_is_a_clear_error_and_the_sink_works_when_it_is_back(plain: Broker, make: Any) -> None:
    plain.stop()
    sink = make(plain.port)
    error = refused(sink)
    assert error.cause is Cause.CONNECT
    assert f"localhost:{plain.port} refuses connections" in str(error)
    plain.start()
    sink.open()
    assert sink.send(deliveries(1)) == [Outcome.ACCEPTED]


def test_a_name_that_dns_does_not_know_is_a_clear_error(make: Any) -> None:
    error = refused(make(1883, host="no-such-broker.invalid"))
    assert error.cause is Cause.DNS
    assert "no-such-broker.invalid:1883" in str(error)


@pytest.mark.parametrize("tls", [None, {}])
def test_a_port_that_takes_connections_and_says_nothing_is_a_timeout(make: Any, tls: dict[str, Any] | None) -> None:
    with world.silent_port() as port:
        error = refused(make(port, tls=tls, connect_timeout_s=0.3))
    assert error.cause is Cause.TIMEOUT


def test_a_broker_killed_in_the_middle_of_a_batch_loses_nothing(plain: Broker, make: Any) -> None:
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


def test_a_broker_that_falls_silent_is_a_timeout_and_every_result_arrives_afterwards(plain: Broker, make: Any) -> None:
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


def test_what_is_on_the_wire_when_time_is_up_is_not_sent_again_on_the_same_connection(plain: Broker, make: Any) -> None:
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


@pytest.mark.parametrize("refusal", ["2003008400", "20020001"], ids=["as MQTT 5", "as MQTT 3"])
def test_a_broker_that_refuses_mqtt_5_is_used_with_3_1_1(plain: Broker, make: Any, refusal: str) -> None:
    with (
        world.without_mqtt5(plain, bytes.fromhex(refusal)) as port,
        plain.subscribe("vedette/#") as subscriber,
    ):
        sink = make(port)
        sink.open()
        assert sink.send(deliveries(40)) == [Outcome.ACCEPTED] * 40
        sink.close()
        wait_until(lambda: subscriber.texts(AVAILABLE) == ["online", "stopped"], "stopped")
        assert received(subscriber) == [delivery.id for delivery in deliveries(40)]
    assert "as vedette-porch (p2, c1, k30)" in plain.log()


def test_a_fixed_protocol_is_not_changed_behind_the_users_back(plain: Broker, make: Any) -> None:
    with world.without_mqtt5(plain, bytes.fromhex("2003008400")) as port:
        error = refused(make(port, protocol="5"))
    assert "does not know MQTT 5; set protocol: auto" in str(error)


def test_mqtt_3_1_1_can_be_chosen_and_also_says_which_login_is_wrong(
    secure: Broker, make: Any, login: dict[str, Any], tmp_path: Path
) -> None:
    sink = make(secure.port, **login, protocol="3.1.1")
    sink.open()
    assert sink.send(deliveries(1)) == [Outcome.ACCEPTED]
    sink.close()
    assert "(p2, c1, k30, u'agent')" in secure.log()
    (tmp_path / "password").write_text("not-the-pass-phrase")
    assert refused(sink).cause is Cause.AUTH


def test_a_topic_that_the_access_list_denies_is_kept_until_a_person_allows_it(tmp_path: Path, make: Any) -> None:
    broker = Broker(tmp_path / "acl", access="topic write vedette/porch/available\ntopic write vedette/porch/yard/#\n")
    broker.start()
    try:
        sink = make(broker.port)
        sink.open()
        mixed = [*deliveries(1, camera="door"), *deliveries(1, camera="yard")]
        assert sink.send(mixed) == [Outcome.KEPT, Outcome.ACCEPTED]
        with pytest.raises(SinkUnavailable, match="does not let this user publish") as caught:
            sink.send(deliveries(3, camera="door"))
        assert caught.value.cause is Cause.AUTH
    finally:
        broker.stop()


def test_an_availability_that_is_denied_is_said_and_results_go_on(
    tmp_path: Path, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Broker(tmp_path / "acl", access="topic write vedette/porch/+/results\n").start()
    try:
        sink = make(broker.port)
        sink.open()
        assert "does not take the availability" in caplog.text
        assert sink.send(deliveries(2)) == [Outcome.ACCEPTED] * 2
    finally:
        broker.stop()


def test_a_result_too_large_for_the_broker_is_rejected_and_the_others_go_on(tmp_path: Path, make: Any) -> None:
    broker = Broker(tmp_path / "small", settings=("max_packet_size 2000",)).start()
    try:
        sink = make(broker.port)
        sink.open()
        batch = [*deliveries(1), *deliveries(1, start=1, padding=3000), *deliveries(1, start=2)]
        assert sink.send(batch) == [Outcome.ACCEPTED, Outcome.REJECTED, Outcome.ACCEPTED]
    finally:
        broker.stop()


def test_the_largest_packet_that_the_broker_takes_is_taken_and_one_byte_more_is_not(tmp_path: Path, make: Any) -> None:
    broker = Broker(tmp_path / "small", settings=("max_packet_size 2000",)).start()
    try:
        sink = make(broker.port)
        sink.open()
        body = b"x" * (2000 - 1 - 2 - 2 - len(RESULTS) - 2 - 1)
        fits, too_large = Delivery("fits", "door", body), Delivery("too large", "door", body + b"x")
        assert sink.send([fits, too_large, *deliveries(1)]) == [Outcome.ACCEPTED, Outcome.REJECTED, Outcome.ACCEPTED]
    finally:
        broker.stop()


def test_a_new_connection_of_the_same_agent_ends_the_old_one_and_stays_online(plain: Broker, make: Any) -> None:
    first, second = make(plain.port), make(plain.port)
    first.open()
    second.open()
    wait_until(lambda: network_threads() == ["paho-mqtt-client-vedette-porch"], "the first connection to end")
    with pytest.raises(SinkUnavailable, match="the connection to"):
        first.send(deliveries(1))
    first.close()
    assert second.send(deliveries(1)) == [Outcome.ACCEPTED]
    with plain.subscribe("vedette/#") as late:
        wait_until(lambda: late.texts(AVAILABLE) != [], "the retained availability")
        assert late.texts(AVAILABLE) == ["online"]


def test_the_first_send_after_the_broker_was_restarted_says_so_and_reopening_mends_it(plain: Broker, make: Any) -> None:
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


def test_opening_and_closing_a_hundred_times_leaves_no_thread_and_no_descriptor(plain: Broker, make: Any) -> None:
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


def test_a_failed_handshake_leaves_no_descriptor(secure: Broker, make: Any) -> None:
    sink = make(secure.port, tls={})
    refused(sink)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - iterdir would hold a descriptor of its own
    for _ in range(10):
        refused(sink)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208 - as above


def test_a_check_beside_a_running_agent_neither_pushes_it_off_nor_speaks_for_it(
    plain: Broker, make: Any, tmp_path: Path
) -> None:
    with plain.subscribe("vedette/#") as subscriber:
        running = make(plain.port)
        running.open()
        trial = mqtt.build(
            mqtt.Options(type="mqtt", host="localhost", port=plain.port),
            Context("porch", SystemClock(), tmp_path, tmp_path, trial=True),
        )
        trial.open()
        trial.close()
        assert running.send([Delivery("1", "door", b"{}")]) == [Outcome.ACCEPTED]
        wait_until(lambda: bool(subscriber.texts(RESULTS)), "the result")
        assert subscriber.texts(AVAILABLE) == ["online"]
