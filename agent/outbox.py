"""Results waiting for one sink: bounded, in order, removed only when the sink has them or never will.

In memory: a power cut loses what waits. A clean stop writes it to a file that the next start reads.
Put by the emit threads, taken by the sink's thread; one lock.
"""

import base64
import json
import logging
import os
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import Protocol

from agent import logs
from agent.flow import Delivery, Outcome

_log = logging.getLogger(__name__)


class WhenFull(str, Enum):
    """What gives way when an outbox is full."""

    DROP_OLDEST = "drop_oldest"
    DROP_NEWEST = "drop_newest"
    THIN = "thin"


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """What an outbox holds, and what became of the rest."""

    waiting: int
    waiting_bytes: int
    delivered: int
    rejected: int
    dropped: int


class Outbox(Protocol):
    """What the runtime needs of an outbox, durable or not."""

    def put(self, delivery: Delivery) -> None:
        """Take `delivery`; when full, drop the oldest and count it. Never waits."""

    def peek(self, limit: int, timeout_s: float) -> Sequence[Delivery]:
        """The oldest deliveries, left in place; empty when none came within `timeout_s`."""

    def settle(self, batch: Sequence[Delivery], outcomes: Sequence[Outcome]) -> None:
        """Remove what was accepted or rejected."""

    def keep_nothing(self) -> None:
        """There is no next start: what still waits at the end is gone."""

    def close(self) -> None:
        """Keep what still waits for the next start."""

    def status(self) -> OutboxStatus:
        """Counts, for people and metrics."""


class MemoryOutbox:
    """An outbox of at most `limit_bytes` in memory; a single delivery larger than that is still taken."""

    def __init__(self, kept: Path, *, limit_bytes: int = 32_000_000) -> None:
        """Begin with what an earlier run left in the file `kept`.

        The file stays until all of it has been delivered: a crash before that repeats results rather than lose them.
        """
        self._kept = kept
        self._keeps = True
        self._limit_bytes = limit_bytes
        self._changed = threading.Condition()
        self._waiting: deque[Delivery] = deque()
        self._bytes = 0
        self._delivered = self._rejected = self._dropped = 0
        earlier = _read(kept)
        self._restored = {delivery.id for delivery in earlier}
        for delivery in earlier:
            self.put(delivery)
        if earlier:
            _log.info("results of an earlier run wait for delivery %s", logs.fields(count=len(earlier), path=kept))

    def put(self, delivery: Delivery) -> None:
        """See Outbox."""
        with self._changed:
            self._waiting.append(delivery)
            self._bytes += len(delivery.body)
            while self._bytes > self._limit_bytes and len(self._waiting) > 1:
                self._forget(self._waiting.popleft())
                self._dropped += 1
            self._changed.notify()

    def peek(self, limit: int, timeout_s: float) -> Sequence[Delivery]:
        """See Outbox."""
        with self._changed:
            if not self._waiting:
                self._changed.wait(timeout_s)
            return list(islice(self._waiting, limit))

    def settle(self, batch: Sequence[Delivery], outcomes: Sequence[Outcome]) -> None:
        """See Outbox."""
        ended = {d.id: o for d, o in zip(batch, outcomes, strict=True) if o is not Outcome.KEPT}
        with self._changed:
            had_restored = bool(self._restored)
            kept: deque[Delivery] = deque()
            while ended and self._waiting:
                delivery = self._waiting.popleft()
                outcome = ended.pop(delivery.id, None)
                if outcome is None:
                    kept.append(delivery)
                    continue
                self._forget(delivery)
                self._count(outcome)
            self._waiting.extendleft(reversed(kept))
            for outcome in ended.values():  # dropped while they were on their way, and yet they arrived
                self._dropped -= 1
                self._count(outcome)
            if had_restored and not self._restored:
                _keep(self._kept, ())

    def _forget(self, delivery: Delivery) -> None:
        self._bytes -= len(delivery.body)
        self._restored.discard(delivery.id)

    def _count(self, outcome: Outcome) -> None:
        self._delivered += outcome is Outcome.ACCEPTED
        self._rejected += outcome is Outcome.REJECTED

    def keep_nothing(self) -> None:
        """See Outbox."""
        self._keeps = False

    def close(self) -> None:
        """See Outbox."""
        with self._changed:
            waiting = tuple(self._waiting)
            kept = self._keeps and _keep(self._kept, waiting)
        if waiting and kept:
            detail = logs.fields(count=len(waiting), path=self._kept)
            _log.warning("undelivered results are kept, and sent at the next start %s", detail)
        elif waiting and not self._keeps:
            _log.warning("undelivered results are lost with the end of this run %s", logs.fields(count=len(waiting)))

    def status(self) -> OutboxStatus:
        """See Outbox."""
        with self._changed:
            return OutboxStatus(len(self._waiting), self._bytes, self._delivered, self._rejected, self._dropped)

    def __repr__(self) -> str:
        return f"<MemoryOutbox {len(self._waiting)} waiting, {self._dropped} dropped>"


def _read(path: Path) -> list[Delivery]:
    """What the file `path` keeps. A damaged one is moved aside, and its readable lines are used."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        _log.error("results of an earlier run cannot be read %s", logs.fields(path=path, cause=error.strerror))
        return []
    readable = [delivery for line in lines if (delivery := _delivery(line)) is not None]
    if len(readable) < len(lines):
        _set_aside(path, readable, damaged=len(lines) - len(readable))
    return readable


def _delivery(line: bytes) -> Delivery | None:
    """The delivery that `line` describes; None when it is damaged."""
    try:
        entry = json.loads(line)
        name, camera, body = entry["id"], entry["camera"], base64.b64decode(entry["body"], validate=True)
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return Delivery(name, camera, body) if isinstance(name, str) and isinstance(camera, str) else None


def _set_aside(path: Path, readable: Sequence[Delivery], *, damaged: int) -> None:
    aside = path.with_suffix(".damaged")
    try:
        path.replace(aside)
    except OSError as error:
        _log.error("a damaged file cannot be moved %s", logs.fields(path=path, cause=error.strerror))
        return
    counts = logs.fields(path=path, moved_to=aside, readable=len(readable), damaged=damaged)
    _log.error("results of an earlier run are damaged; the readable ones are sent %s", counts)
    _keep(path, readable)


def _keep(path: Path, waiting: Sequence[Delivery]) -> bool:
    """Write `waiting` to the file `path`, or remove it when there is nothing to keep; whether that went well.

    A failure is said, not raised.
    """
    try:
        _write(path, waiting)
    except OSError as error:
        detail = logs.fields(path=path, results=len(waiting), cause=error.strerror)
        if waiting:
            _log.error("undelivered results cannot be kept %s", detail)
        elif os.path.lexists(path):
            _log.error("delivered results may come again at the next start: their file cannot be removed %s", detail)
        return False
    return True


def _write(path: Path, waiting: Sequence[Delivery]) -> None:
    """Whole or not at all: written beside, synced, then renamed."""
    if not waiting:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    with beside.open("w", encoding="utf-8") as file:
        for delivery in waiting:
            body = base64.b64encode(delivery.body).decode()
            file.write(json.dumps({"id": delivery.id, "camera": delivery.camera, "body": body}) + "\n")
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)
