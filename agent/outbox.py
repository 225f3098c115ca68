"""Results waiting for one sink: bounded, in order, removed only when the sink has them or never will.

In memory: a power cut loses what waits. A clean stop writes it to a file that the next start reads.
Put by the emit threads, taken by the sink's thread; one lock.
"""

import base64
import json
import os
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agent.flow import Delivery, Outcome


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

    def close(self) -> None:
        """Keep what still waits for the next start."""

    def status(self) -> OutboxStatus:
        """Counts, for people and metrics."""


class MemoryOutbox:
    """An outbox of at most `limit_bytes` in memory."""

    def __init__(self, kept: Path, *, limit_bytes: int = 32_000_000) -> None:
        """Begin with what an earlier run left in the file `kept`."""
        self._kept = kept
        self._limit_bytes = limit_bytes
        self._changed = threading.Condition()
        self._waiting: deque[Delivery] = deque()
        self._bytes = 0
        self._delivered = self._rejected = self._dropped = 0
        for delivery in _read(kept):
            self.put(delivery)

    def put(self, delivery: Delivery) -> None:
        """See Outbox."""
        with self._changed:
            self._waiting.append(delivery)
            self._bytes += len(delivery.body)
            while self._bytes > self._limit_bytes and len(self._waiting) > 1:
                self._bytes -= len(self._waiting.popleft().body)
                self._dropped += 1
            self._changed.notify()

    def peek(self, limit: int, timeout_s: float) -> Sequence[Delivery]:
        """See Outbox."""
        with self._changed:
            if not self._waiting:
                self._changed.wait(timeout_s)
            return [self._waiting[index] for index in range(min(limit, len(self._waiting)))]

    def settle(self, batch: Sequence[Delivery], outcomes: Sequence[Outcome]) -> None:
        """See Outbox."""
        ended = {d.id: o for d, o in zip(batch, outcomes, strict=True) if o is not Outcome.KEPT}
        with self._changed:
            kept: deque[Delivery] = deque()
            while ended and self._waiting:
                delivery = self._waiting.popleft()
                outcome = ended.pop(delivery.id, None)
                if outcome is None:
                    kept.append(delivery)
                    continue
                self._bytes -= len(delivery.body)
                self._delivered += outcome is Outcome.ACCEPTED
                self._rejected += outcome is Outcome.REJECTED
            self._waiting.extendleft(reversed(kept))

    def close(self) -> None:
        """See Outbox."""
        with self._changed:
            _write(self._kept, tuple(self._waiting))

    def status(self) -> OutboxStatus:
        """See Outbox."""
        with self._changed:
            return OutboxStatus(len(self._waiting), self._bytes, self._delivered, self._rejected, self._dropped)

    def __repr__(self) -> str:
        return f"<MemoryOutbox {len(self._waiting)} waiting, {self._dropped} dropped>"


def _read(path: Path) -> list[Delivery]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    entries = [json.loads(line) for line in lines]
    return [Delivery(entry["id"], entry["camera"], base64.b64decode(entry["body"])) for entry in entries]


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
