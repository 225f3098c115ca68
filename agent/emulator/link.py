"""A TCP forwarder on loopback that behaves like a bad link. State is owned by the emulator's event loop.

    client  <->  [kernel buffer, 4 kB]  pace -> delay -> outage gate  <->  server     (and the same way back)

Each direction has one rate, shared first come, first served by all connections. Bytes are taken from a kernel buffer
only when the link has room for them, and that buffer is small, so the sender's own kernel sees its bytes acknowledged
at about the link's rate. In an outage nothing is taken and nothing delivered: what was sent is held, not lost, and
new connections are left to the kernel's backlog, where they hang. A new connection pays one round trip before its
first byte, as a TCP handshake would. Nothing runs on a timer while nothing is under way.
"""

import asyncio
import logging
import socket
import struct
from dataclasses import dataclass
from typing import Final

_BUFFER_BYTES: Final = 4096
"""SO_RCVBUF. Linux doubles it and advertises about half: 4 kB are acknowledged beyond what the link took (measured)."""
_SEGMENT_BYTES: Final = 1448
"""TCP_MAXSEG: the payload of an Ethernet frame. Loopback's own 64 kB would not fit the small buffer."""
_PIECE_S: Final = 0.02
"""How much link time one connection takes before it is the next one's turn."""
_LEAST_PIECE_BYTES: Final = 256
_MOST_PIECE_BYTES: Final = 65536
_BURST_S: Final = 0.01
"""Link time that may be made up for: the event loop wakes about a millisecond late."""
_QUEUED_PIECES: Final = 256
"""On their way at once in one direction of a connection; reading stops beyond it."""
_RST_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_ACCEPT_PAUSE_S: Final = 1.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shape:
    """What the link does to bytes, the same in both directions."""

    rate_bit_s: float | None = None
    """None: as fast as it goes."""
    rtt_s: float = 0.0
    """Half of it in each direction."""
    outage: bool = False
    drip_s: float | None = None
    """One byte per so many seconds, on every connection; the rate then does not matter."""


class _Pace:
    """When the bytes of one direction may pass: a queue that is served at the link's rate."""

    def __init__(self) -> None:
        self._free_s = 0.0
        self.passed_bytes = 0

    async def take_turn(self, size_bytes: int, rate_bit_s: float | None) -> None:
        """Return when the last of `size_bytes` has left, behind everything that came before."""
        self.passed_bytes += size_bytes
        if rate_bit_s is None:
            return
        now_s = asyncio.get_running_loop().time()
        self._free_s = max(self._free_s, now_s - _BURST_S) + size_bytes * 8 / rate_bit_s
        await asyncio.sleep(self._free_s - now_s)

    def reset(self) -> None:
        """Forget turns given out under another rate."""
        self._free_s = 0.0


class Link:
    """The forwarder: one listening port, one port behind it."""

    def __init__(self) -> None:
        self.shape = Shape()
        self.up, self.down = _Pace(), _Pace()
        self._no_outage = asyncio.Event()
        self._no_outage.set()
        self._connections: dict[int, _Connection] = {}
        self._carrying: set[asyncio.Task[None]] = set()
        self._accepted = 0

    async def open(self, host: str, port: int, behind: tuple[str, int]) -> int:
        """Listen on `host` and `port` (0: any free one), forward to `behind`, and return the port.

        Raises:
            OSError: the address cannot be had.
        """
        self._behind = behind
        self._listener = _listening(host, port)
        self._accepting = asyncio.get_running_loop().create_task(self._accept())
        return int(self._listener.getsockname()[1])

    def apply(self, shape: Shape) -> None:
        """From now on the link is like this."""
        self.shape = shape
        self.up.reset()
        self.down.reset()
        if shape.outage:
            self._no_outage.clear()
        else:
            self._no_outage.set()

    def state(self) -> dict[str, object]:
        """The shape, the connections, and the bytes that went each way."""
        rate = self.shape.rate_bit_s
        return {
            "rate_mbit_s": None if rate is None else rate / 1e6,
            "rtt_ms": self.shape.rtt_s * 1000,
            "outage": self.shape.outage,
            "drip_s": self.shape.drip_s,
            "connections": len(self._connections),
            "connections_accepted": self._accepted,
            "bytes_up": self.up.passed_bytes,
            "bytes_down": self.down.passed_bytes,
        }

    def carries(self, peer_port: int) -> bool:
        """Whether the server sees one of the link's connections at this port."""
        return peer_port in self._connections

    def drip(self, peer_port: int, interval_s: float) -> None:
        """See faults.Wire."""
        if (connection := self._connections.get(peer_port)) is not None:
            connection.drip_s = interval_s

    def reset_at_end(self, peer_port: int) -> None:
        """See faults.Wire."""
        if (connection := self._connections.get(peer_port)) is not None:
            connection.reset_at_end = True

    def reset_all(self) -> None:
        """End every connection now with a TCP reset, what is on its way included."""
        for task in self._carrying:
            task.cancel()

    async def close(self) -> None:
        """Stop listening, and reset what is connected."""
        self._accepting.cancel()
        self.reset_all()
        await asyncio.gather(self._accepting, *self._carrying, return_exceptions=True)
        self._listener.close()

    async def passable(self) -> None:
        """Return when there is no outage."""
        await self._no_outage.wait()

    async def _accept(self) -> None:
        while True:
            await self.passable()
            await _readable(self._listener)
            await self.passable()
            try:
                client, _ = self._listener.accept()
            except BlockingIOError:
                continue
            except OSError as error:
                _log.warning("the link cannot take another connection: %s", error.strerror)
                await asyncio.sleep(_ACCEPT_PAUSE_S)
                continue
            self._accepted += 1
            task = asyncio.get_running_loop().create_task(self._carry(client))
            self._carrying.add(task)
            task.add_done_callback(self._carrying.discard)

    async def _carry(self, client: socket.socket) -> None:
        """One connection from its first byte to its last. When one side breaks off, the other sees a reset too."""
        server = _small(socket.socket())
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        in_order = False
        try:
            await self._forward(client, server)
            in_order = True
        except OSError as error:
            _log.debug("a connection broke off: %s", error)
        finally:
            for end in (client, server):
                if not in_order:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
                end.close()

    async def _forward(self, client: socket.socket, server: socket.socket) -> None:
        await asyncio.get_running_loop().sock_connect(server, self._behind)
        peer_port = int(server.getsockname()[1])
        connection = self._connections[peer_port] = _Connection(self, client, server)
        try:
            await connection.run()
        finally:
            del self._connections[peer_port]


