"""One request on its way: its deadline, its connection, and what its watch is told. State: the request's thread.

The thread that waits for the network is the one that measures: it waits in short slices while an upload is open, and
in one piece otherwise.
"""

from typing import Final

from agent.clock import Clock
from agent.engines import _tcp_info
from agent.engines._connections import Connection
from agent.errors import Cause, EngineUnavailable
from agent.flow import Reading
from agent.ports import Watch

SLICE_S: Final = 0.01
"""Between two readings: short against a round trip, and against the 40 ms and more of a delayed acknowledgement."""


class Exchange:
    """What is known of one request, from its begin until its answer is complete."""

    def __init__(
        self,
        clock: Clock,
        deadline_s: float,
        *,
        picture_bytes: int = 0,
        watch: Watch | None = None,
        spent_bytes: int = 0,
    ) -> None:
        """Nothing is under way yet. `spent_bytes`: what an attempt before this one cost."""
        self.reused = False
        """It went over a connection that was open before."""
        self.connect_s = 0.0
        self.metered_bytes = spent_bytes
        self.writes_head = False
        """What is written now is the head, which is held back to go out in one segment with the body's begin."""
        self.head = b""
        self.body_bytes = 0
        self.answered_s: float | None = None
        """When the answer's first byte was there."""
        self._spent_bytes = spent_bytes
        self._connection: Connection | None = None
        self._connecting_s = 0.0
        self._written = False
        self._clock = clock
        self._deadline_s = deadline_s
        self._picture_bytes = picture_bytes
        self._watch = watch
        self._begun_s: float | None = None
        self._progress: _tcp_info.Progress | None = None
        self._reading: Reading | None = None
        self._next_s = float("inf")

    @property
    def unfinished(self) -> bool:
        """Whether bytes of it are still to be acknowledged, or no connection came about; True also where none tell."""
        return self._reading is None or self._reading.unacked_bytes > 0

    @property
    def upload_s(self) -> float | None:
        """From the body's begin until the last byte was acknowledged."""
        done_s = None if self._progress is None else self._progress.done_s
        return None if done_s is None or self._begun_s is None else done_s - self._begun_s

    @property
    def server_s(self) -> float | None:
        """From the last acknowledgement until the answer began."""
        done_s = None if self._progress is None else self._progress.done_s
        return None if done_s is None or self.answered_s is None else max(0.0, self.answered_s - done_s)

    def left_s(self, limit_s: float | None = None) -> float:
        """Seconds that may yet be waited. Raises TimeoutError when the deadline has passed."""
        left_s = self._deadline_s - self._clock.now()
        if left_s <= 0:
            raise TimeoutError("the deadline has passed")
        return left_s if limit_s is None else min(left_s, limit_s)

    def slice_s(self) -> float:
        """Seconds to wait before `tick`. Raises TimeoutError when the deadline has passed."""
        return self.left_s(max(0.0, self._next_s - self._clock.now()))

    def note_event(self, name: str, _: object) -> None:
        """The HTTP client has come to an event of its `trace` extension."""
        if name == "connection.connect_tcp.started":
            self._connecting_s = self._clock.now()
        elif name in {"connection.connect_tcp.complete", "connection.start_tls.complete"}:
            self.connect_s = self._clock.now() - self._connecting_s
        elif name.startswith("http11.send_request_headers."):
            self.writes_head = True
        elif name == "http11.send_request_body.started":
            self.writes_head = False
        elif name == "http11.send_request_body.complete":
            self._written = True
        elif name == "http11.response_closed.started":
            self._finish()

    def carry(self, connection: Connection) -> None:
        """It goes over this connection."""
        if self._connection is None:
            self._connection, self.reused = connection, connection.kept

    def begin_body(self) -> None:
        """The first byte goes out next. Raises EngineUnavailable when the request is not wanted any more."""
        if self._begun_s is not None or self._watch is None or self._connection is None:
            return
        self._begun_s = self._clock.now()
        info = _tcp_info.read(self._connection.socket)
        if info is not None:
            size = _tcp_info.Size(len(self.head), self.body_bytes, self._picture_bytes)
            self._progress = _tcp_info.Progress(info, size, self._connection.path, now_s=self._begun_s)
        self._tell()

    def tick(self) -> None:
        """Read, if it is time. Raises EngineUnavailable when the request is not worth its connection any more."""
        if self._clock.now() >= self._next_s:
            self._tell()

    def note_answer(self) -> None:
        """Bytes of the answer are there."""
        if self.answered_s is None:
            self.answered_s = self._clock.now()
            self._read()

    def _finish(self) -> None:
        """The last reading, however it ended, while the connection is still its own."""
        connection = self._connection
        if connection is None:
            return
        if self._begun_s is not None:
            self._read()
        self.metered_bytes = self._metered(connection)
        connection.billed_bytes = connection.carried_bytes()
        connection.kept = True
        if self.answered_s is not None:
            connection.proven_s = self._clock.now()
        self._connection = self._watch = None

    def _tell(self) -> None:
        if not self._read():
            raise EngineUnavailable("the upload made no progress and was given up", Cause.TIMEOUT)

    def _read(self) -> bool:
        """Take a reading; whether the request is still wanted."""
        if self._watch is None or self._connection is None:
            return True
        now_s = self._clock.now()
        info = None if self._progress is None else _tcp_info.read(self._connection.socket)
        if self._progress is None or info is None:
            self._reading = self._unmeasured(now_s)
        else:
            spent_bytes = self._metered(self._connection)
            self._reading = self._progress.reading(info, now_s=now_s, written=self._written, metered_bytes=spent_bytes)
        open_still = self._progress is not None and self._reading.unacked_bytes > 0
        self._next_s = now_s + SLICE_S if open_still else float("inf")
        return self._watch(self._reading)

    def _unmeasured(self, now_s: float) -> Reading:
        """Where the system does not tell: nothing has arrived until there is an answer."""
        metered_bytes = 0 if self._connection is None else self._metered(self._connection)
        acked_bytes = 0 if self.answered_s is None else self._picture_bytes
        return Reading(now_s, acked_bytes, self._picture_bytes - acked_bytes, 0.0, metered_bytes)

    def _metered(self, connection: Connection) -> int:
        return self._spent_bytes + connection.carried_bytes() - connection.billed_bytes
