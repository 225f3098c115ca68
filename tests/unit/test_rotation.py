"""Files that are closed by size and age, compressed, and removed; seen through the sink that writes them."""

import contextlib
import gzip
import itertools
import json
import logging
import os
import random
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from disks import small_disk
from fakes import FakeClock

from agent.errors import SinkUnavailable
from agent.flow import Delivery, Outcome
from agent.ports import Context, Sink
from agent.sinks import jsonl
from agent.sinks._compression import SLICE_BYTES

HOUR_S = 3600.0
YEARS_S = 10 * 365 * 86400.0


def sink(folder: Path, *, clock: FakeClock | None = None, trial: bool = False, **options: Any) -> Sink:
    """At most 10 kB a file, and nothing compressed, unless `options` say otherwise."""
    rotate = {"max_mb": 0.01, "compress": False, **options.pop("rotate", {})}
    chosen = jsonl.Options.model_validate({"type": "jsonl", "path": "out.jsonl", "rotate": rotate, **options})
    return jsonl.build(chosen, Context("porch", clock or FakeClock(), folder, folder, trial=trial))


def line(number: int, *, padding: int = 1000) -> list[Delivery]:
    """Text that gzip halves at best."""
    text = random.Random(number).randbytes(padding // 2).hex()  # noqa: S311 - no secret
    return [Delivery(str(number), "door", json.dumps({"n": number, "x": text}).encode())]


def send(out: Sink, numbers: Sequence[int], *, padding: int = 1000) -> None:
    for number in numbers:
        assert out.send(line(number, padding=padding)) == [Outcome.ACCEPTED]


def was_taken(out: Sink, number: int) -> bool:
    try:
        return list(out.send(line(number))) == [Outcome.ACCEPTED]
    except SinkUnavailable:
        return False


def fill(file: Path) -> None:
    """Until the disk is full."""
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as ballast:
        while ballast.write(bytes(4096)):
            pass


def idle(out: Sink, times: int = 100) -> None:
    for _ in range(times):
        assert out.send([]) == []


def files(folder: Path) -> list[Path]:
    """In the order of their names, without notes."""
    return sorted(file for file in folder.iterdir() if file.name.startswith("out"))


def names(folder: Path) -> list[str]:
    return [file.name for file in files(folder)]


def numbers(folder: Path) -> list[int]:
    """All lines of all files, read one after the other."""
    read = [gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes() for file in files(folder)]
    return [json.loads(each)["n"] for text in read for each in text.splitlines()]


# Size


def test_a_file_is_closed_before_it_grows_too_large_and_nothing_is_lost_or_twice(tmp_path: Path) -> None:
    out = sink(tmp_path)
    out.open()
    send(out, range(100))
    out.close()
    assert numbers(tmp_path) == list(range(100))
    assert len(files(tmp_path)) > 5
    assert all(8000 < file.stat().st_size <= 10_000 for file in files(tmp_path)[:-1])


def test_without_the_section_there_is_one_file(tmp_path: Path) -> None:
    out = sink(tmp_path)
    alone = jsonl.build(
        jsonl.Options(type="jsonl", path=Path("out.jsonl")), Context("a", FakeClock(), tmp_path, tmp_path)
    )
    alone.open()
    send(alone, range(100))
    alone.close()
    assert names(tmp_path) == ["out.jsonl"]
    out.open()  # with the section it is closed before the next line
    send(out, [100])
    out.close()
    assert len(names(tmp_path)) == 2


def test_a_batch_stays_together_in_a_file_of_its_own_even_where_it_is_too_large_for_one(tmp_path: Path) -> None:
    out = sink(tmp_path)
    out.open()
    send(out, [0])
    batch = [delivery for number in range(1, 31) for delivery in line(number)]
    assert out.send(batch) == [Outcome.ACCEPTED] * 30
    send(out, [31])
    out.close()
    assert [file.read_bytes().count(b"\n") for file in files(tmp_path)] == [1, 30, 1]
    assert numbers(tmp_path) == list(range(32))


def test_a_link_stays_one_and_the_file_behind_it_is_closed(tmp_path: Path) -> None:
    (tmp_path / "card").mkdir()
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "card/out.jsonl")
    out = sink(tmp_path, path="link.jsonl")
    out.open()
    send(out, range(30))
    out.close()
    assert (tmp_path / "link.jsonl").is_symlink()
    assert numbers(tmp_path / "card") == list(range(30))
    assert len(files(tmp_path / "card")) == 4


