"""Serves the page: one thread, one event loop. Its failures are its own: the agent goes on without it.

The only file of the agent, beside the emulator's server, that imports uvicorn.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from agent import logs
from agent.clock import Clock
from agent.loop import Pulse
from agent.page.gate import App, is_loopback
from agent.page.site import Site

if TYPE_CHECKING:
    import uvicorn

_log = logging.getLogger(__name__)
_SLOWEST_ROUND_S: Final = 0.25
_RETRY_S: Final = 5.0
"""An address that cannot be had yet, such as a tunnel's, may come."""
_SILENT_MS: Final = 20_000
"""A viewer who takes nothing for so long is gone."""
_SEND_BUFFER_BYTES: Final = 131_072
"""What the kernel keeps for a viewer: two or three pictures, so that a slow one sees what is, not what was."""
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
            with _bound(host, port) as listener:
                who = "this machine alone" if is_loopback(host) else "whoever has the token, unencrypted"
                _log.info("the page is at %s, for %s", _url(host, port), who)
                asyncio.run(self._serve(listener, pulse))
        except OSError as error:
            why = f"the page cannot listen on {host}, port {port}: {error.strerror}; trying again"
            self._damper.note("listen", why)
            pulse.rest(_RETRY_S)

    async def _serve(self, listener: socket.socket, pulse: Pulse) -> None:
        web = _web_server(self._app)
        serving = asyncio.get_running_loop().create_task(web.serve(sockets=[listener]))
        try:
            while not (pulse.stopping.is_set() or serving.done()):
                pulse.beat()
                self._site.turn()
                await asyncio.sleep(min(1 / self._terms.frames_per_second, _SLOWEST_ROUND_S))
        finally:
            web.should_exit = True
            await serving


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _bound(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError."""
    family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET  # noqa: PLR2004 - IPv6
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENT_MS)  # connections inherit them
        listener.bind((host, port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def _web_server(app: App) -> "uvicorn.Server":
    import uvicorn

    class Quiet(uvicorn.Server):
        """Leaves the signals to the main thread."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    return Quiet(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=_MOST_CONNECTIONS,
            h11_max_incomplete_event_size=_MOST_HEAD_BYTES,
            timeout_graceful_shutdown=0,  # live pictures have no end
        )
    )
