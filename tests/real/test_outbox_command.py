"""`vedette outbox` beside a running agent, and killed at any moment: nothing is lost, repeated or left half done."""

import contextlib
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from real.agent_process import environment, records, start_vedette, vedette
from real.broker import free_port, wait_until

from agent.backlog.reading import Reader
from agent.clock import SystemClock
from agent.flow import Delivery
from agent.parcel import Entry, groups
from agent.record import SCHEMA
from agent.stamp import boot_id
from agent.store import Store

SEED = 20261123
CONFIG = """
agent: porch
cameras:
  - {{name: door, source: {{type: synthetic, fps: 10}}}}
  - {{name: gate, source: {{type: synthetic, fps: 10}}}}
engines:
  local: {{type: tflite, model: shapes, threads: 1}}
sinks:
  - {{type: jsonl, path: all.jsonl}}
  - {{type: jsonl, path: blocked/results.jsonl, outbox: {{commit_interval_ms: 100}}}}
  - {{type: jsonl, path: again.jsonl, what: events}}
  - {{type: mqtt, host: localhost, port: {port}, outbox: {{commit_interval_ms: 100}}}}
"""
"""jsonl-2 is dead as long as `blocked` is a file; mqtt-1 has no broker; jsonl-3 works, and gets hardly anything."""


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "vedette.yaml").write_text(CONFIG.format(port=free_port()))
    (tmp_path / "blocked").touch()
    process = start_vedette("run", "vedette.yaml", folder=tmp_path)
    yield process
    process.kill()
    process.wait()


def outbox(folder: Path, *arguments: str | Path) -> str:
    done = vedette("outbox", *arguments, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def listed(folder: Path) -> dict[str, dict[str, Any]]:
    return {each["sink"]: each for each in json.loads(outbox(folder, "list", "--json"))["outboxes"]}


def wait_until_waiting(folder: Path, sink: str, count: int) -> None:
    wait_until(lambda: listed(folder).get(sink, {"waiting": 0})["waiting"] >= count, f"{count} for {sink}", limit_s=40)


def ids(text: str) -> list[str]:
    """Of the results."""
    return [each["id"] for each in map(json.loads, text.splitlines()) if each["schema"] == SCHEMA]


def ids_in(path: Path) -> list[str]:
    return [each["id"] for each in records(path) if each["schema"] == SCHEMA] if path.exists() else []


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(25) == 0


def test_what_waits_for_a_dead_broker_is_seen_rescued_sent_elsewhere_and_thrown_away(
    agent: subprocess.Popen[str], tmp_path: Path
) -> None:
    wait_until_waiting(tmp_path, "mqtt-1", 40)
    seen = listed(tmp_path)["mqtt-1"]
    assert seen["agent_runs"]
    assert seen["oldest"]["captured_at"] < seen["newest"]["captured_at"]

    rescued = ids(outbox(tmp_path, "export", "mqtt-1"))
    assert len(rescued) >= 40
    assert set(rescued) <= set(ids_in(tmp_path / "all.jsonl"))

    outbox(tmp_path, "replay", "jsonl-3", "--from", "mqtt-1")
    wait_until(lambda: set(rescued) <= set(ids_in(tmp_path / "again.jsonl")), "what was replayed", limit_s=20)
    found = ids_in(tmp_path / "again.jsonl")
    assert len(found) == len(set(found))

    stop(agent)
    outbox(tmp_path, "purge", "mqtt-1", "--yes")
    outbox(tmp_path, "purge", "jsonl-2", "--yes")
    assert "Nothing waits." in outbox(tmp_path, "list")
    assert outbox(tmp_path, "export", "mqtt-1") == ""


@pytest.mark.timeout(120)
def test_commands_beside_a_running_agent_lose_and_repeat_nothing(agent: subprocess.Popen[str], tmp_path: Path) -> None:
    wait_until_waiting(tmp_path, "jsonl-2", 20)
    for turn in range(4):
        file = tmp_path / f"rescued-{turn}.jsonl"
        outbox(tmp_path, "export", "jsonl-2", "--to", file)
        assert ": 0" not in outbox(tmp_path, "replay", "jsonl-2", file)
        outbox(tmp_path, "list")
    purged = outbox(tmp_path, "purge", "jsonl-2", "--camera", "gate", "--yes")
    assert "thrown away" in purged
    (tmp_path / "blocked").unlink()
    wait_until(lambda: bool(ids_in(tmp_path / "blocked" / "results.jsonl")), "the sink to work", limit_s=40)
    for turn in range(3):
        outbox(tmp_path, "export", "jsonl-2")
        outbox(tmp_path, "replay", "jsonl-3", tmp_path / f"rescued-{turn}.jsonl")
    stop(agent)
    delivered, everything = ids_in(tmp_path / "blocked" / "results.jsonl"), ids_in(tmp_path / "all.jsonl")
    assert [name for name, count in Counter(delivered).items() if count > 1] == []
    assert {name for name in everything if "/door/" in name} <= set(delivered) <= set(everything)
    gone = set(everything) - set(delivered)
    assert len(gone) == int(purged.split(": ")[1].split()[0])
    replayed = {*ids_in(tmp_path / "again.jsonl"), *ids(outbox(tmp_path, "export", "jsonl-3"))}
    assert set(ids((tmp_path / "rescued-2.jsonl").read_text())) <= replayed


# Killed


WAITING, PUT_BACK = 300, 12_000


def delivery(number: int) -> Delivery:
    name = f"porch/{('door', 'gate')[number % 2]}/boot/{number}/0"
    body = {"schema": SCHEMA, "id": name, "camera": name.split("/")[1], "padding": number * 0.618034 % 1}
    return Delivery(name, name.split("/")[1], json.dumps(body).encode())


def fill(path: Path, count: int) -> None:
    store = Store(path, SystemClock(), boot_id())
    with store.transaction():
        store.append(list(groups([Entry(number, delivery(number)) for number in range(1, count + 1)])))
    store.release()


def waiting(path: Path) -> int:
    with contextlib.closing(Reader(path)) as reader:
        return len([entry for _, entries in reader.entries("waiting") for entry in entries or ()])


def killed_at(delay_s: float, folder: Path, *arguments: str | Path) -> None:
    """Kill -9 the command so long after it has loaded; it may have ended before."""
    script = "import sys; from agent.cli import main; print('ready', flush=True); sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", script, "outbox", *map(str, arguments)]
    with subprocess.Popen(command, cwd=folder, env=environment(folder), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay_s)
        process.kill()