@pytest.mark.parametrize(("fsync", "is_synced"), [("never", False), (3600, True)])
def test_a_file_that_is_closed_is_on_the_medium_unless_nobody_cares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fsync: Any, is_synced: bool
) -> None:
    synced: list[int] = []
    real_fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(os.fstat(file).st_ino), real_fsync(file))[1])
    out = sink(tmp_path, fsync=fsync)
    out.open()
    send(out, range(15))
    assert (files(tmp_path)[0].stat().st_ino in synced) == is_synced
    assert files(tmp_path)[1].stat().st_ino not in synced
    out.close()


def test_an_emptied_start_leaves_the_closed_files(tmp_path: Path) -> None:
    for first in (0, 15):
        out = sink(tmp_path, append=False)
        out.open()
        send(out, range(first, first + 15))
        out.close()
    assert numbers(tmp_path) == [*range(9), *range(15, 30)]


# Names


def test_names_sort_in_the_order_of_the_lines_and_never_collide_whatever_the_clock_does(tmp_path: Path) -> None:
    clock, chosen = FakeClock(), random.Random(5)  # noqa: S311 - no secret
    for run in range(5):
        out = sink(tmp_path, clock=clock)
        out.open()
        for number in range(run * 40, run * 40 + 40):
            clock.wall_s = 1_800_000_000.0 + chosen.choice((-YEARS_S, 0.0, YEARS_S))
            send(out, [number])
        out.close()
    assert numbers(tmp_path) == list(range(200))
    closed = names(tmp_path)[:-1]
    assert [name.split(".")[1].split("-")[0] for name in closed] == [f"{n:08d}" for n in range(1, len(closed) + 1)]
    assert {name.split("-")[1][:4] for name in closed} == {"2017", "2027", "2037"}


def test_numbers_go_on_after_closed_files_were_collected(tmp_path: Path) -> None:
    out = sink(tmp_path)
    out.open()
    send(out, range(30))
    collected = files(tmp_path)[:-1]
    for file in collected:
        file.unlink()
    send(out, range(30, 60))
    out.close()
    assert names(tmp_path)[0] > collected[-1].name


def test_what_merely_looks_alike_is_left_alone(tmp_path: Path) -> None:
    alike = ["out.1.jsonl", "out.00000001.jsonl", "out-00000001-20260731T101500Z.jsonl", "out.00000001-x.jsonl.gz.new"]
    for name in alike:
        (tmp_path / name).write_text('{"n": 1}\n')
    out = sink(tmp_path, rotate={"keep": 1, "compress": True})
    out.open()
    send(out, range(100))
    out.close()
    assert set(alike) <= set(names(tmp_path))


# How many stay


def test_the_oldest_closed_files_are_removed_beyond_the_number_that_is_kept(tmp_path: Path) -> None:
    out = sink(tmp_path, rotate={"keep": 3})
    out.open()
    send(out, range(100))
    out.close()
    assert len(files(tmp_path)) == 4
    left = numbers(tmp_path)
    assert left == list(range(left[0], 100))


def test_the_oldest_closed_files_are_removed_beyond_the_megabytes_that_are_kept(tmp_path: Path) -> None:
    out = sink(tmp_path, rotate={"keep": 0, "keep_mb": 0.05})
    out.open()
    send(out, range(200))
    assert 40_000 < sum(file.stat().st_size for file in files(tmp_path)[:-1]) <= 50_000
    out.close()
    less = sink(tmp_path, rotate={"keep": 0, "keep_mb": 0.0001})
    less.open()
    assert len(files(tmp_path)) == 2, "the newest stays, for its number"
    less.close()


