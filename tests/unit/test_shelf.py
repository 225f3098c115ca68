"""The shelf of installed packages: old or new after a crash at any step, and several processes at once."""

import json
import multiprocessing
import os
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import shelf as module
from agent.errors import AgentError
from agent.shelf import Event, Shelf, Standing


class FixedClock:
    """Always the same moment."""

    def now(self) -> float:
        return 0.0

    def wall(self) -> float:
        return 1_795_600_000.0

    def synchronized(self) -> bool:
        return True

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        raise NotImplementedError


AT = "2026-11-25T09:46:40Z"


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "models", FixedClock())


def fill(staged: Path, content: str = "weights") -> Path:
    (staged / "model.yaml").write_text("name: birds\nfile: birds.tflite\n", encoding="utf-8")
    (staged / "birds.tflite").write_text(content, encoding="utf-8")
    return staged


def install(shelf: Shelf, name: str = "birds", version: str = "", content: str = "weights") -> str:
    with shelf.stage() as staged:
        return shelf.install(fill(staged, content), name, version)


def litter(shelf: Shelf) -> set[str]:
    """What is on the shelf and belongs to no package."""
    found = {path.relative_to(shelf.folder).as_posix() for path in shelf.folder.rglob(".*")}
    return found - {".lock"}


# What is there


def test_an_empty_shelf_need_not_be_there(shelf: Shelf) -> None:
    assert shelf.names() == []
    assert shelf.versions("birds") == []
    assert shelf.current("birds") is None
    assert shelf.history("birds") == []
    assert not shelf.folder.exists()


def test_the_first_version_is_in_use_and_the_next_lies_beside_it(shelf: Shelf) -> None:
    assert [install(shelf), install(shelf, content="better")] == ["1", "2"]
    assert shelf.names() == ["birds"]
    assert shelf.versions("birds") == ["1", "2"]
    assert shelf.current("birds") == "1"
    assert (shelf.path("birds", "2") / "birds.tflite").read_text(encoding="utf-8") == "better"
    assert litter(shelf) == set()


def test_another_version_can_be_made_the_current_one(shelf: Shelf) -> None:
    install(shelf)
    install(shelf)
    shelf.make_current("birds", "2")
    assert shelf.current("birds") == "2"
    assert (shelf.folder / "birds" / "current").read_text(encoding="utf-8") == "2\n"
    with pytest.raises(AgentError, match="birds has no version 3; it has 1, 2, of which 2 is in use"):
        shelf.make_current("birds", "3")


def test_versions_are_sorted_as_people_count(shelf: Shelf) -> None:
    for version in ("10", "2", "1.10", "1.9", "2024-11", "b"):
        install(shelf, version=version)
    assert shelf.versions("birds") == ["1.9", "1.10", "2", "10", "2024-11", "b"]


def test_a_number_is_never_given_twice(shelf: Shelf) -> None:
    for _ in range(3):
        install(shelf)
    shelf.remove("birds", "3")
    assert install(shelf) == "4"


def test_a_version_that_is_there_stays_as_it_is(shelf: Shelf) -> None:
    install(shelf, version="7")
    with pytest.raises(AgentError, match="birds@7 is installed already"):
        install(shelf, version="7", content="other")
    assert (shelf.path("birds", "7") / "birds.tflite").read_text(encoding="utf-8") == "weights"
    assert litter(shelf) == set()


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "x" * 64, "birds@1", "vögel"])
def test_a_name_that_is_none_is_refused(name: str, shelf: Shelf) -> None:
    with pytest.raises(AgentError, match="can be no package's name"):
        install(shelf, name)
    assert shelf.versions(name) == []


@pytest.mark.parametrize("version", ["..", "a/b", "current", "history.json", ".x", "1@2"])
def test_a_version_that_is_none_is_refused(version: str, shelf: Shelf) -> None:
    with pytest.raises(AgentError, match="can be no version"):
        install(shelf, version=version)
    assert shelf.names() == []


# What became of versions


def test_the_history_tells_what_became_of_versions(shelf: Shelf) -> None:
    install(shelf)
    install(shelf)
    shelf.note("birds", "2", Standing.ON_TRIAL)
    shelf.note("birds", "2", Standing.REJECTED, reason="agrees on 61 % of frames", measurements={"agreement": 0.61})
    assert shelf.history("birds") == [
        Event("1", Standing.INSTALLED, AT),
        Event("2", Standing.INSTALLED, AT),
        Event("2", Standing.ON_TRIAL, AT),
        Event("2", Standing.REJECTED, AT, "agrees on 61 % of frames", {"agreement": 0.61}),
    ]
    latest = shelf.standing("birds", "2")
    assert latest is not None
    assert latest.standing is Standing.REJECTED
    assert shelf.standing("birds", "9") is None


