"""A folder of pictures that is watched: what comes is read once, whole, and in order, for ever."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import imaging
from agent.errors import AgentError, ConfigError, FrameUnreadable, SourceAbsent, SourceEnded, SourceLost
from agent.ports import Context, Source
from agent.sources import image_folder
from agent.sources._arrivals import Arrivals

Make = Callable[..., Source]


def picture(value: int) -> bytes:
    done, data = imaging.cv2.imencode(".png", np.full((4, 4, 3), value, dtype=np.uint8))
    assert done
    return bytes(data.tobytes())


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def build(*, trial: bool = False, **options: Any) -> Source:
        model = image_folder.Options.model_validate({"type": "image_folder", "path": "in", "watch": True, **options})
        return image_folder.build(model, Context("test", FakeClock(), tmp_path, tmp_path, trial=trial))

    return build


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def put(folder: Path, name: str, value: int, *, changed_s: int = 1000) -> Path:
    path = folder / name
    path.write_bytes(picture(value))
    os.utime(path, (changed_s, changed_s))
    return path


def read_for(source: Source, seconds: float) -> list[int]:
    """The brightness of every picture that comes; the time passes only by the waits of `read`."""
    clock = source._clock  # type: ignore[attr-defined]
    until_s, values = clock.now() + seconds, []
    while clock.now() < until_s:
        pixels = source.read()
        if pixels is not None:
            values.append(int(pixels.mean()))
    return values


def test_pictures_that_are_there_come_once_the_oldest_first_and_then_by_name(make: Make, folder: Path) -> None:
    put(folder, "b.png", 3, changed_s=20)
    put(folder, "a.png", 2, changed_s=20)
    put(folder, "z.png", 1, changed_s=10)
    source = make()
    source.open()
    assert read_for(source, 5) == [1, 2, 3]


def test_pictures_that_appear_later_come_once_each_and_it_never_ends(make: Make, folder: Path) -> None:
    source = make()
    source.open()
    assert read_for(source, 5) == []
    put(folder, "a.png", 7)
    assert read_for(source, 3) == [7]
    put(folder, "b.png", 8)
    assert read_for(source, 60) == [8]


def test_a_picture_that_is_being_written_comes_when_it_is_whole(make: Make, folder: Path) -> None:
    source, data = make(), picture(9)
    source.open()
    path = folder / "a.png"
    for size in range(10, len(data), 20):
        path.write_bytes(data[:size])
        assert read_for(source, 1) == [], size
    path.write_bytes(data)
    assert read_for(source, 3) == [9]


def test_a_writer_who_paused_in_the_middle_is_read_again_when_he_is_done(make: Make, folder: Path) -> None:
    source, data = make(), picture(9)
    source.open()
    (folder / "a.png").write_bytes(data[:20])
    with pytest.raises(FrameUnreadable, match=r"a\.png is not a picture"):
        read_for(source, 5)
    (folder / "a.png").write_bytes(data)
    assert read_for(source, 3) == [9]


def test_a_temporary_name_is_left_alone_until_the_rename(make: Make, folder: Path) -> None:
    source = make()
    source.open()
    for name in (".a.png", "a.png.part", "a.tmp"):
        put(folder, name, 5)
    assert read_for(source, 5) == []
    (folder / "a.png.part").rename(folder / "a.png")
    assert read_for(source, 3) == [5]


def test_a_file_that_is_written_over_is_a_new_picture_each_time(make: Make, folder: Path) -> None:
    source = make()
    source.open()
    for value in (1, 2, 3):
        put(folder, "latest.png", value, changed_s=1000 + value)
        assert read_for(source, 3) == [value]


def test_a_picture_that_was_removed_is_passed_over_and_its_name_may_come_again(make: Make, folder: Path) -> None:
    put(folder, "a.png", 1, changed_s=10)
    put(folder, "b.png", 2, changed_s=20)
    source = make()
    source.open()
    while source.read() is None:
        pass
    (folder / "b.png").unlink()
    assert read_for(source, 3) == []
    put(folder, "b.png", 2, changed_s=20)
    assert read_for(source, 3) == [2]


def test_an_empty_file_a_folder_and_a_link_to_nowhere_are_no_pictures(make: Make, folder: Path) -> None:
    (folder / "a.png").touch()
    (folder / "b.png").mkdir()
    (folder / "c.png").symlink_to("nowhere.png")
    source = make()
    source.open()
    assert read_for(source, 5) == []


def test_a_folder_that_vanishes_is_lost_and_goes_on_where_it_was(make: Make, folder: Path) -> None:
    put(folder, "a.png", 1)
    source = make()
    source.open()
    assert read_for(source, 3) == [1]
    folder.rename(folder.with_name("away"))
    with pytest.raises(SourceLost, match=r"in: is gone: No such file or directory; is it still mounted"):
        read_for(source, 3)
    source.close()
    with pytest.raises(SourceAbsent, match=r"in: cannot be read: No such file or directory; create or mount it"):
        source.open()
    folder.with_name("away").rename(folder)
    put(folder, "b.png", 2)
    source.open()
    assert read_for(source, 5) == [2]


def test_a_file_is_no_folder_to_watch(make: Make, tmp_path: Path) -> None:
    (tmp_path / "in").touch()
    with pytest.raises(ConfigError, match="in: is a file; name a folder of pictures"):
        make().open()


def test_a_check_reads_a_picture_or_says_that_there_is_none(make: Make, folder: Path) -> None:
    source = make(trial=True)
    source.open()
    with pytest.raises(SourceEnded, match=r"holds no whole picture yet \(\.bmp, "):
        read_for(source, 5)
    put(folder, "a.png", 4)
    source = make(trial=True)
    source.open()
    while (pixels := source.read()) is None:
        pass
    assert int(pixels.mean()) == 4


def test_every_picture_is_wanted_and_one_read_never_waits_for_long(make: Make, folder: Path) -> None:
    source = make()
    assert not source.live
    source.open()
    before_s = source._clock.now()  # type: ignore[attr-defined]
    for _ in range(20):
        source.read()
    assert 0 < source._clock.now() - before_s <= 20 * 0.25  # type: ignore[attr-defined]
    assert folder.is_dir()


def test_reading_without_opening_is_an_error_of_the_agent(make: Make, folder: Path) -> None:
    assert folder.is_dir()
    with pytest.raises(AgentError, match="is not open"):
        make().read()


def test_to_begin_again_and_to_wait_are_two_things() -> None:
    with pytest.raises(ValueError, match="give either loop or watch"):
        image_folder.Options.model_validate({"type": "image_folder", "path": "in", "watch": True, "loop": True})


@given(
    moves=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["write", "remove", "look"])), max_size=40),
)
@settings(max_examples=50, deadline=None)
def test_every_version_that_two_listings_saw_comes_once(
    moves: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("pictures")
    arrivals, version, there = Arrivals(folder, (".png",)), 0, dict[str, int]()
    last: dict[str, int] = {}
    came, expected = list[str](), list[str]()
    told: dict[str, int] = {}
    for name, move in moves:
        path = folder / f"{name}.png"
        if move == "write":
            version += 1
            path.write_bytes(b"x" * version)
            os.utime(path, (version, version))
            there[name] = version
        elif move == "remove":
            path.unlink(missing_ok=True)
            there.pop(name, None)
        else:
            arrivals.look()
            ready = sorted((v, n) for n, v in there.items() if last.get(n) == v and told.get(n) != v)
            expected += [n for _, n in ready]
            told = {n: v for n, v in told.items() if n in there} | {n: v for v, n in ready}
            last = dict(there)
            while (found := arrivals.pop()) is not None:
                came.append(found.stem)
    assert came == expected
