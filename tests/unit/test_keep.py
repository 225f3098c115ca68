"""What is kept on disk: whole or not at all, within its limits, over restarts and steps of the clock."""

import errno
import os
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import FakeClock, an_answer
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from unit.test_doubt import a_result
from unit.test_record import SCHEMA

from agent.backfill import kept
from agent.backfill.keep import Entry, Keep, Limits, Loss, Step
from agent.backfill.kept import Kept, Torn
from agent.flow import Picture, Reason
from agent.record import Identity, record_of

DAY_S = 86_400.0
JPEG = b"\xff\xd8" + bytes(range(256)) * 4 + b"\n\n\xff\xd9"


class SteppedClock(FakeClock):
    """A clock whose wall time may be wrong."""

    right = True

    def synchronized(self) -> bool:
        return self.right


def a_picture(data: bytes = JPEG) -> Picture:
    return Picture(data, 320, 240, 75, 640, 480)


def a_kept(seq: int = 7, *, at_s: float = 1000.0, data: bytes = JPEG, boot: str = "boot") -> Kept:
    return replace(kept.of(a_result(seq=seq, at_s=at_s), a_picture(data), boot), captured_wall_s=1_800_000_000.0)


def a_keep(folder: Path, clock: FakeClock, *, mb: float = 1.0, age_s: float = DAY_S, boot: str = "boot") -> Keep:
    keep = Keep(folder / "kept", Limits(round(mb * 1e6), age_s), clock=clock, boot_id=boot)
    keep.open()
    return keep


def all_of(keep: Keep) -> list[int]:
    """The sequence numbers of what waits for an answer, oldest first; takes them out."""
    found = []
    while (entry := keep.oldest(Step.ASK)) is not None:
        picture = keep.read(entry)
        if picture is not None:
            found.append(picture.seq)
            keep.advance(entry, None)
    return found


# The file


def test_what_is_packed_is_unpacked() -> None:
    assert kept.unpack(kept.pack(a_kept())) == a_kept()
    assert kept.unpack(kept.pack(replace(a_kept(), p=None, threshold=None))).p is None


def test_a_file_cut_at_any_byte_is_torn() -> None:
    content = kept.pack(a_kept())
    for length in range(len(content)):
        with pytest.raises(Torn):
            kept.unpack(content[:length])


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_file_with_any_bit_turned_is_torn(at: int, bit: int) -> None:
    content = bytearray(kept.pack(a_kept()))
    content[at % len(content)] ^= 1 << bit
    try:
        found = kept.unpack(bytes(content))
    except Torn:
        return
    assert found == a_kept()  # the case of a letter in the checksum


def test_a_correction_says_what_is_true_and_names_what_it_supersedes() -> None:
    answer = replace(an_answer("coco/7", engine="roboflow"), quality=75)
    result = a_kept(seq=42).correction(answer, age_s=3600.0, took_s=0.4)
    record = record_of(result, Identity("a", "boot"))
    Draft202012Validator(SCHEMA).validate(record)
    assert (record["id"], record["supersedes"]) == ("a/cam/boot/42/1", "a/cam/boot/42/0")
    assert record["captured_at"] == "2027-01-15T08:00:00.000Z"
    route = record["route"]
    assert (route["decided"], route["published"], route["reason"], route["late"]) == ("local", "cloud", "dead", True)
    assert (route["p"], route["threshold"], route["quality"]) == (0.1, 0.5, 75)
    assert record["latency_ms"]["total"] == 3_600_000
    assert record["latency_ms"]["queue"] == 3_599_600
    assert record["image"] == {"width": 640, "height": 480}


# Over a restart


