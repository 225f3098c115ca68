"""A door between the agent and a real broker: open, refusing, silent (half-open) or deaf (answers are swallowed).

One thread accepts, two pump for each connection, and who made a socket closes it. What was swallowed once stays
swallowed: a stream with a hole in it is none any more.
"""

import contextlib
import select
import socket
import threading
import time

_TICK_S = 0.02
_BLOCK_BYTES = 65536


class Gate:
    """Counts who knocks; refused ones cannot be counted here, since nobody listens then."""

    def __init__(self, broker_port: int) -> None:
        self.mode = "open"
        """`open`, `refused`, `silent` or `deaf`."""
        self.knocks: list[float] = []
        """When connections came, monotonic."""
        self._broker_port = broker_port
        self._listener = _listen(0)
        self.port = int(self._listener.getsockname()[1])
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closing = False
        self._thread = threading.Thread(target=self._accept, name="gate", daemon=True)
        self._thread.start()

    def refuse(self) -> None:
        """Nobody listens any more, and every connection ends."""
        with self._lock:
            self.mode = "refused"
            self._listener.close()
            self._cut()

    def listen(self, mode: str = "open") -> None:
        """Take connections, new ones too."""
        with self._lock:
            if self.mode == "refused":
                self._listener = _listen(self.port)
            self.mode = mode

    def close(self) -> None:
        """End everything."""
        self._closing = True
        self.refuse()
        self._thread.join(5)
        give_up_s = time.monotonic() + 5
        while self._connections and time.monotonic() < give_up_s:
            time.sleep(_TICK_S)

    def _cut(self) -> None:
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._closing:
            with self._lock:
                listening = self.mode != "refused"
                ready = listening and bool(select.select([self._listener], [], [], 0)[0])
                agent = self._listener.accept()[0] if ready else None
            if agent is None:
                time.sleep(_TICK_S)
                continue
            self.knocks.append(time.monotonic())
            threading.Thread(target=self._serve, args=(agent,), daemon=True).start()

    def _serve(self, agent: socket.socket) -> None:
        """One connection, to its end."""
        with agent, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._broker_port)) as broker:
            with self._lock:
                self._connections.update((agent, broker))
            back = threading.Thread(target=self._pump, args=(broker, agent, ("silent", "deaf")), daemon=True)
            back.start()
            self._pump(agent, broker, ("silent",))
            back.join()
            with self._lock:
                self._connections.difference_update((agent, broker))

    def _pump(self, source: socket.socket, target: socket.socket, blocked: tuple[str, ...]) -> None:
        swallows = False
        with contextlib.suppress(OSError):
            while data := source.recv(_BLOCK_BYTES):
                swallows = swallows or self.mode in blocked
                if not swallows:
                    target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _listen(port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port), backlog=64)
