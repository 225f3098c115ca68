"""Folders and new files are on the medium with all that leads to them."""

import os
from pathlib import Path

import pytest
from fakes import FakeClock

from agent.database import Database
from agent.folder import make_folder
from agent.ledger import Ledger
from agent.store import Store


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that were synced, in order."""
    found = list[Path]()
    sync = os.fsync

    def note(file: int) -> None:
        path = Path(f"/proc/self/fd/{file}").readlink()
        if path.is_dir():
            found.append(path)
        sync(file)

    monkeypatch.setattr(os, "fsync", note)
    return found


def test_what_holds_each_new_folder_is_synced_from_the_top(tmp_path: Path, synced: list[Path]) -> None:
    make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path, synced: list[Path]) -> None:
    make_folder(tmp_path)
    assert synced == []


def test_only_the_last_folder_has_the_rights_that_are_asked_for(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b", 0o700)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a").stat().st_mode & 0o700 == 0o700


def test_a_new_database_is_on_the_medium_with_all_its_folders(tmp_path: Path, synced: list[Path]) -> None:
    database = Database(tmp_path / "outbox" / "porch" / "x.db", "CREATE TABLE t (a);", 1)
    database.check()
    database.close()
    assert {tmp_path, tmp_path / "outbox", tmp_path / "outbox" / "porch"} <= set(synced)


def test_so_are_the_folders_of_an_outbox_that_is_claimed_first(tmp_path: Path, synced: list[Path]) -> None:
    store = Store(tmp_path / "state" / "outbox" / "porch" / "x.db", FakeClock(), "boot")
    store.claim()
    store.release()
    state = tmp_path / "state"
    assert {tmp_path, state, state / "outbox"} <= set(synced)


def test_the_state_folder_is_synced_by_whoever_makes_it_first(tmp_path: Path, synced: list[Path]) -> None:
    Ledger(tmp_path / "state" / "budget").close()
    assert tmp_path in synced
