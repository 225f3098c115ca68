"""The on-device engine as the lane sees it: one version now, another after the run at hand, and no frame between them.

The lane's thread runs it and the rollout's thread changes it, under one lock, which is free but for the moments of a
change: the lane of on-device engines has one thread. While a version is on trial the one before it stays loaded, and
answers what the new one fails on, so that a trial costs no frame.
"""

import logging
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Final

from agent.clock import Clock
from agent.flow import Answer, Frame
from agent.logs import Damper
from agent.ports import Card, Engine

_log = logging.getLogger(__name__)
_REMEMBERED: Final = 64
"""Runs by which a version is judged: the newest, so that a rise shows soon, and also late in a trial."""


def p95(took_s: Sequence[float]) -> float:
    """What 95 of 100 runs do not exceed; 0 without any."""
    return sorted(took_s)[min(len(took_s) * 95 // 100, len(took_s) - 1)] if took_s else 0.0


@dataclass(frozen=True, slots=True)
class Tally:
    """How the runs of one version went, since it answers."""

    runs: int
    failed: int
    """Of the newest runs."""
    recent: int
    """How many those are."""
    took_s: tuple[float, ...]
    """What those of them took that did not fail."""

    @property
    def failed_share(self) -> float:
        """Of the newest runs, 0..1."""
        return self.failed / self.recent if self.recent else 0.0

    @property
    def median_s(self) -> float:
        """Of the newest runs; 0 without any."""
        return median(self.took_s) if self.took_s else 0.0

    @property
    def p95_s(self) -> float:
        """Of the newest runs; 0 without any."""
        return p95(self.took_s)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a package, and the engine that has it loaded or will."""

    package: str
    version: str
    engine: Engine

    @property
    def label(self) -> str:
        """As results have it: NAME@VERSION."""
        return f"{self.package}@{self.version}"


class Switch:
    """An Engine that passes every call on to the engine of the running version."""

    width = 1

    def __init__(self, running: Version, clock: Clock) -> None:
        """`running`: what `open` opens."""
        self._running = running
        self._reserve: Version | None = None
        self._clock = clock
        self._lock = threading.Lock()
        self._runs = 0
        self._newest: deque[float | None] = deque(maxlen=_REMEMBERED)
        """What the newest runs took, in seconds; None: failed."""
        self._damper = Damper(_log.warning, clock.now)

    @property
    def running(self) -> Version:
        """The version that answers."""
        return self._running

    @property
    def reserve(self) -> Version | None:
        """The version before it, which stays loaded while the new one is on trial."""
        return self._reserve

    @property
    def model(self) -> str:
        """NAME@VERSION of the version that answers."""
        return self._running.label

    @property
    def card(self) -> Card | None:
        """See Described."""
        card: Card | None = getattr(self._running.engine, "card", None)
        return card

    def open(self) -> None:
        """See Engine."""
        self._running.engine.open()

    def infer(self, frame: Frame, give_up_s: float) -> Answer:
        """See Engine; `model` of the answer is NAME@VERSION of who gave it."""
        with self._lock:
            begun_s = self._clock.now()
            self._runs += 1
            try:
                answer = self._running.engine.infer(frame, give_up_s)
            except Exception as error:
                self._newest.append(None)
                if self._reserve is None:
                    raise
                self._tell(error, self._reserve)
                answer = self._reserve.engine.infer(frame, give_up_s)
                return replace(answer, model=self._reserve.label)
            self._newest.append(self._clock.now() - begun_s)
            return replace(answer, model=self._running.label)

    def _tell(self, error: Exception, instead: Version) -> None:
        said = f"{self._running.label} on trial: {type(error).__name__}: {error}; {instead.label} answers instead"
        self._damper.note(self._running.label, said)

    def replace(self, new: Version, *, keep: bool) -> Version:
        """From the next run on `new`, which is open, answers; waits for the run at hand. The version before it.

        `keep`: it stays loaded, answers what `new` fails on, and can be brought back.
        """
        with self._lock:
            old, self._running = self._running, new
            self._reserve = old if keep else None
            self._begin()
        return old

    def restore(self) -> Version | None:
        """The version in reserve answers again; the one that no longer does. None: there is none in reserve."""
        with self._lock:
            if self._reserve is None:
                return None
            bad, self._running, self._reserve = self._running, self._reserve, None
            self._begin()
        return bad

    def release(self) -> Version | None:
        """The running version stays; the one that was in reserve, which nothing uses from now on."""
        with self._lock:
            old, self._reserve = self._reserve, None
        return old

    def _begin(self) -> None:
        self._runs = 0
        self._newest.clear()

    def tally(self) -> Tally:
        """How the runs of the running version went. Waits for the run at hand."""
        with self._lock:
            took_s = tuple(each for each in self._newest if each is not None)
            return Tally(self._runs, len(self._newest) - len(took_s), len(self._newest), took_s)

    def close(self) -> None:
        """See Engine; with what is in reserve. Takes no lock, for a run that hangs would keep it."""
        self._running.engine.close()
        if self._reserve is not None:
            self._reserve.engine.close()

    def __repr__(self) -> str:
        beside = "" if self._reserve is None else f", {self._reserve.label} in reserve"
        return f"<Switch {self._running.label}{beside}: {self._running.engine!r}>"
