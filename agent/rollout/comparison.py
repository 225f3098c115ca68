"""Two versions on the same frames, in turn, beside the running agent. Owner: the rollout's thread.

Each run waits for the lane as a frame would that is of no hurry, so it is never in the way of one that is due, and runs
on the lane's thread with the device to itself, as the runs of frames do. After each the lane is left alone for four
times as long, so that measuring takes a fifth of it at most.
"""

import threading
from collections.abc import Callable
from math import inf
from typing import Final, Generic, TypeVar

from agent.clock import Clock
from agent.errors import AgentError
from agent.flow import Answer, Frame
from agent.lanes import Lane
from agent.loop import Pulse
from agent.ports import Engine
from agent.rollout.book import Stopping
from agent.rollout.gate import Measured
from agent.rollout.references import References

_GIVE_UP_S: Final = 60.0
_REST: Final = 4.0
"""Times a run's own time."""
_LEAST_REST_S: Final = 0.02
_BEAT_S: Final = 0.5
_T = TypeVar("_T")


class CandidateFailed(AgentError):
    """The new version did not answer."""


class Comparison:
    """The reference frames, and the way into the lane."""

    def __init__(self, references: References, lane: Lane, clock: Clock) -> None:
        self.references = references
        self._lane = lane
        self._clock = clock

    @property
    def ready(self) -> bool:
        """Whether the lane does its work."""
        return self._lane.opened.is_set()

    def measure(self, running: Engine, candidate: Engine, pulse: Pulse, *, rounds: int = 1) -> list[Measured]:
        """Both on every reference frame, so many times; each begins as often as the other.

        Raises:
            CandidateFailed: `candidate` failed on one of them.
            Stopping: the agent stops.
        """
        measured = []
        for number, reference in enumerate(self.references.taken() * rounds):
            frame = reference.frame
            first = self._running(running, frame, pulse) if number % 2 else None
            answer, took_s = self._candidate(candidate, frame, pulse)
            old, old_s = first or self._running(running, frame, pulse)
            measured.append(Measured(old, answer, reference.hosted, old_s, took_s))
        return measured

    def _running(self, engine: Engine, frame: Frame, pulse: Pulse) -> tuple[Answer | None, float | None]:
        try:
            return self._timed(engine, frame, pulse)
        except Stopping:
            raise
        except Exception:  # noqa: BLE001 - as in the lane's job: its faults are told of where they cost a frame
            return None, None

    def _candidate(self, engine: Engine, frame: Frame, pulse: Pulse) -> tuple[Answer, float]:
        try:
            return self._timed(engine, frame, pulse)
        except Stopping:
            raise
        except Exception as error:
            raise CandidateFailed(f"fails on a reference frame: {type(error).__name__}: {error}") from error

    def _timed(self, engine: Engine, frame: Frame, pulse: Pulse) -> tuple[Answer, float]:
        def work() -> tuple[Answer, float]:
            begun_s = self._clock.now()
            answer = engine.infer(frame, begun_s + _GIVE_UP_S)
            return answer, self._clock.now() - begun_s

        answer, took_s = self.in_turn(work, pulse)
        if pulse.rest(max(_LEAST_REST_S, _REST * took_s)):
            raise Stopping
        return answer, took_s

    def in_turn(self, work: Callable[[], _T], pulse: Pulse) -> _T:
        """Do `work` on the lane's thread when no frame is due. Raises what it raises, and Stopping."""
        turn = _Turn(work)
        job = self._lane.start(turn.run, start_s=self._clock.now(), deadline_s=inf)
        while not self._clock.wait(turn.done, _BEAT_S):
            pulse.beat()
            if pulse.stopping.is_set() and turn.cancel():
                self._lane.cancel(job)
                raise Stopping
        return turn.outcome()


class _Turn(Generic[_T]):
    """One run in the lane, and what came of it."""

    def __init__(self, work: Callable[[], _T]) -> None:
        self.done = threading.Event()
        self._work = work
        self._lock = threading.Lock()
        self._begun = self._cancelled = False
        self._outcome: list[_T] = []
        self._error: Exception | None = None

    def run(self) -> bool:
        """The lane's job. False: what it took says nothing of the lane's engine."""
        with self._lock:
            if self._cancelled:
                return False
            self._begun = True
        try:
            self._outcome.append(self._work())
        except Exception as error:  # noqa: BLE001 - the lane job: a fault in a new version ends no thread
            self._error = error
        self.done.set()
        return False

    def cancel(self) -> bool:
        """Whether it has not begun, and never will."""
        with self._lock:
            self._cancelled = not self._begun
            return self._cancelled

    def outcome(self) -> _T:
        """What came of it, once it is done."""
        if self._error is not None:
            raise self._error
        return self._outcome[0]
