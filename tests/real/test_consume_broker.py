"""The example consumer behind a real broker: what the agent's own sink sends, through deaths of all three."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from canary import secret
from real import broker as world
from real.broker import Broker, wait_until

from agent.clock import SystemClock
from agent.flow import Delivery, Outcome
from agent.ports import Context
from agent.sinks import mqtt

pytestmark = pytest.mark.skipif(bool(world.MISSING), reason=world.REASON)
SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "consume.py"


def deliveries(*seqs: int) -> list[Delivery]:
    found = []
    for seq in seqs:
        name = f"porch/door/b1/{seq}/0"
        record: dict[str, Any] = {"schema": "vedette.result/1", "id": name, "agent": "porch", "camera": "door"}
        record |= {"boot_id": "b1", "seq": seq, "revision": 0, "supersedes": None}
        found.append(Delivery(name, "door", json.dumps(record).encode()))
    return found


def publish(broker: Broker, folder: Path, *batches: list[Delivery], **more: Any) -> None:
    """By the agent's own sink, each batch over a connection of its own."""
    settings = {"type": "mqtt", "host": "localhost", "port": broker.port, "client_id": "porch-agent", **more}
    options = mqtt.Options.model_validate(settings)
    sink = mqtt.build(options, Context("porch", SystemClock(), folder, folder))
    for batch in batches:
        sink.open()
        try:
            assert list(sink.send(batch)) == [Outcome.ACCEPTED] * len(batch)
        finally:
            sink.close()


class Consumer:
    """The program, and what it has printed."""

    def __init__(self, port: int, folder: Path, *options: str) -> None:
        self._out, self._said = folder / "out.jsonl", folder / "said.txt"
        command = [sys.executable, SCRIPT, "--host", "localhost", "--port", str(port), *options]
        with self._out.open("ab") as out, self._said.open("ab") as said:
            self.process = subprocess.Popen(command, stdout=out, stderr=said)

    def seqs(self) -> list[int]:
        lines = self._out.read_text().split("\n")[:-1]
        return [json.loads(line)["seq"] for line in lines]

    def said(self) -> str:
        return self._said.read_text()


@contextmanager
def consuming(port: int, folder: Path, *options: str) -> Iterator[Consumer]:
    consumer = Consumer(port, folder, *options)
    before = consumer.said().count("connected, ")
    try:
        wait_until(lambda: consumer.said().count("connected, ") > before, f"the connection: {consumer.said()}")
        yield consumer
    finally:
        consumer.process.kill()
        consumer.process.wait(10)


def subscribed(broker: Broker) -> bool:
    return "Sending SUBACK to vedette-consume" in broker.log()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path / "broker").start()
    yield made
    made.stop()


def test_what_the_agent_sends_twice_and_out_of_order_is_printed_once_and_in_order(
    broker: Broker, tmp_path: Path
) -> None:
    with consuming(broker.port, tmp_path, "--hold-s", "1", "--hold-most", "15") as consumer:
        wait_until(lambda: subscribed(broker), "the subscription")
        first, second = deliveries(2, 1, 4, 3, 5), deliveries(3, 5, 4, 6, 7)
        publish(broker, tmp_path, first, first, second)
        wait_until(lambda: len(consumer.seqs()) >= 7, "seven results")
        consumer.process.terminate()
        assert consumer.process.wait(10) == 0
        assert consumer.seqs() == [1, 2, 3, 4, 5, 6, 7]
        assert consumer.said().endswith("8 duplicates were left out\n")


def test_more_than_the_broker_sends_ahead_of_acknowledgements_flows_on(broker: Broker, tmp_path: Path) -> None:
    with consuming(broker.port, tmp_path, "--hold-s", "0.5") as consumer:
        wait_until(lambda: subscribed(broker), "the subscription")
        publish(broker, tmp_path, deliveries(*range(200)))
        wait_until(lambda: len(consumer.seqs()) >= 200, "200 results")
        assert consumer.seqs() == list(range(200))


