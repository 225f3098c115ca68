"""The folder of pictures: within its limits over any sizes, restarts and clocks; what is not ours is never touched."""

import contextlib
import errno
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from disks import small_disk
from fakes import FakeClock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.test_doubt import a_result
from unit.test_keep import SteppedClock

from agent.flow import Result
from agent.snapshots import album, caption, picture_files
from agent.snapshots.album import Album, Limits, Loss

REPOSITORY = Path(__file__).resolve().parents[2]
MB = 1_000_000
YEAR_S = 365.25 * 86_400
JPEG = {".jpg": b"\xff\xd8" + bytes(20_000), ".json": b"{}\n"}
"""On the disk: 24 576 bytes."""
SIZE = 24_576


def an_album(folder: Path, clock: FakeClock | None = None, *, boot: str = "boot", **limits: float) -> Album:
    made = Album(
        folder / "yard",
        Limits(**{"size_bytes": MB, **limits}),
        clock=clock or FakeClock(),
        boot_id=boot,  # type: ignore[arg-type]
    )
    made.open()
    return made


def shot(seq: int = 7, *, camera: str = "gate", wall_s: float = 1_800_000_000.0, at_s: float = 1000.0) -> Result:
    return replace(a_result(seq=seq, at_s=at_s), camera=camera, captured_wall_s=wall_s)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "next-number")


def seqs(folder: Path, camera: str = "gate") -> list[int]:
    """The pictures of one camera as a file manager sorts them."""
    found = [caption.parsed(path.name) for path in sorted((folder / "yard" / camera).glob("*.jpg")) if path.is_file()]
    return [known.caption.seq for known in found if known is not None]


def on_disk(folder: Path) -> int:
    return sum(max(path.stat().st_size, path.stat().st_blocks * 512) for path in files(folder))


# Writing


def test_a_picture_lies_in_its_camera_s_folder_with_its_record_beside_it(tmp_path: Path) -> None:
    assert an_album(tmp_path).put(shot(7), {".jpg": b"boxes", ".clean.jpg": b"clean", ".json": b"{}"})
    name = "yard/gate/000000001-20270115T080000Z-boot-7-0"
    found = {str(path.relative_to(tmp_path)): path.read_bytes() for path in files(tmp_path)}
    assert found == {f"{name}.jpg": b"boxes", f"{name}.clean.jpg": b"clean", f"{name}.json": b"{}"}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    sizes=st.lists(
        st.tuples(st.integers(0, 400_000), st.sampled_from(["gate", "yard", "road"]), st.booleans()), max_size=40
    ),
    restart_at=st.integers(0, 40),
)
def test_the_cap_holds_at_every_moment_and_the_oldest_give_way_over_all_cameras_and_a_restart(
    tmp_path: Path, sizes: list[tuple[int, str, bool]], restart_at: int
) -> None:
    shutil.rmtree(tmp_path / "yard", ignore_errors=True)
    keeps, written = an_album(tmp_path), list[tuple[int, int]]()
    for seq, (size, camera, has_record) in enumerate(sizes):
        if seq == restart_at:
            keeps = an_album(tmp_path)
        forms = {".jpg": bytes(size), **({".json": b"{}"} if has_record else {})}
        assert keeps.put(shot(seq, camera=camera), forms)
        written.append((seq, sum(map(picture_files.foreseen, map(len, forms.values())))))
        assert on_disk(tmp_path) <= MB
        assert keeps.held_bytes == on_disk(tmp_path)
        there = sorted(s for each in ("gate", "yard", "road") for s in seqs(tmp_path, each))
        assert there == [s for s, _ in written[len(written) - len(there) :]], "the newest"
        gone = written[: len(written) - len(there)]
        assert not gone or gone[-1][1] + sum(bytes_ for s, bytes_ in written if s in there) > MB, "no more than needed"


