"""What every command of `vedette model` works with. No state."""

import argparse
import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from agent import logs
from agent.clock import Clock
from agent.errors import AgentError
from agent.model.meter import Meter
from agent.ports import Context
from agent.shelf import MODELS, Shelf

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - it has no other name
DONE: Final = 0
FAILED: Final = 1
OTHER_STATE: Final = "run this as the agent's user or with sudo, or name another folder with --state"
"""What helps where the state folder cannot be written."""
SERVICE_STATE: Final = Path("/var/lib/vedette")
"""Where the systemd unit has its state."""


@dataclass(frozen=True, slots=True)
class Session:
    """One run of a command."""

    say: Callable[[str], None]
    """Prints its output."""
    state: Path
    """The state folder whose packages it is about."""
    here: Path
    """Relative paths start here."""
    clock: Clock
    meter: Meter
    """Shows how what takes long comes along."""

    @property
    def shelf(self) -> Shelf:
        """The installed packages."""
        return Shelf(self.state / MODELS, self.clock)

    @property
    def context(self) -> Context:
        """For an engine that is only tried, perhaps beside a running agent."""
        return Context(
            "model", self.clock, base_dir=self.here, state_dir=self.state, progress=self.meter.say, trial=True
        )


def tell(text: str) -> None:
    """A line on standard error, if anybody reads it."""
    with contextlib.suppress(OSError):
        print(logs.redact(text), file=sys.stderr, flush=True)  # noqa: T201 - for the person at the terminal


def state_folder(given: Path | None, own: Path) -> Path:
    """The state folder to work in: `given`, else the user's `own` if it has packages, else the service's, else `own`.

    Raises AgentError: the service's may not be looked into.
    """
    if given is not None:
        return given
    if (own / MODELS).is_dir():
        return own
    try:
        SERVICE_STATE.stat()
    except PermissionError as error:
        if own.is_dir():
            return own
        raise AgentError(
            f"{SERVICE_STATE} may be read by root alone: use sudo, or name a folder with --state"
        ) from error
    except OSError:
        return own
    return SERVICE_STATE
