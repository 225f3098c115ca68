"""A small outbox over one SQLite table, with a defect planted in it, for the tests of the kit itself.

Defects: `careless` (synchronous=OFF), `lazy` (synchronous=NORMAL), `hasty` (forgets before the sink has acknowledged),
`slow` and `late` (commit ten times, and twice, as late as they say), `forgetful` (after a failed write, what was to be
written is gone),
`doubling` (forgets what was delivered only now and then).
"""

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.clock import Clock
from agent.flow import Delivery, Outcome
from agent.loop import Pulse
from agent.outbox import OutboxStatus

_SYNCHRONOUS = {"careless": "OFF", "lazy": "NORMAL"}
_LAZY_BATCHES = 20
_PAUSES = {"slow": 10.0, "late": 2.0}
"""From one commit to the next, in commit intervals; half of one is as good as it says."""


class SampleOutbox:
    """One lock, one connection per call that writes; every delivery is on disk before it is handed out."""

    def __init__(self, path: Path, commit_interval_s: float, clock: Clock, defect: str) -> None:
        self._path = path
        self._interval_s = commit_interval_s * _PAUSES.get(defect, 0.5)
        self._clock = clock
        self._defect = defect
        self._lock = threading.RLock()
        self._fresh: list[Delivery] = []
        self._connection: sqlite3.Connection | None = None
        self._stored = self._settled = 0
        self._undeleted: list[str] = []

    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute(f"PRAGMA synchronous={_SYNCHRONOUS.get(self._defect, 'FULL')}")
                connection.execute("CREATE TABLE IF NOT EXISTS waiting(n INTEGER PRIMARY KEY, id UNIQUE, camera, body)")
                self._stored = connection.execute("SELECT count(*) FROM waiting").fetchone()[0]
            except sqlite3.Error:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _write(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> bool:
        try:
            db = self._db()
            db.execute("BEGIN IMMEDIATE")
            db.executemany(sql, rows)
            db.execute("COMMIT")
        except sqlite3.Error:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            return False
        self._stored = self._db().execute("SELECT count(*) FROM waiting").fetchone()[0]
        return True

    def claim(self) -> None:
        """Nothing to do before the first use."""

    def verify(self) -> None:
        """Nor here."""

    def saved(self) -> bool:
        with self._lock:
            return not self._fresh

    def put(self, delivery: Delivery) -> None:
        with self._lock:
            self._fresh.append(delivery)

    def commit(self) -> None:
        with self._lock:
            rows = [(each.id, each.camera, each.body) for each in self._fresh]
            done = not rows or self._write("INSERT OR IGNORE INTO waiting(id, camera, body) VALUES(?, ?, ?)", rows)
            if done or self._defect == "forgetful":
                self._fresh.clear()

    def run(self, pulse: Pulse) -> None:
        while not pulse.stopping.is_set():
            pulse.beat()
            self.commit()
            self._clock.wait(pulse.stopping, self._interval_s)
        self.commit()

    def peek(self, limit: int, timeout_s: float) -> Sequence[Delivery]:
        with self._lock:
            try:
                rows = (
                    self._db().execute("SELECT id, camera, body FROM waiting ORDER BY n LIMIT ?", (limit,)).fetchall()
                )
            except sqlite3.Error:
                rows = []
        if not rows:
            self._clock.wait(threading.Event(), min(timeout_s, 0.02))
        batch = [Delivery(*row) for row in rows]
        if self._defect == "hasty":
            self._delete([each.id for each in batch])
        return batch

    def settle(self, batch: Sequence[Delivery], outcomes: Sequence[Outcome]) -> None:
        if not batch:
            return
        with self._lock:
            self._settled += 1
            self._undeleted += [each.id for each, o in zip(batch, outcomes, strict=True) if o is not Outcome.KEPT]
            if self._defect != "doubling" or self._settled % _LAZY_BATCHES == 0:
                self._delete(self._undeleted)
                self._undeleted = []

    def _delete(self, names: Sequence[str]) -> None:
        with self._lock:
            self._write("DELETE FROM waiting WHERE id = ?", [(name,) for name in names])

    def close(self) -> None:
        self.commit()

    def status(self) -> OutboxStatus:
        with self._lock:
            return OutboxStatus(len(self._fresh) + self._stored, 0, 0, 0, 0)
