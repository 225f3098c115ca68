"""The command line: words for people, and exit codes. Main thread."""

import argparse
import json
import logging
import math
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import agent
from agent import app, check, config, demo, logs, sdnotify
from agent.config import Config
from agent.console import Terminal, summary
from agent.emulator import server
from agent.errors import AgentError, ConfigError
from agent.explain import command as explain
from agent.simulator import command as simulate

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - it has no other name
_log = logging.getLogger(__name__)
_SUMMARY_EVERY_S = 10.0
_EXIT_INTERRUPTED = 130
"""What a shell expects after Ctrl-C: 128 and the signal's number."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code: 0 done, 1 failed, 78 the configuration is wrong."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
    except ConfigError as error:
        for problem in error.problems:
            print(logs.redact(problem), file=sys.stderr)  # noqa: T201 - for the person at the terminal
        return app.EXIT_CONFIG
    except AgentError as error:
        print(logs.redact(str(error)), file=sys.stderr)  # noqa: T201 - same
        return app.EXIT_FAILED
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vedette",
        description="Sends each camera frame to a hosted API or an on-device model, by what the link can do right now.",
        epilog="Exit codes: 0 done, 1 failed, 2 the command line is wrong, 78 the configuration is wrong.",
    )
    parser.add_argument("--version", action="version", version=f"vedette {agent.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    _add_agent(commands)
    _add_tools(commands)
    return parser


def _add_agent(commands: Commands) -> None:
    """What a device needs."""
    run = commands.add_parser(
        "run", help="run the agent", description="Run until stopped, or the last camera has ended."
    )
    run.add_argument("config", nargs="?", type=Path, help="the YAML file; left out: a demonstration that needs nothing")
    run.add_argument("--seconds", type=_positive, metavar="N", help="stop after N seconds")
    run.set_defaults(command=_run)

    checks = commands.add_parser("check", help="check a configuration", description="Check a configuration file.")
    checks.add_argument("config", type=Path, help="the YAML file")
    checks.add_argument("--probe", action="store_true", help="also use every camera, model, API and sink once")
    checks.set_defaults(command=_check)


def _add_tools(commands: Commands) -> None:
    """What helps to try, to understand and to configure it."""
    emulate = commands.add_parser("emulate", help="serve an emulated hosted API on this machine")
    server.add_arguments(emulate)
    emulate.set_defaults(command=_emulate)

    explains = commands.add_parser("explain", help="say why the frames of a results file went where they went")
    explain.add_arguments(explains)
    explains.set_defaults(command=explain.run)

    simulates = commands.add_parser("simulate", help="try the router on recorded or made-up links")
    simulate.add_arguments(simulates)
    simulates.set_defaults(command=simulate.run)

    schema = commands.add_parser("schema", help="print the JSON Schema of the configuration, for editors")
    schema.set_defaults(command=_schema)
    version = commands.add_parser("version", help="print the version")
    version.set_defaults(command=_version)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return value


def _run(options: argparse.Namespace) -> int:
    terminal = Terminal(sys.stderr)
    if options.config is not None:
        settings = config.load(options.config)
        folder = options.config.resolve().parent
        return _run_with(settings, terminal, options.seconds, base_dir=folder, state_dir=app.state_dir())
    terminal.write(
        "No configuration given: a drawn scene, the shipped model and an emulated hosted API whose link changes.\n"
        f"Results go to {demo.results_file()}. Stop with Ctrl-C. For your own cameras: vedette run CONFIG.yaml\n"
    )
    terminal.flush()
    with demo.defaults(print_results=not sys.stdout.isatty()) as shown:
        return _run_with(shown.config, terminal, options.seconds, base_dir=Path.cwd(), state_dir=shown.state_dir)


def _run_with(settings: Config, terminal: Terminal, seconds: float | None, *, base_dir: Path, state_dir: Path) -> int:
    journal = sdnotify.under_journal()
    logs.setup(terminal, level=settings.log.level, with_time=not journal, journal=journal)
    for note in settings.notes:
        _log.warning("%s", note)
    running = app.build(settings, base_dir=base_dir, state_dir=state_dir)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: running.stop.ask())
    try:
        code = app.run(running, seconds=seconds, on_tick=_teller(terminal))
    finally:
        terminal.end()
    _log.info("stopped: %s", summary(running))
    return code


def _teller(terminal: Terminal) -> Callable[[app.Agent], str]:
    """Shows the live line on a terminal, and elsewhere logs it now and then."""
    said_s = float("-inf")

    def tell(running: app.Agent) -> str:
        nonlocal said_s
        line = summary(running)
        terminal.show(line)
        if not terminal.live and running.clock.now() - said_s >= _SUMMARY_EVERY_S:
            said_s = running.clock.now()
            _log.info("%s", line)
        return line

    return tell


def _check(options: argparse.Namespace) -> int:
    settings = config.load(options.config)
    print(f"ok    {options.config}: {len(settings.cameras)} camera(s), routing {settings.mode.value}")  # noqa: T201
    if not options.probe:
        return app.EXIT_DONE
    logs.setup(sys.stderr, level="error", with_time=False)
    fine = True
    for finding in check.probe(settings, base_dir=options.config.resolve().parent, state_dir=app.state_dir()):
        print(logs.redact(str(finding)), flush=True)  # noqa: T201 - the command's output
        fine = fine and finding.fine
    return app.EXIT_DONE if fine else app.EXIT_FAILED


def _emulate(options: argparse.Namespace) -> int:
    logs.setup(sys.stderr, level="info", with_time=True)
    server.serve(server.settings_from(options))
    return app.EXIT_DONE


def _schema(_: argparse.Namespace) -> int:
    print(json.dumps(config.json_schema(), indent=2))  # noqa: T201 - the command's output
    return app.EXIT_DONE


def _version(_: argparse.Namespace) -> int:
    print(f"vedette {agent.__version__}")  # noqa: T201 - the command's output
    return app.EXIT_DONE