def test_the_history_does_not_grow_for_ever(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 3)
    install(shelf)
    for number in range(5):
        shelf.note("birds", "1", Standing.ON_TRIAL, reason=str(number))
    assert [event.reason for event in shelf.history("birds")] == ["2", "3", "4"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"events": [{"version": "1"}]}', "\xff"])
def test_a_history_that_cannot_be_read_is_begun_anew(text: str, shelf: Shelf) -> None:
    install(shelf)
    (shelf.folder / "birds" / "history.json").write_text(text, encoding="latin-1")
    assert shelf.history("birds") == []
    shelf.note("birds", "1", Standing.CONFIRMED)
    assert [event.standing for event in shelf.history("birds")] == [Standing.CONFIRMED]


# Removing


def test_a_version_can_be_removed_but_not_the_one_in_use(shelf: Shelf) -> None:
    install(shelf)
    install(shelf)
    with pytest.raises(AgentError, match="birds@1 is in use"):
        shelf.remove("birds", "1")
    shelf.remove("birds", "2")
    assert shelf.versions("birds") == ["1"]
    assert litter(shelf) == set()


def test_asked_to_it_lets_go_of_the_one_in_use_for_the_newest_other(shelf: Shelf) -> None:
    for _ in range(3):
        install(shelf)
    shelf.remove("birds", "1", although_current=True)
    assert (shelf.versions("birds"), shelf.current("birds")) == (["2", "3"], "3")


@pytest.mark.parametrize("version", [None, "1"])
def test_the_last_version_goes_with_its_package(version: str | None, shelf: Shelf) -> None:
    install(shelf)
    shelf.remove("birds", version)
    assert shelf.names() == []
    assert [path.name for path in shelf.folder.iterdir()] == [".lock"]


def test_what_is_not_there_cannot_be_removed(shelf: Shelf) -> None:
    install(shelf, "cats")
    with pytest.raises(AgentError, match=r"no package birds is installed in .*; there is: cats"):
        shelf.remove("birds")
    with pytest.raises(AgentError, match="cats has no version 2"):
        shelf.remove("cats", "2")


# Staging


def test_what_was_staged_and_not_installed_is_gone(shelf: Shelf) -> None:
    with shelf.stage() as staged:
        fill(staged)
    assert litter(shelf) == set()


def test_what_was_staged_under_a_key_is_found_again_until_something_else_is_staged(shelf: Shelf) -> None:
    with shelf.stage("abc") as staged:
        (staged / "half").write_text("a", encoding="utf-8")
    with shelf.stage("abc") as staged:
        assert (staged / "half").read_text(encoding="utf-8") == "a"
    install(shelf)
    assert litter(shelf) == set()


def test_what_another_process_is_staging_is_left_alone(shelf: Shelf) -> None:
    with shelf.stage("abc") as staged:
        install(Shelf(shelf.folder))
        assert staged.is_dir()
        with (
            pytest.raises(AgentError, match="is being fetched by another `vedette model` now"),
            Shelf(shelf.folder).stage("abc"),
        ):
            pass
        assert shelf.install(fill(staged), "cats") == "1"