def test_all_stay_where_no_number_and_no_size_is_given(tmp_path: Path) -> None:
    out = sink(tmp_path, rotate={"keep": 0, "keep_mb": 0})
    out.open()
    send(out, range(1500))
    out.close()
    assert numbers(tmp_path) == list(range(1500))


def test_removing_the_file_that_is_being_compressed_leaves_nothing_of_it(tmp_path: Path) -> None:
    out = sink(tmp_path, rotate={"keep": 1, "compress": True})
    out.open()
    send(out, range(3), padding=1_000_000)
    send(out, [3])
    out.close()
    assert numbers(tmp_path) == [2, 3]
    assert len(names(tmp_path)) == 2


# Compression


def test_a_closed_file_becomes_gzip_while_nothing_else_happens(tmp_path: Path) -> None:
    out = sink(tmp_path, rotate={"compress": True})
    out.open()
    send(out, range(25))
    first = files(tmp_path)[0]
    os.utime(files(tmp_path)[1], (1e9, 1e9))
    idle(out)
    out.close()
    assert [file.suffix for file in files(tmp_path)] == [".gz", ".gz", ".jsonl"]
    assert numbers(tmp_path) == list(range(25))
    assert first.suffix == ".gz", "small ones are done at once"


def test_the_age_of_a_file_stays_with_it(tmp_path: Path) -> None:
    (tmp_path / "out.00000001-20260731T101500Z.jsonl").write_text('{"n": 0}\n')
    os.utime(files(tmp_path)[0], (1e9, 1e9))
    out = sink(tmp_path, rotate={"compress": True})
    out.open()
    idle(out, 1)
    out.close()
    assert (files(tmp_path)[0].name, files(tmp_path)[0].stat().st_mtime) == (
        "out.00000001-20260731T101500Z.jsonl.gz",
        1e9,
    )


def test_a_large_file_is_compressed_in_slices_so_that_no_batch_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = tmp_path / "out.00000001-20260731T101500Z.jsonl"
    large.write_bytes(b"".join(delivery.body + b"\n" for n in range(3000) for delivery in line(n)))
    size_bytes, sizes = large.stat().st_size, []
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: (sizes.append(len(data)), real_write(file, data))[1])
    out = sink(tmp_path, rotate={"compress": True})
    out.open()
    steps = 0
    while large.exists():
        out.send([])
        steps += 1
    out.close()
    assert steps == size_bytes // SLICE_BYTES + 1
    assert max(sizes) <= SLICE_BYTES
    assert numbers(tmp_path) == list(range(3000))


def test_compression_keeps_up_with_whatever_is_written(tmp_path: Path) -> None:
    out = sink(tmp_path, rotate={"compress": True, "max_mb": 1.0})
    out.open()
    for number in range(40):
        send(out, [number], padding=400_000)
        assert sum(file.suffix == ".jsonl" for file in files(tmp_path)) <= 3
    out.close()
    assert numbers(tmp_path) == list(range(40))


def test_an_end_leaves_nothing_half_done_and_the_next_start_takes_it_up(tmp_path: Path) -> None:
    out = sink(tmp_path, rotate={"compress": True})
    out.open()
    send(out, [0], padding=2_000_000)
    send(out, [1])
    assert names(tmp_path)[1].endswith(".gz.new")
    out.close()
    assert [file.suffix for file in files(tmp_path)] == [".jsonl", ".jsonl"]
    out.open()
    idle(out)
    assert [file.suffix for file in files(tmp_path)] == [".gz", ".jsonl"]
    out.close()
    assert numbers(tmp_path) == [0, 1]


