"""Results on their way to one sink: in memory first, on disk if the sink has not taken them within the commit interval.

    put (emit threads) ──► fresh, in memory ────────────► peek ──► sink ──► settle
                             │ not taken in time            ▲
                             └────────► store, on disk ─────┘

What a healthy sink takes at once never touches the medium. A power cut or a kill costs at most what came within the
commit interval, and the time that the disk takes to write it; what was handed to the sink and not settled yet, at most
one batch, may come twice: no more is handed out of the disk while that has not forgotten the last. `put` never waits
for the disk, nor does a sink for one that hangs: results then wait in memory, up to FRESH_BYTES.

What is fresh is under `_changed`; the store, which the commit thread and the sink's use, under `_io`, taken first.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import inf
from typing import Final

from agent import logs
from agent.clock import Clock
from agent.database import StoreDamaged, StoreError
from agent.flow import Delivery, Outcome
from agent.fresh import Fresh
from agent.loop import Pulse
from agent.parcel import MOST_IN_GROUP, Entry
from agent.room import Limits, WhenFull, fill
from agent.shun import Shun
from agent.store import Size, Store
from agent.tally import Loss, OutboxStatus, Tally

_log = logging.getLogger(__name__)
FRESH_BYTES: Final = 8_000_000
"""Most that waits in memory. It is used while the disk is slow, is full or fails."""
_DISK_PATIENCE_S: Final = 5.0
"""A disk that takes longer is left alone: what is in memory goes out before what it has."""
_RETRY_S: Final = 2.0
"""After the disk has failed."""
_LOOK_S: Final = 5.0
"""How often the file is asked whether `vedette outbox` has changed it, and for what is too old."""
_MOST_LOOKS: Final = 50
"""Batches in a row that may not be wanted before others have their turn at the disk."""
_TICKS: Final = 5
"""How often the commit thread looks in a commit interval: it begins to write when 7 to 9 tenths of it are over."""


@dataclass(slots=True)
class _Held:
    """A delivery that the sink has in hand: in memory under `number` or, if it was written since, at `position`."""

    delivery: Delivery
    number: int = 0
    position: int = 0


class Outbox:
    """What waits for one sink. Without a store, in memory alone."""

    def __init__(self, store: Store | None, limits: Limits, clock: Clock) -> None:
        self._store = store
        self._limits = limits
        self._clock = clock
        self._io = threading.Lock()
        self._changed = threading.Condition()
        self._verified = store is None
        """Whether anything may be handed out: what an earlier run left is read, and goes first."""
        self._fresh = Fresh(FRESH_BYTES)
        self._position = 0
        self._first_position: float = inf
        """Behind it lies what this run has written."""
        self._unsure: dict[int, str] = {}
        """Numbers and ids of a commit under way, or of one that failed and may have come to the disk all the same."""
        self._unsure_taken: set[int] = set()
        """Those of them that the sink has taken since."""
        self._held: list[_Held] = []
        self._gone: set[int] = set()
        """Positions that the sink has taken and the disk has not forgotten yet: at most a batch."""
        self._refused: list[Delivery] = []
        """What the sink will never take, on its way to the disk, for people."""
        self._shun = Shun()
        self._swept_position = 0
        """Up to here nothing on disk is wanted now."""
        self._retry_at_s = self._look_at_s = -inf
        self._tally = Tally()
        self._damper = logs.Damper(_log.error, clock.now, interval_s=60.0)

    # Emit threads

    def put(self, delivery: Delivery) -> None:
        """Take `delivery`. Never waits; what gives way when memory is full is counted."""
        policy, dropped = self._limits.when_full, 0
        oldest, thin = policy is not WhenFull.DROP_NEWEST, policy is WhenFull.THIN
        with self._changed:
            self._fresh.add(delivery, self._clock.now())
            held = {held.number for held in self._held} if self._fresh.is_full else set()
            while self._fresh.is_full and (count := self._fresh.drop(oldest=oldest, every_second=thin, held=held)):
                dropped += count
            self._changed.notify()
        self._note_dropped(dropped, Loss.MEMORY)

    # The sink's thread

    def peek(self, limit: int, timeout_s: float) -> Sequence[Delivery]:
        """The oldest deliveries that are wanted, left in place; empty when none came within `timeout_s`.

        Those on disk go first. A disk that does not answer holds up nothing that is in memory.
        """
        seen = self._fresh.newest
        self._hold(limit)
        if not self._held and timeout_s > 0:
            with self._changed:
                if self._fresh.newest == seen:
                    self._changed.wait(timeout_s)
            self._hold(limit)
        return [held.delivery for held in self._held]

    def _hold(self, limit: int) -> None:
        patience_s = _DISK_PATIENCE_S if self.kept else 0.0
        if self._io.acquire(timeout=patience_s):
            try:
                stored, more = self._stored(limit)
                with self._changed:  # in one go, for the next commit moves what is in hand
                    self._held = [*stored, *([] if more else self._fresh_ones(limit - len(stored)))]
            finally:
                self._io.release()
            return
        with self._changed:
            self._held = self._fresh_ones(limit) if patience_s or not self.kept else []

    def _fresh_ones(self, limit: int) -> list[_Held]:
        now_s = self._clock.now()
        wanted = ((number, each) for number, each in self._fresh.after(0) if self._shun.wants(each, now_s))
        return [_Held(each, number=number) for number, each in islice(wanted, max(0, limit * self._verified))]

    def _stored(self, limit: int) -> tuple[list[_Held], bool]:
        """What is on disk next, and whether it may have more that is wanted."""
        store = self._store
        if store is None or not self._verified or not self.kept:
            return [], False
        try:
            self._make_sure(store)
            limit -= len(self._gone)
            return ([], False) if self._gone and limit < MOST_IN_GROUP else self._oldest(store, limit)
        except StoreError as error:
            self._note_trouble(error)
            return [], False

    def _oldest(self, store: Store, limit: int) -> tuple[list[_Held], bool]:
        now_s = self._clock.now()
        if self._shun.expires(now_s):
            self._swept_position = 0
        for _ in range(_MOST_LOOKS):
            entries, more = store.oldest(self._swept_position, limit)
            found = [
                _Held(each.delivery, position=each.position)
                for each in entries
                if each.position not in self._gone and self._shun.wants(each.delivery, now_s)
            ]
            if found or not entries:
                return found, more
            self._swept_position = entries[-1].position
        return [], True

    def settle(self, batch: Sequence[Delivery], outcomes: Sequence[Outcome]) -> None:
        """Remove what was accepted or rejected of the batch that was peeked last."""
        if not batch:
            return
        with self._changed:
            held, self._held = self._held, []
            self._shun.note(batch, outcomes, self._clock.now())
            self._tally.note(outcomes)
            for each, outcome in zip(held, outcomes, strict=True):
                if outcome is Outcome.REJECTED:
                    self._refused.append(each.delivery)
                if outcome is not Outcome.KEPT:
                    self._let_go(each)
            to_do = self._store is not None and (self._gone or self._refused)
        if to_do and self._io.acquire(timeout=_DISK_PATIENCE_S):
            try:
                self._try(self._clear)
            finally:
                self._io.release()

    def _let_go(self, held: _Held) -> None:
        if not self._fresh.forget(held.number):
            self._gone.add(held.position)
        elif held.number in self._unsure:
            self._unsure_taken.add(held.number)

    def _clear(self, store: Store) -> None:
        """Let the disk forget what the sink has taken."""
        with self._forgetting(store):
            pass
        store.shrink()

    @contextlib.contextmanager
    def _forgetting(self, store: Store) -> Iterator[None]:
        """A transaction that begins with what is gone, and what was refused."""
        with self._changed:
            gone, refused = set(self._gone), list(self._refused)
        with store.transaction():
            store.remove(gone)
            store.reject(refused)
            yield
        with self._changed:
            self._gone -= gone
            del self._refused[: len(refused)]

    # The commit thread, and one that verifies at the start

    def verify(self) -> None:
        """Read all that an earlier run left, beside the commits; then it is handed out, and what came since."""
        store = self._store
        if store is not None and store.path.exists():
            identity = store.identity()
            try:
                store.verify()
            except StoreError as error:
                with self._io:
                    if store.identity() == identity:  # else a commit has met the damage before
                        self._note_trouble(error)
            with self._io:
                self._try(self._tidy)
            if store.size.count:
                _log.info("results wait for delivery %s", logs.fields(count=store.size.count, path=store.path))
        with self._changed:
            self._verified = True
            self._changed.notify()

    def run(self, pulse: Pulse) -> None:
        """Commit until told to stop, and then what still waits. Raises ConfigError: another agent has this outbox."""
        self.claim()
        while not pulse.stopping.is_set():
            pulse.beat()
            if self._due():
                self.commit()
            self._look()
            self._clock.wait(pulse.stopping, self._limits.commit_interval_s / _TICKS)
        self.close()

    def claim(self) -> None:
        """Keep other agents off. Raises ConfigError."""
        with self._io:
            self._try(Store.claim)

    def _due(self) -> bool:
        """Whether what is in memory must not wait for another look."""
        now_s, interval_s = self._clock.now(), self._limits.commit_interval_s
        with self._changed:
            return now_s >= max(self._retry_at_s, self._fresh.oldest_s + interval_s * (1 - 1.5 / _TICKS))

    def commit(self) -> None:
        """Put on disk what is in memory. A failure is said, and it stays in memory."""
        with self._io:
            self._try(self._write)

    def _look(self) -> None:
        """Now and then: `vedette outbox` may have changed the file, something be too old, or the disk work again."""
        now_s = self._clock.now()
        if now_s >= max(self._look_at_s, self._retry_at_s):
            self._look_at_s = now_s + _LOOK_S
            with self._io:
                self._try(self._tidy)

    def _tidy(self, store: Store) -> None:
        if store.path.exists():
            self._make_sure(store)
            with self._forgetting(store):
                dropped = store.expire(self._limits.max_age_s, self._held_position)
            self._note_dropped(dropped, Loss.AGE)

    def _try(self, act: Callable[[Store], None]) -> None:
        if self._store is not None:
            try:
                act(self._store)
            except StoreError as error:
                self._note_trouble(error)

    @property
    def _held_position(self) -> int:
        """What lies behind it on disk is not in the sink's hand."""
        return max((each.position for each in self._held), default=0)

    def _make_sure(self, store: Store) -> None:
        """What a commit that failed has brought to the disk all the same is there, and not in memory."""
        if self._unsure:
            with store.transaction():
                written = store.newest()
            self._note_written({number: written[name] for number, name in self._unsure.items() if name in written})

    def _write(self, store: Store) -> None:
        """One transaction: forget what is gone, what is too old and what gives way, and add what is in memory."""
        self._make_sure(store)
        with self._changed:
            taken = dict(self._fresh.after(0))
            self._unsure = {number: delivery.id for number, delivery in taken.items()}
        if not (taken or self._gone or self._refused):
            return
        with self._forgetting(store):
            too_old = store.expire(self._limits.max_age_s, self._held_position)
            first = max(self._position, store.last_position()) + 1
            self._first_position = min(self._first_position, first - 1)
            places = {number: first + place for place, number in enumerate(taken)}
            held = max([self._held_position, *(places.get(each.number, 0) for each in self._held)])
            entries = [Entry(places[number], delivery) for number, delivery in taken.items()]
            dropped, last = fill(store, self._limits, entries, held=held)
        self._position = first - 1 + len(entries)
        self._note_written({number: place for number, place in places.items() if place <= last})
        self._note_dropped(too_old, Loss.AGE)
        self._note_dropped(dropped, Loss.FULL)
        self._note_unwritten([number for number, place in places.items() if place > last])

    def _note_written(self, positions: dict[int, int]) -> None:
        """What is on disk leaves memory; what the sink took meanwhile is gone from both."""
        with self._changed:
            for held in self._held:
                held.position = positions.get(held.number, held.position)
            for number, position in positions.items():
                if number in self._unsure_taken:
                    self._gone.add(position)
                elif not self._fresh.forget(number):
                    self._tally.losses[Loss.MEMORY] -= 1  # it had given way there meanwhile
            self._unsure, self._unsure_taken = {}, set()

    def _note_dropped(self, count: int, why: Loss) -> None:
        if count:
            with self._changed:
                self._tally.losses[why] += count
            self._damper.note(why.value, f"results gave way unsent {logs.fields(count=count, why=why.value)}")

    def _note_unwritten(self, numbers: Sequence[int]) -> None:
        """There is no room: by policy the newest give way, unless the sink has them in hand; else memory keeps them."""
        if not numbers:
            return
        dropped = 0
        with self._changed:
            held = {each.number for each in self._held}
            if self._limits.when_full is WhenFull.DROP_NEWEST:
                dropped = sum(self._fresh.forget(number) for number in numbers if number not in held)
        self._note_dropped(dropped, Loss.FULL)
        if not dropped:
            self._damper.note("room", "results wait in memory alone: too little space is free, by outbox.keep_free_mb")

    def _note_trouble(self, error: StoreError) -> None:
        """Say it, and try again in a while; a damaged file is moved aside, and what this run wrote is written anew."""
        if self._store is not None and isinstance(error, StoreDamaged):
            try:
                aside, saved = self._store.replace(self._first_position)
            except StoreError as again:
                error = again
            else:
                with self._changed:
                    self._gone.clear()
                    self._unsure, self._unsure_taken = {}, set()
                what = "it is kept, `vedette outbox export` reads what is readable, and a new one is begun"
                _log.error("%s; %s %s", error, what, logs.fields(kept_as=aside, saved=saved))
                return
        self._retry_at_s = self._clock.now() + _RETRY_S
        self._damper.note("trouble", f"results wait in memory alone, for the outbox fails: {error}")

    def close(self) -> None:
        """Put on disk what still waits."""
        self.commit()
        self.release()

    @property
    def kept(self) -> int:
        """How many are on disk, and outlast this run. Any thread."""
        return 0 if self._store is None else max(0, self._store.size.count - len(self._gone))

    def release(self) -> None:
        """Let another agent have it."""
        with self._io:
            self._try(Store.release)

    def rest(self) -> list[Delivery]:
        """What is in memory alone; after `close`, only where there is no disk, or it fails. Any thread."""
        with self._changed:
            return [each for number, each in self._fresh.after(0) if number not in self._unsure_taken]

    def status(self) -> OutboxStatus:
        """Counts, for people and metrics. Any thread."""
        with self._changed:
            size, stored = Size() if self._store is None else self._store.size, self.kept
            return self._tally.status(
                waiting=len(self._fresh) + stored,
                exposed=self._fresh.older_than(self._clock.now() - 2 * self._limits.commit_interval_s),
                waiting_bytes=self._fresh.size_bytes + (size.used_bytes if stored else 0),
                unreadable=0 if self._store is None else self._store.unreadable,
            )

    def __repr__(self) -> str:
        status = self.status()
        return f"<Outbox {status.waiting} waiting, {status.dropped} dropped>"
