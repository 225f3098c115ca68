"""How the agent does, as states that sinks show: a camera's at once, the whole now and then. Owner: main thread.

What somebody wants otherwise for now is told at once, too.
"""

import json
import math
from collections.abc import Sequence
from typing import Any, Final

import agent
from agent.controls import Controls
from agent.courier import Courier
from agent.outbox import Outbox
from agent.pipeline import Pipeline, Shared
from agent.states import State, Subject
from agent.telemetry import CameraStatus
from agent.uplink import Uplink

SCHEMA: Final = "vedette.health/1"
_EVERY_S: Final = 30.0
"""About 2 MB a day over a metered link."""


class Health:
    """Watches cameras, link and outboxes."""

    def __init__(self, pipelines: Sequence[Pipeline], couriers: Sequence[Courier], shared: Shared) -> None:
        """`shared`: what all cameras have in common."""
        self._name = shared.identity.agent
        self._pipelines = pipelines
        self._couriers = couriers
        self._uplink = shared.uplink
        self._states = shared.states
        self._clock = shared.clock
        self._controls = shared.controls
        self._begun_s = shared.clock.now()
        self._due_s = -math.inf
        self._changes = shared.controls.changes()

    def tell(self) -> None:
        """What is true now; called a few times a second."""
        cameras = {pipeline.camera: pipeline.telemetry.status() for pipeline in self._pipelines}
        for name, status in cameras.items():
            self._states.put(State(Subject.CAMERA, b"online" if status.online else b"offline", name))
        before, self._changes = self._changes, self._controls.changes()
        if self._clock.now() >= self._due_s or self._changes != before:
            self._due_s = self._clock.now() + _EVERY_S
            body = json.dumps(self._report(cameras), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
            self._states.put(State(Subject.HEALTH, body.encode()))

    def _report(self, cameras: dict[str, CameraStatus]) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "agent": self._name,
            "version": agent.__version__,
            "uptime_s": round(self._clock.now() - self._begun_s),
            "cameras": {name: report_of_camera(status) for name, status in cameras.items()},
            "link": None if self._uplink is None else report_of_link(self._uplink, self._clock.now()),
            "controls": report_of_controls(self._controls),
            "outboxes": {courier.name: report_of_outbox(courier.outbox) for courier in self._couriers},
        }


def report_of_camera(status: CameraStatus) -> dict[str, Any]:
    """One camera, as JSON has it."""
    newest = status.newest
    return {
        "online": status.online,
        "captured": status.captured,
        "held_back": {why.value: count for why, count in status.held.items()},
        "fates": {fate.value: count for fate, count in status.fates.items()},
        "fps": None if status.rate_fps is None else round(status.rate_fps, 2),
        "latency_ms": None if status.recent_ms is None else round(status.recent_ms, 1),
        "late": status.late,
        "corrections": status.corrections,
        "route": None if newest is None or newest.published is None else newest.published.value,
        "reason": None if newest is None else newest.decision.reason.value,
    }


def report_of_link(uplink: Uplink, now_s: float) -> dict[str, Any]:
    """The way to the cloud, as JSON has it."""
    view = uplink.link.view(now_s)
    outlook = view.outlook(0)
    silent = math.isinf(view.answered_s)
    return {
        "dead": view.dead,
        "closed": view.closed,
        "uplink_mbit_s": None if outlook is None else round(outlook.uplink_mbit_s, 3),
        "rtt_ms": None if outlook is None else round(outlook.rtt_s * 1000, 1),
        "server_ms": None if outlook is None else round(outlook.server_s * 1000, 1),
        "quiet_s": None if silent else round(max(0.0, now_s - view.answered_s), 1),
    }


def report_of_controls(controls: Controls) -> list[dict[str, Any]]:
    """What is wanted otherwise than the configuration has it, as JSON has it."""
    return [
        {"by": wish.by, "camera": wish.camera, "what": wish.what, "value": wish.value, "words": wish.words}
        for wish in controls.reasons()
    ]


def report_of_outbox(outbox: Outbox) -> dict[str, int]:
    """What waits for one sink, as JSON has it."""
    status = outbox.status()
    return {
        "waiting": status.waiting,
        "in_memory_only": status.exposed,
        "waiting_bytes": status.waiting_bytes,
        "delivered": status.delivered,
        "rejected": status.rejected,
        "dropped": status.dropped,
    }
