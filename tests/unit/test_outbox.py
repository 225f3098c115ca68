"""The outbox: nothing lost or repeated, order kept, bounded, and what it keeps between runs."""

import json
import logging
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.flow import Delivery, Outcome
from agent.outbox import MemoryOutbox


def delivery(number: int, size_bytes: int = 10) -> Delivery:
    return Delivery(f"yard/gate/boot/{number}/0", "gate", b"x" * size_bytes)


def ids(batch: Sequence[Delivery]) -> list[int]:
    return [int(item.id.split("/")[3]) for item in batch]


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "state" / "undelivered-mqtt-1.jsonl"


@pytest.fixture
def outbox(kept: Path) -> MemoryOutbox:
    return MemoryOutbox(kept)


def accept(outbox: MemoryOutbox, limit: int = 100) -> list[int]:
    batch = outbox.peek(limit, 0)
    outbox.settle(batch, [Outcome.ACCEPTED] * len(batch))
    return ids(batch)


# In one run


def test_deliveries_come_out_in_the_order_they_went_in(outbox: MemoryOutbox) -> None:
    for number in range(5):
        outbox.put(delivery(number))
    assert accept(outbox, limit=3) == [0, 1, 2]
    assert accept(outbox) == [3, 4]


def test_what_is_looked_at_stays_until_it_is_settled(outbox: MemoryOutbox) -> None:
    outbox.put(delivery(1))
    assert ids(outbox.peek(10, 0)) == ids(outbox.peek(10, 0)) == [1]


def test_what_the_sink_keeps_for_later_stays_in_its_place(outbox: MemoryOutbox) -> None:
    for number in range(4):
        outbox.put(delivery(number))
    outbox.settle(outbox.peek(3, 0), [Outcome.KEPT, Outcome.ACCEPTED, Outcome.KEPT])
    assert ids(outbox.peek(10, 0)) == [0, 2, 3]


def test_what_the_sink_rejects_for_good_is_counted_and_gone(outbox: MemoryOutbox) -> None:
    outbox.put(delivery(1))
    outbox.settle(outbox.peek(1, 0), [Outcome.REJECTED])
    status = outbox.status()
    assert (status.waiting, status.waiting_bytes, status.rejected, status.delivered) == (0, 0, 1, 0)


def test_a_full_outbox_drops_the_oldest_and_counts_it(kept: Path) -> None:
    outbox = MemoryOutbox(kept, limit_bytes=30)
    for number in range(5):
        outbox.put(delivery(number))
    assert ids(outbox.peek(10, 0)) == [2, 3, 4]
    assert outbox.status().dropped == 2
    assert outbox.status().waiting_bytes == 30


def test_a_delivery_larger_than_the_outbox_is_kept_alone(kept: Path) -> None:
    outbox = MemoryOutbox(kept, limit_bytes=30)
    outbox.put(delivery(1))
    outbox.put(delivery(2, size_bytes=100))
    assert ids(outbox.peek(10, 0)) == [2]
    outbox.put(delivery(3))
    assert ids(outbox.peek(10, 0)) == [3]


def test_what_was_dropped_while_on_its_way_and_yet_arrived_counts_as_delivered(kept: Path) -> None:
    outbox = MemoryOutbox(kept, limit_bytes=20)
    outbox.put(delivery(1))
    outbox.put(delivery(2))
    on_its_way = outbox.peek(2, 0)
    outbox.put(delivery(3))
    assert outbox.status().dropped == 1
    outbox.settle(on_its_way, [Outcome.ACCEPTED, Outcome.KEPT])
    status = outbox.status()
    assert (status.delivered, status.dropped, status.waiting) == (1, 0, 2)
    assert ids(outbox.peek(10, 0)) == [2, 3]


def test_looking_into_an_empty_outbox_ends_when_a_delivery_comes(outbox: MemoryOutbox) -> None:
    found: list[Delivery] = []
    looking = threading.Thread(target=lambda: found.extend(outbox.peek(10, 30.0)))
    looking.start()
    outbox.put(delivery(1))
    looking.join(20)
    assert ids(found) == [1]


def test_looking_into_an_empty_outbox_ends_by_itself(outbox: MemoryOutbox) -> None:
    assert outbox.peek(10, 0.01) == []


def test_many_threads_put_while_one_delivers_and_nothing_is_lost(outbox: MemoryOutbox) -> None:
    threads = [threading.Thread(target=_put_many, args=(outbox, first)) for first in range(0, 4000, 1000)]
    for thread in threads:
        thread.start()
    got: list[int] = []
    while any(thread.is_alive() for thread in threads) or outbox.status().waiting:
        got += accept(outbox, limit=64)
    assert sorted(got) == list(range(4000))
    for first in range(0, 4000, 1000):
        assert [n for n in got if first <= n < first + 1000] == list(range(first, first + 1000))