def test_a_consumer_that_is_killed_misses_nothing_neither_what_it_held_nor_what_came_meanwhile(
    broker: Broker, tmp_path: Path
) -> None:
    held = ("--hold-s", "1000", "--hold-most", "5")
    with consuming(broker.port, tmp_path, *held) as consumer:
        wait_until(lambda: subscribed(broker), "the subscription")
        publish(broker, tmp_path, deliveries(*range(10)))
        wait_until(lambda: consumer.seqs() == [0, 1, 2, 3, 4], "the first five, while five are held back")
    publish(broker, tmp_path, deliveries(*range(10, 30)))
    with consuming(broker.port, tmp_path, "--hold-s", "0.5") as consumer:
        wait_until(lambda: len(set(consumer.seqs())) >= 30, f"the rest, after {consumer.seqs()}")
        assert "what was missed comes first" in consumer.said()
        again = consumer.seqs()[5:]
        assert again[-25:] == list(range(5, 30))
        assert set(again[:-25]) <= {4}, "only what was printed and not yet acknowledged may come again"


def test_a_broker_that_restarts_with_its_sessions_costs_nothing(tmp_path: Path) -> None:
    kept = ("persistence true", f"persistence_location {tmp_path}/broker/", "autosave_interval 1")
    broker = Broker(tmp_path / "broker", settings=kept).start()
    try:
        with consuming(broker.port, tmp_path, "--hold-s", "1000", "--hold-most", "3") as consumer:
            wait_until(lambda: subscribed(broker), "the subscription")
            publish(broker, tmp_path, deliveries(*range(6)))
            wait_until(lambda: consumer.seqs() == [0, 1, 2], "the first three")
            broker.stop()
            wait_until(lambda: "trying again" in consumer.said(), "the loss to be noticed")
            broker.start()
            wait_until(lambda: consumer.said().count("connected, ") == 2, "the next connection")
            publish(broker, tmp_path, deliveries(*range(6, 12)))
            wait_until(lambda: len(consumer.seqs()) >= 9, "nine results")
            assert consumer.seqs() == list(range(9))
    finally:
        broker.stop()


def test_what_is_no_result_does_not_stop_the_flow(broker: Broker, tmp_path: Path) -> None:
    with consuming(broker.port, tmp_path, "--hold-s", "0.2") as consumer:
        wait_until(lambda: subscribed(broker), "the subscription")
        junk = [Delivery(f"junk-{number}", "door", b"words") for number in range(30)]
        publish(broker, tmp_path, junk, deliveries(1))
        wait_until(lambda: consumer.seqs() == [1], "the result")
        assert "vedette/porch/door/results is no result, and was left out" in consumer.said()


def test_a_wrong_password_ends_it_with_a_sentence(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "broker", users={"reader": secret("right")}).start()
    (tmp_path / "password").write_text(secret("wrong") + "\n")
    options = ("--username", "reader", "--password-file", str(tmp_path / "password"))
    try:
        consumer = Consumer(broker.port, tmp_path, *options)
        assert consumer.process.wait(20) == 1
        assert "the broker refuses the connection: Not authorized" in consumer.said()
    finally:
        broker.stop()


def test_with_tls_and_a_password_it_reads_as_well(tmp_path: Path) -> None:
    certificates = world.make_certificates(tmp_path / "certificates")
    broker = Broker(tmp_path / "broker", certificates=certificates, users={"reader": secret("right")}).start()
    (tmp_path / "password").write_text(secret("right") + "\n")
    options = ("--username", "reader", "--password-file", str(tmp_path / "password"))
    try:
        with consuming(broker.port, tmp_path, "--tls", "--cafile", str(certificates.ca), *options) as consumer:
            wait_until(lambda: subscribed(broker), "the subscription")
            login = {"username": "reader", "password": {"file": "password"}, "tls": {"ca_file": str(certificates.ca)}}
            publish(broker, tmp_path, deliveries(1), **login)
            wait_until(lambda: consumer.seqs() == [1], "the result")
    finally:
        broker.stop()
