"""The emulator as one thing: settings, command line, and the event loop that runs the API and the link.

State is owned by that event loop: the main thread's under `serve`, a thread of its own under `background`. The only
file that imports uvicorn.
"""

import argparse
import asyncio
import contextlib
import ipaddress
import logging
import math
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from agent.clock import Clock, SystemClock
from agent.emulator import faults, keys, schedule
from agent.emulator.dataset import Dataset
from agent.emulator.faults import Fault, FaultBox
from agent.emulator.keys import KeyRing, Verdict
from agent.emulator.link import Link
from agent.emulator.model import HostedModel, ServerTiming
from agent.emulator.schedule import Player, Schedule
from agent.engines import tflite
from agent.errors import ConfigError
from agent.ports import Context, Engine

if TYPE_CHECKING:
    import uvicorn

    from agent.emulator.gateway import App

LOOPBACK = "127.0.0.1"
DEFAULT_KEYS = ("emulator-key",)
_log = logging.getLogger(__name__)
_PROJECT = re.compile(r"[\w.-]+/[\w.-]+")
_KEEP_ALIVE_S = 75
"""Longer than any client's pool keeps a connection: the hosted gateway is not the one to hang up first."""
_ENGINE_CONFIDENCE = 0.01
"""The least a request may ask for."""
_ENGINE_OVERLAP = 0.95
"""Each request's own overlap is applied afterwards, so the engine only drops near-copies."""


@dataclass(frozen=True, slots=True)
class EmulatorSettings:
    """Everything about one emulator."""

    host: str = LOOPBACK
    port: int = 9001
    """0: any free one."""
    control_port: int = 0
    """Behind the link, on loopback always; 0: any free one."""
    allow_remote: bool = False
    """Whether `host` may be an address other machines reach."""
    model: str = "shapes"
    """A .tflite file, a package folder, or the name of a shipped package."""
    project: str = "shapes/1"
    workspace: str = "emulator"
    keys: KeyRing = field(default_factory=lambda: keys.parse(DEFAULT_KEYS))
    key_file: Path | None = None
    """Where keys came from that are not to be shown."""
    cold_start_s: float = 1.0
    """0: the model is always loaded."""
    idle_unload_s: float = 600.0
    server_s: float = 0.0
    """Mean of what the server takes beside the inference."""
    server_spread: float = 0.25
    """Sigma of its log-normal distribution."""
    seed: int = 0
    rate_limit_per_s: float | None = None
    retry_after_s: float | None = 1.0
    """What a 429 of the rate limit says in Retry-After; None: nothing."""
    max_body_bytes: int = 20_000_000
    fault: Fault | None = None
    schedule: Schedule | None = None
    """What the link does; None: nothing, it is as fast as this machine."""
    until_input_ends: bool = False
    """End with standard input: whoever holds its other end cannot leave the emulator behind."""

    def __post_init__(self) -> None:
        """Refuse what cannot be served. Raises ConfigError with one sentence for each mistake."""
        problems = [*_address_problems(self), *_number_problems(self)]
        if not _PROJECT.fullmatch(self.project) or self.project.startswith("emulator/"):
            problems.append(f"--project {self.project!r} is not PROJECT/VERSION, for example shapes/1")
        if problems:
            raise ConfigError(*problems)


def _address_problems(settings: EmulatorSettings) -> Iterator[str]:
    for option, port in (("--port", settings.port), ("--control-port", settings.control_port)):
        if not 0 <= port <= 65535:  # noqa: PLR2004 - the range of TCP ports
            yield f"{option} is {port}; give 0 to 65535"
    if not settings.allow_remote and not _is_loopback(settings.host):
        yield f"--host {settings.host!r} is not this machine alone; use {LOOPBACK}, or add --allow-remote"


def _number_problems(settings: EmulatorSettings) -> Iterator[str]:
    """By the names of the command line, where it has them."""
    from_0 = {
        "--cold-start-s": settings.cold_start_s,
        "--idle-unload-s": settings.idle_unload_s,
        "--server-ms": settings.server_s * 1000,
        "server_spread": settings.server_spread,
    }
    yield from (f"{name} is {value:g}; give 0 or more" for name, value in from_0.items() if not 0 <= value < math.inf)
    above_0 = {
        "--rate-limit-per-s": settings.rate_limit_per_s,
        "retry_after_s": settings.retry_after_s,
        "max_body_bytes": settings.max_body_bytes,
    }
    for name, limit in above_0.items():
        if limit is not None and not 0 < limit < math.inf:
            yield f"{name} is {limit:g}; give a number above 0"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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
        return _url(self.settings.host, self._port)

    @property
    def control_url(self) -> str:
        """The port behind the link: /emulator answers here even in an outage."""
        return _url(LOOPBACK, self._control_port)

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
                web = _web_server(self._app())
                serving = asyncio.get_running_loop().create_task(web.serve(sockets=[listener]))
                try:
                    await self._run_link(serving, stop, ready)
                finally:
                    web.should_exit = True
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

    def _app(self) -> "App":
        from agent.emulator import api

        settings = self.settings
        return api.build_app(
            api.Site(
                project=settings.project,
                workspace=settings.workspace,
                keys=settings.keys,
                model=self._model,
                dataset=Dataset(settings.project.partition("/")[0]),
                box=FaultBox(settings.fault),
                link=self._link,
                player=self._player,
                clock=self._clock,
                max_body_bytes=settings.max_body_bytes,
                rate_limit_per_s=settings.rate_limit_per_s,
                retry_after_s=settings.retry_after_s,
                control_by_link=_is_loopback(settings.host),
            )
        )

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


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _no_address(host: str, port: int, error: OSError) -> ConfigError:
    return ConfigError(f"cannot listen on {host}, port {port}: {error.strerror}; choose another port, or 0 for any")


