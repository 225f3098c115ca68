"""Counts of everything that happens to frames and results, and the newest of them. Any thread; one lock."""

import threading
from collections import Counter, deque
from dataclasses import dataclass
from statistics import median

from agent.flow import Fate, Reason, Result, Route
from agent.view.shutter import Held

_RECENT = 50


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
    reasons: dict[Reason, int]
    late: int
    newest: Result | None
    recent_ms: float | None
    """Median time from capture to answer of the last 50 results."""
    rate_fps: float | None
    """Results per second over the last 50."""


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
        self._reasons: Counter[Reason] = Counter()
        self._recent: deque[Result] = deque(maxlen=_RECENT)

    def note_online(self, *, online: bool) -> bool:
        """The camera gives pictures, or does not any more; whether that is new."""
        with self._lock:
            was, self._online = self._online, online
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
            self._reasons[result.decision.reason] += 1
            self._late += result.late
            if result.published is not None:
                self._routes[result.published] += 1
                self._recent.append(result)

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
                reasons=dict(self._reasons),
                late=self._late,
                newest=recent[-1] if recent else None,
                recent_ms=median((r.answered_s - r.captured_s) * 1000 for r in recent) if recent else None,
                rate_fps=(len(recent) - 1) / span_s if span_s > 0 else None,
            )