def test_a_shelf_that_cannot_be_written_to_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file", encoding="utf-8")
    with pytest.raises(AgentError, match=r"models cannot be written: .*a file stands where a folder has to be"):
        install(Shelf(tmp_path / "models"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who alone may give files away")
def test_what_root_installs_belongs_to_the_owner_of_the_state_folder_and_can_be_read(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, 4321, 4321)
    before = os.umask(0o077)
    try:
        shelf = Shelf(state / "models")
        install(shelf)
        install(shelf)
        shelf.make_current("birds", "2")
    finally:
        os.umask(before)
    for path in state.rglob("*"):
        assert (path.stat().st_uid, path.stat().st_gid) == (4321, 4321), path
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path


# Crashes


def crash_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """End this process, as a power cut would, before the `step`th call that changes the disk."""
    calls = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > step:
                os._exit(9)
            return real(*arguments, **options)

        return call

    monkeypatch.setattr(os, "fsync", counted(os.fsync))
    monkeypatch.setattr(os, "rename", counted(os.rename))
    monkeypatch.setattr(Path, "rename", counted(Path.rename))
    monkeypatch.setattr(Path, "mkdir", counted(Path.mkdir))
    monkeypatch.setattr(Path, "touch", counted(Path.touch))
    monkeypatch.setattr(shutil, "rmtree", counted(shutil.rmtree))


def crashes(act: Callable[[], object], steps: int = 40) -> Iterator[bool]:
    """Do `act` in a child that dies at step 0, 1, 2 ..., and yield each time; True at last: it was done."""
    for step in range(steps):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads of other tests: the child needs none of them
            child = os.fork()
        if child == 0:
            with pytest.MonkeyPatch.context() as patch:
                crash_at(step, patch)
                try:
                    act()
                finally:
                    os._exit(0)
        done = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        yield done
        if done:
            assert step > 3, "there was nothing to crash"
            return
    raise AssertionError("it never came to its end")


def state(shelf: Shelf) -> tuple[list[str], str | None, list[str]]:
    versions = shelf.versions("birds")
    whole = [
        each for each in versions if (shelf.path("birds", each) / "birds.tflite").read_text(encoding="utf-8") == each
    ]
    return versions, shelf.current("birds"), whole


def staged_again(shelf: Shelf) -> None:
    """The next use of the shelf sweeps up what a crash left over."""
    install(shelf, "other")
    shelf.remove("other")
    assert {each for each in litter(shelf) if not each.endswith(".part")} == set()
    assert len(litter(shelf)) <= 2, "a file on its way to its name is written over the next time"


def test_a_crash_at_any_step_of_a_first_installation_leaves_it_absent_or_whole(shelf: Shelf) -> None:
    for done in crashes(lambda: install(shelf, version="1", content="1")):
        assert state(shelf) in (([], None, []), (["1"], "1", ["1"]))
        staged_again(shelf)
        if not done and shelf.names():
            shelf.remove("birds")
    assert state(shelf) == (["1"], "1", ["1"])


def test_a_crash_at_any_step_of_a_second_installation_leaves_the_first_in_use(shelf: Shelf) -> None:
    install(shelf, version="5", content="5")
    for done in crashes(lambda: install(shelf, version="4", content="4")):
        assert state(shelf) in ((["5"], "5", ["5"]), (["4", "5"], "5", ["4", "5"]))
        staged_again(shelf)
        if not done and "4" in shelf.versions("birds"):
            shelf.remove("birds", "4")
    assert state(shelf) == (["4", "5"], "5", ["4", "5"])


def test_a_crash_at_any_step_of_a_switch_leaves_the_old_or_the_new_version_in_use(shelf: Shelf) -> None:
    install(shelf, version="1", content="1")
    install(shelf, version="2", content="2")
    told = 2

    def switch() -> None:
        shelf.make_current("birds", "2")
        shelf.note("birds", "2", Standing.CONFIRMED)

    for _ in crashes(switch):
        assert state(shelf) in ((["1", "2"], "1", ["1", "2"]), (["1", "2"], "2", ["1", "2"]))
        assert len(shelf.history("birds")) in (told, told + 1)
        told = len(shelf.history("birds"))
    assert shelf.current("birds") == "2"


def test_a_crash_at_any_step_of_a_removal_leaves_it_whole_or_gone(shelf: Shelf) -> None:
    install(shelf, version="1", content="1")
    install(shelf, version="2", content="2")
    for _ in crashes(lambda: shelf.remove("birds", "1", although_current=True)):
        assert state(shelf) in (
            (["1", "2"], "1", ["1", "2"]),
            (["1", "2"], "2", ["1", "2"]),
            (["2"], "2", ["2"]),
        )
        staged_again(shelf)
        if shelf.versions("birds") == ["2"]:
            install(shelf, version="1", content="1")


@pytest.mark.parametrize("number", range(8))
def test_a_disk_that_fails_at_any_step_is_a_sentence_and_changes_nothing(
    number: int, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(shelf, version="1", content="1")
    calls = 0
    real = os.fsync

    def fsync(file: int) -> None:
        nonlocal calls
        calls += 1
        if calls > number:
            raise OSError(28, "No space left on device")
        real(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(AgentError, match="cannot be written: No space left on device"):
            install(shelf, version="2", content="2")
    assert state(shelf)[1:] in (("1", ["1"]), ("1", ["1", "2"]))
    staged_again(shelf)


# Several at once


def _many(folder: Path, number: int) -> None:
    shelf = Shelf(folder)
    for turn in range(5):
        install(shelf, content=f"{number}-{turn}")
        shelf.note("birds", "1", Standing.CONFIRMED, reason=f"{number}-{turn}")


def test_processes_that_install_at_once_are_not_in_each_others_way(shelf: Shelf) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_many, args=(shelf.folder, number)) for number in range(4)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        current = shelf.current("birds")
        assert current in (None, "1")
        if current:
            assert (shelf.path("birds", current) / "birds.tflite").read_text(encoding="utf-8")
        history = shelf.folder / "birds" / "history.json"
        if history.exists():
            json.loads(history.read_text(encoding="utf-8"))
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert shelf.versions("birds") == [str(number) for number in range(1, 21)]
    assert len({(shelf.path("birds", each) / "birds.tflite").read_text() for each in shelf.versions("birds")}) == 20
    assert len([event for event in shelf.history("birds") if event.standing is Standing.CONFIRMED]) == 20
    assert litter(shelf) == set()
