"""What the kernel tells of a connection (TCP_INFO), and how an upload stands by that. State: one request's thread.

An HTTP client believes its bytes gone as soon as the kernel has them; over a slow link that is seconds too early. The
kernel knows what the other side has acknowledged.
"""

import socket
import struct
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from agent.flow import Reading

_ASKED_BYTES: Final = 256
_LEAST_BYTES: Final = 152
"""Up to and with tcpi_min_rtt: Linux 4.6. What is shorter cannot tell enough."""
_WITH_SENT_BYTES: Final = 216
"""Up to and with tcpi_bytes_retrans: Linux 4.19."""
_NO_MINIMUM: Final = 0xFFFFFFFF
"""tcpi_min_rtt before the first measurement."""
_HEADERS_IPV4_BYTES, _HEADERS_IPV6_BYTES = 52, 72
"""IP 20 or 40, TCP 20, and the 12 of its time stamps."""
_SLOPE: Final = 2
"""As many points make one."""
_LEAST_HOLDS_S: Final = 300.0
"""As the kernel's does (tcp_min_rtt_wlen)."""
_REMEMBERED_S: Final = 5.0
"""How long a round trip bounds later ones: a path that got longer is believed after this."""


@dataclass(frozen=True, slots=True)
class TcpInfo:
    """A connection at one moment, since it was opened."""

    rtt_s: float
    """Smoothed; our own queue is part of it."""
    min_rtt_s: float
    """The least of the last 300 s: what the path had at its best."""
    ack_age_s: float
    """Since the newest acknowledgement, in steps of the kernel's tick (1 to 10 ms)."""
    segment_bytes: int
    """The most that one packet takes of our bytes."""
    acked_bytes: int
    """Of them, how many have arrived."""
    sent_bytes: int
    """Of them, how many were sent, each counted once; acked_bytes where the kernel does not tell."""
    idle: bool
    """Nothing is on the way, and nothing waits to be sent."""
    carried_bytes: int
    """Both ways, with retransmissions and an estimate of the packets' headers."""


def measures() -> bool:
    """Whether this system tells what was acknowledged."""
    try:
        with socket.socket() as trial:
            return read(trial) is not None
    except OSError:
        return False


def read(connection: socket.socket) -> TcpInfo | None:
    """The connection now; None where the system does not tell, or the connection is closed."""
    option = getattr(socket, "TCP_INFO", None)
    if option is None:
        return None
    try:
        raw = connection.getsockopt(socket.IPPROTO_TCP, option, _ASKED_BYTES)
    except OSError:
        return None
    header_bytes = _HEADERS_IPV6_BYTES if connection.family == socket.AF_INET6 else _HEADERS_IPV4_BYTES
    return decode(raw, header_bytes=header_bytes)


def decode(raw: bytes, *, header_bytes: int = _HEADERS_IPV4_BYTES) -> TcpInfo | None:
    """`struct tcp_info` as far as the kernel has it (linux/tcp.h); None when it is too old."""
    if len(raw) < _LEAST_BYTES:
        return None
    (segment_bytes,) = struct.unpack_from("=I", raw, 16)
    (unacked,) = struct.unpack_from("=I", raw, 24)
    (ack_age_ms,) = struct.unpack_from("=I", raw, 56)
    (rtt_us,) = struct.unpack_from("=I", raw, 68)
    acked, received, segments_out, segments_in, unsent, min_rtt_us = struct.unpack_from("=QQIIII", raw, 120)
    sent, again = struct.unpack_from("=QQ", raw, 200) if len(raw) >= _WITH_SENT_BYTES else (acked, 0)
    return TcpInfo(
        rtt_s=rtt_us / 1e6,
        min_rtt_s=(rtt_us if min_rtt_us == _NO_MINIMUM else min_rtt_us) / 1e6,
        ack_age_s=ack_age_ms / 1e3,
        segment_bytes=segment_bytes,
        acked_bytes=acked,
        sent_bytes=sent - again,
        idle=unacked == 0 and unsent == 0,
        carried_bytes=sent + received + header_bytes * (segments_out + segments_in),
    )


@dataclass(frozen=True, slots=True)
class Size:
    """Of what a request sends."""

    head_bytes: int
    """What goes before the body."""
    body_bytes: int
    """The picture and its framing."""
    picture_bytes: int


