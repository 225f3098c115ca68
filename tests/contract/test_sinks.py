"""What every sink promises the runtime, asked of each plugin file in agent/sinks."""

import contextlib
import csv as tables
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from real import broker as world
from real.broker import Broker, Subscriber, wait_until
from webhook_receiver import receiving

import agent.sinks
from agent.clock import SystemClock
from agent.errors import AgentError, SinkError
from agent.flow import Delivery, Outcome
from agent.ports import Context, Sink
from agent.sinks import csv, jsonl, mqtt, stdout, webhook

PLUGINS = sorted(file.stem for file in Path(agent.sinks.__path__[0]).glob("[!_]*.py"))


@dataclass(frozen=True)
class Bench:
    """One kind of sink, the other side of it, and a way to spoil and mend that."""

    sink: Sink
    arrived: Callable[[], list[str]]
    """The ids on the other side, in order."""
    spoil: Callable[[], object]
    """From now on `open` fails."""
    mend: Callable[[], object]


def _context(folder: Path) -> Context:
    return Context("porch", SystemClock(), folder, folder)


def _ids(lines: list[str]) -> list[str]:
    return [json.loads(line)["id"] for line in lines]


def _stdout(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    capture, patch = request.getfixturevalue("capfd"), request.getfixturevalue("monkeypatch")
    seen: list[str] = []

    def arrived() -> list[str]:
        seen.extend(_ids(capture.readouterr().out.splitlines()))
        return seen

    yield Bench(
        stdout.build(stdout.Options(type="stdout"), _context(tmp_path)),
        arrived,
        spoil=lambda: patch.setattr(sys, "__stdout__", None),
        mend=patch.undo,
    )


def _jsonl(tmp_path: Path, _request: pytest.FixtureRequest) -> Iterator[Bench]:
    folder = tmp_path / "results"
    yield Bench(
        jsonl.build(jsonl.Options(type="jsonl", path=Path("results/out.jsonl")), _context(tmp_path)),
        lambda: _ids((folder / "out.jsonl").read_text().splitlines()),
        spoil=lambda: folder.write_text("in the way"),
        mend=folder.unlink,
    )


def _csv(tmp_path: Path, _request: pytest.FixtureRequest) -> Iterator[Bench]:
    folder = tmp_path / "results"

    def arrived() -> list[str]:
        with (folder / "out.csv").open(newline="", encoding="utf-8") as rows:
            return [row["id"] for row in tables.DictReader(rows)]

    yield Bench(
        csv.build(csv.Options(type="csv", path=Path("results/out.csv")), _context(tmp_path)),
        arrived,
        spoil=lambda: folder.write_text("in the way"),
        mend=folder.unlink,
    )


def _mqtt(tmp_path: Path, _request: pytest.FixtureRequest) -> Iterator[Bench]:
    if world.MISSING:
        pytest.skip(world.REASON)
    broker = Broker(tmp_path / "broker")
    subscribers: list[Subscriber] = []

    def start() -> None:
        broker.start()
        subscribers.append(subscriptions.enter_context(broker.subscribe("vedette/porch/door/results")))

    def stop() -> None:
        subscriptions.close()
        broker.stop()

    with contextlib.ExitStack() as subscriptions:
        start()
        yield Bench(
            mqtt.build(mqtt.Options(type="mqtt", host="localhost", port=broker.port), _context(tmp_path)),
            lambda: [each for one in subscribers for each in _ids(one.texts("vedette/porch/door/results"))],
            spoil=stop,
            mend=start,
        )
        stop()


def _webhook(tmp_path: Path, _request: pytest.FixtureRequest) -> Iterator[Bench]:
    with receiving() as receiver:
        url = f"http://127.0.0.1:{receiver.port}/results"
        yield Bench(
            webhook.build(webhook.Options.model_validate({"type": "webhook", "url": url}), _context(tmp_path)),
            lambda: _ids([request.body.decode() for request in receiver.requests]),
            spoil=receiver.stop,
            mend=receiver.start,
        )


BENCHES = {"csv": _csv, "jsonl": _jsonl, "mqtt": _mqtt, "stdout": _stdout, "webhook": _webhook}


@pytest.fixture(params=PLUGINS)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    assert request.param in BENCHES, f"agent/sinks/{request.param}.py is new: give it a bench here"
    with contextlib.contextmanager(BENCHES[request.param])(tmp_path, request) as made:
        yield made
        made.sink.close()


def deliveries(count: int, *, start: int = 0) -> list[Delivery]:
    ids = [f"porch/door/boot/{seq}/0" for seq in range(start, start + count)]
    return [Delivery(each, "door", json.dumps({"id": each, "text": "grün\n"}).encode()) for each in ids]


def assert_arrives(bench: Bench, batch: list[Delivery]) -> None:
    expected = [delivery.id for delivery in batch]
    wait_until(lambda: len(bench.arrived()) >= len(expected), f"{len(expected)} results")
    assert bench.arrived() == expected


def test_accepted_means_it_is_there_in_order(bench: Bench) -> None:
    batch = deliveries(60)
    bench.sink.open()
    assert list(bench.sink.send(batch[:50])) == [Outcome.ACCEPTED] * 50
    assert list(bench.sink.send(batch[50:])) == [Outcome.ACCEPTED] * 10
    assert_arrives(bench, batch)


def test_an_empty_batch_is_accepted_as_nothing(bench: Bench) -> None:
    bench.sink.open()
    assert list(bench.sink.send([])) == []
    assert bench.sink.send(deliveries(1)) == [Outcome.ACCEPTED]
    assert_arrives(bench, deliveries(1))


def test_open_again_after_close_goes_on(bench: Bench) -> None:
    for start in (0, 3):
        bench.sink.open()
        assert list(bench.sink.send(deliveries(3, start=start))) == [Outcome.ACCEPTED] * 3
        bench.sink.close()
    assert_arrives(bench, deliveries(6))


def test_close_is_fine_before_open_after_a_failed_open_and_twice(bench: Bench) -> None:
    bench.sink.close()
    bench.spoil()
    with pytest.raises(AgentError):
        bench.sink.open()
    bench.sink.close()
    bench.sink.close()


def test_a_failed_open_is_one_of_ours_and_says_what_to_do_and_the_next_one_works(bench: Bench) -> None:
    bench.spoil()
    for _ in range(3):
        with pytest.raises(AgentError, match=r"[;,] \w+") as caught:
            bench.sink.open()
        assert "\n" not in str(caught.value)
        bench.sink.close()
    bench.mend()
    bench.sink.open()
    assert list(bench.sink.send(deliveries(2))) == [Outcome.ACCEPTED] * 2
    assert_arrives(bench, deliveries(2))


@pytest.mark.parametrize("plugin", [name for name in PLUGINS if name != "stdout"])
def test_sending_while_closed_is_unavailable_and_not_a_crash(
    plugin: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with contextlib.contextmanager(BENCHES[plugin])(tmp_path, request) as bench, pytest.raises(SinkError):
        bench.sink.send(deliveries(1))


def test_a_sink_says_what_it_is_and_how_it_does(bench: Bench) -> None:
    closed = repr(bench.sink)
    assert closed.startswith("<")
    assert "0x" not in closed
