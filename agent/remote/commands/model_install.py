"""`model_install`: a model from the hosted platform or from the catalogue, and what the rollout makes of it.

It is `vedette model pull` or `get`, in a process of its own: a download that hangs, or a file that crashes the runtime,
is its affair. What it installs is used only if `engines.local.model` follows that package, and then by way of the
rollout, whose verdict is waited for.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final, cast

from pydantic import Field, model_validator

from agent.clock import Clock
from agent.errors import CommandFailed
from agent.logs import redact
from agent.options import Name, Options
from agent.remote.command import Outcome, Steps, checked
from agent.remote.order import Order
from agent.remote.words import Word
from agent.shelf import Event, Shelf, Standing

PROGRAM: Final = (sys.executable, "-m", "agent", "model")
_INSTALL_S: Final = 3600.0
_VERDICT_S: Final = 3600.0
_LOOK_S: Final = 1.0
_NICENESS: Final = 10
"""The frames come first."""
_LONGEST: Final = 2000


class Fields(Options):
    """What is to be said of it: pull or get."""

    pull: str | None = Field(
        None,
        max_length=200,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9_-]+)?$",
        description="PROJECT/VERSION of the hosted platform, or an alias; with the key of engines.cloud",
    )
    get: str | None = Field(
        None, max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", description="a model of the catalogue"
    )
    accept_licence: str | None = Field(
        None, max_length=60, pattern=r"^[A-Za-z0-9][A-Za-z0-9.+-]*$", description="its licence, which you have read"
    )
    name: Name | None = Field(None, description="what a pulled one is called here; left out: the project")

    @model_validator(mode="after")
    def _one_of_both(self) -> "Fields":
        if (self.pull is None) == (self.get is None):
            raise ValueError("give pull or get, not both")
        if self.get is None and self.accept_licence is not None:
            raise ValueError("accept_licence goes with get")
        if self.pull is None and self.name is not None:
            raise ValueError("name goes with pull")
        return self

    def arguments(self, file: Path) -> list[str]:
        """Of `vedette model`."""
        if self.get is not None:
            return [
                "get",
                self.get,
                *([] if self.accept_licence is None else ["--accept-licence", self.accept_licence]),
            ]
        named = [] if self.name is None else ["--name", self.name]
        return ["pull", str(self.pull), "--config", str(file), *named]


class ModelInstall:
    """See Command."""

    word = Word.MODEL_INSTALL
    alone = True

    def __init__(
        self,
        file: Path,
        state_dir: Path,
        shelf: Shelf,
        *,
        followed: str | None,
        clock: Clock,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        """`file`: the device's own configuration, which has the key; `followed`: the package that the agent uses."""
        self._file = file
        self._state_dir = state_dir
        self._shelf = shelf
        self._followed = followed
        self._clock = clock
        self._program = program

    def run(self, order: Order) -> Steps:
        """See Command."""
        fields, before = checked(Fields, order), self._there()
        words = yield from self._install(fields.arguments(self._file))
        fresh = sorted(self._there() - before)
        if not fresh:
            return Outcome({"said": words})
        name, version = fresh[0]
        installed = {"installed": f"{name}@{version}", "said": words}
        if name != self._followed:
            return Outcome({**installed, "note": "engines.local.model does not follow this package: it is not used"})
        yield f"{name}@{version} is installed"
        return (yield from self._verdict(name, version, installed))

    def _there(self) -> set[tuple[str, str]]:
        return {(name, version) for name in self._shelf.names() for version in self._shelf.versions(name)}

    def _install(self, arguments: Sequence[str]) -> Generator[str | None, None, str]:
        """Run the command; what it said. Raises CommandFailed."""
        command = [*self._program, *arguments, "--state", str(self._state_dir)]
        with subprocess.Popen(  # noqa: S603 - this program, with words whose letters were checked
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process:
            try:
                os.setpriority(os.PRIO_PROCESS, process.pid, _NICENESS)
                said = yield from self._follow(process)
            finally:
                _end(process)
        if process.returncode:
            raise CommandFailed(said or f"it ended with exit code {process.returncode}")
        return said

    def _follow(self, process: "subprocess.Popen[bytes]") -> Generator[str | None, None, str]:
        """All that it says until it ends; lines that come meanwhile are progress. Raises CommandFailed."""
        output = cast("IO[bytes]", process.stdout)
        os.set_blocking(output.fileno(), False)
        until_s, said, told = self._clock.now() + _INSTALL_S, b"", 0
        while True:
            ended = process.poll() is not None
            said = (said + (output.read() or b""))[-10 * _LONGEST :]
            text = redact(said.decode(errors="replace")).strip()
            if ended:
                return text[-_LONGEST:]
            if self._clock.now() >= until_s:
                raise CommandFailed(f"it was not done within {_INSTALL_S:.0f} s: {text[-_LONGEST:]}")
            lines = said.count(b"\n")
            yield text.splitlines()[-1][:_LONGEST] if lines > told and text else None
            told = max(told, lines)

    def _verdict(self, name: str, version: str, installed: Mapping[str, str]) -> Steps:
        """What the rollout makes of it. Raises CommandFailed: it was rejected."""
        began_s = looked_s = self._clock.now()
        told: Event | None = None
        while self._clock.now() - began_s < _VERDICT_S:
            if self._clock.now() - looked_s < _LOOK_S:
                yield None
                continue
            looked_s = self._clock.now()
            event = self._shelf.standing(name, version)
            if event is not None and event.standing is Standing.REJECTED:
                raise CommandFailed(f"{name}@{version} is installed and was rejected: {event.reason}")
            if event is not None and event.standing is Standing.CONFIRMED:
                return Outcome({**installed, "standing": event.standing.value, "measured": dict(event.measurements)})
            fresh, told = event != told, event
            yield f"{name}@{version}: {event.reason or event.standing.value}" if fresh and event is not None else None
        note = f"no verdict within {_VERDICT_S:.0f} s; the rollout goes on"
        return Outcome({**installed, "standing": None if told is None else told.standing.value, "note": note})


def _end(process: "subprocess.Popen[bytes]") -> None:
    """It, and what it has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