def test_what_a_kill_left_is_put_in_order_at_the_next_start(tmp_path: Path) -> None:
    def closed(number: int, ending: str, content: bytes) -> None:
        (tmp_path / f"out.{number:08d}-20260731T101500Z.jsonl{ending}").write_bytes(content)

    texts = [b'{"n": %d}\n' % n for n in range(5)]
    closed(1, "", texts[0])
    closed(1, ".gz.new", gzip.compress(texts[0])[:10])  # killed while it was written
    closed(2, "", texts[1])
    closed(2, ".gz", gzip.compress(texts[1]))  # killed before the plain one was removed
    closed(3, "", texts[2])
    closed(3, ".gz", gzip.compress(texts[2])[:-5])  # a person's gzip at work
    closed(4, ".gz", gzip.compress(texts[3]))
    closed(5, "", texts[4])
    closed(5, ".gz", b"")
    out = sink(tmp_path, rotate={"compress": True})
    out.open()
    assert not [name for name in names(tmp_path) if name.endswith(".new")]
    assert (tmp_path / "out.00000003-20260731T101500Z.jsonl").exists()
    idle(out)
    out.close()
    assert [file.suffix for file in files(tmp_path)] == [".gz"] * 5 + [".jsonl"]
    assert numbers(tmp_path) == [0, 1, 2, 3, 4]


def test_a_file_that_is_collected_while_it_is_compressed_is_not_there_twice(tmp_path: Path) -> None:
    out = sink(tmp_path, rotate={"compress": True})
    out.open()
    send(out, [0], padding=2_000_000)
    send(out, range(1, 15))
    files(tmp_path)[0].rename(tmp_path / "collected")
    idle(out)
    out.close()
    assert sorted(numbers(tmp_path)) == list(range(1, 15))


def test_a_check_beside_a_running_agent_leaves_all_files_alone(tmp_path: Path) -> None:
    (tmp_path / "out.00000001-20260731T101500Z.jsonl.gz.new").write_bytes(b"at work")
    (tmp_path / "out.jsonl").write_bytes(b'{"n": 1}\n{"to')
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    out = sink(tmp_path, trial=True, rotate={"compress": True, "max_hours": 1.0})
    out.open()
    out.close()
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


# Age


OF_ANOTHER_FILE = b'{"number": 7, "age_s": 9e9, "wall_s": 0}'


def aged(folder: Path, clock: FakeClock, **rotate: Any) -> Sink:
    out = sink(folder, clock=clock, rotate={"max_mb": 10.0, "max_hours": 24.0, **rotate})
    out.open()
    return out


def step(clock: FakeClock, seconds: float) -> None:
    """Time passes, for both clocks."""
    clock.advance(seconds)
    clock.wall_s += seconds


def test_a_file_is_closed_when_its_first_line_is_old_also_while_no_result_comes(tmp_path: Path) -> None:
    clock = FakeClock()
    out = aged(tmp_path, clock)
    step(clock, 100 * HOUR_S)
    idle(out)
    assert names(tmp_path) == ["out.jsonl"], "an empty file has no age"
    send(out, [1])
    step(clock, 23.9 * HOUR_S)
    send(out, [2])
    assert len(names(tmp_path)) == 1
    step(clock, 0.1 * HOUR_S)
    idle(out, 1)
    assert len(names(tmp_path)) == 2
    step(clock, 100 * HOUR_S)
    idle(out)
    assert len(names(tmp_path)) == 2
    out.close()
    assert numbers(tmp_path) == [1, 2]


@pytest.mark.parametrize("jump_s", [-YEARS_S, YEARS_S])
def test_a_step_of_the_clock_neither_closes_a_file_nor_keeps_it_open(tmp_path: Path, jump_s: float) -> None:
    clock = FakeClock()
    out = aged(tmp_path, clock)
    for hour in range(24):
        clock.wall_s += jump_s if hour == 10 else 0.0
        send(out, [hour])
        step(clock, HOUR_S)
    assert len(names(tmp_path)) == 1
    idle(out, 1)
    assert len(names(tmp_path)) == 2
    out.close()


