"""What is known of the way to the cloud: recent requests and how they went. No I/O.

Written by the cloud lane's threads and the emit threads, read by the admit thread as an immutable view; one lock.
Formulas and constants follow the evidence in docs/architecture.md, "Routing".
"""

import math
import threading
from collections import deque
from dataclasses import dataclass, replace
from statistics import median
from typing import TypeAlias

from agent.errors import Cause, EngineError, EngineRefused, EngineUnavailable
from agent.flow import Answer, Reason

RequestKey: TypeAlias = tuple[str, int]
"""Camera and sequence number of the frame a request carried."""

HALF_LIFE_S = 4.0
"""Evidence counts half after this: 40 requests at 10 fps, and short against a tunnel."""
SCEPTICAL_WEIGHT = 0.25
"""A failure that is always assumed, so that no evidence means p = 0 and one good answer means p = 0.8."""
LONGEST_PAUSE_S = 600.0
"""However long a server asks to be left alone."""
REFUSED_PAUSE_S = 180.0
"""Wrong key or no credits: a person must act, so ask again only after minutes."""
RATE_LIMITED_PAUSE_S = 5.0
"""A 429 without Retry-After."""
_KEPT = 64

_REASON_OF = {
    Cause.AUTH: Reason.HTTP_AUTH,
    Cause.CREDITS: Reason.HTTP_AUTH,
    Cause.PAUSED: Reason.HTTP_AUTH,
    Cause.RATE_LIMITED: Reason.HTTP_RATE_LIMITED,
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One request: how long it took, or that it did not come in time."""

    key: RequestKey
    at_s: float
    total_s: float
    """Request to answer; for a request without an answer, how long it has been waited for."""
    answered: bool
    cause: Cause | None = None
    """Why the request failed; None for an answer, and for a request that is merely overdue."""
    server_s: float | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class LinkView:
    """The link at one moment."""

    samples: tuple[Sample, ...]
    last_good_s: float
    """When the cloud last answered, or the start."""
    last_sent_s: float
    closed_until_s: float
    closed_reason: Reason

    def chance(self, budget_s: float, now_s: float) -> float:
        """p: the weighted share of recent requests that took no longer than `budget_s`."""
        weights = [math.pow(0.5, (now_s - sample.at_s) / HALF_LIFE_S) for sample in self.samples]
        good = sum(w for w, s in zip(weights, self.samples, strict=True) if s.answered and s.total_s <= budget_s)
        return good / (sum(weights) + SCEPTICAL_WEIGHT)

    @property
    def newest_cause(self) -> Cause | None:
        """Why the newest request failed, if it did."""
        return self.samples[-1].cause if self.samples else None

    @property
    def typical_s(self) -> float | None:
        """Median time of the recent answers."""
        times = [sample.total_s for sample in self.samples if sample.answered]
        return median(times) if times else None

    @property
    def server_share(self) -> float:
        """The server's part, 0..1, of the median answer; 0 when the server does not say."""
        known = [
            s.server_s / s.total_s for s in self.samples if s.answered and s.server_s is not None and s.total_s > 0
        ]
        return min(1.0, median(known)) if known else 0.0

    @property
    def uplink_mbit_s(self) -> float | None:
        """What the recent uploads got through at least: bytes over the time not spent in the server."""
        rates = [
            s.size_bytes * 8e-6 / (s.total_s - (s.server_s or 0.0))
            for s in self.samples
            if s.answered and s.size_bytes and s.total_s > (s.server_s or 0.0)
        ]
        return median(rates) if rates else None


class Link:
    """Collects the outcome of every request. Any thread."""

    def __init__(self, now_s: float) -> None:
        self._lock = threading.Lock()
        self._samples: deque[Sample] = deque(maxlen=_KEPT)
        self._closed_s = float("-inf")
        self._view = LinkView((), now_s, float("-inf"), float("-inf"), Reason.HTTP_ERROR)

    def view(self) -> LinkView:
        """The present state, immutable."""
        with self._lock:
            return replace(self._view, samples=tuple(self._samples))

    def note_sent(self, now_s: float) -> None:
        """A request has begun."""
        with self._lock:
            self._view = replace(self._view, last_sent_s=now_s)

    def note_answer(self, key: RequestKey, answer: Answer, *, took_s: float, now_s: float) -> None:
        """The cloud answered. Takes the place of an overdue sample of the same request; a cold start is no evidence.

        Only a request sent after a refusal shows that the refusal is over.
        """
        sample = Sample(
            key, now_s, took_s, answered=True, server_s=answer.timings.server_s, size_bytes=answer.size_bytes
        )
        with self._lock:
            self._forget(key)
            if not answer.cold_start:
                self._samples.append(sample)
            self._view = replace(self._view, last_good_s=now_s)
            if now_s - took_s >= self._closed_s:
                self._view = replace(self._view, closed_until_s=float("-inf"))

    def note_overdue(self, key: RequestKey, *, waited_s: float, now_s: float) -> None:
        """The deadline passed without an answer: all that is known is that it takes longer than `waited_s`."""
        with self._lock:
            if not any(sample.key == key for sample in self._samples):  # its answer may have come this moment
                self._samples.append(Sample(key, now_s, waited_s, answered=False))

    def note_failure(self, key: RequestKey, error: EngineError, *, took_s: float, now_s: float) -> None:
        """The request failed. Refusals close the cloud; errors are not slowness."""
        pause_s = _pause_after(error)
        with self._lock:
            self._forget(key)
            if pause_s is None:
                self._samples.append(Sample(key, now_s, took_s, answered=False, cause=error.cause))
            else:
                reason = _REASON_OF.get(error.cause, Reason.HTTP_ERROR)
                self._closed_s = now_s
                until_s = now_s + min(pause_s, LONGEST_PAUSE_S)
                self._view = replace(self._view, closed_until_s=until_s, closed_reason=reason)

    def _forget(self, key: RequestKey) -> None:
        for sample in [sample for sample in self._samples if sample.key == key]:
            self._samples.remove(sample)

    def __repr__(self) -> str:
        return f"<Link {len(self._samples)} samples, typical {self.view().typical_s}>"


def _pause_after(error: EngineError) -> float | None:
    """How long the cloud stays closed after `error`; None when it is merely a bad sample."""
    if isinstance(error, EngineRefused):
        return REFUSED_PAUSE_S
    if isinstance(error, EngineUnavailable) and error.cause is Cause.RATE_LIMITED:
        return error.retry_after_s if error.retry_after_s is not None else RATE_LIMITED_PAUSE_S
    if isinstance(error, EngineUnavailable) and error.retry_after_s is not None:
        return error.retry_after_s
    return None
