import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from disks import room_for, small_disk
from fakes import FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.clock import Clock, SystemClock
from agent.errors import SinkUnavailable
from agent.flow import Delivery, Kind, Outcome
from agent.ports import Context, Sink
from agent.sinks import jsonl


def sink(base_dir: Path, *, clock: Clock | None = None, **options: Any) -> Sink:
    settings = {"type": "jsonl", "path": "out.jsonl", **options}
    context = Context("porch", clock or SystemClock(), base_dir, base_dir)
    return jsonl.build(jsonl.Options.model_validate(settings), context)


def deliveries(*numbers: int, padding: int = 0) -> list[Delivery]:
    bodies = {number: json.dumps({"n": number, "x": "x" * padding}).encode() for number in numbers}
    return [Delivery(str(number), "door", body) for number, body in bodies.items()]


def numbers(file: Path) -> list[int]:
    text = file.read_text()
    assert text == "" or text.endswith("\n")
    return [json.loads(line)["n"] for line in text.splitlines()]


def was_taken(out: Sink, batch: list[Delivery]) -> bool:
    try:
        return set(out.send(batch)) == {Outcome.ACCEPTED}
    except SinkUnavailable:
        return False


def test_each_result_is_one_line_in_order(tmp_path: Path) -> None:
    out = sink(tmp_path)
    out.open()
    assert out.send(deliveries(1, 2, 3)) == [Outcome.ACCEPTED] * 3
    assert out.send([]) == []
    assert out.send(deliveries(4)) == [Outcome.ACCEPTED]
    assert numbers(tmp_path / "out.jsonl") == [1, 2, 3, 4]
    out.close()


def test_missing_folders_are_made_and_a_relative_path_starts_at_the_configuration(tmp_path: Path) -> None:
    out = sink(tmp_path, path="a/b/out.jsonl")
    out.open()
    out.send(deliveries(1))
    out.close()
    assert numbers(tmp_path / "a/b/out.jsonl") == [1]


def test_a_second_run_goes_on_where_the_first_ended(tmp_path: Path) -> None:
    for number in (1, 2):
        out = sink(tmp_path)
        out.open()
        out.send(deliveries(number))
        out.close()
    assert numbers(tmp_path / "out.jsonl") == [1, 2]


def test_append_false_empties_the_file_once_and_not_when_it_is_reopened(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text('{"n": 0}\n')
    out = sink(tmp_path, append=False)
    for number in (1, 2):
        out.open()
        out.send(deliveries(number))
        out.close()
    assert numbers(tmp_path / "out.jsonl") == [1, 2]


def test_a_batch_is_one_write_and_is_on_the_medium_only_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    real_write, real_fsync = os.write, os.fsync
    monkeypatch.setattr(os, "write", lambda *given: (calls.append("write"), real_write(*given))[1])
    monkeypatch.setattr(os, "fsync", lambda *given: (calls.append("fsync"), real_fsync(*given))[1])
    policies = ((False, ["write"]), ("never", ["write"]), (True, ["write", "fsync"]), ("batch", ["write", "fsync"]))
    for fsync, expected in policies:
        out = sink(tmp_path, fsync=fsync)
        out.open()
        calls.clear()
        out.send(deliveries(1, 2, 3))
        assert calls == expected
        out.close()


def test_an_interval_of_fsync_bounds_how_long_a_line_waits_and_the_end_waits_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real_fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(os.fstat(file).st_size), real_fsync(file))[1])
    clock = FakeClock()
    out = sink(tmp_path, clock=clock, fsync=5)
    out.open()
    synced.clear()
    for _ in range(49):  # 4.9 s
        out.send(deliveries(1))
        clock.advance(0.1)
    assert synced == []
    clock.advance(0.1)
    out.send([])  # no result is needed for it
    assert synced == [(tmp_path / "out.jsonl").stat().st_size]
    clock.advance(60.0)
    out.send([])
    assert len(synced) == 1, "there was nothing new"
    out.send(deliveries(2))
    out.close()
    assert synced[1:] == [(tmp_path / "out.jsonl").stat().st_size]


@pytest.mark.parametrize(
    ("what", "kinds"), [("results", {Kind.RESULT}), ("events", {Kind.EVENT}), ("both", {Kind.RESULT, Kind.EVENT})]
)
def test_events_may_have_a_file_of_their_own(what: str, kinds: set[Kind]) -> None:
    assert jsonl.Options.model_validate({"type": "jsonl", "what": what}).kinds == kinds
    assert jsonl.Options.model_validate({"type": "jsonl"}).kinds == {Kind.RESULT}


def test_a_folder_in_the_way_is_a_clear_error_and_ends_when_the_folder_goes(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").mkdir()
    out = sink(tmp_path)
    with pytest.raises(SinkUnavailable, match=r"out\.jsonl cannot be opened: Is a directory; a folder is in the way"):
        out.open()
    out.close()
    (tmp_path / "out.jsonl").rmdir()
    out.open()
    assert out.send(deliveries(1)) == [Outcome.ACCEPTED]
    out.close()


def test_a_file_where_a_folder_should_be_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    for path in ("a/out.jsonl", "a/b/out.jsonl"):
        with pytest.raises(SinkUnavailable, match="a file is where a folder should be"):
            sink(tmp_path, path=path).open()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; run as an ordinary user")
def test_a_folder_that_may_not_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    with pytest.raises(SinkUnavailable, match="Permission denied; let the agent's user write there"):
        sink(tmp_path, path="locked/out.jsonl").open()


def test_a_read_only_file_system_is_a_clear_error(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", "ro"),
        pytest.raises(SinkUnavailable, match=r"out\.jsonl cannot be opened: Read-only file system"),
    ):
        sink(tmp_path, path="disk/out.jsonl").open()


def test_a_named_pipe_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "out.jsonl")
    out = sink(tmp_path)
    with pytest.raises(SinkUnavailable, match="is not a regular file"):
        out.open()
    out.close()


