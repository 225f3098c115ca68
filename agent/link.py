"""What is known of the way to the cloud: uploads under way, and how recent ones went. No I/O.

Written by the cloud lane's threads and the emit threads, read by the admit thread as an immutable view; one lock.
Every request gives one triple: round trip, server time, seconds per byte. The rate counts all bytes acknowledged, of
every request, from one round trip after the request's body began until its last acknowledgement; formulas and constants
are those of docs/architecture.md, "Routing".
"""

import threading
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, replace
from typing import TypeAlias

from agent.errors import Cause, EngineError, EngineRefused, EngineUnavailable
from agent.evidence import Evidence, LinkView
from agent.flow import Reading, Reason

RequestKey: TypeAlias = tuple[str, int]
"""Camera and sequence number of the frame a request carries."""

STALL_MIN_S = 0.25
STALL_ROUND_TRIPS = 3.0
"""An upload without any acknowledgement for so long has stalled; shorter would misfire on delayed ones."""
LATE_STALL_MIN_S = 3.0
"""The same for one that is late already, which is better left to TCP's own first repetitions."""
CONNECT_ROUND_TRIPS = 6.0
CONNECT_MIN_S = 0.5
"""The same before the first byte: TCP and TLS take three round trips, or two."""
LONGEST_PAUSE_S = 600.0
"""However long a server asks to be left alone."""
REFUSED_PAUSE_S = 180.0
"""Wrong key or no credits: a person must act, so ask again only after minutes."""
PORTAL_PAUSE_S = 30.0
"""A captive portal gets no more pictures; somebody may sign in any moment."""
RATE_LIMITED_PAUSE_S, RATE_LIMITED_MIN_S = 5.0, 1.0
"""A 429 without Retry-After; and the least that one with it means."""
LEAST_RTT_S = 0.001
GUESSED_SERVER_S = 0.15
"""Before the first answer."""
_KEPT = 64
_REMEMBERED_ACKS_S = 30.0
_SEGMENT_BYTES = 1460.0
_RECENT = 16
_CENSORED_SHARE = 0.6
"""Of the time waited in vain: each half of it, and a fifth more that it will take at least."""
_LEAST_SPAN_S = 0.002
"""Acknowledged within this: too fast to tell how fast."""
_OVERDUE_SERVER_S = 0.05
"""A server that has not answered by the deadline will take at least this much longer."""

_REASON_OF = {
    Cause.AUTH: Reason.HTTP_AUTH,
    Cause.CREDITS: Reason.HTTP_AUTH,
    Cause.PAUSED: Reason.HTTP_AUTH,
    Cause.RATE_LIMITED: Reason.HTTP_RATE_LIMITED,
}
UNREACHED = (Cause.DNS, Cause.CONNECT, Cause.TLS, Cause.TLS_EXPIRED, Cause.TLS_HOST)
"""No connection came about: nothing but dialling can help."""


@dataclass(slots=True)
class _Upload:
    """One request until its answer."""

    size_bytes: int
    sent_s: float
    rtt_s: float
    progress_s: float
    unacked_bytes: int
    due_s: float
    """When its answer is late."""
    began_s: float | None = None
    acked_bytes: int = 0
    acked_s: float | None = None
    """When the last byte was acknowledged."""
    overdue: Evidence | None = None
    """What was written down for it at its deadline while the server was busy with it."""
    judged: bool = False
    """It is late, and that is written down."""
    dropped: bool = False

    def stalled(self, now_s: float, *, late: bool = False) -> bool:
        """Whether it makes no progress; `late`: so that there is no hope for it."""
        if self.began_s is None:
            limit_s = max(CONNECT_ROUND_TRIPS * self.rtt_s, CONNECT_MIN_S)
        else:
            limit_s = max(STALL_ROUND_TRIPS * self.rtt_s, STALL_MIN_S)
        if late:
            limit_s = max(limit_s, LATE_STALL_MIN_S)
        return self.acked_s is None and now_s - self.progress_s > limit_s