class _Connection:
    """Both directions of one client's connection."""

    def __init__(self, link: Link, client: socket.socket, server: socket.socket) -> None:
        self.drip_s: float | None = None
        self.reset_at_end = False
        self._link = link
        self._client = client
        self._server = server

    async def run(self) -> None:
        """Forward until both sides have said goodbye. Raises OSError when either broke off."""
        await asyncio.sleep(self._link.shape.rtt_s)
        up: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUED_PIECES)
        down: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUED_PIECES)
        parts = (
            self._take(self._client, up, self._link.up),
            self._deliver(up, self._server),
            self._take(self._server, down, self._link.down),
            self._deliver(down, self._client),
        )
        tasks = [asyncio.get_running_loop().create_task(part) for part in parts]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, end: socket.socket, queue: asyncio.Queue[tuple[float, bytes]], pace: _Pace) -> None:
        """Take bytes from `end` as fast as the link allows, up to and with its end of file."""
        loop = asyncio.get_running_loop()
        while True:
            await _readable(end)
            await self._link.passable()
            try:
                data = end.recv(_piece_bytes(self._link.shape.rate_bit_s))
            except BlockingIOError:
                continue
            for part in self._parts(end, data):
                await self._turn(end, part, pace)
                await queue.put((loop.time() + self._link.shape.rtt_s / 2, part))
            if not data:
                return

    def _drip_s_from(self, end: socket.socket) -> float | None:
        own = self.drip_s if end is self._server else None
        return own or self._link.shape.drip_s

    def _parts(self, end: socket.socket, data: bytes) -> list[bytes]:
        if not data or not self._drip_s_from(end):
            return [data]
        return [data[at : at + 1] for at in range(len(data))]

    async def _turn(self, end: socket.socket, part: bytes, pace: _Pace) -> None:
        drip_s = self._drip_s_from(end)
        if drip_s is not None and part:
            await asyncio.sleep(drip_s)
        await pace.take_turn(len(part), None if drip_s else self._link.shape.rate_bit_s)

    async def _deliver(self, queue: asyncio.Queue[tuple[float, bytes]], end: socket.socket) -> None:
        """Hand `queue` over to `end`, each piece when it is due, and the end of file last."""
        loop = asyncio.get_running_loop()
        data = b" "
        while data:
            due_s, data = await queue.get()
            await asyncio.sleep(due_s - loop.time())
            await self._link.passable()
            await loop.sock_sendall(end, data)
        if self.reset_at_end and end is self._client:
            raise ConnectionResetError("as the fault asked")
        end.shutdown(socket.SHUT_WR)


def _piece_bytes(rate_bit_s: float | None) -> int:
    if rate_bit_s is None:
        return _MOST_PIECE_BYTES
    return min(max(int(rate_bit_s / 8 * _PIECE_S), _LEAST_PIECE_BYTES), _MOST_PIECE_BYTES)


def _small(end: socket.socket) -> socket.socket:
    """`end` with a small receive buffer: to be set before it listens or connects, when the window is agreed upon."""
    end.setblocking(False)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT_BYTES)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return end


def _listening(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = _small(socket.socket(family, kind, protocol))
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


async def _readable(end: socket.socket) -> None:
    """Return when `end` has bytes, an end of file, an error or a connection; takes nothing from it."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not future.done():
            future.set_result(None)

    loop.add_reader(end, wake)
    try:
        await future
    finally:
        loop.remove_reader(end)