def test_a_full_disk_keeps_whole_lines_only_and_a_retry_repeats_none(tmp_path: Path) -> None:
    file = tmp_path / "disk/out.jsonl"
    with small_disk(tmp_path / "disk", "size=32k"):
        out = sink(tmp_path, path="disk/out.jsonl")
        out.open()
        assert out.send(deliveries(1, padding=5000)) == [Outcome.ACCEPTED]
        batch = deliveries(*range(2, 12), padding=5000)
        with pytest.raises(SinkUnavailable, match=r"out\.jsonl cannot be written: No space left on device"):
            out.send(batch)
        assert numbers(file) == [1]
        out.close()
        out.open()
        assert out.send(batch[:4]) == [Outcome.ACCEPTED] * 4
        assert numbers(file) == [1, 2, 3, 4, 5]
        out.close()


@settings(deadline=None, max_examples=50)
@given(room=st.integers(0, 190))
def test_wherever_a_write_stops_the_file_holds_whole_lines_and_none_twice(
    room: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("full")
    out, batches = sink(folder), [deliveries(n, n + 1) for n in range(0, 12, 2)]
    out.open()
    with room_for(room):
        taken = [batch for batch in batches if was_taken(out, batch)]
    assert len(taken) < len(batches)
    there = [int(delivery.id) for batch in taken for delivery in batch]
    assert numbers(folder / "out.jsonl") == there
    out.send(deliveries(99))
    assert numbers(folder / "out.jsonl") == [*there, 99]
    out.close()


def test_a_torn_last_line_is_moved_aside_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "out.jsonl"
    file.write_bytes(b'{"n": 1}\n{"n": 2, "x": "tor')
    out = sink(tmp_path)
    with caplog.at_level(logging.INFO):
        out.open()
    out.send(deliveries(3))
    out.close()
    assert numbers(file) == [1, 3]
    assert (tmp_path / "out.jsonl.torn").read_bytes() == b'{"n": 2, "x": "tor\n'
    assert f"moved a torn last line path={file} to={file}.torn size_bytes=18" in caplog.text


def test_torn_lines_of_several_power_cuts_are_all_there(tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    for torn in (b'{"a', b'{"b'):
        with file.open("ab") as old:
            old.write(torn)
        out = sink(tmp_path)
        out.open()
        out.close()
    assert (tmp_path / "out.jsonl.torn").read_bytes() == b'{"a\n{"b\n'
    assert file.read_bytes() == b""


def test_a_whole_last_line_without_its_newline_is_ended_and_stays(tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    file.write_bytes(b'{"n": 1}\n{"n": 2}')
    out = sink(tmp_path)
    out.open()
    out.send(deliveries(3))
    out.close()
    assert numbers(file) == [1, 2, 3]
    assert not (tmp_path / "out.jsonl.torn").exists()


@pytest.mark.parametrize("tail", [b"\x00" * 5000, b"1", b'"x"', b"\xff\xfe", b"[" * 100_000])
def test_whatever_is_not_a_whole_result_is_moved_aside(tmp_path: Path, tail: bytes) -> None:
    file = tmp_path / "out.jsonl"
    file.write_bytes(b'{"n": 1}\n' + tail)
    out = sink(tmp_path)
    out.open()
    out.close()
    assert numbers(file) == [1]
    assert (tmp_path / "out.jsonl.torn").read_bytes() == tail + b"\n"


@settings(deadline=None, max_examples=50)
@given(bodies=st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text()), min_size=1), data=st.data())
def test_a_file_cut_off_anywhere_keeps_every_whole_line(
    bodies: list[dict[str, Any]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    whole = b"".join(json.dumps(body).encode() + b"\n" for body in bodies)
    cut = data.draw(st.integers(0, len(whole)))
    (folder / "out.jsonl").write_bytes(whole[:cut])
    out = sink(folder)
    out.open()
    out.close()
    kept = (folder / "out.jsonl").read_bytes()
    lines = whole[: max(cut, len(kept))].count(b"\n")
    assert [json.loads(line) for line in kept.splitlines()] == bodies[:lines]
    torn = folder / "out.jsonl.torn"
    moved = torn.read_bytes() if torn.exists() else b""
    assert whole[:cut] in (kept, kept[:-1], kept + moved[:-1])


def test_a_file_that_holds_no_lines_at_all_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    file.write_bytes(b"x" * (16 * 1024 * 1024 + 1))
    out = sink(tmp_path)
    with pytest.raises(SinkUnavailable, match="does not hold JSON lines"):
        out.open()
    out.close()
    assert file.stat().st_size == 16 * 1024 * 1024 + 1


@pytest.mark.parametrize("gone", [Path.unlink, lambda file: file.rename(file.with_suffix(".1"))])
def test_results_do_not_follow_a_file_that_was_moved_or_deleted(tmp_path: Path, gone: Any) -> None:
    file = tmp_path / "out.jsonl"
    out = sink(tmp_path)
    out.open()
    out.send(deliveries(1))
    gone(file)
    with pytest.raises(SinkUnavailable, match=r"out\.jsonl"):
        out.send(deliveries(2))
    out.close()
    out.open()
    out.send(deliveries(2))
    out.close()
    assert numbers(file) == [2]


def test_a_file_that_was_emptied_by_a_log_rotation_goes_on_from_its_start(tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    out = sink(tmp_path)
    out.open()
    out.send(deliveries(1, 2))
    os.truncate(file, 0)
    out.send(deliveries(3))
    out.close()
    assert numbers(file) == [3]
