"""The command line: words for people, and exit codes. Main thread."""

import argparse
import contextlib
import json
import logging
import math
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

_EXIT_INTERRUPTED = 130
"""What a shell expects after Ctrl-C: 128 and the signal's number."""
try:
    from agent import signals

    if sys.argv[1:2] == ["run"]:  # before what takes a while
        signals.outlive_hang_ups()
    import agent
    from agent import app, applied, config, demo, heap, logs, sdnotify
    from agent.config import Config, LogConfig
    from agent.console import Terminal, ensure_streams, progress_on, say, summary
    from agent.errors import AgentError, ConfigError
    from agent.reload import StopSign
    from agent.service import Service
    from agent.words import printable
except KeyboardInterrupt:
    sys.exit(_EXIT_INTERRUPTED)

_log = logging.getLogger(__name__)
_SUMMARY_EVERY_S = 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code: 0 done, 1 failed, 78 the configuration is wrong."""
    try:
        ensure_streams()
        with _crashes_redacted():
            return _carried_out(_parser().parse_args(arguments))
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    except Exception:  # noqa: BLE001 - a fault, which Python would print as it is, with whatever secret is in its text
        _tell([traceback.format_exc()])
        return app.EXIT_FAILED


@contextlib.contextmanager
def _crashes_redacted() -> Iterator[None]:
    """The same for what ends a thread that a library has started."""
    before = threading.excepthook
    threading.excepthook = lambda crash: _tell(["".join(traceback.format_exception(crash.exc_value))])
    try:
        yield
    finally:
        threading.excepthook = before


def _carried_out(options: argparse.Namespace) -> int:
    try:
        code: int = options.command(options)
    except ConfigError as error:
        _tell(error.problems)
        return int(options.exit_if_wrong)
    except AgentError as error:
        _tell([str(error)])
        return app.EXIT_FAILED
    return code


def _tell(problems: Sequence[str]) -> None:
    """On standard error, if anybody reads it."""
    with contextlib.suppress(OSError):
        for problem in problems:
            text = "\n".join(map(printable, logs.redact(problem).split("\n")))
            print(text, file=sys.stderr, flush=True)  # noqa: T201 - for the person at the terminal


class _Command(argparse.ArgumentParser):
    """Learns its arguments, and imports what they need, once it is the command that was given: `run` starts sooner."""

    fill: Callable[[argparse.ArgumentParser], None] | None = None

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # noqa: ANN401 - as typeshed has it
        """As its base class does."""
        if self.fill is not None:
            self.fill(self)
            self.fill = None
        return super().parse_known_args(args, namespace)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vedette",
        description="Sends each camera frame to a hosted API or an on-device model, by what the link can do right now.",
        epilog="Exit codes: 0 done, 1 failed, 2 the command line is wrong, 78 the configuration is wrong.",
    )
    parser.add_argument("--version", action="version", version=f"vedette {agent.__version__}")
    parser.set_defaults(exit_if_wrong=app.EXIT_CONFIG)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Command)
    for name, (words, fill) in _COMMANDS.items():
        commands.add_parser(name, help=words).fill = fill
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.description = "Run until stopped, or the last camera has ended."
    parser.add_argument(
        "config", nargs="?", type=Path, help="the YAML file; left out: a demonstration that needs nothing"
    )
    parser.add_argument("--seconds", type=_positive, metavar="N", help="stop after N seconds")
    parser.set_defaults(command=_run)


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.description = "Check a configuration file."
    parser.add_argument("config", type=Path, help="the YAML file")
    parser.add_argument("--probe", action="store_true", help="also use every camera, model, API and sink once")
    parser.set_defaults(command=_check)


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    from agent.doctor import command

    command.add_arguments(parser, say, app.state_dir)


def _add_outbox(parser: argparse.ArgumentParser) -> None:
    from agent import backlog

    backlog.add_arguments(parser, say, app.state_dir)
    parser.set_defaults(exit_if_wrong=app.EXIT_FAILED)  # it reads no configuration


def _add_model(parser: argparse.ArgumentParser) -> None:
    from agent import model

    model.add_arguments(parser, say, app.state_dir)
    parser.set_defaults(exit_if_wrong=app.EXIT_FAILED)  # nor do these


def _add_remote(parser: argparse.ArgumentParser) -> None:
    from agent.remote import client

    client.add_arguments(parser, say)
    parser.set_defaults(exit_if_wrong=app.EXIT_FAILED)


def _add_emulate(parser: argparse.ArgumentParser) -> None:
    from agent.emulator import command

    command.add_arguments(parser)
    parser.set_defaults(command=_emulate)


def _add_explain(parser: argparse.ArgumentParser) -> None:
    from agent.explain import command

    command.add_arguments(parser)
    parser.set_defaults(command=command.run, exit_if_wrong=app.EXIT_FAILED)


def _add_bench(parser: argparse.ArgumentParser) -> None:
    from agent.bench import command
    from agent.model.session import state_folder

    command.add_arguments(parser, say, lambda given: state_folder(given, app.state_dir()))


def _add_simulate(parser: argparse.ArgumentParser) -> None:
    from agent.simulator import command

    command.add_arguments(parser)
    parser.set_defaults(command=command.run, exit_if_wrong=app.EXIT_FAILED)


def _add_schema(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=_schema)


def _add_version(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=_version)


_COMMANDS: Final[Mapping[str, tuple[str, Callable[[argparse.ArgumentParser], None]]]] = {
    "run": ("run the agent", _add_run),
    "check": ("check a configuration", _add_check),
    "doctor": ("look at all that the agent needs on this device, and say what to do", _add_doctor),
    "outbox": ("see, export, send again or throw away what waits for a sink", _add_outbox),
    "model": ("install, list, check, fetch or remove on-device models", _add_model),
    "remote": ("send a command to an agent by way of its broker, and print the answers", _add_remote),
    "emulate": ("serve an emulated hosted API on this machine", _add_emulate),
    "explain": ("say why the frames of a results file went where they went", _add_explain),
    "bench": ("measure how long each engine takes for a frame on this machine", _add_bench),
    "simulate": ("try the router on recorded or made-up links", _add_simulate),
    "schema": ("print the JSON Schema of the configuration, for editors", _add_schema),
    "version": ("print the version", _add_version),
}
"""What a device needs comes first; then what helps to try, to understand and to configure it."""


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return value


def _run(options: argparse.Namespace) -> int:
    heap.share()
    terminal, stop = Terminal(sys.stderr), StopSign()
    if options.config is not None:
        folders = options.config.resolve().parent, app.state_dir()
        load = partial(applied.in_force, options.config, folders[1])
        signals.heed(stop.ask, partial(stop.reload, load))  # before it is read: what is changed later is read again
        _log_to(terminal, LogConfig())
        return _run_with(load(), terminal, options.seconds, folders=folders, file=options.config, stop=stop)
    signals.heed(stop.ask, partial(stop.reload, _no_file))
    terminal.write(
        "No configuration given: a drawn scene, the shipped model and an emulated hosted API whose link changes.\n"
        f"Results go to {demo.results_file()}. Stop with Ctrl-C. For your own cameras: vedette run CONFIG.yaml\n"
    )
    terminal.flush()
    with demo.defaults(print_results=not sys.stdout.isatty()) as shown:
        folders = Path.cwd(), shown.state_dir
        return _run_with(shown.config, terminal, options.seconds, folders=folders, stop=stop)


def _run_with(
    settings: Config,
    terminal: Terminal,
    seconds: float | None,
    *,
    folders: tuple[Path, Path],
    stop: StopSign,
    file: Path | None = None,
) -> int:
    """Run the agent.

    Args:
        settings: the checked configuration.
        terminal: where people look.
        seconds: how long; None: until stopped.
        folders: where relative paths start, and where state is kept.
        stop: through which signals reach it.
        file: the configuration, to be read again; None: there is none, and nothing outlasts this run.
    """

    def make(settings: Config, left: app.Handover) -> app.Agent:
        _log_to(terminal, settings.log)
        for note in settings.notes:
            _log.warning("%s", note)
        left = replace(left, stop=stop, file=file)
        return app.build(settings, left, base_dir=folders[0], state_dir=folders[1], durable=file is not None)

    service = Service(settings, make, _teller(terminal))
    try:
        code = service.run(seconds=seconds)
    finally:
        terminal.end()
    _log.info("stopped: %s", summary(service.agent))
    return code


def _log_to(terminal: Terminal, options: LogConfig) -> None:
    journal = sdnotify.under_journal()
    logs.setup(terminal, level=options.level, with_time=not journal, journal=journal, form=options.format)


def _no_file() -> Config:
    raise ConfigError("there is no file to read again; start with one: vedette run CONFIG.yaml")


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
    from agent import check
    from agent.model.session import SERVICE_STATE

    settings, folder = config.load(options.config), options.config.resolve().parent
    if not options.probe:
        places = app.state_dir(), SERVICE_STATE
        check.ensure_model(settings.engines.local, base_dir=folder, state_dirs=places)
    say(f"ok    {options.config}: {len(settings.cameras)} camera(s), routing {settings.mode.value}")
    if not options.probe:
        return app.EXIT_DONE
    logs.setup(sys.stderr, level="error", with_time=False)
    fine, terminal = True, Terminal(sys.stderr)
    progress = progress_on(terminal)
    for finding in check.probe(settings, base_dir=folder, state_dir=app.state_dir(), progress=progress):
        terminal.clear()
        say(logs.redact(str(finding)))
        fine = fine and finding.fine
    return app.EXIT_DONE if fine else app.EXIT_FAILED


def _emulate(options: argparse.Namespace) -> int:
    from agent.emulator import command as emulator

    logs.setup(sys.stderr, level="info", with_time=True)
    emulator.serve(emulator.settings_from(options))
    return app.EXIT_DONE


def _schema(_: argparse.Namespace) -> int:
    say(json.dumps(config.json_schema(), indent=2))
    return app.EXIT_DONE


def _version(_: argparse.Namespace) -> int:
    say(f"vedette {agent.__version__}")
    return app.EXIT_DONE