def _put_many(outbox: MemoryOutbox, first: int) -> None:
    for number in range(first, first + 1000):
        outbox.put(delivery(number))


class OutboxMachine(RuleBasedStateMachine):
    """An outbox beside a plain list, over any sequence of puts, deliveries, clean stops and crashes."""

    LIMIT_BYTES = 60

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.kept = Path(self.folder.name) / "kept.jsonl"
        self.outbox = MemoryOutbox(self.kept, limit_bytes=self.LIMIT_BYTES)
        self.model: list[Delivery] = []
        self.on_its_way: list[Delivery] = []
        self.next = 0

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(size_bytes=st.integers(0, 70))
    def put(self, size_bytes: int) -> None:
        self.model.append(delivery(self.next, size_bytes))
        self.outbox.put(self.model[-1])
        self.next += 1
        while len(self.model) > 1 and sum(len(item.body) for item in self.model) > self.LIMIT_BYTES:
            self.model.pop(0)

    @rule(limit=st.integers(1, 5))
    def peek(self, limit: int) -> None:
        self.on_its_way = list(self.outbox.peek(limit, 0))
        assert self.on_its_way == self.model[:limit]

    @precondition(lambda self: self.on_its_way)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        count = len(self.on_its_way)
        outcomes = data.draw(st.lists(st.sampled_from(Outcome), min_size=count, max_size=count))
        self.outbox.settle(self.on_its_way, outcomes)
        ended = {item.id for item, end in zip(self.on_its_way, outcomes, strict=True) if end is not Outcome.KEPT}
        self.model = [item for item in self.model if item.id not in ended]
        self.on_its_way = []

    @rule()
    def stop_and_start(self) -> None:
        self.outbox.close()
        self.outbox = MemoryOutbox(self.kept, limit_bytes=self.LIMIT_BYTES)
        self.on_its_way = []

    @invariant()
    def the_same_deliveries_wait_in_the_same_order(self) -> None:
        assert self.outbox.peek(1000, 0) == self.model

    @invariant()
    def its_size_is_bounded_and_right(self) -> None:
        status = self.outbox.status()
        assert status.waiting == len(self.model)
        assert status.waiting_bytes == sum(len(item.body) for item in self.model)
        assert status.waiting_bytes <= self.LIMIT_BYTES or status.waiting == 1
        assert min(status.delivered, status.rejected, status.dropped) >= 0


TestOutboxMachine = OutboxMachine.TestCase
TestOutboxMachine.settings = settings(
    deadline=None, max_examples=50, stateful_step_count=25, suppress_health_check=[HealthCheck.too_slow]
)


# From run to run


@pytest.fixture
def caught(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="agent")
    return caplog


def test_a_clean_stop_keeps_what_waits_for_the_next_start(kept: Path) -> None:
    outbox = MemoryOutbox(kept)
    bodies = [b"plain", b"\x00\xff\n", "Größe\u2028".encode()]
    for number, body in enumerate(bodies):
        outbox.put(Delivery(f"y/gate/b/{number}/0", "gate", body))
    outbox.close()
    again = MemoryOutbox(kept)
    assert [item.body for item in again.peek(10, 0)] == bodies
    assert ids(again.peek(10, 0)) == [0, 1, 2]
    assert again.peek(1, 0)[0].camera == "gate"


def test_what_waited_comes_before_what_is_new(kept: Path) -> None:
    outbox = MemoryOutbox(kept)
    outbox.put(delivery(1))
    outbox.close()
    again = MemoryOutbox(kept)
    again.put(delivery(2))
    assert accept(again) == [1, 2]


def test_an_empty_outbox_leaves_no_file(kept: Path) -> None:
    outbox = MemoryOutbox(kept)
    outbox.put(delivery(1))
    outbox.close()
    assert kept.exists()
    again = MemoryOutbox(kept)
    accept(again)
    again.close()
    assert list(kept.parent.iterdir()) == []


def test_a_crash_after_all_that_waited_was_delivered_repeats_nothing(kept: Path) -> None:
    outbox = MemoryOutbox(kept)
    for number in range(3):
        outbox.put(delivery(number))
    outbox.close()
    crashing = MemoryOutbox(kept)
    assert accept(crashing) == [0, 1, 2]
    crashing.put(delivery(3))
    assert ids(MemoryOutbox(kept).peek(10, 0)) == []


def test_a_crash_before_all_that_waited_was_delivered_loses_nothing_of_it(kept: Path) -> None:
    outbox = MemoryOutbox(kept)
    for number in range(3):
        outbox.put(delivery(number))
    outbox.close()
    crashing = MemoryOutbox(kept)
    assert accept(crashing, limit=2) == [0, 1]
    assert 2 in ids(MemoryOutbox(kept).peek(10, 0))


