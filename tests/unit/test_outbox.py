"""The outbox: nothing lost or repeated, order kept, bounded, and on disk what no sink takes in time."""

import contextlib
import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from disks import small_disk
from fakes import FakeClock
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent import outbox as module
from agent import room
from agent import store as storing
from agent.clock import SystemClock
from agent.database import StoreDamaged, StoreError
from agent.errors import ConfigError
from agent.flow import Delivery, Outcome
from agent.loop import Pulse
from agent.outbox import Limits, Outbox, WhenFull
from agent.parcel import Group
from agent.store import Store

ACCEPTED, KEPT, REJECTED = Outcome.ACCEPTED, Outcome.KEPT, Outcome.REJECTED


def delivery(number: int, size_bytes: int = 10) -> Delivery:
    """Its body cannot be compressed, so that sizes can be told."""
    return Delivery(f"yard/gate/boot/{number}/0", "gate", os.urandom(size_bytes))


def ids(batch: Sequence[Delivery]) -> list[int]:
    return [int(item.id.split("/")[3]) for item in batch]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "mqtt-1.db"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def opened(path: Path, clock: FakeClock, limits: Limits | None = None, *, boot_id: str = "boot") -> Outbox:
    made = Outbox(Store(path, clock, boot_id), limits or Limits(), clock)
    made.claim()
    made.verify()
    return made


@pytest.fixture
def outbox(path: Path, clock: FakeClock) -> Outbox:
    return opened(path, clock)


def put(outbox: Outbox, *numbers: int, size_bytes: int = 10) -> None:
    for number in numbers:
        outbox.put(delivery(number, size_bytes))


def take(outbox: Outbox, limit: int = 100, outcome: Outcome = ACCEPTED) -> list[int]:
    batch = outbox.peek(limit, 0)
    outbox.settle(batch, [outcome] * len(batch))
    return ids(batch)


def drain(outbox: Outbox) -> list[int]:
    found: list[int] = []
    while batch := take(outbox):
        found += batch
    return found


def killed(outbox: Outbox) -> None:
    """The process is gone: what was in memory is, too, and its files are as they are."""
    assert outbox._store is not None
    outbox._store.release()


# In memory and on disk alike


@pytest.fixture(params=["in memory", "on disk"])
def either(request: pytest.FixtureRequest, outbox: Outbox) -> Outbox:
    if request.param == "on disk":
        outbox.peek = lambda limit, timeout_s: (outbox.commit(), Outbox.peek(outbox, limit, timeout_s))[1]  # type: ignore[method-assign]
    return outbox


def test_deliveries_come_out_in_the_order_they_went_in(either: Outbox) -> None:
    put(either, *range(5))
    assert take(either, limit=5) == [0, 1, 2, 3, 4]
    assert take(either) == []


def test_what_is_looked_at_stays_until_it_is_settled(either: Outbox) -> None:
    put(either, 1)
    assert ids(either.peek(10, 0)) == ids(either.peek(10, 0)) == [1]


def test_what_the_sink_could_not_take_comes_again_in_its_place(either: Outbox) -> None:
    put(either, *range(4))
    batch = either.peek(4, 0)
    either.settle(batch, [ACCEPTED, ACCEPTED, KEPT, KEPT])
    put(either, 4)
    assert take(either) == [2, 3, 4]


def of(camera: str, number: int) -> Delivery:
    return Delivery(f"yard/{camera}/boot/{number}/0", camera, b"{}")


def test_a_camera_whose_results_are_refused_does_not_hold_up_the_others(either: Outbox, clock: FakeClock) -> None:
    for number in range(4):
        either.put(of("denied" if number % 2 == 0 else "gate", number))
    batch = either.peek(4, 0)
    either.settle(batch, [KEPT, ACCEPTED, KEPT, ACCEPTED])
    either.put(of("gate", 4))
    either.put(of("denied", 5))
    assert take(either) == [4]
    assert take(either) == []
    clock.advance(5)
    assert take(either) == [0, 2, 5]


