"""The whole agent before a real broker: every result arrives, mistakes are said plainly, and a stop loses nothing."""

import contextlib
import json
import re
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from canary import secret
from real import broker as world
from real.agent_process import records, start_vedette
from real.broker import Broker, Certificates, Subscriber, wait_until

pytestmark = pytest.mark.skipif(bool(world.MISSING), reason=world.REASON)

USER, PASSWORD = "agent", secret("pass-phrase")
CONFIG = """
agent: porch
cameras:
  - name: door
    source: {{type: synthetic, fps: 20}}
engines:
  local: {{type: tflite, model: shapes, threads: 1}}
sinks:
  - {{type: jsonl, path: results.jsonl}}
  - type: mqtt
    host: localhost
    port: {port}
    username: agent
    password: {{file: password}}
    tls: {{ca_file: "{ca_file}"}}
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    certificates = world.make_certificates(tmp_path / "ca")
    it = Broker(tmp_path / "broker", certificates=certificates, users={USER: PASSWORD}).start()
    yield it
    it.stop()


@pytest.fixture
def agents() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def configure(folder: Path, broker: Broker, *, password: str = PASSWORD, ca: Certificates | None = None) -> None:
    certificates = ca or broker.certificates
    assert certificates is not None
    (folder / "password").write_text(password)
    (folder / "vedette.yaml").write_text(CONFIG.format(port=broker.port, ca_file=certificates.ca))


def wait_for_results(folder: Path, count: int) -> None:
    file = folder / "results.jsonl"
    wait_until(lambda: file.exists() and file.read_bytes().count(b"\n") >= count, f"{count} results in the file")


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def ids_in(folder: Path) -> list[str]:
    return [record["id"] for record in records(folder / "results.jsonl")]


def ids_received(subscriber: Subscriber) -> list[str]:
    return [json.loads(text)["id"] for text in subscriber.texts("vedette/porch/door/results")]


def test_a_broker_over_tls_gets_every_result_once_and_in_order(
    broker: Broker, agents: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    configure(tmp_path, broker)
    with broker.subscribe("vedette/#") as subscriber:
        agents.append(start_vedette("run", "vedette.yaml", folder=tmp_path))
        wait_for_results(tmp_path, 40)
        stop(agents[0])
        written = ids_in(tmp_path)
        wait_until(lambda: len(ids_received(subscriber)) >= len(written), "all results at the broker")
        assert ids_received(subscriber) == written
        assert subscriber.texts("vedette/porch/available") == ["online", "stopped"]


@pytest.mark.parametrize("mistake", ["password", "ca"])
def test_a_wrong_password_or_ca_is_said_plainly_and_once_mended_nothing_is_missing(
    mistake: str, broker: Broker, agents: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    other_ca = world.make_certificates(tmp_path / "other-ca") if mistake == "ca" else None
    configure(tmp_path, broker, password=secret("not-the-word") if mistake == "password" else PASSWORD, ca=other_ca)
    agents.append(start_vedette("run", "vedette.yaml", folder=tmp_path))
    wait_for_results(tmp_path, 20)
    stop(agents[0])
    said = (tmp_path / "stderr.txt").read_text()
    advice = {"password": "check username and password", "ca": "set tls.ca_file"}[mistake]
    assert advice in said
    assert "Traceback" not in said
    assert "not-the-word" not in said
    assert PASSWORD not in said
    before = ids_in(tmp_path)

    configure(tmp_path, broker)
    with broker.subscribe("vedette/#") as subscriber:
        agents.append(start_vedette("run", "vedette.yaml", folder=tmp_path))
        wait_until(lambda: set(before) <= set(ids_received(subscriber)), "the results kept by the stop")
        stop(agents[1])
        wait_until(lambda: len(ids_received(subscriber)) >= len(ids_in(tmp_path)), "all results at the broker")
        assert ids_received(subscriber) == ids_in(tmp_path)


def test_a_broker_that_dies_and_comes_back_acknowledges_every_result(
    broker: Broker, agents: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    configure(tmp_path, broker)
    agents.append(start_vedette("run", "vedette.yaml", folder=tmp_path))
    wait_for_results(tmp_path, 10)
    broker.kill()
    wait_for_results(tmp_path, 30)
    broker.start()
    with broker.subscribe("vedette/#") as subscriber:
        wait_until(lambda: bool(ids_received(subscriber)), "results at the broker that came back")
        stop(agents[0])
    acknowledged = re.findall(r"mqtt-1 (\d+)", (tmp_path / "stderr.txt").read_text())
    assert int(acknowledged[-1]) >= len(ids_in(tmp_path))  # events are acknowledged, too
    assert waiting(tmp_path) == 0


def waiting(folder: Path) -> int:
    """Results in the outboxes of an agent that has stopped."""
    count = 0
    for path in (folder / "state").rglob("*.db"):
        with contextlib.closing(sqlite3.connect(path)) as connection:
            count += connection.execute("SELECT coalesce(sum(count), 0) FROM waiting").fetchone()[0]
    return count