@pytest.mark.parametrize("jumps", [(YEARS_S,), (-YEARS_S,), (YEARS_S, -YEARS_S), (0.0,)])
def test_over_restarts_the_age_adds_up_however_wrong_the_clock_is_at_each(
    tmp_path: Path, jumps: tuple[float, ...]
) -> None:
    clock, closed_at = FakeClock(), []
    for hour, jump_s in zip(range(100), itertools.cycle(jumps)):
        out = aged(tmp_path, clock)
        send(out, [hour])
        step(clock, HOUR_S)
        idle(out, 1)
        if len(names(tmp_path)) > len(closed_at) + 1:
            closed_at.append(hour)
        out.close()
        clock.wall_s += jump_s
        clock.advance(-500.0 * HOUR_S if hour % 3 == 0 else 0.0)  # a boot: the monotonic clock begins anew
    assert closed_at == [23, 47, 71, 95]


@pytest.mark.parametrize(("off_hours", "files_then"), [(22.0, 1), (24.0, 2), (24.0 * 60, 2)])
def test_the_time_that_the_agent_was_away_counts(tmp_path: Path, off_hours: float, files_then: int) -> None:
    clock = FakeClock()
    out = aged(tmp_path, clock)
    send(out, [1])
    out.close()
    step(clock, off_hours * HOUR_S)
    out = aged(tmp_path, clock)
    idle(out)
    out.close()
    assert len(names(tmp_path)) == files_then


def test_the_age_of_short_runs_adds_up_though_no_clock_tells_what_lies_between(tmp_path: Path) -> None:
    clock, runs = FakeClock(), 0
    while len(names(tmp_path)) < 2 and runs < 1000:
        out = aged(tmp_path, clock, max_hours=1.0)
        send(out, [runs])
        step(clock, 60.0)
        out.close()
        clock.wall_s -= YEARS_S
        runs += 1
    assert runs == 61


