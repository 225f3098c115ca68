"""A web server inside of the agent: uvicorn without signals, logs and headers of its own. No state.

The only file that imports uvicorn.
"""

import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import uvicorn

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An application as ASGI 3 has it."""


def server(app: App, **more: Any) -> "uvicorn.Server":  # noqa: ANN401 - what uvicorn.Config takes
    """Serves HTTP on sockets of the caller's, until `should_exit`; what is under way then is cut off."""
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
            log_level="critical",  # whoever goes before the end is no error
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=0,
            **more,
        )
    )


def listening(host: str, port: int, options: tuple[tuple[int, int, int], ...] = ()) -> socket.socket:
    """A socket that listens. Raises OSError.

    Args:
        host: an address, no name.
        port: 0: any that is free.
        options: level, option, value; connections inherit them.
    """
    family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET  # noqa: PLR2004 - IPv6
    # asyncio switches Nagle's algorithm off only where the protocol is named; else each answer waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for option in options:
            listener.setsockopt(*option)
        listener.bind((host, port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def url(host: str, port: int) -> str:
    """Where it is to be found."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