def test_what_was_kept_is_there_after_a_restart_in_its_order(tmp_path: Path) -> None:
    keep = a_keep(tmp_path, FakeClock())
    for seq in (3, 1, 2):
        assert keep.put(a_kept(seq))
    again = a_keep(tmp_path, FakeClock())
    assert (again.waiting, again.kept) == (3, 0)
    assert again.put(a_kept(4))
    assert all_of(again) == [3, 1, 2, 4]
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_picture_that_was_answered_is_not_asked_about_again_after_a_restart(tmp_path: Path) -> None:
    keep = a_keep(tmp_path, FakeClock())
    keep.put(a_kept(1))
    keep.put(a_kept(2))
    first = keep.oldest(Step.ASK)
    assert first is not None
    keep.advance(first, Step.GIVE)
    again = a_keep(tmp_path, FakeClock())
    assert all_of(again) == [2]
    given_ = again.oldest(Step.GIVE)
    assert given_ is not None
    assert again.read(given_) == a_kept(1)


def test_a_file_that_a_kill_cut_at_any_byte_is_dropped_and_said_and_the_others_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keep = a_keep(tmp_path, FakeClock())
    keep.put(a_kept(1, data=b"jpeg"))
    keep.put(a_kept(2, data=b"jpeg"))
    victim = tmp_path / "kept" / "000000000002.ask"
    whole = victim.read_bytes()
    for length in range(len(whole)):
        victim.write_bytes(whole[:length])
        again = a_keep(tmp_path, FakeClock())
        assert (again.waiting, again.lost[Loss.TORN]) == (1, 1), length
        assert not victim.exists()
    assert "a kept picture is damaged and was dropped" in caplog.text


def test_a_file_that_was_not_renamed_yet_is_dropped(tmp_path: Path) -> None:
    a_keep(tmp_path, FakeClock())
    beside = tmp_path / "kept" / "000000000001.new"
    beside.write_bytes(kept.pack(a_kept()))
    assert a_keep(tmp_path, FakeClock()).lost[Loss.TORN] == 1
    assert not beside.exists()


def test_a_picture_that_rots_is_found_when_it_is_read(tmp_path: Path) -> None:
    keep = a_keep(tmp_path, FakeClock())
    keep.put(a_kept())
    path = tmp_path / "kept" / "000000000001.ask"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    again = a_keep(tmp_path, FakeClock())
    entry = again.oldest(Step.ASK)
    assert entry is not None
    assert again.read(entry) is None
    assert (again.waiting, again.lost[Loss.TORN], path.exists()) == (0, 1, False)


def test_what_somebody_else_put_there_is_left_alone(tmp_path: Path) -> None:
    a_keep(tmp_path, FakeClock())
    (tmp_path / "kept" / "notes.txt").write_text("mine")
    a_keep(tmp_path, FakeClock())
    assert (tmp_path / "kept" / "notes.txt").read_text() == "mine"


def test_nobody_else_may_look_at_the_pictures(tmp_path: Path) -> None:
    a_keep(tmp_path, FakeClock()).put(a_kept())
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "kept").iterdir()] == [0o600]


# Limits