def test_a_picture_that_is_larger_than_all_may_be_is_counted_and_nothing_gives_way_to_it(tmp_path: Path) -> None:
    keeps = an_album(tmp_path)
    keeps.put(shot(1), JPEG)
    assert not keeps.put(shot(2), {".jpg": bytes(MB + 1)})
    assert (seqs(tmp_path), keeps.lost[Loss.LARGE]) == ([1], 1)


def test_the_number_of_pictures_is_bounded_too(tmp_path: Path) -> None:
    keeps = an_album(tmp_path, pictures=3)
    for seq in range(5):
        keeps.put(shot(seq), JPEG)
    assert seqs(tmp_path) == [2, 3, 4]
    assert album.MOST_PICTURES == 50_000


# Over restarts


def test_pictures_of_earlier_runs_count_and_go_first_also_those_of_a_camera_that_is_gone(tmp_path: Path) -> None:
    first = an_album(tmp_path)
    for seq in range(3):
        first.put(shot(seq, camera="old"), JPEG)
    again = an_album(tmp_path, boot="other", size_bytes=4 * SIZE)
    assert (again.held, again.held_bytes, again.written) == (3, 3 * SIZE, 0)
    for seq in (90, 91):
        again.put(shot(seq), JPEG)
    assert seqs(tmp_path, "old") == [1, 2]
    assert seqs(tmp_path) == [90, 91]
    assert [path.name[:9] for path in sorted((tmp_path / "yard" / "gate").glob("*.jpg"))] == ["000001001", "000001002"]


def test_a_cap_that_was_lowered_holds_from_the_start_on(tmp_path: Path) -> None:
    first = an_album(tmp_path)
    for seq in range(10):
        first.put(shot(seq), JPEG)
    an_album(tmp_path, size_bytes=3 * SIZE)
    assert seqs(tmp_path) == [7, 8, 9]


def test_a_file_that_was_half_written_goes_at_the_start_and_a_whole_one_without_its_record_stays(
    tmp_path: Path,
) -> None:
    first = an_album(tmp_path)
    first.put(shot(1), JPEG)
    first.put(shot(2), JPEG)
    whole, other = sorted((tmp_path / "yard" / "gate").glob("*.jpg"))
    whole.with_suffix(".json").unlink()
    half = other.with_name(other.name.replace("-2-0", "-3-0").replace("000000002", "000000003") + ".new")
    half.write_bytes(b"\xff\xd8")
    assert an_album(tmp_path).held == 2
    assert not half.exists()
    assert whole.exists()


