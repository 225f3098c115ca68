"""What waits for one sink on disk: groups of deliveries in one SQLite file. Its owner has the lock.

A row is a group that was committed together, compressed, with the time of its commit. A group that cannot be unpacked
is put with the damaged ones, for people, and the others go on.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from agent import claim, logs
from agent.clock import Clock
from agent.database import PAGE_BYTES, Database, StoreError
from agent.flow import Delivery
from agent.folder import make_folder
from agent.parcel import Entry, Group, ParcelError, groups, pack, unpack
from agent.stamp import Stamp, elapsed_s, stamp

_log = logging.getLogger(__name__)
_VERSION: Final = 1
_SHRINK_BYTES: Final = 8_000_000
"""A file in which nothing waits gives its space back when more than this is unused."""
_THIN_GROUPS: Final = 8
_NEWEST_GROUPS: Final = 1000
"""More than memory holds."""
_PURGE_GROUPS: Final = 64
_ASIDE_GROUPS: Final = 500
"""What was rejected, or is damaged, is kept for people: so many of the newest groups of each."""
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS waiting(
    first INTEGER PRIMARY KEY, last INTEGER NOT NULL, count INTEGER NOT NULL,
    boot_id TEXT NOT NULL, monotonic_s REAL NOT NULL, wall_s REAL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS rejected(number INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS damaged(number INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS hidden(first INTEGER PRIMARY KEY);
"""
VISIBLE: Final = "first < coalesce((SELECT min(first) FROM hidden), 9223372036854775807)"
"""What `vedette outbox replay` has not put back to the last one yet does not wait yet: the table says from where on."""
_LAST: Final = f"SELECT last FROM waiting WHERE {VISIBLE} ORDER BY first DESC LIMIT 1"  # noqa: S608 - ours, as are these
_COUNT: Final = f"SELECT coalesce(sum(count), 0) FROM waiting WHERE {VISIBLE}"  # noqa: S608
_HIDDEN: Final = "SELECT first FROM waiting WHERE first >= (SELECT min(first) FROM hidden)"
_ROW: Final = "SELECT first, last, count, boot_id, monotonic_s, wall_s, body FROM waiting"


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the table `waiting`."""

    first: int
    last: int
    count: int
    boot_id: str
    monotonic_s: float
    wall_s: float | None
    body: bytes

    @property
    def stamp(self) -> Stamp:
        """When it was committed."""
        return Stamp(self.boot_id, self.monotonic_s, self.wall_s)


@dataclass(frozen=True, slots=True)
class Size:
    """How much a store holds, in deliveries and in bytes of its file."""

    count: int = 0
    used_bytes: int = 0
    file_bytes: int = 0
    """What is not used is used again before the file grows."""


class Store:
    """One file; one thread at a time. What changes it is called inside a transaction."""

    def __init__(self, path: Path, clock: Clock, boot_id: str) -> None:
        self.path = path
        self.size = Size()
        """As of the last transaction."""
        self.unreadable = 0
        """Deliveries that were lost with damaged groups."""
        self._database = Database(path, _SCHEMA, _VERSION)
        self._clock = clock
        self._boot_id = boot_id
        self._claim: int | None = None
        self._count = 0
        self._counted_at = -1
        self._thinned_to = 0
        self._keeps_next = True

    def claim(self) -> None:
        """Keep other agents off this file for as long as this process lives. Raises ConfigError, StoreError."""
        if self._claim is not None:
            return
        path = self.path.with_suffix(".lock")
        try:
            make_folder(path.parent)
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            claim.lock(file, path)
        except OSError as error:
            raise StoreError(f"{path} cannot be locked: {error.strerror}") from error
        self._claim = file

    def verify(self) -> None:
        """Read all of the file, over a connection of its own: another thread may use the store meanwhile.

        Raises StoreDamaged when it is not whole, StoreError.
        """
        database = Database(self.path, _SCHEMA, _VERSION)
        try:
            database.check()
        finally:
            database.close()

    def identity(self) -> tuple[int, int]:
        """Another one when the file was replaced."""
        try:
            found = self.path.stat()
        except OSError:
            return 0, 0
        return found.st_dev, found.st_ino

    def last_position(self) -> int:
        """The highest position that is taken; 0 when none is. Inside a transaction."""
        found = self._database.connection().execute(_LAST).fetchone()
        return 0 if found is None else int(found[0])

    def replace(self, after: float) -> tuple[Path, int]:
        """Put a damaged file where only people read it, and begin anew with what is readable behind `after`.

        Returns:
            The path that it has now, and how many deliveries were saved. Raises StoreError.
        """
        saved: list[Entry] = []
        with contextlib.suppress(StoreError):
            for row in self._rows(after, _NEWEST_GROUPS):
                saved += _whole(row)
        aside = self._database.move_aside()
        self.size, self._counted_at = Size(), -1
        if saved:
            with self.transaction():
                self.append(list(groups(saved)))
        return aside, len(saved)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is changed inside is on the medium afterwards, or nothing is. Raises StoreError."""
        try:
            with self._database.transaction():
                self._recount_if_changed()
                yield
        except BaseException:
            self._counted_at = -1
            raise
        with contextlib.suppress(StoreError):  # it is done, whatever its size
            self.measure()

    def oldest(self, after: int, limit: int) -> tuple[list[Entry], bool]:
        """Whole groups behind the position `after`, in order: at most `limit` entries, but at least one group's.

        Returns:
            The entries, and whether there are more groups behind them. Raises StoreError.
        """
        found: list[Entry] = []
        damaged: list[_Row] = []
        more = False
        for row in self._rows(after, limit):
            more = bool(found) and len(found) + row.count > limit
            if more:
                break
            try:
                found += unpack(row.body)
            except ParcelError:
                damaged.append(row)
        if damaged:
            with self.transaction():
                for row in damaged:
                    self._delete(row)
                    self._put_with_damaged(row)
        return found, more

    def _rows(self, after: float, limit: int) -> Iterator[_Row]:
        """The groups behind the position `after`, at most `limit`."""
        with self._database.translated():
            found = self._database.connection().execute(
                f"{_ROW} WHERE first > ? AND {VISIBLE} ORDER BY first LIMIT ?", (after, limit)
            )
            with contextlib.closing(found) as rows:
                for row in rows:
                    yield _Row(*row)

    def newest(self) -> dict[str, int]:
        """Positions of the newest, by id: what a commit that seemed to fail may have left. Inside a transaction."""
        found = (
            self._database.connection()
            .execute(f"{_ROW} WHERE {VISIBLE} ORDER BY first DESC LIMIT ?", (_NEWEST_GROUPS,))
            .fetchall()
        )
        return {entry.delivery.id: entry.position for row in found for entry in _whole(_Row(*row))}

    def append(self, packed: Sequence[Group]) -> None:
        """Add groups behind all others."""
        self._insert(packed, stamp(self._clock, self._boot_id))

    def _insert(self, packed: Sequence[Group], when: Stamp) -> None:
        times = (when.boot_id, when.monotonic_s, when.wall_s)
        self._database.connection().executemany(
            "INSERT INTO waiting VALUES(?, ?, ?, ?, ?, ?, ?)",
            [(group.first, group.last, group.count, *times, group.blob) for group in packed],
        )
        self._count += sum(group.count for group in packed)

    def remove(self, positions: Collection[int]) -> None:
        """Take out the entries at `positions`, as far as they are there."""
        if positions:
            gone = set(positions)
            for row in self._touched(min(gone), max(gone)):
                if row.last - row.first + 1 == row.count and gone.issuperset(range(row.first, row.last + 1)):
                    self._delete(row)
                else:
                    self._rewrite([row], lambda entries: [each for each in entries if each.position not in gone])

    def _touched(self, low: int, high: int) -> list[_Row]:
        """The groups that may hold positions from `low` to `high`."""
        touched = []
        found = self._database.connection().execute(f"{_ROW} WHERE first <= ? ORDER BY first DESC", (high,))
        with contextlib.closing(found) as rows:
            for row in rows:
                touched.append(_Row(*row))
                if touched[-1].last < low:
                    return touched[:-1]
        return touched

    def _delete(self, row: _Row) -> None:
        self._database.connection().execute("DELETE FROM waiting WHERE first = ?", (row.first,))
        self._count -= row.count

    def _rewrite(self, rows: Sequence[_Row], choose: Callable[[list[Entry]], list[Entry]]) -> int:
        """Leave only the chosen entries of some groups, with the age of the first; how many are gone."""
        entries: list[Entry] = []
        for row in rows:
            self._delete(row)
            try:
                entries += unpack(row.body)
            except ParcelError:
                self._put_with_damaged(row)
        kept = choose(entries)
        self._insert(list(groups(kept)), rows[0].stamp)
        return len(entries) - len(kept)

    def drop_oldest(self, after: int) -> int:
        """Drop the oldest group behind the position `after`; how many deliveries that was."""
        for row in self._rows(after, 1):
            self._delete(row)
            return row.count
        return 0

    def expire(self, older_s: float, after: int) -> int:
        """Drop what has waited for more than `older_s`, behind the position `after`; how many deliveries that was."""
        dropped = 0
        while any(elapsed_s(row.stamp, self._clock, self._boot_id) > older_s for row in self._rows(after, 1)):
            dropped += self.drop_oldest(after)
        return dropped

    def thin(self, after: int) -> int:
        """Drop every second delivery of the next few groups behind `after`; how many that was.

        From call to call it goes from the oldest to the newest, and begins again: what is old is thinned most.
        """
        rows = list(self._rows(max(after, self._thinned_to), _THIN_GROUPS)) or list(self._rows(after, _THIN_GROUPS))
        if not rows:
            return 0
        self._thinned_to = rows[-1].last
        return self._rewrite(rows, self._every_second)

    def _every_second(self, entries: list[Entry]) -> list[Entry]:
        kept = entries[0 if self._keeps_next else 1 :: 2]
        self._keeps_next ^= len(entries) % 2 == 1
        return kept

    def reject(self, deliveries: Sequence[Delivery]) -> None:
        """Keep for people what the sink would never take."""
        if deliveries:
            blob = pack([Entry(number, delivery) for number, delivery in enumerate(deliveries)]).blob
            self._put_aside("rejected", blob)

    def _put_with_damaged(self, row: _Row) -> None:
        _log.error("results that waited are damaged and kept aside %s", logs.fields(path=self.path, count=row.count))
        self.unreadable += row.count
        self._put_aside("damaged", row.body)

    def _put_aside(self, table: str, blob: bytes) -> None:
        connection = self._database.connection()
        number = connection.execute(f"INSERT INTO {table}(body) VALUES(?)", (blob,)).lastrowid or 0
        connection.execute(f"DELETE FROM {table} WHERE number <= ?", (number - _ASIDE_GROUPS,))  # noqa: S608 - ours

    # For `vedette outbox`

    def hide_from(self, first: int) -> None:
        """What is appended from this position on does not wait before `reveal`."""
        self._database.connection().execute("INSERT INTO hidden VALUES(?)", (first,))

    def reveal(self) -> None:
        """All that was hidden waits from now on."""
        self._database.connection().execute("DELETE FROM hidden")
        self._counted_at = -1

    def discard_hidden(self, most: int) -> bool:
        """Delete some groups that are hidden; whether there are more of them."""
        found = self._database.connection().execute(
            f"DELETE FROM waiting WHERE first IN ({_HIDDEN} LIMIT ?)",  # noqa: S608 - ours
            (most,),
        )
        return found.rowcount == most

    def purge(self, older_s: float, camera: str | None) -> int:
        """Drop what has waited for longer than `older_s` and, unless None, is of `camera`; how many deliveries."""
        dropped = after = 0
        while rows := list(self._rows(after, _PURGE_GROUPS)):
            after = rows[-1].first
            for row in rows:
                if elapsed_s(row.stamp, self._clock, self._boot_id) >= older_s:
                    dropped += self._purge_row(row, camera)
        return dropped

    def _purge_row(self, row: _Row, camera: str | None) -> int:
        if camera is None:
            self._delete(row)
            return row.count
        if all(entry.delivery.camera != camera for entry in _whole(row)):
            return 0
        return self._rewrite([row], lambda entries: [each for each in entries if each.delivery.camera != camera])

    def drop_aside(self, table: Literal["rejected", "damaged"], numbers: Collection[int]) -> None:
        """Delete groups that were kept for people."""
        self._database.connection().executemany(
            f"DELETE FROM {table} WHERE number = ?",  # noqa: S608 - ours
            [(number,) for number in numbers],
        )

    def measure(self) -> Size:
        """The size as it is now, also inside a transaction. Raises StoreError."""
        with self._database.translated():
            self._recount_if_changed()
            connection = self._database.connection()
            pages, free = (
                connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count")
            )
        self.size = Size(self._count, (pages - free) * PAGE_BYTES, pages * PAGE_BYTES)
        return self.size

    def _recount_if_changed(self) -> None:
        """`vedette outbox` may have changed the file."""
        connection = self._database.connection()
        version = connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self._counted_at:
            self._counted_at = version
            self._count = connection.execute(_COUNT).fetchone()[0]

    def shrink(self) -> None:
        """Give back the space of a large file in which nothing waits. Raises StoreError."""
        if self.size.count == 0 and self.size.file_bytes - self.size.used_bytes > _SHRINK_BYTES:
            self._database.shrink()
            self.measure()

    def close(self) -> None:
        """Let go of the file; never raises."""
        self._database.close()
        self._counted_at = -1

    def release(self) -> None:
        """Close, and let another agent have the file; never raises."""
        self.close()
        file, self._claim = self._claim, None
        if file is not None:
            os.close(file)

    def __repr__(self) -> str:
        return f"<Store {self.path.name} {self.size.count} waiting, {self.size.used_bytes / 1e6:.1f} MB>"


def _whole(row: _Row) -> list[Entry]:
    """What is in it; nothing when it is damaged."""
    try:
        return unpack(row.body)
    except ParcelError:
        return []
