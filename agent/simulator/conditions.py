"""What one seed makes of a scenario: every chance drawn beforehand, so that all policies meet the same. Read only."""

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import numpy as np

from agent.simulator.scenario import BIN_S, RTT_STEP_S, Floats, Scenario, Span, autoregressive

TAIL_S = 30.0
"""The link goes on for so long after the last frame, so that what is under way can end."""
FIRST_FRAME_S = 0.05
_CAMERA_JITTER_S = 0.004
_RTT_SIGMA = 0.15
_RTT_CORRELATION = 0.8
_RTT_SPIKE_SHARE = 0.004
_RTT_SPIKE_S = 0.15
_LEAST_TAIL_BYTES = 500.0
"""A recording that ends on a dead link goes on with a little, or nothing would ever end."""
_EXECUTION_S = 0.029
"""YOLOv8x at 640 px, as the vendor gives it."""
_OVERHEAD_S = 0.100
_OVERHEAD_SIGMA = 0.40
_SLOW_SHARE = 0.015
_SLOW_S = 0.9
"""Platform overhead and a rare slow answer, set so that isolated and kept connections bracket the vendor's 401 ms."""
_LOAD_S = (2.0, 6.0)
"""The first request waits for the model to be loaded."""
_LOCAL_SIGMA = 0.06
_RTO_LONGEST_S = 60.0


@dataclass(frozen=True, slots=True)
class Camera:
    """How often frames come, and how soon they must be answered."""

    fps: float = 10.0
    deadline_s: float = 0.5
    local_s: float = 0.080
    """What an on-device run takes."""


class Conditions:
    """One link, one server, one worker and one camera, with all that is random about them."""

    def __init__(self, scenario: Scenario, seed: int, fps: float) -> None:
        self.scenario = scenario
        frames = max(0, math.ceil((scenario.seconds - 2) * fps))
        self._carried = _carried(scenario)
        self._rtt_s = _listed(_round_trips(scenario, np.random.default_rng([seed, 11])))
        self._server_s = _listed(_server_times(frames, np.random.default_rng([seed, 12])))
        draw = np.random.default_rng([seed, 13])
        self.load_s = float(draw.uniform(*_LOAD_S))
        self._local = _listed(draw.normal(1.0, _LOCAL_SIGMA, frames).clip(0.8, 1.6))
        jitter_s = draw.uniform(0, _CAMERA_JITTER_S, frames)
        self.captured_s = _listed(np.arange(frames) / fps + FIRST_FRAME_S + jitter_s)
        self._outages = scenario.outages
        self._outage_begins = [begin_s for begin_s, _ in scenario.outages]

    @property
    def seconds(self) -> float:
        """How long the scenario lasts."""
        return self.scenario.seconds

    def carried(self, at_s: float) -> float:
        """Bytes that a link never idle has carried by then."""
        place = at_s / BIN_S
        index = int(place)
        if index >= len(self._carried) - 1:
            return self._carried[-1]
        before = self._carried[index]
        return before + (self._carried[index + 1] - before) * (place - index)

    def when_carried(self, size_bytes: float) -> float:
        """When a link never idle has carried so many bytes; infinite when it never does."""
        index = bisect_left(self._carried, size_bytes)
        if index <= 0:
            return 0.0
        if index >= len(self._carried):
            return math.inf
        before = self._carried[index - 1]
        return (index - 1 + (size_bytes - before) / (self._carried[index] - before)) * BIN_S

    def rtt_s(self, at_s: float) -> float:
        """The round trip then, without queues."""
        return self._rtt_s[min(int(at_s / RTT_STEP_S), len(self._rtt_s) - 1)]

    def outage(self, at_s: float) -> Span | None:
        """The outage at that time, if there is one."""
        place = bisect_right(self._outage_begins, at_s)
        if place and at_s < self._outages[place - 1][1]:
            return self._outages[place - 1]
        return None

    def resumed(self, at_s: float, rto_s: float) -> float:
        """The first of the retransmissions, each after twice the pause of the last, that meets no outage."""
        while self.outage(at_s) is not None:
            at_s += rto_s
            rto_s = min(2 * rto_s, _RTO_LONGEST_S)
        return at_s

    def server_s(self, frame: int, arrived_s: float) -> float:
        """What the server takes for a frame whose picture has arrived then."""
        for brownout in self.scenario.brownouts:
            if brownout.begin_s <= arrived_s < brownout.end_s:
                return self._server_s[frame] * brownout.factor
        return self._server_s[frame]

    def local_factor(self, frame: int) -> float:
        """By how much the on-device run for a frame is longer than usual."""
        return self._local[frame]

    @property
    def round_trips(self) -> list[float]:
        """Seconds, one for each 100 ms."""
        return self._rtt_s


def _carried(scenario: Scenario) -> list[float]:
    """Bytes carried until the begin of each bin."""
    capacity = scenario.capacity.copy()
    for begin_s, end_s in scenario.outages:
        capacity[round(begin_s / BIN_S) : round(end_s / BIN_S)] = 0.0
    tail = max(float(capacity[-500:].mean()) if len(capacity) else 0.0, _LEAST_TAIL_BYTES)
    whole = np.concatenate(([0.0], capacity, np.full(round(TAIL_S / BIN_S), tail)))
    return _listed(np.cumsum(whole))


def _listed(values: Floats) -> list[float]:
    """Python's own numbers, which one at a time are faster."""
    return [float(value) for value in values]


def _round_trips(scenario: Scenario, draw: np.random.Generator) -> Floats:
    """Wanders around the median in the logarithm, with a spike now and then."""
    count = round((scenario.seconds + TAIL_S) / RTT_STEP_S) + 2
    median = scenario.rtt_s[np.minimum(np.arange(count), len(scenario.rtt_s) - 1)]
    steps = draw.normal(0, _RTT_SIGMA * np.sqrt(1 - _RTT_CORRELATION**2), count)
    spikes = np.where(draw.random(count) < _RTT_SPIKE_SHARE, draw.exponential(_RTT_SPIKE_S, count), 0.0)
    return np.asarray(median * np.exp(autoregressive(steps, _RTT_CORRELATION)) + spikes, dtype=np.float64)


def _server_times(frames: int, draw: np.random.Generator) -> Floats:
    overhead_s = _OVERHEAD_S * np.exp(draw.normal(0, _OVERHEAD_SIGMA, frames))
    slow_s = np.where(draw.random(frames) < _SLOW_SHARE, draw.exponential(_SLOW_S, frames), 0.0)
    return np.asarray(_EXECUTION_S + overhead_s + slow_s, dtype=np.float64)
