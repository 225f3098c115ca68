"""`vedette emulate`: its options, and serving until a signal. Main thread."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from agent import package, plugins
from agent.clock import SystemClock
from agent.emulator import faults, keys, schedule
from agent.emulator.flavour import Flavour
from agent.emulator.keys import Verdict
from agent.emulator.server import Emulator
from agent.emulator.settings import DEFAULT_KEYS, EmulatorSettings
from agent.flow import Route
from agent.ports import Context, Engine

_ENGINE_CONFIDENCE = 0.01
"""The least a request may ask for."""
_ENGINE_OVERLAP = 0.95
"""Each request's own overlap is applied afterwards, so the engine only drops near-copies."""
_ENGINE_OBJECTS = 3_000
"""And so is its number of objects, afterwards."""
_API_HELP = (
    "v2: the hosted service; v1: the older one, with its 403 and 5 MB; server: one of your own, with the JSON routes; "
    "all but v1 have the workflow vedette/count-objects (default %(default)s)"
)


def serve(settings: EmulatorSettings) -> None:
    """Emulate until SIGINT or SIGTERM. Says on standard output when and where it is ready.

    Raises:
        ConfigError: an address cannot be had, or the model cannot be used.
        EngineBroken: the model cannot be loaded.
    """
    clock, here = SystemClock(), Path.cwd()
    context = Context(agent="emulator", clock=clock, base_dir=here, state_dir=here, trial=True)
    emulator = Emulator(settings, _engine(settings.model, context), clock)
    asyncio.run(_until_signal(emulator))


def _engine(model: str, context: Context) -> Engine:
    """The on-device engine that runs `model`, by its file. Raises ConfigError."""
    type_ = "onnx" if package.find(model, base_dir=context.base_dir).file.suffix.lower() == ".onnx" else "tflite"
    kinds = {kind.__module__.rpartition(".")[2]: kind for kind in plugins.options_of("engines", route=Route.LOCAL)}
    wanted = {"confidence": _ENGINE_CONFIDENCE, "overlap": _ENGINE_OVERLAP, "max_objects": _ENGINE_OBJECTS}
    return plugins.build_engine(
        kinds[type_].model_validate({"type": type_, "model": model, "masks": "rle", **wanted}), context
    )


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
    add("--api", choices=[each.value for each in Flavour], default=defaults.api.value, help=_API_HELP)
    add(
        "--model",
        help="a .tflite or .onnx file, a package folder or a shipped package (default: that of --weights, else "
        f"{defaults.model})",
    )
    add("--project", default=defaults.project, help="the model id that clients ask for (default %(default)s)")
    add("--weights", type=Path, metavar="FILE", help="an .onnx file that `vedette model pull` gets as its weights")
    verdicts = ", ".join(verdict.value for verdict in Verdict)
    key_help = f"a key the server knows, again for more; {verdicts} (default, without --key-file: {DEFAULT_KEYS[0]})"
    add("--key", action="append", metavar="KEY[=VERDICT]", help=key_help)
    add("--key-file", type=Path, metavar="PATH", help="a file of such keys, one a line; other users see --key in ps")
    _add_weather(parser, defaults)


def _add_weather(parser: argparse.ArgumentParser, defaults: EmulatorSettings) -> None:
    """How long it takes, and what goes wrong."""
    add = parser.add_argument
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
        api=Flavour(args.api),
        model=args.model or (str(args.weights) if args.weights else EmulatorSettings().model),
        project=args.project,
        weights=args.weights,
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