def took_s(folder: Path, *arguments: str | Path) -> float:
    began_s = time.monotonic()
    outbox(folder, *arguments)
    return time.monotonic() - began_s


def run_time_s(folder: Path, *arguments: str | Path) -> float:
    """Without the time that it takes to load."""
    return max(0.05, took_s(folder, *arguments) - took_s(folder, "list"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "vedette" / "outbox" / "porch" / "mqtt-1.db"


@pytest.mark.timeout(180)
def test_a_replay_that_is_killed_has_put_back_all_or_nothing(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "rescued.jsonl"
    file.write_bytes(b"\n".join(delivery(number).body for number in range(1001, 1001 + PUT_BACK)))
    fill(path, WAITING)
    within_s = run_time_s(tmp_path, "replay", "mqtt-1", file)
    assert waiting(path) == WAITING + PUT_BACK
    dice = random.Random(SEED)  # noqa: S311 - moments, not secrets
    ended = Counter[int]()
    for _ in range(5):
        outbox(tmp_path, "purge", "mqtt-1", "--yes")
        fill(path, WAITING)
        killed_at(dice.uniform(0, 1.2 * within_s), tmp_path, "replay", "mqtt-1", file)
        ended[waiting(path)] += 1
    assert set(ended) <= {WAITING, WAITING + PUT_BACK}, ended
    assert ended[WAITING], ended
    outbox(tmp_path, "replay", "mqtt-1", file)
    assert waiting(path) == WAITING + PUT_BACK


@pytest.mark.timeout(180)
def test_a_purge_that_is_killed_has_thrown_away_all_or_nothing(path: Path, tmp_path: Path) -> None:
    fill(path, PUT_BACK)
    within_s = run_time_s(tmp_path, "purge", "mqtt-1", "--camera", "gate", "--yes")
    assert waiting(path) == PUT_BACK // 2
    dice = random.Random(SEED)  # noqa: S311 - moments, not secrets
    ended = Counter[int]()
    for _ in range(5):
        outbox(tmp_path, "purge", "mqtt-1", "--yes")
        fill(path, PUT_BACK)
        killed_at(dice.uniform(0, 1.2 * within_s), tmp_path, "purge", "mqtt-1", "--camera", "gate", "--yes")
        ended[waiting(path)] += 1
    assert set(ended) <= {PUT_BACK, PUT_BACK // 2}, ended
    assert ended[PUT_BACK], ended