def test_what_is_refused_again_and_again_is_offered_ever_more_rarely(either: Outbox, clock: FakeClock) -> None:
    put(either, *range(500))
    offered = 0
    for _ in range(3600):
        clock.advance(1)
        batch = either.peek(100, 0)
        either.settle(batch, [KEPT] * len(batch))
        offered += len(batch)
    assert offered < 2000
    clock.advance(300)
    assert drain(either) == list(range(500))


def test_a_backlog_that_is_refused_lets_those_behind_it_through(outbox: Outbox) -> None:
    for number in range(1000):
        outbox.put(of("denied", number))
    outbox.put(of("gate", 1000))
    outbox.commit()
    outbox.put(of("gate", 1001))
    assert take(outbox, limit=128, outcome=KEPT) == list(range(128))
    assert drain(outbox) == [1000, 1001]


def test_what_was_accepted_or_rejected_is_counted_and_gone(either: Outbox) -> None:
    put(either, *range(4))
    batch = either.peek(4, 0)
    either.settle(batch, [ACCEPTED, REJECTED, ACCEPTED, ACCEPTED])
    status = either.status()
    assert (status.waiting, status.delivered, status.rejected, status.dropped) == (0, 3, 1, 0)
    assert either.peek(1, 0) == []


def test_a_peek_waits_for_something_to_come(path: Path) -> None:
    outbox = Outbox(Store(path, SystemClock(), "boot"), Limits(), SystemClock())
    outbox.claim()
    outbox.verify()
    got: list[list[int]] = []
    waiter = threading.Thread(target=lambda: got.append(ids(outbox.peek(1, 10))))
    waiter.start()
    put(outbox, 7)
    waiter.join(10)
    assert got == [[7]]


# What reaches the disk


def test_what_the_sink_takes_in_time_never_reaches_the_disk(outbox: Outbox, clock: FakeClock, path: Path) -> None:
    for number in range(100):
        put(outbox, number)
        clock.advance(0.1)
        assert not outbox._due()
        outbox._look()
        assert take(outbox) == [number]
    outbox.close()
    assert not path.exists()


def test_what_the_sink_does_not_take_is_on_disk_within_the_commit_interval(
    outbox: Outbox, clock: FakeClock, path: Path
) -> None:
    put(outbox, 1)
    outbox.commit()
    put(outbox, 2)
    clock.advance(0.1)
    assert not outbox._due()
    clock.advance(0.7)
    assert outbox._due()
    outbox.commit()
    killed(outbox)
    assert drain(opened(path, clock)) == [1, 2]


def test_the_commit_loop_writes_in_time_and_what_waits_at_the_end(path: Path) -> None:
    clock = SystemClock()
    outbox = Outbox(Store(path, clock, "boot"), Limits(commit_interval_s=0.2), clock)
    pulse = Pulse(clock)
    thread = threading.Thread(target=outbox.run, args=(pulse,), daemon=True)
    thread.start()
    put(outbox, 1)
    until_s = clock.now() + 10
    while not rows(path) and clock.now() < until_s:
        clock.wait(threading.Event(), 0.01)
    assert rows(path) == 1
    put(outbox, 2)
    pulse.stopping.set()
    thread.join(10)
    assert rows(path) == 2


