"""The live line on a terminal, and what it says. Owner: main thread; log lines of any thread pass through it."""

import contextlib
import errno
import math
import os
import shutil
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TextIO

from agent.app import Agent
from agent.backfill.sender import BackfillStatus
from agent.clock import SystemClock
from agent.errors import AgentError
from agent.flow import Fate, Route
from agent.logs import Damper
from agent.telemetry import CameraStatus
from agent.uplink import Uplink

_CLEAR = "\r\x1b[2K"
_DEAD = (errno.EIO, errno.EPIPE)
"""What a write says when a terminal, or the reader of a pipe, is gone for good."""


def ensure_streams() -> None:
    """Let standard input, output and error lead nowhere where the caller closed them.

    Otherwise the next file or socket would get their number, and whatever is printed.
    """
    for number in range(3):
        if not _is_open(number):
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free: this one
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - as long as the program


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def say(text: str) -> None:
    """The command's output, for whoever still reads: `| head` is no error, a full disk is. Raises AgentError."""
    try:
        print(text, flush=True)  # noqa: T201 - that is what this is for
    except OSError as error:
        with Path(os.devnull).open("wb") as nowhere:  # else Python would try again at its end, and complain
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise AgentError(f"the output cannot be written: {error.strerror}") from error


class Terminal:
    """A stream whose last line is live: log lines go above it.

    A terminal that dies (its window is closed, its connection lost) leaves the agent running, and silent.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._line = ""
        self.live = stream.isatty()

    def write(self, text: str) -> int:
        """Ordinary output: whole lines."""
        with self._lock:
            self._put(f"{_CLEAR}{text}{self._cut()}" if self._line else text)
        return len(text)

    def flush(self) -> None:
        """As of any stream; every write is out already."""

    def show(self, line: str) -> None:
        """Replace the live line; what is too long for the terminal's width is cut off."""
        if self.live:
            with self._lock:
                self._line = line
                self._put(_CLEAR + self._cut())

    def clear(self) -> None:
        """Take the live line away, if there is one."""
        with self._lock:
            if self._line:
                self._line = ""
                self._put(_CLEAR)

    def end(self) -> None:
        """Leave the live line as it stands and go below it."""
        with self._lock:
            if self._line:
                self._line = ""
                self._put("\n")

    def _cut(self) -> str:
        """The live line in one row: one that wraps could not be cleared. The last column stays free, or some wrap."""
        return self._line[: max(0, self._columns() - 1)]

    def _columns(self) -> int:
        """Asked each time, for the window may have changed."""
        try:
            own = os.get_terminal_size(self._stream.fileno()).columns
        except (OSError, ValueError):
            own = 0
        return own or shutil.get_terminal_size().columns

    def _put(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError as error:
            if error.errno in _DEAD:
                self._silence()

    def _silence(self) -> None:
        """Let all that still comes, and what the stream has kept, go nowhere instead of failing again, or at exit."""
        self.live, self._line = False, ""
        with contextlib.suppress(OSError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), self._stream.fileno())


def progress_on(terminal: Terminal) -> Callable[[str], None]:
    """Shows what takes long: as the live line of a terminal, elsewhere as a line now and then."""

    def write(words: str) -> None:
        terminal.write(words + "\n")

    return terminal.show if terminal.live else partial(Damper(write, SystemClock().now).note, "progress")


def summary(agent: Agent) -> str:
    """Every camera, the link and the outboxes in one line. What matters most comes first: the end may be cut off."""
    cameras = [(pipeline.camera, pipeline.telemetry.status()) for pipeline in agent.pipelines]
    parts = [lane.opening for lane in agent.lanes.values() if lane.opening and not lane.opened.is_set()]
    parts += [f"{name}: {_newest(status)}" for name, status in cameras]
    if agent.uplink is not None:
        parts += [_link(agent.uplink, agent.clock.now()), *_budget(agent.uplink)]
    parts += [] if agent.backfill is None else [_backfill(agent.backfill.status())]
    parts += [f"{name}: {_counts(status)}" for name, status in cameras if status.newest is not None]
    return " | ".join([*parts, _sinks(agent)])


def _newest(status: CameraStatus) -> str:
    result = status.newest
    if result is None:
        return f"no result yet ({status.captured} frames)"
    route = result.published.value if result.published else "none"
    took_ms = (result.answered_s - result.captured_s) * 1000
    return f"{route:5} {result.decision.reason.value:15} {took_ms:4.0f} ms"


def _counts(status: CameraStatus) -> str:
    rate = "" if status.rate_fps is None else f"{status.rate_fps:.1f}/s "
    counts = " ".join(f"{route.value} {status.routes.get(route, 0)}" for route in Route)
    others = {
        "corrected": status.corrections,
        "late": status.late,
        "failed": status.fates.get(Fate.FAILED, 0),
        "unreadable": status.unreadable,
        **{why.value: count for why, count in status.held.items()},
    }
    return f"{rate}{counts}" + "".join(f" {name} {count}" for name, count in others.items() if count)


def _link(uplink: Uplink, now_s: float) -> str:
    view = uplink.link.view(now_s)
    if view.closed:
        return f"link: closed {view.closed_until_s - now_s:.0f} s ({view.closed_reason.value})"
    outlook, silent = view.outlook(0), math.isinf(view.answered_s)
    if outlook is None:
        return "link: dead" if view.dead else f"link: no answer{' yet' if silent else 's'}"
    quiet = "no answer yet" if silent else f"quiet {max(0.0, now_s - view.answered_s):.0f} s"
    parts = (
        f"{outlook.uplink_mbit_s:.1f} Mbit/s rtt {outlook.rtt_s * 1000:.0f} ms server {outlook.server_s * 1000:.0f} ms"
    )
    return f"link: {parts}{' dead' if view.dead else ''} {quiet}"


def _budget(uplink: Uplink) -> list[str]:
    """What may be spent at this moment."""
    prices = uplink.prices()
    left = (
        []
        if prices is None
        else [
            f"{prices.data_left_bytes / 1e6:.1f} MB" if math.isfinite(prices.data_left_bytes) else "",
            f"{prices.credits_left:.3f} credits" if math.isfinite(prices.credits_left) else "",
        ]
    )
    said = " ".join(part for part in left if part)
    return [f"left: {said}"] if said else []


def _backfill(status: BackfillStatus) -> str:
    """The doubtful frames of the time without the cloud."""
    done = {step.reached: count for step, count in status.done.items()}
    dropped = {f"dropped ({loss.value})": count for loss, count in status.dropped.items()}
    others = {"sent": status.sent, **done, **dropped}
    counts = "".join(f" {name} {count}" for name, count in others.items() if count)
    return f"back-fill: kept {status.kept} waiting {status.waiting}{counts}"


def _sinks(agent: Agent) -> str:
    parts = []
    for courier in agent.couriers:
        status = courier.outbox.status()
        left = {
            "waiting": status.waiting,
            "of these in memory only": status.exposed,
            "dropped": status.dropped,
            "rejected": status.rejected,
        }
        waiting = "".join(f" {count} {name}" for name, count in left.items() if count)
        parts.append(f"{courier.name} {status.delivered}{waiting}{'' if courier.connected else ' (away)'}")
    return "sent: " + ", ".join(parts)
