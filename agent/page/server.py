"""Serves the page: one thread, one event loop. Its failures are its own: the agent goes on without it."""

import asyncio
import logging
import socket
from dataclasses import dataclass
from typing import Final

from agent import logs, web
from agent.clock import Clock
from agent.loop import Pulse
from agent.page.gate import is_loopback
from agent.page.site import Site
from agent.web import App

_log = logging.getLogger(__name__)
_SLOWEST_ROUND_S: Final = 0.25
_RETRY_S: Final = 5.0
"""An address that cannot be had yet, such as a tunnel's, may come."""
_SILENT_MS: Final = 20_000
"""A viewer who takes nothing for so long is gone."""
_SEND_BUFFER_BYTES: Final = 131_072
"""What the kernel keeps for a viewer: two or three pictures, so that a slow one sees what is, not what was."""
_OPTIONS: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENT_MS),
)
_MOST_CONNECTIONS: Final = 64
_MOST_HEAD_BYTES: Final = 16_384


@dataclass(frozen=True, slots=True)
class Terms:
    """How it is served."""

    host: str
    port: int
    frames_per_second: float


class Page:
    """The page's loop."""

    def __init__(self, site: Site, app: App, terms: Terms, clock: Clock) -> None:
        """`app`: the site's, behind its gate."""
        self._site = site
        self._app = app
        self._terms = terms
        self._damper = logs.Damper(_log.warning, clock.now, interval_s=60.0)

    def run(self, pulse: Pulse) -> None:
        """Serve until told to stop."""
        while not pulse.stopping.is_set():
            self._open(pulse)

    def _open(self, pulse: Pulse) -> None:
        host, port = self._terms.host, self._terms.port
        try:
            with web.listening(host, port, _OPTIONS) as listener:
                who = "this machine alone" if is_loopback(host) else "whoever has the token, unencrypted"
                _log.info("the page is at %s, for %s", web.url(host, port) + "/", who)
                asyncio.run(self._serve(listener, pulse))
        except OSError as error:
            why = f"the page cannot listen on {host}, port {port}: {error.strerror}; trying again"
            self._damper.note("listen", why)
            pulse.rest(_RETRY_S)

    async def _serve(self, listener: socket.socket, pulse: Pulse) -> None:
        server = web.server(
            self._app, limit_concurrency=_MOST_CONNECTIONS, h11_max_incomplete_event_size=_MOST_HEAD_BYTES
        )
        serving = asyncio.get_running_loop().create_task(server.serve(sockets=[listener]))
        try:
            while not (pulse.stopping.is_set() or serving.done()):
                pulse.beat()
                self._site.turn()
                await asyncio.sleep(min(1 / self._terms.frames_per_second, _SLOWEST_ROUND_S))
        finally:
            server.should_exit = True
            await serving
