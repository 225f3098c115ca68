"""The live line on a terminal, and what it says. Owner: main thread; log lines of any thread pass through it."""

import threading
from typing import TextIO

from agent.app import Agent
from agent.flow import Fate, Result, Route
from agent.telemetry import CameraStatus

_CLEAR = "\r\x1b[2K"


class Terminal:
    """A stream whose last line is live: log lines go above it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._line = ""
        self.live = stream.isatty()

    def write(self, text: str) -> int:
        """Ordinary output."""
        with self._lock:
            self._stream.write(f"{_CLEAR}{text}{self._line}" if self._line and text.endswith("\n") else text)
        return len(text)

    def flush(self) -> None:
        """As of any stream."""
        self._stream.flush()

    def show(self, line: str) -> None:
        """Replace the live line."""
        if self.live:
            with self._lock:
                self._line = line
                self._stream.write(_CLEAR + line)
                self._stream.flush()

    def end(self) -> None:
        """Leave the live line as it stands and go below it."""
        if self._line:
            with self._lock:
                self._line = ""
                self._stream.write("\n")
                self._stream.flush()


def summary(agent: Agent) -> str:
    """Every camera, the link and the outboxes in one line."""
    cameras = [_camera(pipeline.camera, pipeline.telemetry.status()) for pipeline in agent.pipelines]
    return "  |  ".join([*cameras, *([_link(agent)] if Route.CLOUD in agent.lanes else []), _sinks(agent)])


def _camera(name: str, status: CameraStatus) -> str:
    newest = status.newest
    if newest is None:
        return f"{name}: no result yet ({status.captured} frames)"
    rate = "" if status.rate_fps is None else f" {status.rate_fps:.1f}/s"
    counts = " ".join(f"{route.value} {status.routes.get(route, 0)}" for route in Route)
    failed = status.fates.get(Fate.FAILED, 0)
    return f"{name}: {_newest(newest)}{rate} ({counts}{f' failed {failed}' if failed else ''})"


def _newest(result: Result) -> str:
    route = result.published.value if result.published else "none"
    took_ms = (result.answered_s - result.captured_s) * 1000
    return f"{route:5} {result.decision.reason.value:15} {took_ms:4.0f} ms"


def _link(agent: Agent) -> str:
    view, now_s = agent.link.view(), agent.clock.now()
    if now_s < view.closed_until_s:
        return f"link: closed {view.closed_until_s - now_s:.0f} s ({view.closed_reason.value})"
    typical, rate = view.typical_s, view.uplink_mbit_s
    if typical is None:
        return "link: no answer yet" if not view.samples else "link: no answers"
    uplink = "" if rate is None else f" {rate:.1f} Mbit/s"
    return f"link: {typical * 1000:.0f} ms{uplink} quiet {max(0.0, now_s - view.last_good_s):.0f} s"


def _sinks(agent: Agent) -> str:
    parts = []
    for courier in agent.couriers:
        status = courier.outbox.status()
        waiting = f" {status.waiting} waiting" if status.waiting else ""
        parts.append(f"{courier.name} {status.delivered}{waiting}{'' if courier.connected else ' (away)'}")
    return "sent: " + ", ".join(parts)
