"""Results on their way to one sink: in memory first, on disk if the sink has not taken them within the commit interval.

    put (emit threads) ──► fresh, in memory ────────────► peek ──► sink ──► settle
                             │ not taken in time            ▲
                             └────────► store, on disk ─────┘

What a healthy sink takes at once never touches the medium. A power cut or a kill costs at most what came within the
commit interval, and the time that the disk takes to write it; what was handed to the sink and not settled yet, at most
one batch, may come twice. `put` never waits for the disk: when that fails, results wait in memory, up to FRESH_BYTES.

What is fresh is under `_changed`; the store, which the commit thread and the sink's use, under `_io`, taken first.
"""

import logging
import threading
from collections.abc import Iterable, Sequence
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
from agent.parcel import Entry, groups
from agent.room import Limits, WhenFull, make_room
from agent.store import Store

_log = logging.getLogger(__name__)
FRESH_BYTES: Final = 8_000_000
"""Most that waits in memory. It is used while the disk is checked at the start, is slow, is full or fails."""
OPEN_LIMIT_S: Final = 900.0
"""Reading a full store of 8 GB from an SD card of 10 MB/s."""
_SWEEP_PAUSE_S: Final = 5.0
"""What the sink has kept for later is tried again after this."""
_RETRY_S: Final = 2.0
"""After the disk has failed."""
_LOOK_S: Final = 5.0
"""How often the file is asked whether `vedette outbox` has changed it."""
_MOST_GONE: Final = 100_000
"""Where the disk cannot forget what was delivered, so much of it is remembered, in some 10 MB; then the rest waits."""
_TICKS: Final = 5
"""How often the commit thread looks in a commit interval: it begins to write when 7 to 9 tenths of it are over."""


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """What an outbox holds, and what became of the rest since the start."""

    waiting: int
    waiting_bytes: int
    delivered: int
    rejected: int
    dropped: int


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
        self._ready = store is None
        """Whether anything may be handed out: what an earlier run left goes first."""
        self._checked = store is None
        self._fresh = Fresh(FRESH_BYTES)
        self._position = 0
        self._unsure: dict[int, str] = {}
        """Numbers and ids of a commit that failed, and may have come to the disk all the same."""
        self._unsure_taken: set[int] = set()
        """Those of them that the sink has taken since."""
        self._held: list[_Held] = []
        self._gone: set[int] = set()
        """Positions that the sink has taken and the disk could not forget yet."""
        self._swept_number = self._swept_position = 0
        """Up to here the sink has been given all in this sweep."""
        self._sweep_at_s = self._retry_at_s = self._look_at_s = -inf
        self._delivered = self._rejected = self._dropped = 0
        self._damper = logs.Damper(_log.error, clock.now, interval_s=60.0)

    # Emit threads

    def put(self, delivery: Delivery) -> None:
        """Take `delivery`. Never waits; what gives way when memory is full is counted."""
        with self._changed:
            if self._fresh.add(delivery, self._clock.now()):
                policy = self._limits.when_full
                self._dropped += self._fresh.drop(
                    oldest=policy is not WhenFull.DROP_NEWEST,
                    every_second=policy is WhenFull.THIN,
                    held={held.number for held in self._held},
                )
            self._changed.notify()

    # The sink's thread

    def peek(self, limit: int, timeout_s: float) -> Sequence[Delivery]:
        """The oldest deliveries, left in place; empty when none came within `timeout_s`.

        What the sink has kept for later is passed over until the others have had their turn.
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
        with self._io:
            found = self._next(limit) if self._ready else []
            if not found and (self._swept_number or self._swept_position) and self._clock.now() >= self._sweep_at_s:
                self._swept_number = self._swept_position = 0
                found = self._next(limit)
            with self._changed:
                self._held = found

    def _next(self, limit: int) -> list[_Held]:
        found, more = self._stored(limit)
        with self._changed:
            fresh = islice(self._fresh.after(self._swept_number), 0 if more else max(0, limit - len(found)))
            return [*found, *(_Held(delivery, number=number) for number, delivery in fresh)]

    def _stored(self, limit: int) -> tuple[list[_Held], bool]:
        """What is on disk next, and whether there is more of it."""
        store = self._store
        while store is not None and self._checked and len(self._gone) < min(store.size.count, _MOST_GONE):
            try:
                self._make_sure(store)
                entries, more = store.oldest(self._swept_position, limit)
            except StoreError as error:
                self._note_trouble(error)
                break
            found = [
                _Held(each.delivery, position=each.position) for each in entries if each.position not in self._gone
            ]
            if found or not entries:
                return found, more
            self._swept_position = entries[-1].position
        return [], False

    def settle(self, batch: Sequence[Delivery], outcomes: Sequence[Outcome]) -> None:
        """Remove what was accepted or rejected of the batch that was peeked last."""
        if not batch:
            return
        with self._io:
            with self._changed:
                held, self._held = self._held, []
                self._pass_over(held, outcomes)
                ended = [each for each, o in zip(held, outcomes, strict=True) if o is not Outcome.KEPT]
                self._delivered += sum(o is Outcome.ACCEPTED for o in outcomes)
                self._rejected += sum(o is Outcome.REJECTED for o in outcomes)
                gone = {each.position for each in ended if not self._fresh.forget(each.number)}
                self._unsure_taken |= self._unsure.keys() & {each.number for each in ended}
            rejected = [delivery for delivery, o in zip(batch, outcomes, strict=True) if o is Outcome.REJECTED]
            if self._store is not None and (gone or rejected):
                self._remove(self._store, gone, rejected)

    def _pass_over(self, held: Sequence[_Held], outcomes: Sequence[Outcome]) -> None:
        """What was kept while later ones went is not wanted now: the others first. The rest comes again at once."""
        ended = [place for place, outcome in enumerate(outcomes) if outcome is not Outcome.KEPT]
        passed = held[: ended[-1]] if ended else held
        if any(outcomes[place] is Outcome.KEPT for place in range(len(passed))):
            self._sweep_at_s = self._clock.now() + _SWEEP_PAUSE_S
            self._swept_position = max(self._swept_position, *(each.position for each in passed))
            self._swept_number = max(self._swept_number, *(each.number for each in passed))

    def _remove(self, store: Store, gone: set[int], rejected: Sequence[Delivery]) -> None:
        self._gone |= gone
        try:
            with store.transaction():
                store.remove(self._gone)
                store.reject(rejected)
            self._gone.clear()
            store.shrink()
        except StoreError as error:
            self._note_trouble(error)

    # The commit thread

    def run(self, pulse: Pulse) -> None:
        """Commit until told to stop, and then what still waits."""
        self.open()
        while not pulse.stopping.is_set():
            pulse.beat()
            if self._due():
                self.commit()
            self._look()
            self._clock.wait(pulse.stopping, self._limits.commit_interval_s / _TICKS)
        self.close()

    def open(self) -> None:
        """Read what an earlier run left. Until that is done results wait in memory, and none is handed out.

        Raises ConfigError: another agent has this outbox.
        """
        if self._store is not None:
            try:
                self._store.claim()
                if self._store.path.exists():
                    self._check(self._store)
            except StoreError as error:
                self._note_trouble(error)
        with self._changed:
            self._ready = True
            self._changed.notify()

    def _check(self, store: Store) -> None:
        store.check()
        self._checked = True
        if store.size.count:
            detail = logs.fields(count=store.size.count, path=store.path)
            _log.info("results of an earlier run wait for delivery %s", detail)

    def _due(self) -> bool:
        """Whether what is in memory must not wait for another look."""
        now_s, interval_s = self._clock.now(), self._limits.commit_interval_s
        with self._changed:
            waits = now_s - self._fresh.oldest_s >= interval_s * (1 - 1.5 / _TICKS)
        return waits and now_s >= self._retry_at_s

    def commit(self) -> None:
        """Put on disk what is in memory. A failure is said, and it stays in memory."""
        with self._io:
            if self._store is not None:
                self._try(self._store, write=len(self._fresh) > 0)

    def _look(self) -> None:
        """Now and then: `vedette outbox` may have changed the file, or the disk may work again."""
        now_s = self._clock.now()
        if self._store is not None and now_s >= max(self._look_at_s, self._retry_at_s):
            self._look_at_s = now_s + _LOOK_S
            with self._io:
                self._try(self._store, write=False)

    def _try(self, store: Store, *, write: bool) -> None:
        try:
            there = store.path.exists()
            if there and not self._checked:
                self._check(store)
            self._make_sure(store)
            if write or self._gone:
                self._write(store)
            elif there:
                store.measure()
        except StoreError as error:
            self._note_trouble(error)

    def _make_sure(self, store: Store) -> None:
        """What a commit that failed has brought to the disk all the same is there, and not in memory."""
        if self._unsure:
            with store.transaction():
                written = store.written(self._position)
            found = {number: written[name] for number, name in self._unsure.items() if name in written}
            self._gone |= {found.pop(number) for number in self._unsure_taken & found.keys()}
            self._note_written(found)
            self._position = max(self._position, 0, *written.values())
            self._unsure, self._unsure_taken = {}, set()

    def _write(self, store: Store) -> None:
        """One transaction: forget what is gone, what is too old and what gives way, and add what is in memory."""
        held = max((each.position for each in self._held), default=0)
        with self._changed:
            taken = dict(self._fresh.after(0))
        self._unsure = {number: delivery.id for number, delivery in taken.items()}
        with store.transaction():
            store.remove(self._gone)
            dropped = store.expire(self._limits.max_age_s, held)
            first = max(self._position, store.last_position()) + 1
            entries = [Entry(first + place, each) for place, each in enumerate(taken.values())]
            packed = list(groups(entries))
            more, fits = make_room(store, self._limits, packed, held=held)
            if fits:
                store.append(packed)
        self._unsure, self._checked = {}, True
        self._position = first - 1 + len(entries)
        self._gone.clear()
        with self._changed:
            self._dropped += dropped + more
        if fits:
            self._note_written({number: first + place for place, number in enumerate(taken)})
        elif self._limits.when_full is WhenFull.DROP_NEWEST:
            self._let_go(taken)

    def _note_written(self, positions: dict[int, int]) -> None:
        """What is on disk leaves memory."""
        with self._changed:
            for held in self._held:
                held.position = positions.get(held.number, held.position)
            for number in positions:
                self._dropped -= not self._fresh.forget(number)  # it had given way in memory meanwhile

    def _let_go(self, numbers: Iterable[int]) -> None:
        """There is no room for the newest, but what the sink has in hand may yet be taken."""
        with self._changed:
            held = {each.number for each in self._held}
            self._dropped += sum(self._fresh.forget(number) for number in numbers if number not in held)

    def _note_trouble(self, error: StoreError) -> None:
        """Say it, and try again in a while; a damaged file is moved aside, and the next commit makes a new one."""
        if self._store is not None and isinstance(error, StoreDamaged):
            try:
                aside = self._store.move_aside()
            except StoreError as again:
                error = again
            else:
                self._gone.clear()
                self._unsure, self._unsure_taken = {}, set()
                _log.error("%s; it is kept as %s, and a new one is begun", error, aside)
                return
        self._retry_at_s = self._clock.now() + _RETRY_S
        self._damper.note("trouble", f"results wait in memory alone, for the outbox fails: {error}")

    def close(self) -> None:
        """Put on disk what still waits."""
        self.commit()
        with self._io:
            if self._store is not None:
                self._store.release()
        with self._changed:
            lost = len(self._fresh)
        kept = self.status().waiting - lost
        if lost:
            _log.warning("undelivered results are lost with the end of this run %s", logs.fields(count=lost))
        if kept and self._store is not None:
            detail = logs.fields(count=kept, path=self._store.path)
            _log.warning("undelivered results are kept, and sent at the next start %s", detail)

    def status(self) -> OutboxStatus:
        """Counts, for people and metrics. Any thread."""
        with self._changed:
            size = None if self._store is None else self._store.size
            stored = 0 if size is None else size.count - len(self._gone)
            stored_bytes = size.used_bytes if size is not None and stored else 0
            dropped = self._dropped + (0 if self._store is None else self._store.unreadable)
            waiting, waiting_bytes = len(self._fresh) + stored, self._fresh.size_bytes + stored_bytes
            return OutboxStatus(waiting, waiting_bytes, self._delivered, self._rejected, dropped)

    def __repr__(self) -> str:
        status = self.status()
        return f"<Outbox {status.waiting} waiting, {status.dropped} dropped>"