def test_files_that_are_not_ours_are_never_touched_nor_counted(tmp_path: Path) -> None:
    mine = an_album(tmp_path)
    mine.put(shot(1), JPEG)
    ours = next((tmp_path / "yard" / "gate").glob("*.jpg"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    foreign = [
        tmp_path / "yard" / ours.name,  # our name, at another place
        tmp_path / "yard" / "gate" / "holiday.jpg",
        tmp_path / "yard" / "gate" / f"copy of {ours.name}",
        tmp_path / "yard" / "gate" / f"{ours.name}.bak",
        tmp_path / "yard" / "gate" / "000000009.jpg.new",
        elsewhere / ours.name,
    ]
    for path in foreign:
        path.write_bytes(bytes(300_000))
    (tmp_path / "yard" / "link").symlink_to(elsewhere)
    (tmp_path / "yard" / "gate" / ours.name.replace("-1-0", "-5-0")).symlink_to(foreign[-1])
    (tmp_path / "yard" / "gate" / ours.name.replace("-1-0", "-6-0")).mkdir()
    again = an_album(tmp_path, size_bytes=2 * SIZE, age_s=5.0)
    assert again.held == 1
    for seq in range(10, 20):
        again.put(shot(seq), JPEG)
    assert all(path.stat().st_size == 300_000 for path in foreign)
    assert (tmp_path / "yard" / "gate" / ours.name.replace("-1-0", "-5-0")).is_symlink()
    assert seqs(tmp_path) == [5, 18, 19], "5 is the link"


def test_two_agents_share_a_folder_and_each_has_its_own_cap(tmp_path: Path) -> None:
    one = an_album(tmp_path, size_bytes=2 * SIZE)
    other = Album(tmp_path / "porch", Limits(2 * SIZE), clock=FakeClock(), boot_id="boot")
    other.open()
    for seq in range(4):
        one.put(shot(seq), JPEG)
        other.put(shot(seq), JPEG)
    assert len(files(tmp_path)) == 8


def test_numbers_go_on_where_all_pictures_were_collected_and_removed(tmp_path: Path) -> None:
    collected = list[str]()
    for run in range(4):
        keeps = an_album(tmp_path, boot=f"{9 - run}")
        for seq in range(run + 1):
            keeps.put(shot(seq, wall_s=1.8e9 - 1e6 * run), JPEG)
        collected += [path.name for path in sorted((tmp_path / "yard" / "gate").glob("*.jpg"))]
        shutil.rmtree(tmp_path / "yard" / "gate")
    assert collected == sorted(set(collected))


@pytest.mark.parametrize("content", ["", "many", "9" * 100, "٣"])
def test_a_file_of_numbers_that_is_damaged_is_made_anew(tmp_path: Path, content: str) -> None:
    an_album(tmp_path).put(shot(1), JPEG)
    (tmp_path / "yard" / "next-number").write_text(content, encoding="utf-8")
    assert an_album(tmp_path).put(shot(2), JPEG)
    assert seqs(tmp_path) == [1, 2]
    assert (tmp_path / "yard" / "next-number").read_text() == "1002\n"


# Time


@pytest.mark.parametrize("step_s", [-10 * YEAR_S, -25.0, 25.0, 10 * YEAR_S])
def test_names_sort_by_time_and_the_oldest_go_first_when_the_clock_steps(tmp_path: Path, step_s: float) -> None:
    clock = FakeClock()
    keeps = an_album(tmp_path, clock, size_bytes=6 * SIZE, age_s=YEAR_S)
    for seq in range(4):
        keeps.put(shot(seq, wall_s=clock.wall_s), JPEG)
    clock.wall_s += step_s
    keeps.tidy()
    assert seqs(tmp_path) == [0, 1, 2, 3], "a step makes no picture of this run old"
    for seq in range(4, 8):
        keeps.put(shot(seq, wall_s=clock.wall_s), JPEG)
    assert seqs(tmp_path) == [2, 3, 4, 5, 6, 7]


def test_a_picture_of_this_run_is_removed_when_it_is_too_old_and_not_before(tmp_path: Path) -> None:
    clock = FakeClock()
    keeps = an_album(tmp_path, clock, age_s=60.0)
    keeps.put(shot(1, at_s=clock.now()), JPEG)
    clock.advance(60.0)
    keeps.tidy()
    assert seqs(tmp_path) == [1]
    clock.advance(0.1)
    keeps.tidy()
    assert files(tmp_path) == []
    assert keeps.lost[Loss.OLD] == 1


@pytest.mark.parametrize(
    ("now_right", "then_right", "stays"), [(True, True, False), (False, True, True), (True, False, True)]
)
def test_the_age_of_an_earlier_run_s_picture_goes_by_the_wall_clock_only_if_that_was_right_at_both_ends(
    tmp_path: Path, *, now_right: bool, then_right: bool, stays: bool
) -> None:
    clock = SteppedClock()
    result = replace(shot(1, wall_s=clock.wall_s), clock_synchronized=then_right)
    an_album(tmp_path, clock, age_s=3600.0).put(result, JPEG)
    later = SteppedClock(5.0)  # another boot, an hour and a half later by the wall clock
    later.wall_s, later.right = clock.wall_s + 5400, now_right
    again = an_album(tmp_path, later, boot="other", age_s=3600.0)
    assert bool(seqs(tmp_path)) is stays
    later.advance(3601.0)
    again.tidy()
    assert seqs(tmp_path) == [], "since the start, at least, so much time has passed"


# Disks


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]


def test_a_full_disk_costs_pictures_leaves_no_half_file_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "agent")
    with small_disk(tmp_path / "small", "size=256k") as folder:
        keeps = an_album(folder)
        taken = [keeps.put(shot(seq), JPEG) for seq in range(20)]
        assert taken[0]
        assert not taken[-1]
        assert keeps.lost[Loss.DISK] == taken.count(False) > 5
        assert {path.suffix for path in files(folder)} == {".jpg", ".json"}
        assert all(path.stat().st_size == 20_002 for path in files(folder) if path.suffix == ".jpg")
        assert keeps.held == len(seqs(folder)) == taken.count(True)
        (line,) = said(caplog)
        assert "No space left on device; pictures are dropped and counted until that is mended" in line
        next((folder / "yard" / "gate").glob("*.jpg")).unlink()
        assert keeps.put(shot(90), JPEG), "it recovers by itself"
        assert "pictures are written again" in said(caplog)[-1]


