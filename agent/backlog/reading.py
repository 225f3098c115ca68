"""Reads an outbox's file, or a damaged one, without changing it: group by group, in memory that does not grow.

Each query is short, so that a reader who pauses does not keep SQLite from reusing its log. What cannot be read is
stepped over and counted. Owned by the one thread that reads.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from agent.database import StoreError
from agent.parcel import Entry, ParcelError, unpack
from agent.stamp import Stamp
from agent.store import VISIBLE

_BUSY_TIMEOUT_S: Final = 5.0
_GROUPS: Final = 32
_HIGHEST: Final = 1 << 62
_COLUMNS: Final = {
    "waiting": "first, last, count, boot_id, monotonic_s, wall_s, body",
    "rejected": "number, number, 0, '', 0.0, NULL, body",
    "damaged": "number, number, 0, '', 0.0, NULL, body",
}
_KEYS: Final = {"waiting": "first", "rejected": "number", "damaged": "number"}


@dataclass(frozen=True, slots=True)
class Group:
    """A row: its first and last number, how many deliveries it says it has, when it was committed, and the blob."""

    first: int
    last: int
    count: int
    stamp: Stamp
    blob: bytes


class Reader:
    """One file, open for reading alone."""

    def __init__(self, path: Path) -> None:
        """Raises StoreError."""
        self.path = path
        self.gaps = 0
        """Parts of the file that could not be read; how many groups they held is not known."""
        try:
            self._connection = sqlite3.connect(
                f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None
            )
            self._connection.text_factory = _text
            tables = {name for (name,) in self._connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}
        except sqlite3.Error as error:
            raise StoreError(f"{path} cannot be read: {error}") from error
        self._tables = tables & set(_KEYS)
        self._only = {"waiting": VISIBLE} if "hidden" in tables else {}

    @property
    def holds_outbox(self) -> bool:
        """Whether it is an outbox's file at all, and more than a name."""
        return "waiting" in self._tables

    def groups(self, table: str, after: int = 0) -> Iterator[Group]:
        """Every group that reaches behind `after`, in order; one that the agent joins with others may come again."""
        first, last = after, after
        while table in self._tables:
            found = self._next(table, first, last)
            if found is None:
                reached = self._reachable(table, first)
                if reached is None:
                    return
                first = last = reached
                found = self._single(table, reached)
            elif not found:
                return
            yield from found
            if found:
                first, last = max(first, found[-1].first), found[-1].last

    def _next(self, table: str, first: int, last: int) -> list[Group] | None:
        """Some groups behind the one with these numbers, and that itself if it has grown; None: one is damaged."""
        key = _KEYS[table]
        where = f"{key} >= coalesce((SELECT max({key}) FROM {table} WHERE {key} <= ?), 0)"  # noqa: S608 - ours
        try:
            rows = [_group(row) for row in self._execute(table, where, first, _GROUPS)]
        except (sqlite3.Error, TypeError, ValueError) as error:
            if _is_busy(error):
                raise StoreError(f"{self.path} cannot be read: {error}; try again") from error
            return None
        return [
            row
            for place, row in enumerate(rows)
            if row.first > first or (row.last > last and row.first <= first and not place)
        ]

    def _single(self, table: str, first: int) -> list[Group]:
        """The group with this number, which can be reached; nothing if its blob cannot be read."""
        with contextlib.suppress(sqlite3.Error, TypeError, ValueError):
            return [_group(row) for row in self._execute(table, f"{_KEYS[table]} = ?", first, 1)]
        self.gaps += 1
        return []

    def _execute(self, table: str, where: str, value: int, limit: int) -> list[tuple[Any, ...]]:
        only = self._only.get(table, "1")
        query = f"SELECT {_COLUMNS[table]} FROM {table} WHERE {where} AND {only} ORDER BY 1 LIMIT ?"  # noqa: S608 - ours
        return self._connection.execute(query, (value, limit)).fetchall()

    def _reachable(self, table: str, after: int) -> Any:  # noqa: ANN401 - a number or None
        """The first number behind `after` that can be reached; None: there is no more."""
        found, bad = self._probe(table, after), after
        good = bad + 1
        while found is _BAD:
            if good > _HIGHEST:
                self.gaps += 1
                return None
            found, bad, good = self._probe(table, good), good, good + max(1, (good - after) // 8)
        if bad == after:
            return found
        self.gaps += 1
        low, high = after, bad
        while high - low > 1:
            middle = (low + high) // 2
            tried = self._probe(table, middle)
            low, high, found = (middle, high, found) if tried is _BAD else (low, middle, tried)
        return found

    def _probe(self, table: str, after: int) -> Any:  # noqa: ANN401 - a number, None, or that it fails
        key = _KEYS[table]
        try:
            row = self._connection.execute(
                f"SELECT {key} FROM {table} WHERE {key} > ? ORDER BY 1 LIMIT 1",  # noqa: S608 - ours
                (after,),
            ).fetchone()
        except sqlite3.Error:
            return _BAD
        return None if row is None else row[0]

    def entries(self, table: str, after: int = 0) -> Iterator[tuple[Group, list[Entry] | None]]:
        """Groups with what is in them; None: the group is damaged. Of `waiting`, no entry comes twice."""
        for group in self.groups(table, after):
            try:
                entries = unpack(group.blob)
            except ParcelError:
                yield group, None
                continue
            if table == "waiting":
                entries = [entry for entry in entries if entry.position > after]
                after = max([after, *(entry.position for entry in entries)])
            yield group, entries

    def ask(self, query: str) -> Any:  # noqa: ANN401 - whatever is asked for
        """One value. Raises StoreError."""
        try:
            row = self._connection.execute(query).fetchone()
        except sqlite3.Error as error:
            raise StoreError(f"{self.path} cannot be read: {error}") from error
        return None if row is None else row[0]

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


_BAD: Final = object()


def _group(row: tuple[Any, ...]) -> Group:
    """Raises TypeError or ValueError: a damaged page may hold anything."""
    first, last, count, boot_id, monotonic_s, wall_s, blob = row
    if not (isinstance(last, int) and isinstance(count, int) and isinstance(blob, bytes)):
        raise TypeError("this is no group")
    return Group(first, max(first, last), count, Stamp(str(boot_id), float(monotonic_s), wall_s), blob)


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


def _is_busy(error: Exception) -> bool:
    """Told by its words, for Python 3.10 has no codes."""
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)
