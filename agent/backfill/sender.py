"""Sends kept pictures when the link is good and idle, one at a time. Owner: the back-fill's thread.

Frames are caught by the sieve on the emit threads; requests are carried by the cloud lane's threads, which leave the
outcome in the trip and ring. What it is sent for is a Purpose's: to be answered (inquiry), or to be learnt from
(training). A live frame finds the wire taken for one such picture at most: uploads are short by what is known of the
link, rest four times as long, and are given up when they take longer than that while a live frame waits.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from traceback import format_exception
from typing import Final

from agent import logs
from agent.backfill import kept, lull
from agent.backfill.keep import Entry, Keep, Loss, Step
from agent.backfill.kept import Kept
from agent.backfill.purpose import Load, Purpose
from agent.backfill.sieve import Sieve
from agent.errors import Cause, EngineBroken, EngineError
from agent.evidence import LinkView
from agent.flow import Picture, Pixels
from agent.lanes import Lane
from agent.link import UNREACHED
from agent.loop import Pulse
from agent.router import in_flight_limit
from agent.uplink import Uplink

_log = logging.getLogger(__name__)
GIVE_UP_S: Final = 8.0
"""As for a late live upload."""
MOST_FAILURES: Final = 3
REST: Final = 4.0
"""After an upload so many times as long without one: a fifth of the wire at most."""
PATIENCE: Final = 2.0
PATIENCE_MIN_S: Final = 0.1
"""An upload is given up for a live frame when it takes twice as long as was expected."""
_SAY_EVERY_S: Final = 600.0
_POLL_S: Final = 0.05
_IDLE_WAIT_S: Final = 1.0
_LAST_S: Final = 3600.0
"""Behind every live frame in the lane."""
_UNREADABLE: Final = (Cause.BAD_REQUEST, Cause.TOO_LARGE)
_BLAMELESS: Final = (
    *UNREACHED,
    Cause.AUTH,
    Cause.CREDITS,
    Cause.PAUSED,
    Cause.NOT_FOUND,
    Cause.RATE_LIMITED,
    Cause.CAPTIVE_PORTAL,
)
"""Causes that say nothing about the picture."""


@dataclass(frozen=True, slots=True)
class Way:
    """How pictures are sent, and what live frames need of it."""

    uplink: Uplink
    lane: Lane
    deadline_s: float
    """Of a live frame."""
    wants_wire: Callable[[], bool]
    """Whether a live frame would use the wire if it were free."""
    fps: Callable[[], float]
    """Live frames a second."""
    may_send: Callable[[], bool] = lambda: True
    """Whether data may be spent on what nobody waits for."""

    def is_free(self, size_bytes: int, view: LinkView) -> bool:
        """Whether a picture of that size may be sent now."""
        limit = in_flight_limit(self.deadline_s, self.fps())
        if not self.lane.opened.is_set() or self.wants_wire() or not lull.is_idle(view, limit) or not self.may_send():
            return False
        return lull.is_good(size_bytes, view, self.deadline_s)


@dataclass(frozen=True, slots=True)
class BackfillStatus:
    """What was kept, and what became of it."""

    kept: int
    waiting: int
    sent: int
    done: dict[Step, int]
    dropped: dict[Loss, int]


@dataclass(slots=True)
class _Trip:
    """One request that is under way."""

    purpose: Purpose
    entry: Entry
    picture: Kept
    load: Load
    begun_s: float
    wire_s: float
    """What it is expected to be on the wire."""
    outcome: object = None
    error: EngineError | None = None
    ended_s: float | None = None


class _Patience:
    """How long one upload may keep the wire from live frames. Owner: the thread that carries it."""

    def __init__(self, way: Way, limit_s: float) -> None:
        self._way = way
        self._limit_s = limit_s
        self._begun_s: float | None = None

    def is_over(self) -> bool:
        """Whether a live frame wants the wire, and has been patient.

        First asked when the picture's first byte leaves: how long a connection takes to open says nothing about it.
        """
        now_s = self._way.uplink.clock.now()
        self._begun_s = now_s if self._begun_s is None else self._begun_s
        return now_s - self._begun_s > self._limit_s and self._way.wants_wire()


class Backfill:
    """The second look."""

    def __init__(
        self, sieve: Sieve, keep: Keep, encode: Callable[[Pixels], Picture], *, purposes: Sequence[Purpose], way: Way
    ) -> None:
        """`purposes`: what each picture is sent for, one after the other; the first is Step.ASK."""
        self._sieve = sieve
        self._keep = keep
        self._encode = encode
        self._purposes = purposes
        self._way = way
        self._clock = way.uplink.clock
        self._trip: _Trip | None = None
        self._next_s = float("-inf")
        self._sent = 0
        self._damper = logs.Damper(_log.info, self._clock.now, interval_s=_SAY_EVERY_S)
        self._faults = logs.Damper(_log.warning, self._clock.now)

    def run(self, pulse: Pulse) -> None:
        """Keep and send until told to stop. Raises ConfigError."""
        self.open()
        try:
            while not pulse.stopping.is_set():
                pulse.beat()
                self._clock.wait(self._sieve.stirred, _POLL_S if self._keep.waiting else _IDLE_WAIT_S)
                self._sieve.stirred.clear()
                self.step()
        finally:
            self._put_caught()
            for purpose in self._purposes:
                purpose.close()

    def open(self) -> None:
        """Find what was kept before. Raises ConfigError."""
        self._keep.open()
        for purpose in self._purposes:
            purpose.open()
        if all(purpose.step is not Step.GIVE for purpose in self._purposes):
            while (entry := self._keep.oldest(Step.GIVE)) is not None:  # given no more
                self._keep.advance(entry, None)

    def wake(self) -> None:
        """Something is to be seen to, such as a stop. Any thread."""
        self._sieve.stirred.set()

    def step(self) -> None:
        """Keep what was caught, see to the request that has ended, and begin another if this is the moment."""
        self._put_caught()
        trip = self._trip
        if trip is not None and trip.ended_s is not None:
            self._trip = None
            self._settle(trip, trip.ended_s)
        if self._trip is None and self._clock.now() >= self._next_s:
            self._begin()

    def _put_caught(self) -> None:
        while (caught := self._sieve.take()) is not None:
            frame, result = caught
            picture = self._encode(frame.pixels)
            if self._keep.put(kept.of(result, picture, self._keep.boot_id)):
                why = logs.fields(camera=frame.camera, reason=result.decision.reason.value)
                self._damper.note("kept", f"a doubtful frame is kept for the hosted model {why}")

    def _begin(self) -> None:
        uplink = self._way.uplink
        for purpose in self._purposes:
            entry = self._keep.oldest(purpose.step)
            if entry is None or not purpose.is_ready(entry.size_bytes, uplink.prices()):
                continue
            view = uplink.view()
            if self._way.is_free(entry.size_bytes, view):
                self._send(purpose, entry, lull.wire_s(entry.size_bytes, view) or 0.0)
            return

    def _send(self, purpose: Purpose, entry: Entry, wire_s: float) -> None:
        picture = self._keep.read(entry)
        if picture is None:
            return
        now_s = self._clock.now()
        load = purpose.load(picture, _Patience(self._way, max(PATIENCE_MIN_S, PATIENCE * wire_s)).is_over)
        trip = self._trip = _Trip(purpose, entry, picture, load, now_s, wire_s)
        self._sent += 1
        self._way.lane.start(lambda: self._carry(trip), start_s=now_s, deadline_s=now_s + _LAST_S)

    def _carry(self, trip: _Trip) -> bool:
        """On a thread of the cloud lane. Always False: its time says nothing about live frames."""
        try:
            trip.outcome = trip.load.carry(trip.begun_s + GIVE_UP_S)
        except EngineError as error:
            trip.error = error.with_traceback(None)  # it has the trip, and both would wait for the collector
        except Exception as error:  # noqa: BLE001 - the lane job: a fault in an engine costs a picture, not the agent
            self._faults.note("fault", "a fault in the agent: " + "".join(format_exception(error)))
            trip.error = EngineBroken(f"{type(error).__name__}: {error}")
        finally:
            trip.load.end()
            trip.ended_s = self._clock.now()
            self._sieve.stirred.set()
        return False

    def _settle(self, trip: _Trip, ended_s: float) -> None:
        self._next_s = ended_s + REST * trip.wire_s
        if trip.error is None:
            trip.purpose.succeeded(trip.picture, trip.outcome, took_s=ended_s - trip.begun_s)
            self._keep.advance(trip.entry, self._step_after(trip.purpose))
            count = {each.step.reached: each.done for each in self._purposes}
            self._damper.note(trip.entry.step.value, f"kept pictures are sent {logs.fields(**count)}")
        elif trip.load.yielded:
            trip.purpose.gave_way()
        else:
            trip.purpose.failed(trip.error)
            self._blame(trip.entry, trip.error)

    def _step_after(self, purpose: Purpose) -> Step | None:
        steps = [each.step for each in self._purposes]
        return next(iter(steps[steps.index(purpose.step) + 1 :]), None)

    def _blame(self, entry: Entry, error: EngineError) -> None:
        """A picture that cannot be read, or fails again and again, is dropped."""
        if error.cause in _UNREADABLE:
            self._keep.drop(entry, Loss.UNREADABLE)
        elif error.cause not in _BLAMELESS:
            entry.failures += 1
            if entry.failures >= MOST_FAILURES:
                self._keep.drop(entry, Loss.FAILED)

    def status(self) -> BackfillStatus:
        """Counts, for people. Any thread."""
        return BackfillStatus(
            kept=self._keep.kept,
            waiting=self._keep.waiting,
            sent=self._sent,
            done={purpose.step: purpose.done for purpose in self._purposes},
            dropped={loss: count for loss, count in self._keep.lost.items() if count},
        )

    def __repr__(self) -> str:
        return f"<Backfill {self._keep!r}>"
