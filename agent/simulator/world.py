"""One run of one policy: camera, link, server and on-device worker under the same conditions for all. One thread."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from agent.case import LOCAL_WORTH
from agent.flow import Route, Rung
from agent.simulator.agenda import Agenda
from agent.simulator.conditions import Camera, Conditions
from agent.simulator.uplink import DIAL_SENT_BYTES, Uplink, Upload
from agent.simulator.worker import Worker
from agent.ticket import HANDOVER_S

_AFTERMATH_S = 10.0
"""How long after the scenario answers still count."""
_RESPONSE_RTO_S = 0.3


@dataclass(eq=False, slots=True)
class Shot:
    """One frame of the camera, and what became of it."""

    seq: int
    captured_s: float
    deadline_s: float
    local_factor: float = 1.0
    wanted: Route = Route.LOCAL
    """Which route the policy took to serve: a probe is not meant to be answered there, one that finds no room is."""
    reason: str = ""
    p: float | None = None
    uplink_mbit_s: float | None = None
    """What the policy thinks the link carries."""
    held_until_s: float = 0.0
    """So long the device's answer waits for the cloud's."""
    promised: bool = False
    """An on-device run."""
    hedged: bool = False
    """That run is spared if it has not begun when the frame is settled; else it runs, however late."""
    cloud_s: float | None = None
    rung: Rung | None = None
    """The picture that the cloud's answer is to."""
    local_s: float | None = None

    @property
    def settle_s(self) -> float:
        """When the cloud's answer must be there: a moment before the deadline, as in the agent."""
        return self.deadline_s - HANDOVER_S

    @property
    def answered_by(self) -> Route | None:
        """Its one fate: the cloud's answer if that is in time, else the device's, else none."""
        if self.cloud_s is not None and self.cloud_s <= self.settle_s:
            return Route.CLOUD
        if self.local_s is not None and self.local_s <= self.deadline_s:
            return Route.LOCAL
        return None

    @property
    def worth(self) -> float:
        """Accuracy of its answer as a share of the best, 0..1."""
        if self.answered_by is Route.CLOUD and self.rung is not None:
            return self.rung.worth
        return LOCAL_WORTH if self.answered_by is Route.LOCAL else 0.0

    @property
    def published_s(self) -> float | None:
        """When its answer goes out, the first if there are two; the device's goes out late, too."""
        if self.answered_by is None:
            return self.local_s
        here_s = math.inf if self.local_s is None else max(self.local_s, self.held_until_s)
        return here_s if self.answered_by is Route.LOCAL or self.cloud_s is None else min(self.cloud_s, here_s)


class World:
    """The simulated surroundings of one policy, which acts through it."""

    def __init__(self, conditions: Conditions, camera: Camera, make_policy: "MakePolicy") -> None:
        self.conditions = conditions
        self.camera = camera
        self.agenda = Agenda()
        self.shots: list[Shot] = []
        self.uploads: list[Upload] = []
        self.in_flight: dict[int, Upload] = {}
        """By sequence number: requests without an answer."""
        self.dials = 0
        self.dialled_bytes = 0
        """Sent up for dials."""
        self.worker = Worker(self.agenda, camera.local_s, on_done=lambda _: self.policy.on_worker_free())
        self._uplink = Uplink(conditions, self.agenda, self)
        self._loaded_s: float | None = None
        self.policy = make_policy(self)

    @property
    def now_s(self) -> float:
        """Seconds since the scenario began."""
        return self.agenda.now_s

    def run(self) -> "World":
        """Let the camera's frames come, and everything that follows."""
        for seq, captured_s in enumerate(self.conditions.captured_s):
            self.agenda.at(captured_s, self._capture, seq)
        self.agenda.run(self.conditions.seconds + _AFTERMATH_S)
        return self

    def _capture(self, seq: int) -> None:
        deadline_s = self.now_s + self.camera.deadline_s
        shot = Shot(seq, self.now_s, deadline_s, local_factor=self.conditions.local_factor(seq))
        self.shots.append(shot)
        self.policy.on_frame(shot)

    def upload(self, shot: Shot, rung: Rung, *, probe: bool = False) -> Upload:
        """Send a frame to the cloud."""
        upload = Upload(shot.seq, rung, self.now_s, probe)
        shot.held_until_s = shot.settle_s
        self.uploads.append(upload)
        self.in_flight[shot.seq] = upload
        self._uplink.send(upload)
        return upload

    def cancel(self, upload: Upload) -> None:
        """Close the connection of a request without an answer."""
        if upload.open:
            self.in_flight.pop(upload.seq, None)
            self._uplink.cancel(upload)
            shot = self.shots[upload.seq]
            shot.held_until_s = min(shot.held_until_s, self.now_s)

    def dial(self) -> int:
        """Try to open a connection; the bytes that it takes."""
        size_bytes = self._uplink.dial()
        self.dials += 1
        self.dialled_bytes += min(size_bytes, DIAL_SENT_BYTES)
        return size_bytes

    def on_begun(self, upload: Upload) -> None:
        """See Client."""
        self.policy.on_begun(upload)

    def on_acked(self, upload: Upload) -> None:
        """See Client."""
        self.policy.on_ack(upload)

    def on_dialled(self) -> None:
        """See Client."""
        self.policy.on_dialled()

    def on_carried(self, upload: Upload) -> None:
        """The server gets to work, as soon as its model is loaded."""
        conditions, now_s = self.conditions, self.now_s
        if self._loaded_s is None:
            self._loaded_s = now_s + conditions.load_s
        arrived_s = now_s + conditions.rtt_s(now_s) / 2
        upload.cold_start = arrived_s < self._loaded_s
        ready_s = max(arrived_s, self._loaded_s) + conditions.server_s(upload.seq, arrived_s)
        back_s = ready_s + conditions.rtt_s(ready_s) / 2
        self.agenda.at(conditions.resumed(back_s, _RESPONSE_RTO_S), self._answer, upload)

    def _answer(self, upload: Upload) -> None:
        if upload.cancelled:
            return
        upload.answered_s = self.now_s
        if upload.acked_s is None:
            upload.acked_s, upload.acked_bytes = self.now_s, upload.size_bytes
        del self.in_flight[upload.seq]
        self._uplink.keep()
        shot = self.shots[upload.seq]
        shot.cloud_s, shot.rung = self.now_s, upload.rung
        self.worker.cancel(shot)
        self.policy.on_answer(upload)


class Policy:
    """Decides on frames by what a real agent can see: its own uploads, acknowledgements, answers and runs."""

    def __init__(self, world: World) -> None:
        self.world = world

    def on_frame(self, shot: Shot) -> None:
        """A frame was captured."""

    def on_begun(self, upload: Upload) -> None:
        """A request's body begins."""

    def on_ack(self, upload: Upload) -> None:
        """More of an upload was acknowledged."""

    def on_answer(self, upload: Upload) -> None:
        """The cloud answered."""

    def on_dialled(self) -> None:
        """A connection came about by dialling."""

    def on_worker_free(self) -> None:
        """The on-device model ended a run."""


MakePolicy: TypeAlias = Callable[[World], Policy]
