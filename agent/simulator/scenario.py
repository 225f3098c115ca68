"""What is simulated: a link, its round trips and outages, a server; and five scenarios made in code. No state."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from agent.errors import ConfigError
from agent.flow import Rung

Floats: TypeAlias = NDArray[np.float64]
Span: TypeAlias = tuple[float, float]
"""From when to when, in seconds; the end is not in it."""

BIN_S = 0.01
"""Capacity is given for every 10 ms."""
RTT_STEP_S = 0.1
"""The round trip changes every 100 ms."""
BYTES_PER_MBIT = 1e6 / 8
USUAL_RTT_S = 0.07
"""A mobile link without queues, where a trace says nothing of it."""
SECONDS = 300.0
"""How long the five scenarios are."""
LADDER = (
    Rung(20_000, longest_px=640, quality=35, worth=0.930),
    Rung(45_000, longest_px=640, quality=70, worth=0.980),
    Rung(90_000, longest_px=640, quality=85, worth=0.997),
    Rung(180_000, longest_px=640, quality=95, worth=1.000),
)
"""The sizes a frame can be sent in. What each is worth is assumed: little is lost until strong compression, then much.
The router goes by size and worth alone; the qualities are typical ones."""


@dataclass(frozen=True, slots=True)
class Brownout:
    """The server takes `factor` times as long."""

    begin_s: float
    end_s: float
    factor: float


@dataclass(frozen=True, slots=True)
class Met:
    """The run that met a link, by its results file; None: not known."""

    fps: float | None
    deadline_ms: int | None
    local_s: float | None
    """What an on-device run took, about."""
    left_out: tuple[str, ...]
    """Lines of the file that are no records, in words."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A link and a server, before chance has its part."""

    name: str
    capacity: Floats
    """Bytes the uplink carries in each bin of 10 ms."""
    rtt_s: Floats
    """Median round trip of each 100 ms, without queues; the last one holds on."""
    outages: tuple[Span, ...] = ()
    """When everything under way is lost."""
    brownouts: tuple[Brownout, ...] = ()
    met: Met | None = None
    """None: it is not from a results file."""

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.capacity) * BIN_S

    def cut(self, seconds: float | None) -> "Scenario":
        """The same, no longer than `seconds`."""
        if seconds is None or seconds >= self.seconds:
            return self
        outages = tuple(span for span in self.outages if span[0] < seconds)
        return replace(self, capacity=self.capacity[: round(seconds / BIN_S)], outages=outages)

    def with_outages(self, spans: Sequence[Span]) -> "Scenario":
        """The same with `spans` added. Raises ConfigError when two overlap or one ends before it begins."""
        outages = sorted((*self.outages, *spans))
        for begin_s, end_s in outages:
            if not 0 <= begin_s < end_s:
                raise ConfigError(f"{self.name}: the outage {begin_s:g}-{end_s:g} should end after it begins")
        for (_, end_s), (begin_s, _) in pairwise(outages):
            if begin_s < end_s:
                raise ConfigError(f"{self.name}: the outage at {begin_s:g} s begins before the one before it has ended")
        return replace(self, outages=tuple(outages))


def even_rtt(rtt_ms: float) -> Floats:
    """The same median round trip throughout."""
    return np.array([rtt_ms / 1000])


def bytes_per_bin(mbit_s: float) -> float:
    """What a rate carries in one bin."""
    return mbit_s * BYTES_PER_MBIT * BIN_S


def binned(edges_s: Floats, bytes_per_s: Floats) -> Floats:
    """Bytes in each bin, from a rate between each two edges; the first edge is 0."""
    carried = np.concatenate(([0.0], np.cumsum(np.diff(edges_s) * bytes_per_s)))
    count = max(1, round(float(edges_s[-1]) / BIN_S))
    bins = np.diff(np.interp(np.arange(count + 1) * BIN_S, edges_s, carried))
    return np.asarray(bins, dtype=np.float64)


def autoregressive(steps: Floats, correlation: float) -> Floats:
    """A series that remembers `correlation` of its last value, driven by `steps`."""
    series = np.zeros(len(steps))
    last = 0.0
    for index, step in enumerate(steps.tolist()):
        last = correlation * last + step
        series[index] = last
    return series


def _fading(bins: int, sigma: float, draw: np.random.Generator) -> Floats:
    """A factor of mean 1 that wanders log-normally, half forgotten after a third of a second."""
    correlation = 0.98
    steps = draw.normal(0, sigma * np.sqrt(1 - correlation**2), bins)
    return np.asarray(np.exp(autoregressive(steps, correlation) - sigma**2 / 2), dtype=np.float64)


def synthetic(seed: int, seconds: float = SECONDS) -> tuple[Scenario, ...]:
    """The five scenarios that need no recording; names end in a star."""
    bins = round(seconds / BIN_S)
    draw = np.random.default_rng([seed, 1])
    wifi = bytes_per_bin(25) * _fading(bins, 0.3, draw)
    good = Scenario("wifi-good*", wifi, even_rtt(45))
    tunnels = ((30.0, 35.0), (70.0, 80.0), (120.0, 150.0), (200.0, 260.0))
    slow = (
        Brownout(40, 70, 8.0),
        Brownout(110, 115, 20.0),
        Brownout(160, 220, 4.0),
        Brownout(250, 252, 30.0),
    )
    return (
        good,
        replace(good, name="wifi+tunnels*", outages=tunnels).cut(seconds),
        replace(good, name="server-brownout*", brownouts=slow),
        _flapping(bins, np.random.default_rng([seed, 4])),
        _stepping(bins, np.random.default_rng([seed, 3])),
    )


def _flapping(bins: int, draw: np.random.Generator) -> Scenario:
    """Good, poor and dead in turn, each for an exponential time."""
    rates_mbit_s, stays_s = (8.0, 0.6, 0.0), (20.0, 8.0, 4.0)
    moves = (((1, 0.6), (2, 1.0)), ((0, 0.7), (2, 1.0)), ((0, 0.5), (1, 1.0)))
    capacity = np.zeros(bins)
    outages: list[Span] = []
    state, begin = 0, 0
    while begin < bins:
        end = min(bins, begin + int(max(0.3, draw.exponential(stays_s[state])) / BIN_S))
        capacity[begin:end] = bytes_per_bin(rates_mbit_s[state])
        if rates_mbit_s[state] == 0:
            outages.append((begin * BIN_S, end * BIN_S))
        dice, begin = draw.random(), end
        state = next(after for after, up_to in moves[state] if dice < up_to)
    return Scenario("markov-flap*", capacity * _fading(bins, 0.3, draw), even_rtt(80), outages=tuple(outages))


def _stepping(bins: int, draw: np.random.Generator) -> Scenario:
    """10 and 0.5 Mbit/s, 20 s each."""
    fast = (np.arange(bins) * BIN_S // 20).astype(int) % 2 == 0
    capacity = np.where(fast, bytes_per_bin(10), bytes_per_bin(0.5)) * _fading(bins, 0.15, draw)
    return Scenario("step-10-0.5*", capacity, even_rtt(80))
