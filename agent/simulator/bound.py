"""The most that any policy could reach: a dynamic program that knows the link and every server time. No state.

It walks over the frames, holding for every backlog of the uplink (2 kB steps) the best utility so far. Everything that
is left out makes it too good, never too bad: connections are open and fast at once, backlogs are rounded down, nothing
is lost in an outage, and an answer that falls into one is there when it ends. A frame has an on-device answer if its
run, begun at once, would be over by the deadline.

A device that cannot keep up with the camera has only so much time, and spends it wherever that gains most. With any
price for that time no policy gains more than the best one that pays it and gets back what all the time would cost
(weak duality), so the least over some prices is taken.

Pictures are uploaded in the order of capture. No other order could do more where a later frame may be uploaded until
later; so a frame in the queue has as long as any before it, and only on its own no longer than its answer allows.
"""

import math

import numpy as np

from agent.case import LOCAL_WORTH
from agent.flow import Rung
from agent.simulator.conditions import Camera, Conditions
from agent.simulator.scenario import LADDER, RTT_STEP_S, Floats

_STEP_BYTES = 2000
_STATES = 600
"""A backlog of more than 1.2 MB counts as that."""
_PRICES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.2)
"""Of a usual on-device run, as a share of what its answer is worth."""


def bound(conditions: Conditions, camera: Camera) -> float:
    """Mean utility per frame that no policy can exceed."""
    captured_s = conditions.captured_s
    if not captured_s:
        return 0.0
    runs_s = [camera.local_s * conditions.local_factor(frame) for frame in range(len(captured_s))]
    whole_s = captured_s[-1] + camera.deadline_s - captured_s[0]
    in_time = [run_s for run_s in runs_s if run_s <= camera.deadline_s]
    prices = [share * LOCAL_WORTH / camera.local_s for share in (_PRICES if sum(in_time) > whole_s else (0.0,))]
    rooms_bytes = _rooms_bytes(conditions, camera)
    most = math.inf
    for price in prices:
        here = [max(0.0, LOCAL_WORTH - price * run_s) if run_s <= camera.deadline_s else 0.0 for run_s in runs_s]
        most = min(most, price * whole_s + _most(conditions, camera, here, rooms_bytes))
    return most / len(captured_s)


def _most(conditions: Conditions, camera: Camera, here: list[float], rooms_bytes: list[float]) -> float:
    """The most that all frames together can be worth; `here`: each one's worth without the cloud."""
    captured_s = conditions.captured_s
    best = np.full(_STATES, -np.inf)
    best[0] = 0.0
    carried = [conditions.carried(at_s) for at_s in [*captured_s, captured_s[-1] + 1 / camera.fps]]
    queue_bytes = -math.inf
    for frame, own_bytes in enumerate(rooms_bytes):
        queue_bytes = max(queue_bytes, carried[frame] + own_bytes)
        rungs = [rung for rung in LADDER if rung.size_bytes <= own_bytes]
        room_bytes, drained_bytes = queue_bytes - carried[frame], carried[frame + 1] - carried[frame]
        best = here[frame] + _after(best, rungs, here[frame], room_bytes=room_bytes, drained_bytes=drained_bytes)
    return float(best.max())


def _rooms_bytes(conditions: Conditions, camera: Camera) -> list[float]:
    """For each frame the largest picture that could be answered in time, were it alone on the link; -1: none could."""
    captured_s = conditions.captured_s
    way_back = _WayBack(conditions, first_s=captured_s[0] if captured_s else 0.0)
    rooms = []
    for frame, at_s in enumerate(captured_s):
        latest_s = way_back.latest_upload_s(frame, at_s + camera.deadline_s)
        rooms.append(conditions.carried(latest_s) - conditions.carried(at_s) if latest_s > at_s else -1.0)
    return rooms


def _after(best: Floats, rungs: list[Rung], here: float, *, room_bytes: float, drained_bytes: float) -> Floats:
    """The best utilities one frame later, beyond what the frame is worth without the cloud.

    Args:
        best: for each backlog.
        rungs: the sizes that would be in time on an empty queue.
        here: what the frame is worth without the cloud.
        room_bytes: backlog and picture that can have left the queue early enough for an answer in time.
        drained_bytes: what leaves the queue until the next frame.
    """
    after = _moved(best, math.floor(-drained_bytes / _STEP_BYTES))
    for rung in rungs:
        states = math.floor((room_bytes - rung.size_bytes) / _STEP_BYTES) + 1
        if states > 0:
            gained = np.full(_STATES, -np.inf)
            gained[:states] = best[:states] + (rung.worth - here)
            np.maximum(after, _moved(gained, math.floor((rung.size_bytes - drained_bytes) / _STEP_BYTES)), out=after)
    return after


def _moved(best: Floats, steps: int) -> Floats:
    """The utilities when every backlog grows by so many steps; it stays between nothing and the most."""
    after = np.full(_STATES, -np.inf)
    if steps < 0:
        after[: max(0, _STATES + steps)] = best[-steps:]
        after[0] = best[: 1 - steps].max()
    else:
        after[steps:] = best[: _STATES - steps]
        after[-1] = max(after[-1], best[max(0, _STATES - steps - 1) :].max())
    return after


class _WayBack:
    """From the deadline backwards: the server's answer, its work, the picture's arrival, its end in the queue.

    Half a round trip is added to a time by the round trip of that time, which may be less a moment later: what leaves
    later may arrive earlier. The latest of all moments that would do is taken.
    """

    def __init__(self, conditions: Conditions, *, first_s: float) -> None:
        self._conditions = conditions
        self._loaded_s = first_s + conditions.load_s

    def latest_upload_s(self, frame: int, deadline_s: float) -> float:
        """Until when the picture must have left the queue; -inf when no time would do."""
        outage = self._conditions.outage(deadline_s)
        if outage is not None:
            deadline_s = outage[0]  # else the answer is there when the outage ends, which is too late
        ready_s = self._latest_start_s(deadline_s)
        if self._loaded_s + self._conditions.server_s(frame, -1.0) > ready_s:
            return -math.inf
        return self._latest_start_s(self._latest_arrival_s(frame, ready_s))

    def _latest_start_s(self, arrival_s: float) -> float:
        """The latest start of half a round trip that is over by then."""
        if arrival_s <= 0:
            return -math.inf
        round_trips = self._conditions.round_trips
        step = min(int(arrival_s / RTT_STEP_S), len(round_trips) - 1)
        while step >= 0:
            start_s = min((step + 1) * RTT_STEP_S, arrival_s - round_trips[step] / 2)
            if start_s >= step * RTT_STEP_S:
                return start_s
            step -= 1
        return -math.inf

    def _latest_arrival_s(self, frame: int, ready_s: float) -> float:
        """The latest arrival at the server of a picture whose answer is ready by then."""
        took_s = self._conditions.server_s(frame, -1.0)
        latest_s = ready_s - took_s
        for brownout in self._conditions.scenario.brownouts:
            if brownout.begin_s <= latest_s < brownout.end_s:
                return max(ready_s - took_s * brownout.factor, brownout.begin_s)
        return latest_s