def test_a_smaller_limit_applies_to_what_was_kept(kept: Path) -> None:
    outbox = MemoryOutbox(kept)
    for number in range(5):
        outbox.put(delivery(number))
    outbox.close()
    again = MemoryOutbox(kept, limit_bytes=20)
    assert ids(again.peek(10, 0)) == [3, 4]
    assert again.status().dropped == 3


@pytest.mark.parametrize(
    "damage",
    [
        b"\x00" * 40,
        b'{"id": "y/gate/b/7/0", "camera": "gate", "bo',
        b"[" * 5000,
        b"{}",
        b'{"id": 5, "camera": "gate", "body": ""}',
        b'{"id": "y/gate/b/7/0", "camera": "gate", "body": "not base64!"}',
        b'{"id": "y/gate/b/7/0", "camera": "gate", "body": 5}',
        b"null",
        b"\xff\xfe",
    ],
)
def test_a_damaged_file_is_moved_aside_and_said_and_the_readable_lines_are_delivered(
    damage: bytes, kept: Path, caught: pytest.LogCaptureFixture
) -> None:
    outbox = MemoryOutbox(kept)
    for number in range(3):
        outbox.put(delivery(number))
    outbox.close()
    lines = kept.read_bytes().splitlines()
    lines[1] = damage
    kept.write_bytes(b"\n".join(lines))
    again = MemoryOutbox(kept)
    assert ids(again.peek(10, 0)) == [0, 2]
    aside = kept.with_suffix(".damaged")
    assert damage in aside.read_bytes()
    (record,) = [each for each in caught.records if each.levelname == "ERROR"]
    assert record.levelno == logging.ERROR
    assert f"moved_to={aside} readable=2 damaged=1" in record.getMessage()
    assert ids(MemoryOutbox(kept).peek(10, 0)) == [0, 2], "a crash now loses nothing"
    errors = [each for each in caught.records if each.levelname == "ERROR"]
    assert len(errors) == 1, "said once"


def test_a_file_that_is_damaged_all_over_does_not_stop_the_start(kept: Path) -> None:
    kept.parent.mkdir()
    kept.write_bytes(bytes(range(256)) * 100)
    outbox = MemoryOutbox(kept)
    assert outbox.status().waiting == 0
    assert [path.suffix for path in kept.parent.iterdir()] == [".damaged"]


def test_a_folder_in_the_place_of_the_file_stops_neither_start_nor_end(
    kept: Path, caught: pytest.LogCaptureFixture
) -> None:
    kept.mkdir(parents=True)
    outbox = MemoryOutbox(kept)
    outbox.put(delivery(1))
    outbox.close()
    said = [record.getMessage() for record in caught.records]
    assert said[0].startswith(f"results of an earlier run cannot be read path={kept}")
    assert said[1].startswith(f"undelivered results cannot be kept path={kept} results=1")


def test_where_nothing_is_to_be_kept_nothing_is_said(kept: Path, caught: pytest.LogCaptureFixture) -> None:
    kept.parent.write_text("in the way of the folder")
    outbox = MemoryOutbox(kept)
    caught.clear()
    outbox.put(delivery(1))
    assert accept(outbox) == [1]
    outbox.close()
    assert not caught.records


def test_what_was_delivered_and_cannot_be_removed_is_said(kept: Path, caught: pytest.LogCaptureFixture) -> None:
    kept.mkdir(parents=True)
    outbox = MemoryOutbox(kept)
    caught.clear()
    outbox.close()
    (said,) = [record.getMessage() for record in caught.records]
    assert said.startswith("delivered results may come again at the next start: their file cannot be removed")


def test_what_cannot_be_kept_is_not_said_to_be(kept: Path, caught: pytest.LogCaptureFixture) -> None:
    kept.parent.write_text("in the way of the folder")
    outbox = MemoryOutbox(kept)
    outbox.put(delivery(1))
    caught.clear()
    outbox.close()
    (said,) = [record.getMessage() for record in caught.records]
    assert said.startswith(f"undelivered results cannot be kept path={kept} results=1")


def test_a_run_that_has_no_next_start_keeps_nothing_and_says_so(kept: Path, caught: pytest.LogCaptureFixture) -> None:
    outbox = MemoryOutbox(kept)
    outbox.keep_nothing()
    outbox.put(delivery(1))
    outbox.close()
    (said,) = [record.getMessage() for record in caught.records]
    assert said == "undelivered results are lost with the end of this run count=1"
    assert not kept.exists()


def test_a_kept_file_holds_one_json_object_per_delivery(kept: Path) -> None:
    outbox = MemoryOutbox(kept)
    outbox.put(delivery(1))
    outbox.close()
    assert json.loads(kept.read_text(encoding="utf-8")).keys() == {"id", "camera", "body"}