def test_pictures_give_way_while_others_fill_the_disk_and_the_rest_of_it_stays_free(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "size=1m") as folder:
        keeps = an_album(folder, keep_free_bytes=400_000)
        for seq in range(30):
            assert keeps.put(shot(seq), JPEG)
            assert shutil.disk_usage(folder).free >= 400_000
        held = keeps.held
        (folder / "log").write_bytes(bytes(200_000))
        keeps.tidy()
        assert shutil.disk_usage(folder).free >= 400_000
        assert 0 < keeps.held < held
        assert seqs(folder)[-1] == 29


def test_pictures_are_not_given_up_where_that_would_not_help(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with small_disk(tmp_path / "small", "size=1m") as folder:
        an_album(folder).put(shot(1), JPEG)
        keeps = an_album(folder, keep_free_bytes=2 * MB)
        assert not keeps.put(shot(2), JPEG)
        assert seqs(folder) == [1]
        assert any("less than keep_free_mb (2) is free" in line for line in said(caplog))


def test_a_read_only_folder_costs_pictures_and_it_goes_on_when_it_can_be_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "agent")
    with small_disk(tmp_path / "small", "size=1m") as folder:
        keeps = an_album(folder, size_bytes=2 * SIZE)
        for seq in range(2):
            keeps.put(shot(seq), JPEG)
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        assert [keeps.put(shot(seq), JPEG) for seq in (2, 3)] == [False, False]
        assert (keeps.held, keeps.lost[Loss.DISK], keeps.lost[Loss.FULL]) == (2, 2, 0)
        assert ["Read-only file system" in line for line in said(caplog)] == [True]
        subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
        assert keeps.put(shot(4), JPEG)
        assert seqs(folder) == [1, 4]


def test_a_folder_that_is_removed_by_hand_comes_back_and_what_was_in_it_counts_no_more(tmp_path: Path) -> None:
    keeps = an_album(tmp_path)
    for seq in range(3):
        keeps.put(shot(seq), JPEG)
    shutil.rmtree(tmp_path / "yard")
    assert keeps.put(shot(3), JPEG)
    assert (keeps.held_bytes, keeps.held, seqs(tmp_path)) == (SIZE, 1, [3])
    (tmp_path / "yard").rename(tmp_path / "moved")
    assert keeps.put(shot(4), JPEG)
    assert (keeps.held, seqs(tmp_path)) == (1, [4])
    assert min(path.name[:9] for path in files(tmp_path / "yard")) == "000000005", "numbers go on"


def test_a_disk_that_is_mounted_later_has_its_own_pictures_counted(tmp_path: Path) -> None:
    keeps = an_album(tmp_path)
    keeps.put(shot(1), JPEG)
    with small_disk(tmp_path / "stick", "size=1m") as stick:
        an_album(stick).put(shot(50), JPEG)
        (tmp_path / "yard").rename(tmp_path / "before")
        (tmp_path / "yard").symlink_to(stick / "yard")
        assert keeps.put(shot(2), JPEG)
        assert (keeps.held, seqs(tmp_path)) == (2, [50, 2])