class Link:
    """Collects how every request fares. Any thread.

    `measures`: whether readings tell what was acknowledged. Where they cannot, the time from request to answer is split
    evenly between the server and the bytes, and neither a busy wire nor a stall is seen.
    """

    def __init__(self, now_s: float, *, measures: bool = True) -> None:
        self._lock = threading.Lock()
        self._measures = measures
        self._uploads: dict[RequestKey, _Upload] = {}
        self._evidence: deque[Evidence] = deque(maxlen=_KEPT)
        self._acked_bytes = 0
        self._acks: deque[tuple[float, int]] = deque([(now_s, 0)])
        self._closed_s = float("-inf")
        self._view = LinkView(now_s)

    def view(self, now_s: float) -> LinkView:
        """The present state, immutable."""
        with self._lock:
            self._judge(now_s)
            uploads = [upload for upload in self._uploads.values() if not upload.dropped]
            return replace(
                self._view,
                now_s=now_s,
                evidence=tuple(self._evidence),
                in_flight=len(uploads),
                unacked_bytes=sum(upload.unacked_bytes for upload in uploads),
                stalled=self._measures and any(upload.stalled(now_s) for upload in uploads),
            )

    def note_sent(self, key: RequestKey, *, size_bytes: int, now_s: float, due_s: float) -> None:
        """A request has begun; perhaps it must open a connection first. After `due_s` its answer is late."""
        with self._lock:
            unacked_bytes = size_bytes if self._measures else 0
            self._uploads[key] = _Upload(size_bytes, now_s, self._view.rtt_s, now_s, unacked_bytes, due_s)

    def note_size(self, key: RequestKey, size_bytes: int) -> None:
        """The picture is encoded: how large it really is."""
        with self._lock:
            upload = self._uploads.get(key)
            if upload is not None:
                upload.size_bytes = size_bytes
                upload.unacked_bytes = size_bytes if self._measures else 0

    def note_ended(self, key: RequestKey) -> None:
        """Nothing more will come of the request, if it was made at all."""
        with self._lock:
            self._uploads.pop(key, None)

    def note_reading(self, key: RequestKey, reading: Reading, *, now_s: float) -> bool:
        """An upload's progress. False when it was given up and its connection is to be closed."""
        with self._lock:
            self._judge(now_s)
            upload = self._uploads.get(key)
            if upload is None or upload.dropped:
                return False
            if upload.began_s is None:
                upload.began_s = upload.progress_s = reading.at_s
            upload.rtt_s = max(LEAST_RTT_S, reading.rtt_s)
            if reading.acked_bytes > upload.acked_bytes:
                self._note_acked(upload, reading)
            return True

    def _note_acked(self, upload: _Upload, reading: Reading) -> None:
        self._acked_bytes += reading.acked_bytes - upload.acked_bytes
        upload.acked_bytes, upload.unacked_bytes = reading.acked_bytes, reading.unacked_bytes
        upload.progress_s = reading.at_s
        if reading.unacked_bytes == 0 and upload.acked_s is None:
            upload.acked_s = reading.at_s
        self._acks.append((max(reading.at_s, self._acks[-1][0]), self._acked_bytes))
        while len(self._acks) > 1 and self._acks[1][0] < reading.at_s - _REMEMBERED_ACKS_S:
            self._acks.popleft()
        self._view = replace(self._view, rtt_s=upload.rtt_s, dead=False)

    def note_answer(self, key: RequestKey, *, now_s: float, on_time: bool, cold_start: bool = False) -> None:
        """The cloud answered. A cold start is no evidence; only a request sent after a refusal shows its end."""
        with self._lock:
            view = replace(self._view, answered_s=now_s, dead=False)
            upload = self._uploads.pop(key, None)
            if upload is not None and not upload.dropped:
                self._learn(upload, None if cold_start else self._measured(upload, now_s))
                if upload.sent_s >= self._closed_s:
                    view = replace(view, closed_until_s=float("-inf"), refused=False)
            self._view = replace(view, on_time_s=now_s) if on_time else view

    def _judge(self, now_s: float) -> None:
        """Requests that are late without an answer: their parts are known to take that long at least.

        One whose upload has stalled is given up, and the link is dead until a new connection comes about.
        """
        for upload in self._uploads.values():
            if upload.dropped or now_s < upload.due_s:
                continue
            hopeless = upload.stalled(now_s, late=upload.judged)
            if not upload.judged:
                upload.judged = True
                self._write_late(upload)
            if self._measures and hopeless:
                upload.dropped = True
                self._view = replace(self._view, dead=True, dead_cause=None)

    def _write_late(self, upload: _Upload) -> None:
        due_s = upload.due_s
        if upload.acked_s is None or upload.acked_s > due_s:
            self._evidence.append(self._censored(upload, due_s))
        else:
            upload.overdue = replace(self._measured(upload, due_s + _OVERDUE_SERVER_S), at_s=due_s)
            self._evidence.append(upload.overdue)

    def note_failure(self, key: RequestKey, error: EngineError, *, now_s: float) -> None:
        """The request failed. Refusals close the cloud; errors are not slowness."""
        with self._lock:
            upload = self._uploads.pop(key, None)
            if self._closes(error, now_s):
                self._learn(upload, None)
            elif error.cause in UNREACHED:
                self._view = replace(self._view, dead=True, dead_cause=error.cause)
            elif upload is not None and not upload.dropped and not upload.judged:
                failed = Evidence(now_s, upload.rtt_s, float("inf"), self._usual("s_per_byte", 0.0), error.cause)
                self._evidence.append(failed)

    def note_dialled(self, now_s: float) -> None:
        """A new connection came about. A link that is back from the dead is a new link.

        The old evidence is void, and what was under way on old connections is not waited for.
        """
        with self._lock:
            if self._view.dead:
                self._evidence.clear()
                for upload in self._uploads.values():
                    upload.dropped = True
            self._view = replace(self._view, dead=False, dialled_s=now_s)

    def note_welcome(self, now_s: float) -> None:
        """Asked without a picture, the cloud no longer says no."""
        with self._lock:
            never_s = float("-inf")
            self._view = replace(self._view, dead=False, dialled_s=now_s, closed_until_s=never_s, refused=False)

    def note_unwelcome(self, error: EngineError, now_s: float) -> None:
        """A dial or a knock failed. A cloud that had refused is left alone for a while all the same."""
        with self._lock:
            if self._closes(error, now_s):
                return
            if error.cause in UNREACHED:
                self._view = replace(self._view, dead=True, dead_cause=error.cause)
            if self._view.refused:
                self._view = replace(self._view, closed_until_s=now_s + PORTAL_PAUSE_S)

    def _closes(self, error: EngineError, now_s: float) -> bool:
        """Close the cloud if `error` is of the kind that comes again."""
        pause_s = _pause_after(error)
        if pause_s is None:
            return False
        self._closed_s = now_s
        self._view = replace(
            self._view,
            closed_until_s=now_s + min(pause_s, LONGEST_PAUSE_S),
            closed_reason=_REASON_OF.get(error.cause, Reason.HTTP_ERROR),
            refused=isinstance(error, EngineRefused) or error.cause is Cause.CAPTIVE_PORTAL,
        )
        return True

    def _learn(self, upload: _Upload | None, found: Evidence | None) -> None:
        """Write `found` down, in the place of what was written at the upload's deadline; None takes that out."""
        before = None if upload is None else upload.overdue
        place = next((n for n, item in enumerate(self._evidence) if item is before), None)
        if place is None:
            if found is not None:
                self._evidence.append(found)
        elif found is None:
            del self._evidence[place]
        else:
            self._evidence[place] = replace(found, at_s=self._evidence[place].at_s)

    def _measured(self, upload: _Upload, now_s: float) -> Evidence:
        """What a request was like that has been answered now, or will not be before."""
        if not self._measures:
            half_s = (now_s - upload.sent_s) / 2
            return Evidence(now_s, 0.0, half_s, half_s / upload.size_bytes)
        acked_s = now_s if upload.acked_s is None else upload.acked_s
        return Evidence(now_s, upload.rtt_s, max(0.0, now_s - acked_s), self._s_per_byte(upload, acked_s))

    def _censored(self, upload: _Upload, now_s: float) -> Evidence:
        """What is known of a request whose upload is not over at its deadline."""
        if not self._measures:
            half_s = _CENSORED_SHARE * (now_s - upload.sent_s)
            return Evidence(now_s, 0.0, half_s, half_s / upload.size_bytes)
        recent = [item.server_s for item in list(self._evidence)[-_RECENT:] if item.cause is None]
        server_s = sorted(recent)[len(recent) // 2] if recent else GUESSED_SERVER_S
        return Evidence(now_s, upload.rtt_s, server_s, self._s_per_byte(upload, now_s))

    def _s_per_byte(self, upload: _Upload, end_s: float) -> float:
        """Seconds per byte over all bytes acknowledged from one round trip after the body began until `end_s`."""
        begin_s = (upload.sent_s if upload.began_s is None else upload.began_s) + upload.rtt_s
        if end_s - begin_s < _LEAST_SPAN_S:
            return _LEAST_SPAN_S / upload.size_bytes
        return (end_s - begin_s) / max(float(self._acked_at(end_s) - self._acked_at(begin_s)), _SEGMENT_BYTES)

    def _acked_at(self, at_s: float) -> int:
        place = bisect_right(self._acks, (at_s, float("inf")))
        return self._acks[place - 1][1] if place else self._acks[0][1]

    def _usual(self, field: str, otherwise: float) -> float:
        values = sorted(getattr(item, field) for item in self._evidence)
        return float(values[len(values) // 2]) if values else otherwise

    def __repr__(self) -> str:
        return f"<Link {len(self._evidence)} requests remembered, {len(self._uploads)} under way>"


def _pause_after(error: EngineError) -> float | None:
    """How long the cloud stays closed after `error`; None when it is merely a bad sample."""
    if isinstance(error, EngineRefused):
        return REFUSED_PAUSE_S
    if error.cause is Cause.CAPTIVE_PORTAL:
        return PORTAL_PAUSE_S
    retry_after_s = error.retry_after_s if isinstance(error, EngineUnavailable) else None
    if error.cause is Cause.RATE_LIMITED:
        return RATE_LIMITED_PAUSE_S if retry_after_s is None else max(RATE_LIMITED_MIN_S, retry_after_s)
    return retry_after_s