def _bound(host: str, port: int) -> socket.socket:
    # asyncio switches Nagle's algorithm off only where the protocol is named; else each answer waits 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise _no_address(host, port, error) from error
    return listener


def _web_server(app: "App") -> "uvicorn.Server":
    import uvicorn

    class Quiet(uvicorn.Server):
        """Leaves the signals to the emulator."""

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
            log_level="critical",  # an answer broken off on purpose is no error
            access_log=False,
            proxy_headers=False,  # the client's port tells the link's connections apart
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=0,  # the link has reset its connections: nobody waits for an answer
        )
    )


def serve(settings: EmulatorSettings) -> None:
    """Emulate until SIGINT or SIGTERM. Says on standard output when and where it is ready.

    Raises:
        ConfigError: an address cannot be had, or the model cannot be used.
        EngineBroken: the model cannot be loaded.
    """
    clock = SystemClock()
    options = tflite.Options(
        type="tflite", model=settings.model, confidence=_ENGINE_CONFIDENCE, overlap=_ENGINE_OVERLAP
    )
    here = Path.cwd()
    engine = tflite.build(options, Context(agent="emulator", clock=clock, base_dir=here, state_dir=here))
    emulator = Emulator(settings, engine, clock)
    asyncio.run(_until_signal(emulator))


async def _until_signal(emulator: Emulator) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if emulator.settings.until_input_ends:
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), stop.set)
    await emulator.run(stop, lambda: _announce(emulator))


def _announce(emulator: Emulator) -> None:
    settings = emulator.settings
    key = f"in {settings.key_file}" if settings.key_file else settings.keys.first_good or "none that works"
    control = f"{emulator.control_url}/emulator/state"
    sys.stdout.write(f"emulating {settings.project} on {emulator.url} (key: {key}); control at {control}\n")
    sys.stdout.flush()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `vedette emulate`."""
    parser.description = (
        "Serve the hosted API on this machine until stopped, with an on-device model behind it, faults on demand and a "
        "link that is as slow as you ask. Point engines.cloud.url at the address it prints. What it does at the moment "
        "is told and changed at /emulator."
    )
    defaults = EmulatorSettings()
    add = parser.add_argument
    add("--host", default=defaults.host, help="address to listen on (default %(default)s)")
    add("--port", type=int, default=defaults.port, help="port to listen on; 0: any free one (default %(default)s)")
    add("--control-port", type=int, default=0, help="port behind the link, for /emulator even in an outage; 0: any")
    add("--allow-remote", action="store_true", help="let --host be an address that other machines reach")
    add("--model", default=defaults.model, help="a .tflite file, a package folder or a shipped package (%(default)s)")
    add("--project", default=defaults.project, help="the model id that clients ask for (default %(default)s)")
    verdicts = ", ".join(verdict.value for verdict in Verdict)
    key_help = f"a key the server knows, again for more; {verdicts} (default, without --key-file: {DEFAULT_KEYS[0]})"
    add("--key", action="append", metavar="KEY[=VERDICT]", help=key_help)
    add("--key-file", type=Path, metavar="PATH", help="a file of such keys, one a line; other users see --key in ps")
    add("--cold-start-s", type=float, default=defaults.cold_start_s, help="seconds to load the model (%(default)s)")
    add("--idle-unload-s", type=float, default=defaults.idle_unload_s, help="idle seconds until unloaded (%(default)s)")
    add("--server-ms", type=float, default=0.0, help="mean milliseconds a request takes beside the inference (0)")
    add("--rate-limit-per-s", type=float, help="requests a second before 429 (default: no limit)")
    add("--fault", metavar="FAULT", help=faults.FORMS)
    add("--link", metavar="PHASES", help=f"{schedule.FORMS} (default: as fast as this machine)")
    add("--once", action="store_true", help="stay in the last link phase instead of beginning again")
    add("--until-input-ends", action="store_true", help="end when standard input, a pipe or a terminal, has ended")


def settings_from(args: argparse.Namespace) -> EmulatorSettings:
    """The settings that the command line asks for.

    Raises:
        ConfigError: a value cannot be used.
    """
    return EmulatorSettings(
        host=args.host,
        port=args.port,
        control_port=args.control_port,
        allow_remote=args.allow_remote,
        model=args.model,
        project=args.project,
        cold_start_s=args.cold_start_s,
        idle_unload_s=args.idle_unload_s,
        server_s=args.server_ms / 1000,
        rate_limit_per_s=args.rate_limit_per_s,
        fault=faults.parse(args.fault) if args.fault else None,
        schedule=schedule.parse(args.link, once=args.once) if args.link else None,
        keys=keys.parse([*(args.key or ()), *(keys.lines_of(args.key_file) if args.key_file else ())] or DEFAULT_KEYS),
        key_file=args.key_file,
        until_input_ends=args.until_input_ends,
    )