@given(sizes=st.lists(st.integers(1, 400_000), min_size=1, max_size=20))
def test_no_more_bytes_are_kept_than_allowed_and_the_oldest_go_first(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("keep")
    keep = a_keep(folder, FakeClock())
    for seq, size in enumerate(sizes):
        keep.put(a_kept(seq, data=bytes(size)))
        on_disk = sum(path.stat().st_size for path in (folder / "kept").iterdir())
        assert on_disk <= 1_000_000
    left = all_of(keep)
    assert left == list(range(len(sizes)))[-len(left) :]
    assert keep.lost[Loss.FULL] == len(sizes) - len(left)


def test_a_smaller_allowance_holds_for_what_was_kept_before(tmp_path: Path) -> None:
    keep = a_keep(tmp_path, FakeClock())
    for seq in range(5):
        keep.put(a_kept(seq, data=bytes(150_000)))
    assert all_of(a_keep(tmp_path, FakeClock(), mb=0.4)) == [3, 4]


def test_the_index_is_bounded_whatever_is_kept(tmp_path: Path) -> None:
    keep = Keep(tmp_path, Limits(10**9, DAY_S, pictures=50), clock=FakeClock(), boot_id="boot")
    keep.open()
    for seq in range(200):
        keep.put(a_kept(seq, data=b"jpeg"))
    assert keep.waiting == 50
    assert len(list(tmp_path.iterdir())) == 50


def test_memory_holds_no_picture(tmp_path: Path) -> None:
    keep = a_keep(tmp_path, FakeClock(), mb=100)
    tracemalloc.start()
    try:
        for seq in range(100):
            keep.put(a_kept(seq, data=bytes(100_000)))
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert keep.waiting == 100
    assert held_bytes < 500_000


# Age


def test_within_a_boot_age_is_the_monotonic_clocks_whatever_the_wall_clock_does(tmp_path: Path) -> None:
    clock = SteppedClock(1000.0)
    keep = a_keep(tmp_path, clock, age_s=3600)
    keep.put(a_kept())
    clock.wall_s += 400 * DAY_S
    assert keep.oldest(Step.ASK) is not None
    clock.wall_s -= 800 * DAY_S
    clock.advance(3599)
    assert keep.oldest(Step.ASK) is not None
    clock.advance(2)
    assert keep.oldest(Step.ASK) is None
    assert keep.lost == {**dict.fromkeys(Loss, 0), Loss.OLD: 1}


@pytest.mark.parametrize(
    ("then_right", "now_right", "away_s", "stays"),
    [
        (True, True, 3000.0, True),
        (True, True, 3700.0, False),
        (False, True, 400 * DAY_S, True),  # how long ago it was is not known: it is not thrown away for that
        (True, False, 400 * DAY_S, True),
        (True, True, -400 * DAY_S, True),
    ],
)
def test_over_a_boot_age_is_the_wall_clocks_only_where_it_was_right_at_both_ends(
    tmp_path: Path, *, then_right: bool, now_right: bool, away_s: float, stays: bool
) -> None:
    keep = a_keep(tmp_path, SteppedClock(1000.0), age_s=3600)
    keep.put(replace(a_kept(), clock_synchronized=then_right))
    clock = SteppedClock(10.0)  # the machine has been up for ten seconds
    clock.right, clock.wall_s = now_right, 1_800_000_000.0 + away_s
    assert (a_keep(tmp_path, clock, age_s=3600, boot="next").oldest(Step.ASK) is not None) is stays


def test_over_a_boot_with_a_wrong_clock_the_time_since_the_boot_counts(tmp_path: Path) -> None:
    keep = a_keep(tmp_path, SteppedClock(1000.0), age_s=3600)
    keep.put(replace(a_kept(), clock_synchronized=False))
    clock = SteppedClock(10.0)
    again = a_keep(tmp_path, clock, age_s=3600, boot="next")
    clock.advance(3600)
    assert again.oldest(Step.ASK) is None


# A disk that fails


def test_a_disk_that_is_full_costs_the_picture_and_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keep = a_keep(tmp_path, FakeClock())

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        assert not keep.put(a_kept())
    assert (keep.waiting, keep.kept, keep.lost[Loss.DISK]) == (0, 0, 1)
    assert list((tmp_path / "kept").iterdir()) == []
    assert "No space left on device; free some space" in caplog.text
    assert keep.put(a_kept())


def test_a_folder_that_cannot_be_made_costs_pictures_and_never_the_agent(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file is in the way")
    keep = a_keep(tmp_path, FakeClock())
    assert not keep.put(a_kept())
    assert keep.lost[Loss.DISK] == 1


def test_a_file_that_was_taken_away_is_no_picture_any_more(tmp_path: Path) -> None:
    keep = a_keep(tmp_path, FakeClock())
    keep.put(a_kept())
    (tmp_path / "kept" / "000000000001.ask").unlink()
    entry = keep.oldest(Step.ASK)
    assert isinstance(entry, Entry)
    assert keep.read(entry) is None
    assert (keep.waiting, keep.lost[Loss.DISK]) == (0, 1)


def test_every_reason_for_which_frames_are_kept_can_be_read_again() -> None:
    for reason in Reason:
        assert kept.unpack(kept.pack(replace(a_kept(), reason=reason))).reason is reason