def test_pictures_that_were_removed_by_hand_make_no_other_give_way(tmp_path: Path) -> None:
    clock = FakeClock()
    keeps = an_album(tmp_path, clock, size_bytes=4 * SIZE)
    for seq in range(4):
        keeps.put(shot(seq), JPEG)
    for path in sorted((tmp_path / "yard" / "gate").iterdir())[4:]:
        path.unlink()
    clock.advance(album._TRUST_S + 1)
    for seq in (4, 5):
        keeps.put(shot(seq), JPEG)
    assert seqs(tmp_path) == [0, 1, 4, 5]


def test_a_folder_that_cannot_be_read_at_the_start_is_read_when_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    an_album(tmp_path).put(shot(1), JPEG)
    with monkeypatch.context() as broken:

        def scandir(_: object) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        broken.setattr("os.scandir", scandir)
        keeps = an_album(tmp_path, size_bytes=2 * SIZE)
        assert not keeps.put(shot(2), JPEG)
    assert keeps.put(shot(3), JPEG)
    assert keeps.put(shot(4), JPEG)
    assert seqs(tmp_path) == [3, 4]


def test_at_fifty_thousand_pictures_the_index_takes_tens_of_megabytes_at_most() -> None:
    program = (
        "import sys, tracemalloc; from pathlib import Path; from agent.snapshots.album import Album, _Entry, Limits\n"
        "from agent.snapshots.caption import Caption; from agent.clock import SystemClock\n"
        "tracemalloc.start(); a = Album(Path('x'), Limits(1e12), clock=SystemClock(), boot_id='b')\n"
        "for n in range(50_000):\n"
        "    e = _Entry(Path('x/gate'), Caption(n, 1.8e9 + n, True, 'b' * 8 + str(n)[:0], n, 0), 10**6 + n, 1e6 + n)\n"
        "    a._entries[e.key] = e\n"
        "print(tracemalloc.get_traced_memory()[0])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 40 * MB


# Kills

WRITER = """
import os, random, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:4]
from unit.test_album import shot
from agent.snapshots.album import Album, Limits
from agent.clock import SystemClock
drawn = random.Random(int(sys.argv[4]))
album = Album(Path(sys.argv[1]) / "yard", Limits(2_000_000), clock=SystemClock(), boot_id="boot")
album.open()
print("half:", *Path(sys.argv[1]).rglob("0*.new"), flush=True)
for seq in range(int(sys.argv[4]) * 1_000_000, 10**12):
    middle = drawn.randbytes(drawn.randint(0, 300_000))
    album.put(shot(seq), {".jpg": b"begin" + middle + b"end", ".json": b"[" + b"1," * 2000 + b"1]"})
"""


def test_a_kill_at_any_moment_leaves_no_half_picture_and_the_cap_holds(tmp_path: Path) -> None:
    chosen = random.Random(11)  # noqa: S311 - moments, not secrets
    for run in range(7):
        words = [str(tmp_path), str(REPOSITORY), str(REPOSITORY / "tests"), str(run)]
        with subprocess.Popen([sys.executable, "-c", WRITER, *words], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            said = child.stdout.readline()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(chosen.uniform(0.01, 0.3))
            child.kill()
        assert (said, child.returncode) == (b"half:\n", -signal.SIGKILL), "what the kill before has left is gone"
        _are_whole(files(tmp_path))
    assert max(seqs(tmp_path)) > 5 * MB, "it wrote in the last runs"


def _are_whole(found: list[Path]) -> None:
    names = {path.name for path in found}
    for path in found:
        content = path.read_bytes()
        if path.suffix == ".jpg":
            assert content.startswith(b"begin")
            assert content.endswith(b"end")
            assert path.name.removesuffix(".jpg") + caption.RECORD in names
        elif path.suffix == ".json":
            assert (content[:1], content[-1:]) == (b"[", b"]")
    assert sum(path.stat().st_size for path in found if path.suffix != ".new") <= 2 * MB