class Path:
    """The round trips that uploads and connections found. Several threads; a lock.

    An upload that begins behind another one's bytes finds too long a round trip, so the path's is the lower quartile.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: deque[tuple[float, float]] = deque(maxlen=64)
        """When an upload ended, and the round trip it found."""
        self._least_s = self._least_at_s = float("inf")

    def floor_s(self, min_rtt_s: float, now_s: float) -> float:
        """The least that any connection has seen. One that was opened behind an upload's bytes has seen it too long."""
        with self._lock:
            if min_rtt_s <= self._least_s or now_s - self._least_at_s > _LEAST_HOLDS_S:
                self._least_s, self._least_at_s = min_rtt_s, now_s
            return self._least_s

    def note(self, rtt_s: float, now_s: float) -> None:
        """An upload has ended."""
        with self._lock:
            self._found.append((now_s, rtt_s))

    def rtt_s(self, now_s: float) -> float:
        """Infinite when there was no upload of late."""
        with self._lock:
            of_late = sorted(rtt_s for at_s, rtt_s in self._found if now_s - at_s < _REMEMBERED_S)
        return of_late[len(of_late) // 4] if of_late else float("inf")


class Progress:
    """One upload. The round trip is found without the time that its own bytes take.

    Byte n of a request is acknowledged at begin + round trip + n * seconds per byte, or later where the other side
    delays its acknowledgement. So the least of (time - n * seconds per byte) is the round trip. The kernel's own values
    bound it: the least of minutes, which misses a path that got longer, and the smoothed one, which the queue inflates.
    """

    def __init__(self, info: TcpInfo, size: Size, path: Path, *, now_s: float) -> None:
        """The request begins now, monotonic. `info`: its connection, before the first byte."""
        self.begun_s = now_s
        self.done_s: float | None = None
        """When the last byte was acknowledged."""
        self._size = size
        self._path = path
        self._base_bytes = info.acked_bytes
        self._sent_before_bytes = info.sent_bytes
        self._flight_bytes = 0
        """What was sent before anything was acknowledged: no acknowledgement was waited for to send it."""
        self._read_s = now_s
        self._points: list[tuple[float, int]] = []
        """When, since the begin, how many bytes of the request had been acknowledged."""

    def reading(self, info: TcpInfo, *, now_s: float, written: bool, metered_bytes: int) -> Reading:
        """How the upload stands.

        Args:
            info: its connection now.
            now_s: monotonic.
            written: the kernel has all of it.
            metered_bytes: what the request cost so far.
        """
        acked_bytes = info.acked_bytes - self._base_bytes
        if acked_bytes <= 0:
            self._flight_bytes = info.sent_bytes - self._sent_before_bytes
        elif not self._points or acked_bytes > self._points[-1][1]:
            acked_s = max(self._read_s, now_s - info.ack_age_s) - self.begun_s
            self._points.append((acked_s, acked_bytes))
        self._read_s = now_s
        found_s = self._found_s(info, now_s)
        whole_bytes = self._size.head_bytes + self._size.body_bytes  # a connection that was reset is idle with less
        if written and info.idle and self.done_s is None and acked_bytes >= whole_bytes:
            self.done_s = self.begun_s + self._arrival_s(info)
            self._path.note(found_s, now_s)
        picture_bytes = self._size.picture_bytes
        of_picture = self._of_picture(acked_bytes) if self.done_s is None else picture_bytes
        return Reading(
            at_s=self._newest_s(now_s),
            acked_bytes=of_picture,
            unacked_bytes=picture_bytes - of_picture,
            rtt_s=min(found_s, self._path.rtt_s(now_s)),
            metered_bytes=metered_bytes,
        )

    def _newest_s(self, now_s: float) -> float:
        if self.done_s is not None:
            return self.done_s
        return self.begun_s + self._points[-1][0] if self._points else now_s

    def _of_picture(self, acked_bytes: int) -> int:
        """The picture's share of what was acknowledged; TLS adds a little to what is counted, so never all of it."""
        of_body = max(0, acked_bytes - self._size.head_bytes)
        return min(of_body * self._size.picture_bytes // self._size.body_bytes, self._size.picture_bytes - 1)

    def _found_s(self, info: TcpInfo, now_s: float) -> float:
        """The round trip as far as this upload shows it."""
        points = self._first_flight()
        if not points:
            return info.rtt_s
        s_per_byte = _slope(points)
        found_s = min(at_s - acked_bytes * s_per_byte for at_s, acked_bytes in points)
        return min(max(found_s, self._path.floor_s(info.min_rtt_s, now_s)), info.rtt_s)

    def _first_flight(self) -> list[tuple[float, int]]:
        """The points that show the link's rate; of three and more not the newest, whose bytes may be a last segment."""
        points = [point for point in self._points if point[1] <= self._flight_bytes] or self._points
        return points[:-1] if len(points) > _SLOPE else points

    def _arrival_s(self, info: TcpInfo) -> float:
        """When the last bytes had arrived, and word of it was back, since the begin.

        A single last segment is often acknowledged late, by a timer of 40 ms and more or together with the answer. That
        is no property of the link: it arrived as those before it did.
        """
        *before, (last_s, last_bytes) = self._points
        if len(before) < _SLOPE or last_bytes - before[-1][1] > info.segment_bytes:
            return last_s
        before_s, before_bytes = before[-1]
        return min(last_s, before_s + (last_bytes - before_bytes) * _slope(before))


def _slope(points: Sequence[tuple[float, int]]) -> float:
    """Seconds per byte from the first to the last; 0 where there is only one."""
    (first_s, first_bytes), (last_s, last_bytes) = points[0], points[-1]
    return (last_s - first_s) / max(1, last_bytes - first_bytes)