def test_a_kill_forgets_ten_minutes_of_age_at_most(tmp_path: Path) -> None:
    clock = FakeClock()
    for _ in range(24):
        out = aged(tmp_path, clock)
        send(out, [1])
        for _ in range(3 * 3600 // 300):
            step(clock, 300.0)
            idle(out, 1)
        clock.wall_s -= YEARS_S  # and what the wall clock says is of no help; `out` is never closed
    assert len(names(tmp_path)) >= 3


@pytest.mark.parametrize(
    "note", [b"", b"[]", b"{}", b"\xff", b'{"number": 1}', b'{"number": 1, "age_s": "x", "wall_s": 0}', OF_ANOTHER_FILE]
)
def test_a_damaged_note_of_the_age_makes_a_file_young_and_harms_nothing(tmp_path: Path, note: bytes) -> None:
    clock = FakeClock()
    out = aged(tmp_path, clock)
    send(out, [1])
    step(clock, 23 * HOUR_S)
    out.close()
    (tmp_path / ".out.jsonl.age").write_bytes(note)
    out = aged(tmp_path, clock)
    step(clock, 23 * HOUR_S)
    send(out, [2])
    assert len(names(tmp_path)) == 1
    step(clock, HOUR_S)
    idle(out, 1)
    out.close()
    assert len(names(tmp_path)) == 2


# Full disks


def test_a_disk_too_full_to_compress_takes_results_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, disk = FakeClock(), tmp_path / "disk"
    with small_disk(disk, "size=256k"):
        out = sink(disk, clock=clock, rotate={"compress": True})
        out.open()
        send(out, [0], padding=100_000)
        (disk / "ballast").write_bytes(bytes(120_000))
        with caplog.at_level(logging.WARNING):
            send(out, [1])
            assert not [name for name in names(disk) if name.endswith(".new")]
            send(out, range(2, 15))
        assert "files could not be compressed, which is tried again in a minute" in caplog.text
        assert caplog.text.count("could not be") == 1
        assert not [name for name in names(disk) if name.endswith(".new")]
        (disk / "ballast").unlink()
        clock.advance(61.0)
        idle(out)
        out.close()
        assert files(disk)[0].suffix == ".gz"
        assert numbers(disk) == list(range(15))


def test_a_file_that_is_half_compressed_gives_its_place_to_results(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, "size=2M"):
        out = sink(disk, rotate={"compress": True})
        out.open()
        send(out, [0], padding=900_000)
        send(out, range(1, 4))
        assert names(disk)[1].endswith(".gz.new")
        fill(disk / "ballast")
        send(out, range(4, 9), padding=5000)
        assert not [name for name in names(disk) if name.endswith(".new")]
        out.close()
        assert numbers(disk) == list(range(9))


def test_where_no_new_file_can_be_made_the_one_in_use_grows_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, disk = FakeClock(), tmp_path / "disk"
    with small_disk(disk, "size=1M,nr_inodes=3"):
        out = sink(disk, clock=clock)
        out.open()
        (disk / "ballast").write_bytes(b"")
        with caplog.at_level(logging.WARNING):
            send(out, range(20))
        assert names(disk) == ["out.jsonl"]
        assert caplog.text.count("files could not be closed, which is tried again in a minute") == 1
        (disk / "ballast").unlink()
        clock.advance(61.0)
        send(out, range(20, 40))
        out.close()
        assert len(names(disk)) > 1
        assert numbers(disk) == list(range(40))


def test_a_full_disk_is_said_and_every_line_is_there_once_when_there_is_room_again(tmp_path: Path) -> None:
    clock, disk, elsewhere = FakeClock(), tmp_path / "disk", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with small_disk(disk, "size=256k"):
        out = sink(disk, clock=clock, rotate={"compress": True})
        out.open()
        next_number, refused = 0, 0
        while next_number < 800:
            if was_taken(out, next_number):
                next_number += 1
                continue
            with pytest.raises(SinkUnavailable, match=r"out\.jsonl cannot be written: No space left on device"):
                out.send(line(next_number))
            refused += 1
            out.close()
            for old in files(disk)[:3]:
                shutil.move(old, elsewhere)
            clock.advance(61.0)
            out.open()
        idle(out)
        out.close()
        for file in files(disk):
            shutil.copy(file, elsewhere)
        assert refused >= 2
        assert numbers(elsewhere) == list(range(800))


# Kills


def _killed_at(folder: Path, step_number: int) -> bool:
    """Write in a child process that is killed before its nth change of the file system; whether it came to that."""
    pid = os.fork()
    if pid == 0:
        steps = itertools.count()

        def kill(event: str, arguments: tuple[Any, ...]) -> None:
            changes = event in ("os.rename", "os.remove", "os.truncate", "os.utime") or (
                event == "open" and str(arguments[0]).startswith(str(folder))
            )
            if changes and next(steps) == step_number:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(kill)
        out = sink(folder, rotate={"compress": True, "max_hours": 1.0, "keep": 0})
        out.open()
        accepted = os.open(folder / "accepted", os.O_WRONLY | os.O_APPEND)
        for number in range(24):
            out.send(line(step_number * 100 + number))
            os.write(accepted, b"%d\n" % (step_number * 100 + number))
        out.close()
        os._exit(0)
    return os.waitpid(pid, 0)[1] == signal.SIGKILL


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_kill_before_any_step_of_closing_and_compressing_leaves_every_line_readable_once(tmp_path: Path) -> None:
    (tmp_path / "accepted").write_text("")
    kills = 0
    while _killed_at(tmp_path, kills):
        kills += 1
        out = sink(tmp_path, rotate={"compress": True, "keep": 0})
        out.open()
        out.close()
        found, accepted = numbers(tmp_path), [int(each) for each in (tmp_path / "accepted").read_text().split()]
        assert found == sorted(set(found))
        assert set(accepted) <= set(found)
    assert kills > 20
    assert not [name for name in names(tmp_path) if name.endswith(".new")]
