"""Counts of everything that happens to frames and results, and the newest of them. Any thread; one lock."""

import threading
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, fields
from statistics import median
from typing import Final

from agent.distribution import Distribution, Spread
from agent.flow import Fate, Reason, Result, Route, Timings
from agent.view.shutter import Held

_RECENT = 50
_PARTS: Final = tuple((each.name, each.name.removesuffix("_s")) for each in fields(Timings) if each.name != "billed_s")


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """One camera, right now."""

    online: bool
    captured: int
    fates: dict[Fate, int]
    unreadable: int
    held: dict[Held, int]
    """Pictures that were held back, and never were frames."""
    corrections: int
    routes: dict[Route, int]
    decisions: dict[tuple[Route, Reason], int]
    """Frames by where the router sent them, and why."""
    late: int
    newest: Result | None
    recent_ms: float | None
    """Median time from capture to answer of the last 50 results."""
    rate_fps: float | None
    """Results per second over the last 50."""
    openings: int
    """How often it came online."""
    ages: dict[Route, Spread]
    """Of results: from capture until the answer."""
    runs: dict[Route, Spread]
    """Of engines: from their begin until the answer."""
    parts: dict[tuple[Route, str], Spread]
    """Of each part of a run that its engine tells of."""


class CameraTelemetry:
    """The counters of one camera."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._online = False
        self._captured = 0
        self._unreadable = 0
        self._held: Counter[Held] = Counter()
        self._corrections = 0
        self._late = 0
        self._fates: Counter[Fate] = Counter()
        self._routes: Counter[Route] = Counter()
        self._decisions: Counter[tuple[Route, Reason]] = Counter()
        self._openings = 0
        self._ages: dict[Route, Distribution] = {}
        self._runs: dict[Route, Distribution] = {}
        self._parts: dict[tuple[Route, str], Distribution] = {}
        self._recent: deque[Result] = deque(maxlen=_RECENT)

    def note_online(self, *, online: bool) -> bool:
        """The camera gives pictures, or does not any more; whether that is new."""
        with self._lock:
            was, self._online = self._online, online
            self._openings += online and not was
            return was is not online

    def note_captured(self) -> None:
        """A frame came from the camera."""
        with self._lock:
            self._captured += 1

    def note_unreadable(self) -> None:
        """Something came that is no picture."""
        with self._lock:
            self._unreadable += 1

    def note_held(self, why: Held) -> None:
        """A picture came and is no frame."""
        with self._lock:
            self._held[why] += 1

    def note_dropped(self, fate: Fate) -> None:
        """A frame ended before it was admitted."""
        with self._lock:
            self._fates[fate] += 1

    def note_result(self, result: Result) -> None:
        """An admitted frame ended, or was corrected."""
        with self._lock:
            if result.revision:
                self._corrections += 1
                return
            self._fates[result.fate] += 1
            self._decisions[result.decision.route, result.decision.reason] += 1
            self._late += result.late
            if result.published is not None:
                self._routes[result.published] += 1
                self._recent.append(result)
                self._note_times(result, result.published)

    def _note_times(self, result: Result, route: Route) -> None:
        self._ages.setdefault(route, Distribution()).note(result.answered_s - result.captured_s)
        if result.started_s is not None:
            self._runs.setdefault(route, Distribution()).note(result.answered_s - result.started_s)
        for part, seconds in parts_of(result):
            self._parts.setdefault((route, part), Distribution()).note(seconds)

    def status(self) -> CameraStatus:
        """An immutable copy."""
        with self._lock:
            recent = tuple(self._recent)
            span_s = recent[-1].answered_s - recent[0].answered_s if len(recent) > 1 else 0.0
            return CameraStatus(
                online=self._online,
                captured=self._captured,
                fates=dict(self._fates),
                unreadable=self._unreadable,
                held=dict(self._held),
                corrections=self._corrections,
                routes=dict(self._routes),
                decisions=dict(self._decisions),
                late=self._late,
                newest=recent[-1] if recent else None,
                recent_ms=median((r.answered_s - r.captured_s) * 1000 for r in recent) if recent else None,
                rate_fps=(len(recent) - 1) / span_s if span_s > 0 else None,
                openings=self._openings,
                ages={route: each.spread() for route, each in self._ages.items()},
                runs={route: each.spread() for route, each in self._runs.items()},
                parts={key: each.spread() for key, each in self._parts.items()},
            )


def parts_of(result: Result) -> Iterator[tuple[str, float]]:
    """What a result's time went to, in seconds: waiting for its engine, and each part that the engine tells of."""
    if result.started_s is not None:
        yield "queue", result.started_s - result.captured_s
    if result.answer is not None:
        for name, part in _PARTS:
            seconds = getattr(result.answer.timings, name)
            if seconds is not None:
                yield part, seconds
