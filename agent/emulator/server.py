"""The emulator as one thing: the event loop that runs the API and the link.

State is owned by that event loop: the main thread's under `serve`, a thread of its own under `background`.
"""

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

from agent import web
from agent.clock import Clock
from agent.emulator import platform
from agent.emulator.dataset import Dataset
from agent.emulator.faults import FaultBox
from agent.emulator.link import Link
from agent.emulator.model import HostedModel, ServerTiming
from agent.emulator.schedule import Player
from agent.emulator.settings import LOOPBACK, EmulatorSettings, is_loopback
from agent.errors import ConfigError
from agent.ports import Context, Engine
from agent.web import App

_log = logging.getLogger(__name__)
_KEEP_ALIVE_S = 75
"""Longer than any client's pool keeps a connection: the hosted gateway is not the one to hang up first."""


class Emulator:
    """The API on a loopback port, and the link in front of it."""

    def __init__(self, settings: EmulatorSettings, engine: Engine, clock: Clock) -> None:
        self.settings = settings
        self._clock = clock
        timing = ServerTiming(
            cold_start_s=settings.cold_start_s,
            idle_unload_s=settings.idle_unload_s,
            server_s=settings.server_s,
            spread=settings.server_spread,
            seed=settings.seed,
        )
        self._model = HostedModel(engine, clock, timing)
        self._link = Link()
        self._player = Player(self._link, settings.schedule)
        self._port = self._control_port = 0

    @property
    def url(self) -> str:
        """Where clients go, once it runs."""
        return web.url(self.settings.host, self._port)

    @property
    def control_url(self) -> str:
        """The port behind the link: /emulator answers here even in an outage."""
        return web.url(LOOPBACK, self._control_port)

    async def run(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """Serve from the call of `ready` until `stop` is set; open connections are then reset.

        Raises:
            ConfigError: an address cannot be had, or the model cannot be used.
            EngineBroken: the model cannot be loaded.
        """
        try:
            self._model.open()
            with _bound(LOOPBACK, self.settings.control_port) as listener:
                self._control_port = listener.getsockname()[1]
                server = web.server(self._app(), timeout_keep_alive=_KEEP_ALIVE_S)
                serving = asyncio.get_running_loop().create_task(server.serve(sockets=[listener]))
                try:
                    await self._run_link(serving, stop, ready)
                finally:
                    server.should_exit = True
                    await serving
        finally:
            self._model.close()

    async def _run_link(self, serving: asyncio.Task[None], stop: asyncio.Event, ready: Callable[[], None]) -> None:
        settings = self.settings
        try:
            self._port = await self._link.open(settings.host, settings.port, (LOOPBACK, self._control_port))
        except OSError as error:
            raise _no_address(settings.host, settings.port, error) from error
        stopped = asyncio.get_running_loop().create_task(stop.wait())
        try:
            self._player.start()
            ready()
            await asyncio.wait((serving, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            self._player.stop()
            await self._link.close()

    def _app(self) -> App:
        from agent.emulator import api

        settings = self.settings
        return api.build_app(
            api.Site(
                flavour=settings.api,
                project=settings.project,
                workspace=settings.workspace,
                keys=settings.keys,
                model=self._model,
                dataset=Dataset(settings.project.partition("/")[0]),
                platform=self._platform(),
                box=FaultBox(settings.fault),
                link=self._link,
                player=self._player,
                clock=self._clock,
                max_body_bytes=settings.max_body_bytes or settings.api.most_bytes,
                rate_limit_per_s=settings.rate_limit_per_s,
                retry_after_s=settings.retry_after_s,
                control_by_link=is_loopback(settings.host),
            )
        )

    def _platform(self) -> platform.Platform:
        """Raises ConfigError, EngineBroken: the weights cannot be used."""
        settings, here = self.settings, Path.cwd()
        context = Context("emulator", self._clock, base_dir=here, state_dir=here, trial=True)
        weights = None if settings.weights is None else platform.load(settings.weights, context)
        return platform.Platform(settings.project, weights, self._clock)

    @contextlib.contextmanager
    def background(self) -> Iterator["Emulator"]:
        """Run in a thread for the length of a `with` block. Raises what `run` raises."""
        begun: Future[Callable[[], None]] = Future()
        thread = threading.Thread(target=self._work, args=(begun,), name="emulator", daemon=True)
        thread.start()
        end = begun.result()
        try:
            yield self
        finally:
            end()
            thread.join()

    def _work(self, begun: "Future[Callable[[], None]]") -> None:
        async def main() -> None:
            stop, loop = asyncio.Event(), asyncio.get_running_loop()

            def end() -> None:
                with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                    loop.call_soon_threadsafe(stop.set)

            await self.run(stop, lambda: begun.set_result(end))

        try:
            asyncio.run(main())
        except Exception as error:  # noqa: BLE001 - raised again in the thread that waits
            if begun.done():
                _log.exception("the emulator ended")
            else:
                begun.set_exception(error)


def _no_address(host: str, port: int, error: OSError) -> ConfigError:
    return ConfigError(f"cannot listen on {host}, port {port}: {error.strerror}; choose another port, or 0 for any")


def _bound(host: str, port: int) -> socket.socket:
    """Raises ConfigError."""
    try:
        return web.listening(host, port)
    except OSError as error:
        raise _no_address(host, port, error) from error
