"""One SQLite file that survives power cuts; a damaged one is moved aside. Its owner has the lock.

WAL with synchronous=FULL: what a transaction has committed is on the medium, if that keeps what it was told to keep
(https://www.sqlite.org/pragma.html#pragma_synchronous). Every failure is a StoreError; the connection is closed then,
and the next call opens it anew, for what SQLite holds of a file that failed may not be right any more.
"""

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agent.errors import AgentError
from agent.folder import make_folder, sync_folder
from agent.reserve import Reserve

PAGE_BYTES: Final = 512
"""The smallest there is: a commit writes whole pages, and a group of results has half a kilobyte to three."""
_BUSY_TIMEOUT_S: Final = 5.0
"""Another process may be at work on the same file."""
_CACHE_KIB: Final = 1024
_LOG_PAGES: Final = 1000
"""When the log has so many, it is written into the file. More would spare the medium little, and fill it."""
_EMPTY_LOG: Final = "PRAGMA wal_checkpoint(TRUNCATE)"
_FULL: Final = "disk is full"
"""In SQLite's words."""
_ASIDE_FILES: Final = 3
"""Damaged files that are kept for people; the oldest gives way."""
_SUFFIXES: Final = ("-wal", "-shm", "")
"""The log goes first: without it, the file is that of an earlier time, and whole."""


class StoreError(AgentError):
    """The file cannot be read or written now."""


class StoreDamaged(StoreError):
    """The file holds what SQLite cannot read, or what another version wrote."""


class Database:
    """One file with one schema; one thread at a time. It is made when it is first used."""

    def __init__(self, path: Path, schema: str, version: int) -> None:
        self.path = path
        self._schema = schema
        self._version = version
        self._connection: sqlite3.Connection | None = None
        self._reserve = Reserve(path.with_suffix(".reserve"))
        self._starved = False
        """The disk was full: the reserve is given up until there is space again."""

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is changed inside is on the medium afterwards, or nothing is. Raises StoreError."""
        with self.translated():
            connection = self.connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
        if self._starved:
            with contextlib.suppress(sqlite3.Error):
                connection.execute(_EMPTY_LOG)
            self._starved = not self._reserve.make()

    def check(self) -> None:
        """Read all of the file. Raises StoreDamaged when it is not whole, StoreError."""
        with self.translated():
            found = str(self.connection().execute("PRAGMA quick_check(1)").fetchone()[0])
        if found != "ok":
            self.close()
            raise StoreDamaged(f"{self.path} is damaged: {' '.join(found.split())}")

    def shrink(self) -> None:
        """Give back the space that is not used. Raises StoreError."""
        with self.translated():
            self.connection().execute("VACUUM")
            self.connection().execute(_EMPTY_LOG)

    def move_aside(self) -> Path:
        """Put the file where only people read it; its new path. Raises StoreError."""
        self.close()
        try:
            aside = self._next_aside()
            for suffix in _SUFFIXES:
                with contextlib.suppress(FileNotFoundError):
                    _with(self.path, suffix).rename(_with(aside, suffix))
        except OSError as error:
            raise StoreError(f"{self.path} cannot be moved aside: {error.strerror}") from error
        return aside

    def _next_aside(self) -> Path:
        """PATH.damaged-N with the next N, after making room for it."""
        numbers = sorted(int(path.name.rpartition("-")[2]) for path in damaged_files(self.path))
        for number in numbers[: max(0, len(numbers) + 1 - _ASIDE_FILES)]:
            remove(_with(self.path, f".damaged-{number}"))
        return _with(self.path, f".damaged-{numbers[-1] + 1 if numbers else 1}")

    def connection(self) -> sqlite3.Connection:
        """The open file. To be used inside `translated` or a transaction."""
        if self._connection is None:
            self._connection = self._connected()
        return self._connection

    def _connected(self) -> sqlite3.Connection:
        make_folder(self.path.parent)
        with contextlib.suppress(FileExistsError):  # only a new one: to close a file gives up SQLite's locks on it
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with contextlib.suppress(FileNotFoundError):  # what cannot be forgotten is not handed out; SQLite would read on
            os.close(os.open(_with(self.path, "-wal"), os.O_RDWR | os.O_CLOEXEC))
        connection = sqlite3.connect(self.path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        if self._starved:
            with contextlib.suppress(sqlite3.Error):
                connection.execute(_EMPTY_LOG)
        else:
            self._reserve.make()
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, self._version):
            raise StoreDamaged(f"{self.path} was written by another version of the agent")
        for setting in (
            f"page_size={PAGE_BYTES}",
            "journal_mode=WAL",
            "synchronous=FULL",
            "secure_delete=OFF",  # Debian builds SQLite so that it overwrites what is deleted: twice the bytes
            f"cache_size=-{_CACHE_KIB}",
            f"wal_autocheckpoint={_LOG_PAGES}",
            f"journal_size_limit={_LOG_PAGES * PAGE_BYTES}",
        ):
            connection.execute(f"PRAGMA {setting}")
        if not version:
            connection.executescript(f"BEGIN IMMEDIATE; {self._schema} PRAGMA user_version={self._version}; COMMIT;")
            sync_folder(self.path.parent)

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """SQLite's failures as StoreError and StoreDamaged; ours, such as a broken constraint, go through."""
        try:
            yield
        except (sqlite3.OperationalError, sqlite3.InternalError, OSError) as error:
            if _FULL in str(error) or getattr(error, "errno", None) == errno.ENOSPC:
                self._starved = True
                self._reserve.give_up()
            self.close()
            reason = getattr(error, "strerror", None) or str(error)
            cure = "free some space" if self._starved else "look at its disk, and at the rights of its folder"
            raise StoreError(f"{self.path} cannot be used: {reason}; {cure}") from error
        except sqlite3.DatabaseError as error:
            self.close()
            if type(error) is not sqlite3.DatabaseError:  # the base alone: the file is malformed, or no database
                raise
            raise StoreDamaged(f"{self.path} is damaged: {error}") from error

    def close(self) -> None:
        """Let go of the file; never raises."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def __repr__(self) -> str:
        return f"<Database {self.path} {'closed' if self._connection is None else 'open'}>"


def damaged_files(path: Path) -> list[Path]:
    """The files that were moved aside from `path`."""
    found = path.parent.glob(f"{path.name}.damaged-*")
    return [each for each in found if each.name.rpartition("-")[2].isdigit()]


def remove(path: Path) -> None:
    """Delete a file that nobody has open, with its log. Raises OSError."""
    for suffix in _SUFFIXES:
        _with(path, suffix).unlink(missing_ok=True)


def _with(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
