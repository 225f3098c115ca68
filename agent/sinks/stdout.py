"""Results as JSON lines on standard output.

Talks to file descriptor 1. A closed pipe or a full disk behind it is SinkUnavailable, and the results are kept.
Try it: `vedette run CONFIG | jq .route` with a sink of `type: stdout`. State is owned by the one thread of the sink.
"""

import os
import sys
from collections.abc import Sequence
from typing import Final, Literal

from pydantic import Field

from agent.errors import ConfigError, SinkUnavailable
from agent.flow import Delivery, Outcome
from agent.options import SinkOptions
from agent.ports import Context, Sink
from agent.sinks import _lines

_DESCRIPTOR: Final = 1
"""Written without Python's buffer: what a reader did not take cannot fail a second time when Python ends."""


class Options(SinkOptions):
    """JSON lines on standard output."""

    type: Literal["stdout"] = Field(description="one JSON line per result on standard output")

    @property
    def target(self) -> str:
        """Standard output."""
        return "standard output"


class Stdout:
    """Standard output; one thread."""

    def __init__(self) -> None:
        self._torn = False

    def open(self) -> None:
        """Check that there is a standard output: with none, descriptor 1 may be any file. Raises ConfigError."""
        if sys.__stdout__ is None:
            raise ConfigError("standard output is closed, so results cannot go there; open it, or use type: jsonl")

    def send(self, batch: Sequence[Delivery]) -> Sequence[Outcome]:
        """Write a line for each delivery; a line that was cut off by a failure is ended before the next one."""
        lines = [_lines.line(delivery) for delivery in batch]
        start = b"\n" if self._torn else b""
        written_bytes, failure = _write(start + b"".join(lines))
        if failure is None:
            self._torn = False
            return [Outcome.ACCEPTED] * len(batch)
        return self._settle(lines, written_bytes - len(start), failure)

    def _settle(self, lines: list[bytes], written_bytes: int, failure: OSError) -> list[Outcome]:
        whole = 0
        while written_bytes >= len(lines[whole]):
            written_bytes -= len(lines[whole])
            whole += 1
        if written_bytes >= 0:
            self._torn = written_bytes > 0
        if not whole:
            raise _unavailable(failure) from failure
        return [Outcome.ACCEPTED] * whole + [Outcome.KEPT] * (len(lines) - whole)

    def close(self) -> None:
        """Leave standard output open: it belongs to the process."""

    def __repr__(self) -> str:
        return "<Stdout>"


def _write(data: bytes) -> tuple[int, OSError | None]:
    """Write all of `data`; the bytes that went out, and what stopped the rest."""
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(_DESCRIPTOR, rest) :]
    except OSError as error:
        return len(data) - len(rest), error
    return len(data), None


def _unavailable(error: OSError) -> SinkUnavailable:
    if isinstance(error, BrokenPipeError):
        return SinkUnavailable("nobody reads standard output any more: the program behind the pipe has ended")
    return SinkUnavailable(f"standard output takes no results: {error.strerror}")


def build(options: Options, context: Context) -> Sink:  # noqa: ARG001 - every plugin is built alike
    """The plugin's entry."""
    return Stdout()
