"""`vedette model`: its commands. Main thread.

A command is a module of this package with two functions: `add_parser` says what a person may write, `run` does it.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from agent import logs, words
from agent.clock import SystemClock
from agent.model import add, bench, evaluate, get, listing, pull, remove, use, verify
from agent.model.meter import Meter
from agent.model.session import SERVICE_STATE, Commands, Session, state_folder
from agent.shelf import MODELS


class Command(Protocol):
    """A module of this package that is one command."""

    def add_parser(self, commands: Commands, /) -> argparse.ArgumentParser:
        """Its name, help and options."""

    def run(self, options: argparse.Namespace, session: Session, /) -> int:
        """Do it; the exit code. Raises AgentError."""


COMMANDS: Final[tuple[Command, ...]] = (add, get, pull, listing, verify, bench, evaluate, use, remove)
"""In the order of the help."""


def add_arguments(parser: argparse.ArgumentParser, say: Callable[[str], None], own_state: Callable[[], Path]) -> None:
    """The commands of `vedette model`.

    Args:
        parser: theirs.
        say: prints a command's output.
        own_state: the state folder where none is named.
    """
    parser.description = (
        "Look after the on-device models: install, list, check, measure and remove them. A model that is installed is "
        "used by its name: `model: NAME` under engines.local."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        one = command.add_parser(commands)
        one.add_argument(
            "--state",
            type=Path,
            metavar="DIR",
            help=f"the agent's state folder, whose folder {MODELS} has the packages; left out: the user's own (or "
            f"$STATE_DIRECTORY), or, where that has no packages, the service's {SERVICE_STATE}",
        )
        one.set_defaults(command=partial(_run, command, say, own_state))


def _run(
    command: Command, say: Callable[[str], None], own_state: Callable[[], Path], options: argparse.Namespace
) -> int:
    logs.setup(sys.stderr, level="error", with_time=False)
    clock = SystemClock()
    meter = Meter(sys.stderr, clock)

    def say_alone(text: str) -> None:
        meter.end()
        say("\n".join(map(words.printable, text.split("\n"))))

    try:
        state = state_folder(options.state, own_state()).absolute()  # errors name places in full
        return command.run(options, Session(say_alone, state, Path.cwd(), clock, meter))
    finally:
        meter.end()
