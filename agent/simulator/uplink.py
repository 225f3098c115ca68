"""The way to the cloud: connections, one queue that all uploads share, acknowledgements, outages. One thread.

A new connection costs two round trips (TCP and TLS) and starts slowly, as does one that was idle for a second. What is
sent waits in one first-in-first-out queue, as in a modem, and is acknowledged one round trip after it left. An outage
loses what is queued; TCP tries again after its time-out, doubled each time, while a new connection begins afresh.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from agent.flow import Rung
from agent.simulator.agenda import Agenda
from agent.simulator.conditions import Conditions

DIAL_BYTES = 2700
"""Both ways, TCP and TLS; most of it are the server's certificates."""
SYN_BYTES = 60
"""What a dial costs that nobody answers."""
_SEGMENT_BYTES = 8192
_FIRST_WINDOW_BYTES = 14_600
"""TCP's initial window: ten segments of 1460 bytes."""
_HANDSHAKE_BYTES = 400
DIAL_SENT_BYTES = 800
"""What of a dial goes up, as pictures do; the rest comes down."""
_IDLE_S = 1.0
_KEPT_S = 60.0
"""As KEEP_S of agent/engines/_connector.py, which a simulation does not import."""
_SYN_RTO_S = 1.0
_RTO_S = 0.3
_LOST_RTO_S = 0.6
"""The second time-out, after data was lost."""


@dataclass(eq=False, slots=True)
class Upload:
    """One request until its answer."""

    seq: int
    """Of the frame it carries."""
    rung: Rung
    sent_s: float
    probe: bool
    unsent_bytes: int = 0
    """Not handed to the queue yet."""
    queued: deque[int] = field(default_factory=deque)
    carried_bytes: int = 0
    """Arrived at the server."""
    acked_bytes: int = 0
    metered_bytes: int = 0
    """With all that was sent again."""
    began_s: float | None = None
    progress_s: float = 0.0
    """When it was last acknowledged, or sent."""
    acked_s: float | None = None
    answered_s: float | None = None
    cold_start: bool = False
    """It waited for the model to be loaded."""
    cancelled: bool = False

    @property
    def size_bytes(self) -> int:
        """Of the picture."""
        return self.rung.size_bytes

    @property
    def unacked_bytes(self) -> int:
        """Not acknowledged yet."""
        return self.rung.size_bytes - self.acked_bytes

    @property
    def open(self) -> bool:
        """Neither answered nor cancelled."""
        return self.answered_s is None and not self.cancelled


class Client(Protocol):
    """Who is told how an upload fares."""

    def on_begun(self, upload: Upload) -> None:
        """Its connection is there, and its body begins."""

    def on_acked(self, upload: Upload) -> None:
        """More of it was acknowledged."""

    def on_carried(self, upload: Upload) -> None:
        """All of it has left the queue."""

    def on_dialled(self) -> None:
        """A connection came about without a request."""