def rows(path: Path) -> int:
    if not path.exists():
        return 0
    with contextlib.closing(sqlite3.connect(path)) as connection:
        try:
            return int(connection.execute("SELECT coalesce(sum(count), 0) FROM waiting").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


def test_a_kill_costs_what_was_not_committed_and_nothing_else(outbox: Outbox, clock: FakeClock, path: Path) -> None:
    put(outbox, *range(3))
    outbox.commit()
    put(outbox, 3)
    killed(outbox)
    again = opened(path, clock)
    put(again, 4)
    assert drain(again) == [0, 1, 2, 4]


def test_what_was_handed_out_when_the_process_was_killed_comes_again(
    outbox: Outbox, clock: FakeClock, path: Path
) -> None:
    put(outbox, *range(300))
    outbox.commit()
    for _ in range(2):
        take(outbox, limit=128)
    assert ids(outbox.peek(128, 0)) == list(range(256, 300))
    killed(outbox)
    assert drain(opened(path, clock)) == list(range(256, 300))


def test_what_is_written_while_the_sink_has_it_in_hand_is_removed_when_it_is_settled(
    outbox: Outbox, clock: FakeClock, path: Path
) -> None:
    put(outbox, *range(3))
    batch = outbox.peek(3, 0)
    outbox.commit()
    assert outbox.status().waiting == 3
    outbox.settle(batch, [ACCEPTED, KEPT, ACCEPTED])
    outbox.close()
    assert drain(opened(path, clock)) == [1]


def test_old_ones_on_disk_go_before_new_ones_in_memory(outbox: Outbox) -> None:
    put(outbox, *range(100))
    outbox.commit()
    put(outbox, 100, 101)
    batch = outbox.peek(128, 0)
    assert ids(batch) == list(range(102))


def test_what_was_rejected_is_kept_for_people(outbox: Outbox, path: Path) -> None:
    put(outbox, 1, 2)
    take(outbox, outcome=REJECTED)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM rejected").fetchone() == (1,)


def test_what_the_sink_takes_while_it_is_written_does_not_come_again_after_a_stop(
    outbox: Outbox, path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(outbox, 1)
    batch, append = outbox.peek(128, 0), Store.append

    def taken_meanwhile(store: Store, packed: Sequence[Group]) -> None:
        append(store, packed)
        outbox.settle(batch, [ACCEPTED])

    monkeypatch.setattr(Store, "append", taken_meanwhile)
    outbox.commit()
    outbox.close()
    assert drain(opened(path, clock)) == []


def test_it_tells_how_much_outlasts_a_stop(outbox: Outbox) -> None:
    put(outbox, 1)
    assert outbox.kept == 0
    outbox.close()
    assert outbox.kept == 1


def test_without_a_disk_what_a_stop_would_lose_is_there_to_be_had(clock: FakeClock) -> None:
    outbox = Outbox(None, Limits(), clock)
    outbox.claim()
    outbox.verify()
    put(outbox, 1, 2)
    assert ids(outbox.peek(1, 0)) == [1]
    outbox.commit()
    outbox.close()
    assert ids(outbox.rest()) == [1, 2]


def test_two_agents_of_one_name_do_not_share_an_outbox(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from agent.clock import SystemClock; from agent.store import Store;"
        "Store(Path(sys.argv[1]), SystemClock(), 'boot').claim(); print('mine', flush=True); sys.stdin.read()"
    )
    import subprocess
    import sys

    path = tmp_path / "mqtt-1.db"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path.cwd()
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"mine\n"
        with pytest.raises(ConfigError, match="another agent of this name runs here"):
            opened(path, FakeClock())
        other.communicate(b"")


# Full


def full(path: Path, clock: FakeClock, policy: WhenFull) -> Outbox:
    """A tenth of what is put in fits."""
    outbox = opened(path, clock, Limits(max_bytes=110_000, when_full=policy))
    for number in range(0, 1000, 10):
        put(outbox, *range(number, number + 10), size_bytes=1000)
        outbox.commit()
    return outbox


def test_when_full_the_oldest_give_way_and_are_counted(path: Path, clock: FakeClock) -> None:
    outbox = full(path, clock, WhenFull.DROP_OLDEST)
    left = outbox.status()
    found = drain(outbox)
    assert found == list(range(1000 - len(found), 1000))
    assert 50 <= len(found) <= 110
    assert left.dropped == 1000 - len(found)
    assert path.stat().st_size < 150_000


def test_when_full_the_newest_may_give_way_instead(path: Path, clock: FakeClock) -> None:
    outbox = full(path, clock, WhenFull.DROP_NEWEST)
    left = outbox.status()
    found = drain(outbox)
    assert found == list(range(len(found)))
    assert 50 <= len(found) <= 110
    assert left.dropped == 1000 - len(found)


def test_when_full_thinning_keeps_a_history_that_is_coarser_the_older_it_is(path: Path, clock: FakeClock) -> None:
    outbox = full(path, clock, WhenFull.THIN)
    left = outbox.status()
    found = drain(outbox)
    assert left.dropped == 1000 - len(found)
    assert 40 <= len(found) <= 110
    assert found == sorted(found)
    assert found[-1] == 999
    assert min(found) < 700  # the last hundred would fit
    older, newer = (sum(start <= each < start + 300 for each in found) for start in (400, 700))
    assert 0 < older < newer


def test_with_little_free_space_the_file_does_not_grow(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = opened(path, clock, Limits(keep_free_bytes=1e6))
    put(outbox, *range(50), size_bytes=1000)
    outbox.commit()
    monkeypatch.setattr(room, "_free_bytes", lambda _: 999_999)
    before = outbox._store.size.file_bytes if outbox._store else 0
    put(outbox, *range(50, 60), size_bytes=1000)
    outbox.commit()
    assert outbox._store is not None
    assert outbox._store.size.file_bytes <= before
    found = drain(outbox)
    assert found[-1] == 59
    assert outbox.status().dropped == 60 - len(found)


def test_what_the_sink_has_in_hand_does_not_give_way(path: Path, clock: FakeClock) -> None:
    outbox = opened(path, clock, Limits(max_bytes=50_000))
    put(outbox, *range(10), size_bytes=1000)
    outbox.commit()
    batch = outbox.peek(10, 0)
    for number in range(10, 200, 10):
        put(outbox, *range(number, number + 10), size_bytes=1000)
        outbox.commit()
    outbox.settle(batch, [ACCEPTED] * 10)
    status = outbox.status()
    assert status.delivered == 10
    assert status.dropped + 10 + len(drain(outbox)) == 200


def test_too_old_is_told_by_the_monotonic_clock_whatever_the_wall_clock_does(path: Path, clock: FakeClock) -> None:
    outbox = opened(path, clock, Limits(max_age_s=3600))
    put(outbox, 1)
    outbox.commit()
    for wall_step_s in (-315_360_000.0, 630_720_000.0, 25.0):
        clock.wall_s += wall_step_s
        clock.advance(600)
        put(outbox, 2)
        outbox.commit()
    assert outbox.status().dropped == 0
    clock.advance(1801)
    put(outbox, 3)
    outbox.commit()
    assert outbox.status().dropped == 1
    assert drain(outbox) == [2, 2, 2, 3]


def test_after_a_reboot_the_age_is_at_least_the_time_since(path: Path, clock: FakeClock) -> None:
    outbox = opened(path, clock, Limits(max_age_s=3600))
    put(outbox, 1)
    outbox.commit()
    killed(outbox)
    clock = FakeClock(now_s=10.0)
    clock.wall_s = 1_800_000_000.0 + 600
    again = opened(path, clock, Limits(max_age_s=3600), boot_id="another")
    put(again, 2)
    again.commit()
    assert again.status().dropped == 0
    clock.wall_s += 3600
    put(again, 3)
    again.commit()
    assert again.status().dropped == 1


# The disk fails


@pytest.fixture
def broken(path: Path) -> Path:
    """A folder in the place of the file."""
    path.mkdir(parents=True)
    return path


def test_with_a_disk_that_fails_results_wait_in_memory_and_go_out(
    broken: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = opened(broken, clock)
    put(outbox, *range(3))
    outbox.commit()
    assert "results wait in memory alone" in caplog.text
    assert drain(outbox) == [0, 1, 2]
    assert outbox.status().delivered == 3


def test_memory_is_bounded_while_the_disk_fails(
    broken: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FRESH_BYTES", 10_000)
    outbox = opened(broken, clock)
    put(outbox, *range(50), size_bytes=1000)
    status = outbox.status()
    assert status.waiting_bytes <= 10_000
    assert status.waiting + status.dropped == 50
    assert drain(outbox)[-1] == 49


def test_when_the_disk_is_back_memory_is_written(broken: Path, clock: FakeClock) -> None:
    outbox = opened(broken, clock)
    put(outbox, 1)
    outbox.commit()
    broken.rmdir()
    clock.advance(3)
    assert outbox._due()
    outbox.commit()
    killed(outbox)
    assert drain(opened(broken, clock)) == [1]


class SeemsToFail(Store):
    """Reports a failure after the next commits, though they came to the disk: as an fsync may."""

    failures = 0

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        with super().transaction():
            yield
        if self.failures:
            self.failures -= 1
            self.close()
            raise StoreError("the disk says no")


@pytest.mark.parametrize("failures", [1, 3])
def test_a_commit_that_seems_to_fail_and_did_not_repeats_nothing(path: Path, clock: FakeClock, failures: int) -> None:
    store = SeemsToFail(path, clock, "boot")
    outbox = Outbox(store, Limits(), clock)
    outbox.claim()
    outbox.verify()
    put(outbox, 1, 2)
    outbox.commit()
    store.failures = failures
    put(outbox, *range(3, 100))
    batch = outbox.peek(10, 0)
    for _ in range(failures + 1):
        outbox.commit()
    assert outbox.status().waiting == 99
    outbox.settle(batch, [ACCEPTED] * 10)
    assert drain(outbox) == list(range(11, 100))
    killed(outbox)
    assert drain(opened(path, clock)) == []


def test_what_the_sink_takes_after_a_commit_that_seemed_to_fail_does_not_come_again(
    path: Path, clock: FakeClock
) -> None:
    store = SeemsToFail(path, clock, "boot")
    outbox = Outbox(store, Limits(), clock)
    outbox.claim()
    outbox.verify()
    put(outbox, 1, 2, 3)
    store.failures = 1
    outbox.commit()
    batch = outbox.peek(2, 0)
    outbox.settle(batch, [ACCEPTED] * len(batch))
    put(outbox, 4)
    outbox.commit()
    found = ids(batch) + drain(outbox)
    assert found == [1, 2, 3, 4]
    assert outbox.status().waiting == outbox.status().dropped == 0
    killed(outbox)
    assert drain(opened(path, clock)) == []


def test_a_damaged_file_is_moved_aside_and_kept_and_a_new_one_is_begun(
    path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = opened(path, clock)
    put(outbox, *range(100), size_bytes=1000)
    outbox.close()
    content = bytearray(path.read_bytes())
    content[4096:20_000] = os.urandom(20_000 - 4096)
    path.write_bytes(content)
    again = opened(path, clock)
    assert "it is kept, `vedette outbox export` reads" in caplog.text
    assert (path.parent / "mqtt-1.db.damaged-1").read_bytes() == bytes(content)
    put(again, 7)
    again.commit()
    assert drain(again) == [7]


def test_a_file_that_is_no_database_is_moved_aside(path: Path, clock: FakeClock) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database, " * 100)
    outbox = opened(path, clock)
    put(outbox, 1)
    outbox.commit()
    killed(outbox)
    assert drain(opened(path, clock)) == [1]
    assert len(list(path.parent.glob("*.damaged-1"))) == 1


def test_only_three_damaged_files_are_kept(path: Path, clock: FakeClock) -> None:
    path.parent.mkdir()
    for number in range(5):
        path.write_bytes(b"%d is no database" % number * 100)
        opened(path, clock).close()
    kept = sorted(each.name for each in path.parent.glob("*.damaged-*"))
    assert kept == [f"mqtt-1.db.damaged-{number}" for number in (3, 4, 5)]


def test_a_group_that_is_damaged_is_put_aside_and_the_others_go_on(path: Path, clock: FakeClock) -> None:
    outbox = opened(path, clock)
    for number in range(3):
        put(outbox, number)
        outbox.commit()
    outbox.close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE waiting SET body = x'00' WHERE first = 2")
    again = opened(path, clock)
    assert drain(again) == [0, 2]
    assert again.status().dropped == 1


def test_a_commit_that_seemed_to_fail_is_looked_for_beside_a_damaged_group(path: Path, clock: FakeClock) -> None:
    outbox = opened(path, clock)
    for number in range(3):
        put(outbox, number)
        outbox.commit()
    killed(outbox)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE waiting SET body = x'00' WHERE first = 2")
    again = opened(path, clock)
    again._unsure = {9: "yard/gate/boot/9/0"}
    put(again, 3)
    again.commit()
    assert drain(again) == [0, 2, 3]


def test_a_large_file_of_rejected_ones_is_not_rewritten_whenever_nothing_waits(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "_SHRINK_BYTES", 100_000)
    outbox = opened(path, clock)
    put(outbox, *range(20), size_bytes=20_000)
    take(outbox, outcome=REJECTED)
    assert outbox._store is not None
    shrunk: list[bool] = []
    monkeypatch.setattr(outbox._store._database, "shrink", lambda: shrunk.append(True))
    put(outbox, 20)
    outbox.commit()
    assert drain(outbox) == [20]
    assert outbox._store.size.file_bytes > 400_000
    assert shrunk == []


def test_two_processes_may_make_the_file_at_once(path: Path, clock: FakeClock) -> None:
    stores = [Store(path, clock, "boot") for _ in range(8)]
    start = threading.Barrier(len(stores))
    failed: list[StoreError] = []

    def make(store: Store) -> None:
        start.wait(10)
        try:
            store.measure()
        except StoreError as error:
            failed.append(error)

    threads = [threading.Thread(target=make, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any("already exists" in str(error) for error in failed)
    assert all(store.measure().count == 0 for store in stores)


# What is slow or ill holds up nothing else


def test_a_disk_that_hangs_holds_up_nothing_that_is_in_memory(outbox: Outbox) -> None:
    with outbox._io:
        put(outbox, 1, 2)
        assert take(outbox) == [1, 2]
        put(outbox, 3)
        assert take(outbox) == [3]
    assert outbox.status().delivered == 3


def test_what_the_sink_takes_while_it_is_being_written_does_not_come_again(path: Path, clock: FakeClock) -> None:
    class TakesMeanwhile(Store):
        during: Callable[[], object] | None = None

        @contextlib.contextmanager
        def transaction(self) -> Iterator[None]:
            with super().transaction():
                yield
                if self.during is not None:
                    act, self.during = self.during, None
                    act()

    store = TakesMeanwhile(path, clock, "boot")
    outbox = Outbox(store, Limits(), clock)
    outbox.claim()
    outbox.verify()
    put(outbox, 1, 2, 3)
    taken: list[int] = []
    store.during = lambda: taken.extend(take(outbox, limit=2))
    outbox.commit()
    assert taken == [1, 2]
    assert drain(outbox) == [3]
    killed(outbox)
    assert drain(opened(path, clock)) == []


def test_memory_is_bounded_whatever_the_sizes(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRESH_BYTES", 100_000)
    outbox = Outbox(None, Limits(), clock)
    put(outbox, *range(90), size_bytes=1000)
    for number in range(90, 200):
        put(outbox, number, size_bytes=30_000)
        assert outbox.status().waiting_bytes <= 100_000
    assert outbox.status().waiting + outbox.status().dropped == 200


class CannotForget(Store):
    """Reads, and cannot write any more."""

    ill = False

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        if self.ill:
            raise StoreError("read-only")
        with super().transaction():
            yield


def test_a_disk_that_cannot_forget_costs_at_most_a_batch_that_comes_twice(path: Path, clock: FakeClock) -> None:
    store = CannotForget(path, clock, "boot")
    outbox = Outbox(store, Limits(), clock)
    outbox.claim()
    outbox.verify()
    put(outbox, *range(1000))
    outbox.commit()
    store.ill = True
    first = drain(outbox)
    put(outbox, 1000)
    assert drain(outbox) == [1000]
    assert len(first) <= 100
    killed(outbox)
    assert drain(opened(path, clock)) == list(range(1000))
    store.ill = False


def test_what_comes_while_an_earlier_run_s_results_are_read_is_written_all_the_same(
    path: Path, clock: FakeClock
) -> None:
    earlier = opened(path, clock)
    put(earlier, 1)
    earlier.close()
    outbox = Outbox(Store(path, clock, "boot"), Limits(), clock)
    outbox.claim()
    put(outbox, 2)
    assert take(outbox) == []
    outbox.commit()
    killed(outbox)
    assert drain(opened(path, clock)) == [1, 2]


def test_what_this_run_has_written_into_a_file_that_proves_damaged_is_saved(path: Path, clock: FakeClock) -> None:
    earlier = opened(path, clock)
    put(earlier, *range(100), size_bytes=1000)
    earlier.close()
    outbox = Outbox(Store(path, clock, "boot"), Limits(), clock)
    outbox.claim()
    put(outbox, 200, 201)
    outbox.commit()
    outbox._note_trouble(StoreDamaged("found by reading all of it"))
    outbox.verify()
    assert drain(outbox) == [200, 201]


def test_too_old_is_dropped_though_nothing_new_comes(path: Path, clock: FakeClock) -> None:
    outbox = opened(path, clock, Limits(max_age_s=3600))
    put(outbox, 1)
    outbox.commit()
    clock.advance(3601)
    outbox._look()
    assert take(outbox) == []
    assert outbox.status().dropped == 1


def test_too_little_free_space_is_said(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = opened(path, clock, Limits(keep_free_bytes=1e6))
    monkeypatch.setattr(room, "_free_bytes", lambda _: 10)
    put(outbox, *range(100), size_bytes=1000)
    outbox.commit()
    assert "results wait in memory alone" in caplog.text
    assert "keep_free_mb" in caplog.text
    assert drain(outbox) == list(range(100))


@pytest.mark.parametrize("policy", [WhenFull.DROP_NEWEST, WhenFull.DROP_OLDEST])
def test_of_more_than_fits_as_much_as_fits_is_kept(path: Path, clock: FakeClock, policy: WhenFull) -> None:
    outbox = opened(path, clock, Limits(max_bytes=300_000, when_full=policy))
    put(outbox, *range(1000), size_bytes=1000)
    outbox.commit()
    dropped = outbox.status().dropped
    found = drain(outbox)
    assert len(found) + dropped == 1000
    assert 100 < len(found) < 320
    assert found == (list(range(len(found))) if policy is WhenFull.DROP_NEWEST else list(range(dropped, 1000)))


def test_a_commit_that_seemed_to_fail_is_found_behind_any_backlog(path: Path, clock: FakeClock) -> None:
    earlier = opened(path, clock)
    for number in range(1100):
        put(earlier, number)
        earlier.commit()
    killed(earlier)
    store = SeemsToFail(path, clock, "boot")
    outbox = Outbox(store, Limits(), clock)
    outbox.claim()
    outbox.verify()
    put(outbox, 1100)
    store.failures = 1
    outbox.commit()
    assert drain(outbox) == list(range(1101))


def test_an_outbox_that_has_filled_its_own_disk_delivers_forgets_and_shrinks(tmp_path: Path, clock: FakeClock) -> None:
    with small_disk(tmp_path / "small", "size=2500k") as folder:
        outbox = opened(folder / "mqtt-1.db", clock)
        written = 0
        while outbox.status().waiting == 0 or not outbox._fresh:
            put(outbox, *range(written, written + 100), size_bytes=500)
            written += 100
            outbox.commit()
        clock.advance(3)
        found = drain(outbox)
        for _ in range(50):
            clock.advance(3)
            outbox.commit()
            outbox._look()
            found += drain(outbox)
        assert sorted(found) == list(range(written))
        assert outbox.status().waiting == 0
        killed(outbox)
        assert drain(opened(folder / "mqtt-1.db", clock)) == []


# All of it, in any order


class Anything(RuleBasedStateMachine):
    """Puts, deliveries, commits, kills and stops in any order, against a list."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.path = Path(self.folder.name) / "sink.db"
        self.outbox = opened(self.path, self.clock)
        self.next = 0
        self.safe: list[int] = []
        """Committed and not settled: must come out, in this order."""
        self.fresh: list[int] = []
        """Not committed: a kill may take it."""
        self.batch: Sequence[Delivery] = []
        self.passed_over = False

    @rule(count=st.integers(1, 90))
    def put(self, count: int) -> None:
        numbers = range(self.next, self.next + count)
        put(self.outbox, *numbers)
        self.fresh += numbers
        self.next += count

    @rule(limit=st.integers(1, 200))
    def peek(self, limit: int) -> None:
        self.batch = self.outbox.peek(limit, 0)
        expected = [*self.safe, *self.fresh]
        found = ids(self.batch)
        if not self.passed_over:
            assert found == expected[: len(found)]
            assert bool(found) == bool(expected)
        assert set(found) <= set(expected)
        assert found == sorted(found)

    @precondition(lambda self: self.batch)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        outcomes = data.draw(
            st.lists(
                st.sampled_from([ACCEPTED, ACCEPTED, KEPT, REJECTED]),
                min_size=len(self.batch),
                max_size=len(self.batch),
            )
            if len(self.batch) < 20
            else st.just([ACCEPTED] * len(self.batch))
        )
        self.outbox.settle(self.batch, outcomes)
        gone = {number for number, outcome in zip(ids(self.batch), outcomes, strict=True) if outcome is not KEPT}
        self.passed_over |= KEPT in outcomes
        self.safe = [number for number in self.safe if number not in gone]
        self.fresh = [number for number in self.fresh if number not in gone]
        self.batch = []

    @rule()
    def commit(self) -> None:
        self.outbox.commit()
        self.safe, self.fresh = self.safe + self.fresh, []

    @rule(kind=st.sampled_from(["kill", "stop"]))
    def restart(self, kind: str) -> None:
        if kind == "stop":
            self.outbox.close()
            self.safe += self.fresh
        else:
            killed(self.outbox)
        self.fresh, self.batch, self.passed_over = [], [], False
        self.outbox = opened(self.path, self.clock)

    @invariant()
    def what_waits_is_counted(self) -> None:
        assert self.outbox.status().waiting == len(self.safe) + len(self.fresh)

    def teardown(self) -> None:
        self.clock.advance(400)
        expected = [*self.safe, *self.fresh]
        found: list[int] = []
        for _ in range(3):
            found += drain(self.outbox)
            self.clock.advance(400)
        assert sorted(found) == expected
        killed(self.outbox)
        self.folder.cleanup()


TestAnything = Anything.TestCase
TestAnything.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


# Nobody waits for the disk who must not


def test_a_put_returns_while_the_disk_is_busy_and_nothing_is_lost(outbox: Outbox) -> None:
    put(outbox, 1)
    with outbox._io:
        putter = threading.Thread(target=put, args=(outbox, 2, 3), daemon=True)
        putter.start()
        putter.join(10)
        assert not putter.is_alive()
        assert outbox.status().waiting == 3
    outbox.commit()
    assert drain(outbox) == [1, 2, 3]
