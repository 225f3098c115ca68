"""`vedette outbox replay`: records wait again, at the end of a sink's queue, all of them or none.

They are written in transactions of a moment each, between which the agent has its turn, and hidden until the last one:
that one lets all of them wait at once. What a replay that was cut off has left stays hidden, and the next clears it.
Owned by the main thread.
"""

import contextlib
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final

from agent.backlog.reading import Reader
from agent.backlog.sources import Source
from agent.database import StoreError
from agent.errors import AgentError
from agent.flow import Delivery
from agent.parcel import MOST_IN_GROUP, Entry, groups
from agent.store import Store

_LEAP: Final = 1 << 40
"""So many positions are left free: for what the agent appends meanwhile, and because it may still have in hand what was
at positions that a purge has freed, and would take what came there instead for delivered."""
_BATCH_BYTES: Final = 1_000_000
"""Of bodies, in one transaction: about 200 kB of the file."""
_DISCARD_GROUPS: Final = 200


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of the records of a source."""

    put_back: int
    waited: int
    """They waited already, or came twice."""


class _Ids:
    """Ids of the records that are to be put back. On disk, where there are many; gone when this is closed."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.execute("CREATE TABLE wanted(id BLOB PRIMARY KEY) WITHOUT ROWID")
        self._database.execute("CREATE TABLE written(id BLOB PRIMARY KEY, position INTEGER) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def want(self, name: str) -> None:
        self._database.execute("INSERT OR IGNORE INTO wanted VALUES(?)", (_digest(name),))

    def take(self, name: str) -> bool:
        """Whether it was wanted; it is not any more."""
        return self._database.execute("DELETE FROM wanted WHERE id = ?", (_digest(name),)).rowcount > 0

    def note(self, entries: Sequence[Entry]) -> None:
        rows = [(_digest(entry.delivery.id), entry.position) for entry in entries]
        self._database.executemany("INSERT INTO written VALUES(?, ?)", rows)

    def position(self, name: str) -> int | None:
        """Where it was written."""
        row = self._database.execute("SELECT position FROM written WHERE id = ?", (_digest(name),)).fetchone()
        return None if row is None else int(row[0])

    def close(self) -> None:
        self._database.close()


def _digest(name: str) -> bytes:
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def put_back(store: Store, source: Source, *, and_also: Callable[[], None] = lambda: None) -> Replayed:
    """Let the records of `source` wait at the end, but for those that wait already.

    Args:
        store: the outbox's; its file is there, and nobody else replays into it.
        source: goes through the records, twice.
        and_also: is called inside the transaction that lets them wait.

    Raises:
        StoreError: the file cannot be written; nothing waits that did not before.
        AgentError: the source cannot be read; likewise.
    """
    with contextlib.closing(_Ids()) as ids:
        found = 0
        for delivery in source():
            ids.want(delivery.id)
            found += 1
        discard_hidden(store)
        inode = _inode(store.path)
        try:
            put = _written(store, source, ids, and_also)
        except BaseException:
            with contextlib.suppress(StoreError):
                discard_hidden(store)
            raise
    if _inode(store.path) != inode:
        raise AgentError(f"{store.path} was moved aside by the agent meanwhile, for it was damaged: replay it again")
    return Replayed(put, found - put)


def discard_hidden(store: Store) -> None:
    """Clear what a replay that was cut off has left. Raises StoreError."""
    more = True
    while more:
        with store.transaction():
            more = store.discard_hidden(_DISCARD_GROUPS)
            if not more:
                store.reveal()


def _written(store: Store, source: Source, ids: _Ids, and_also: Callable[[], None]) -> int:
    with store.transaction():
        position = first = store.last_position() + _LEAP + secrets.randbelow(_LEAP)
        store.hide_from(first)
    seen = _leave_out_what_waits(store.path, ids, 0)
    for batch in _batches(delivery for delivery in source() if ids.take(delivery.id)):
        entries = [Entry(position + place, delivery) for place, delivery in enumerate(batch)]
        position += len(entries)
        ids.note(entries)
        with store.transaction():
            store.append(list(groups(entries)))
    with store.transaction():
        twice = _came_meanwhile(store, ids, seen)
        store.reveal()
        store.remove(twice)
        and_also()
    return position - first - len(twice)


def _leave_out_what_waits(path: Path, ids: _Ids, seen: int) -> int:
    """The last position that was looked at."""
    with contextlib.closing(Reader(path)) as reader:
        for _, entries in reader.entries("waiting"):
            for entry in entries or ():
                ids.take(entry.delivery.id)
                seen = entry.position
    return seen


def _came_meanwhile(store: Store, ids: _Ids, seen: int) -> set[int]:
    """Where those were written that the agent has put on disk itself since. Inside the transaction."""
    positions = (ids.position(name) for name, place in store.newest().items() if place > seen)
    return {position for position in positions if position is not None}


def _batches(deliveries: Iterator[Delivery]) -> Iterator[list[Delivery]]:
    batch: list[Delivery] = []
    size_bytes = 0
    for delivery in deliveries:
        batch.append(delivery)
        size_bytes += len(delivery.body)
        if size_bytes >= _BATCH_BYTES and len(batch) % MOST_IN_GROUP == 0:
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None
