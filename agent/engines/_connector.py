"""Ways to a host: where it was last reached, and connections dialled ahead of their request. State: under one lock.

A name is not looked up while its addresses serve, for nothing but the system's resolver limits a look-up; the line
`options timeout:1 attempts:2` in resolv.conf, or RES_OPTIONS in the environment, makes that short. After a stall no
connection is trusted that is older than it.
"""

import socket
import ssl
import threading
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from agent.clock import Clock
from agent.engines import _tcp_info
from agent.engines._connections import Connection, connected
from agent.engines._exchange import Exchange

KEEP_S: Final = 60.0
"""How long a connection may lie idle. Routers were found to forget idle ones after minutes (Wang et al., SIGCOMM 2011:
cellular networks; Haetoenen et al., IMC 2010: homes), so this leaves room; a new one costs two round trips or three."""
_LOOK_AGAIN_S: Final = 60.0
"""Between look-ups of a name whose addresses do not answer."""
_Ready: TypeAlias = tuple[tuple[str, int], Connection]
"""A dialled connection, and where to."""


@dataclass(frozen=True, slots=True)
class _Known:
    """Where a host was last found."""

    addresses: tuple[Any, ...]
    """As getaddrinfo gives them; the one that answered last is the first."""
    asked_s: float
    """When the resolver was last asked."""


class Connector:
    """Opens connections to hosts. Several threads; a lock guards what it remembers."""

    def __init__(self, clock: Clock, context: ssl.SSLContext) -> None:
        self._clock = clock
        self._context = context
        self._lock = threading.Lock()
        self._known: dict[tuple[str, int], _Known] = {}
        self._ready: _Ready | None = None
        self._distrusted_s = float("-inf")
        self._path = _tcp_info.Path()

    def dial(self, place: tuple[str, int], exchange: Exchange, *, secure: bool, limit_s: float) -> int:
        """Open a connection to `place` (host, port) for the next request; what it cost in bytes.

        Raises:
            OSError: there is none, or not in time.
            UnicodeError: no host can have this name.
        """
        self.distrust()  # who dials has reason to; and the next request is to take this one
        connection = self._open(place, exchange, limit_s)
        if secure:
            try:
                connection.start_tls(self._context, place[0], exchange.left_s(limit_s))
            finally:
                exchange.metered_bytes = connection.carried_bytes()
        connection.billed_bytes = connection.carried_bytes()
        before = self._swap((place, connection))
        if before is not None:
            before[1].close()
        return connection.billed_bytes

    def connect(self, place: tuple[str, int], exchange: Exchange, *, limit_s: float) -> Connection:
        """A connection to `place` (host, port) that nobody uses: dialled before, or new. Raises as `dial` does."""
        ready = self._swap(None)
        if ready is not None:
            dialled_for, dialled = ready
            if dialled_for == place and self._is_fresh(dialled):
                dialled.kept = True
                return dialled
            dialled.close()
        return self._open(place, exchange, limit_s)

    def _is_fresh(self, dialled: Connection) -> bool:
        return self.trusts(dialled) and self._clock.now() - dialled.proven_s < KEEP_S and dialled.is_quiet()

    def _swap(self, ready: _Ready | None) -> _Ready | None:
        """Hold this one from now on; the one that was held."""
        with self._lock:
            before, self._ready = self._ready, ready
        return before

    def distrust(self) -> None:
        """What was open before now may lead nowhere: idle connections are not used again."""
        self._distrusted_s = self._clock.now()

    def trusts(self, connection: Connection) -> bool:
        """Whether it has worked since."""
        return connection.proven_s > self._distrusted_s

    def close(self) -> None:
        """Close what was dialled."""
        ready = self._swap(None)
        if ready is not None:
            ready[1].close()

    def _open(self, place: tuple[str, int], exchange: Exchange, limit_s: float) -> Connection:
        """Where it was last reached; if that fails, where the resolver says, but that is not asked all the time."""
        known = self._known.get(place)
        if known is None:
            return self._first(place, self._look_up(place), exchange, limit_s=limit_s)
        may_ask = self._clock.now() - known.asked_s >= _LOOK_AGAIN_S
        try:
            share_s = exchange.left_s(limit_s) / (2 if may_ask else 1)
            return self._first(place, known, exchange, limit_s=share_s)
        except OSError:
            if not may_ask:
                raise
        with self._lock:
            self._known[place] = replace(known, asked_s=self._clock.now())
        return self._first(place, self._look_up(place), exchange, limit_s=limit_s)

    def _look_up(self, place: tuple[str, int]) -> _Known:
        """Raises socket.gaierror, UnicodeError."""
        found = socket.getaddrinfo(*place, type=socket.SOCK_STREAM)
        return _Known(tuple(dict.fromkeys((entry[0], entry[4]) for entry in found)), self._clock.now())

    def _first(self, place: tuple[str, int], known: _Known, exchange: Exchange, *, limit_s: float) -> Connection:
        """The first that answers; one that is silent leaves time for the next. Raises OSError."""
        ends_s = self._clock.now() + exchange.left_s(limit_s)
        for n, address in enumerate(known.addresses):
            share_s = max(0.001, ends_s - self._clock.now()) / (len(known.addresses) - n)
            try:
                connection = Connection(connected(address, share_s), self._path, now_s=self._clock.now())
            except OSError:
                if n == len(known.addresses) - 1:
                    raise
            else:
                others = tuple(other for other in known.addresses if other != address)
                with self._lock:
                    self._known[place] = replace(known, addresses=(address, *others))
                return connection
        raise OSError(f"{place[0]} has no address")