class Uplink:
    """Every connection's bytes, in one queue."""

    def __init__(self, conditions: Conditions, agenda: Agenda, client: Client) -> None:
        self._conditions = conditions
        self._agenda = agenda
        self._client = client
        self._waiting: deque[Upload] = deque()
        """Uploads with something in the queue, the first to be served first."""
        self._serving: tuple[Upload, int] | None = None
        self._round = 0
        """Counts what was begun, so that the end of what an outage interrupted is known as such."""
        self._idle_since_s: list[float] = []
        """One for each connection that is kept open."""
        for begin_s, _ in conditions.scenario.outages:
            agenda.at(begin_s, self._lose)

    def send(self, upload: Upload) -> None:
        """Begin a request, over a kept connection if there is one."""
        now_s = self._agenda.now_s
        upload.unsent_bytes = upload.size_bytes
        upload.progress_s = now_s
        self._idle_since_s = [since_s for since_s in self._idle_since_s if now_s - since_s < _KEPT_S]
        if self._idle_since_s:
            slow = now_s - self._idle_since_s.pop() > _IDLE_S
            self._agenda.at(now_s, self._offer, upload, 0 if slow else None)
        else:
            self._agenda.at(self._connected_s(_SYN_RTO_S, _HANDSHAKE_BYTES), self._offer, upload, 0)

    def _connected_s(self, syn_rto_s: float, size_bytes: int) -> float:
        """When a connection begun now is there: TCP and TLS 1.3 take two round trips."""
        conditions = self._conditions
        through_s = conditions.resumed(self._agenda.now_s, syn_rto_s)
        through_s = conditions.when_carried(conditions.carried(through_s) + size_bytes)
        return through_s + 2 * conditions.rtt_s(self._agenda.now_s)

    def dial(self) -> int:
        """Try to open a connection, and keep it; the bytes that it takes. In an outage nothing comes of it."""
        if self._conditions.outage(self._agenda.now_s) is not None:
            return SYN_BYTES
        self._agenda.at(self._connected_s(_SYN_RTO_S, DIAL_SENT_BYTES), self._keep_dialled)
        return DIAL_BYTES

    def _keep_dialled(self) -> None:
        if self._conditions.outage(self._agenda.now_s) is None:
            self.keep()
            self._client.on_dialled()

    def keep(self) -> None:
        """A connection has nothing to do."""
        self._idle_since_s.append(self._agenda.now_s)

    def cancel(self, upload: Upload) -> None:
        """Close an upload's connection; what is on its way already is wasted."""
        upload.cancelled = True
        upload.queued.clear()
        upload.unsent_bytes = 0
        if upload in self._waiting and (self._serving is None or self._serving[0] is not upload):
            self._waiting.remove(upload)

    def _offer(self, upload: Upload, window: int | None) -> None:
        """Hand over as much as TCP allows: the window-th of a slow start, or all that is left."""
        if upload.cancelled or upload.answered_s is not None:
            return
        now_s, conditions = self._agenda.now_s, self._conditions
        if conditions.outage(now_s) is not None:
            self._agenda.at(conditions.resumed(now_s, _RTO_S), self._offer, upload, window)
            return
        if upload.began_s is None:
            upload.began_s = now_s
            self._client.on_begun(upload)
        allowed = upload.unsent_bytes if window is None else min(upload.unsent_bytes, _FIRST_WINDOW_BYTES << window)
        if allowed > 0:
            self._queue(upload, allowed)
        if upload.unsent_bytes > 0 and window is not None:
            self._agenda.at(now_s + conditions.rtt_s(now_s), self._offer, upload, window + 1)

    def _queue(self, upload: Upload, size_bytes: int) -> None:
        upload.unsent_bytes -= size_bytes
        upload.metered_bytes += size_bytes
        whole, rest = divmod(size_bytes, _SEGMENT_BYTES)
        upload.queued.extend([_SEGMENT_BYTES] * whole)
        if rest:
            upload.queued.append(rest)
        if upload not in self._waiting:
            self._waiting.append(upload)
        if self._serving is None:
            self._serve()

    def _serve(self) -> None:
        """Carry the next segment."""
        if not self._waiting:
            return
        upload, conditions = self._waiting[0], self._conditions
        size_bytes = upload.queued[0]
        self._serving = (upload, size_bytes)
        self._round += 1
        done_s = conditions.when_carried(conditions.carried(self._agenda.now_s) + size_bytes)
        self._agenda.at(done_s, self._served, self._round)

    def _served(self, begun: int) -> None:
        if begun != self._round or self._serving is None:
            return  # an outage came between
        upload, size_bytes = self._serving
        self._serving = None
        if upload.queued:
            upload.queued.popleft()
        if not upload.queued:
            self._waiting.popleft()
        if not upload.cancelled:
            upload.carried_bytes += size_bytes
            now_s = self._agenda.now_s
            self._agenda.at(now_s + self._conditions.rtt_s(now_s), self._acknowledge, upload, size_bytes)
            if upload.carried_bytes >= upload.size_bytes:
                self._client.on_carried(upload)
        self._serve()

    def _acknowledge(self, upload: Upload, size_bytes: int) -> None:
        now_s = self._agenda.now_s
        if self._conditions.outage(now_s) is not None:
            self._agenda.at(self._conditions.resumed(now_s, _RTO_S), self._acknowledge, upload, size_bytes)
            return
        if upload.cancelled or upload.answered_s is not None:
            return
        upload.acked_bytes += size_bytes
        upload.progress_s = now_s
        if upload.unacked_bytes <= 0:
            upload.acked_s = now_s
        self._client.on_acked(upload)

    def _lose(self) -> None:
        """An outage begins: what is queued is lost, and offered again when a retransmission gets through."""
        self._serving = None
        self._round += 1
        again_s = self._conditions.resumed(self._agenda.now_s + _RTO_S, _LOST_RTO_S)
        for upload in self._waiting:
            if upload.open:
                upload.unsent_bytes += sum(upload.queued)
                upload.queued.clear()
                self._agenda.at(again_s, self._offer, upload, 0)
        self._waiting.clear()
