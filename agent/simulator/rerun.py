"""The link that a real run met, by its results file: capacity, round trips, outages as the run saw them. No state."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent import history
from agent.errors import ConfigError
from agent.flow import Reason
from agent.history import Columns, History
from agent.simulator.scenario import (
    BYTES_PER_MBIT,
    RTT_STEP_S,
    USUAL_RTT_S,
    Floats,
    Met,
    Scenario,
    Span,
    binned,
    even_rtt,
)

_LEAST_UPLOAD_MS = 2.0
"""Acknowledged within this beyond a round trip: too fast to tell how fast."""
_UNREACHED = (Reason.DEAD, Reason.STALLED)


def read(path: Path, *, rtt_s: float | None = None) -> Scenario:
    """The link of a run, second by second; restarts and long pauses are left out.

    Args:
        path: a results file.
        rtt_s: the median round trip; None: as it was measured.

    Raises:
        ConfigError: it cannot be read, or the run never used the cloud.
    """
    found = history.read(path)
    frames, at_s = _in_order(found)
    seconds = math.floor(float(at_s[-1])) + 1
    place = at_s.astype(np.int64)
    known = _by_second(place, frames.uplink_mbit_s, seconds)
    measured = _by_second(place, _rates(frames), seconds)
    rates = _held(np.where(np.isfinite(measured), measured, known))
    if not np.isfinite(rates).any():
        raise ConfigError(f"{path} tells nothing of the uplink: no frame was sent; name a run that used the cloud")
    trips_s = _held(_by_second(place, frames.rtt_ms, seconds)) / 1000
    if rtt_s is None and np.isfinite(trips_s).all():
        round_trips = np.repeat(trips_s, round(1 / RTT_STEP_S))
    else:
        round_trips = even_rtt(1000 * (USUAL_RTT_S if rtt_s is None else rtt_s))
    capacity = binned(np.arange(seconds + 1, dtype=np.float64), rates * BYTES_PER_MBIT)
    outages = _outages(found, frames, at_s, end_s=float(seconds))
    return Scenario(path.name, capacity, round_trips, outages=outages, met=_met(found, frames, at_s))


def _in_order(found: History) -> tuple[Columns, Floats]:
    """The frames of the camera that has most, and when each came, without the time the agent was away."""
    frames = max((camera.frames for camera in found.cameras), key=len)
    steps_s = np.diff(frames.at_s, prepend=frames.at_s[0])
    away = np.diff(frames.span, prepend=frames.span[0]) != 0
    usual_s = float(np.median(steps_s)) if len(steps_s) else 0.0
    return frames, np.cumsum(np.where(away, usual_s, steps_s))


def _rates(frames: Columns) -> Floats:
    """Mbit/s of each upload whose acknowledgement was timed; NaN for others."""
    own_ms = frames.upload_took_ms - frames.rtt_ms
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = 8e-3 * frames.size_bytes / own_ms
        return np.asarray(np.where(own_ms >= _LEAST_UPLOAD_MS, rates, np.nan), dtype=np.float64)


def _by_second(place: NDArray[np.int64], values: history.Floats, seconds: int) -> Floats:
    """The median of what is known in each second; NaN where nothing is."""
    series = np.full(seconds, np.nan)
    known = np.isfinite(values)
    place, values = place[known], values[known]
    cuts = np.flatnonzero(np.diff(place)) + 1
    for places, some in zip(np.split(place, cuts), np.split(values, cuts), strict=True):
        if len(some):
            series[places[0]] = float(np.median(np.asarray(some, dtype=np.float64)))
    return series


def _held(series: Floats) -> Floats:
    """Where nothing is known, what was known last; before that, what was known first."""
    known = np.flatnonzero(np.isfinite(series))
    if not len(known):
        return series
    last = np.searchsorted(known, np.arange(len(series)), side="right") - 1
    return series[known[np.maximum(last, 0)]]


def _met(found: History, frames: Columns, at_s: Floats) -> Met:
    """How the run worked: the usual pause between frames, the deadline, and how long the device's answers took."""
    busy = found.reasons.index(Reason.UPLINK_BUSY.value)  # the answer waited for the cloud's
    device = ~frames.from_cloud & ~frames.sent & (frames.reason != busy)
    step_s, deadline_ms = _median(np.diff(at_s)), _median(frames.deadline_ms)
    local_ms = _median(frames.took_ms[device])
    return Met(
        fps=round(1 / step_s, 2) if step_s else None,
        deadline_ms=round(deadline_ms) if deadline_ms else None,
        local_s=round(local_ms) / 1000 if local_ms and local_ms >= 1 else None,
        left_out=found.faults,
    )


def _median(values: history.Floats) -> float | None:
    """Of those that are known; None when none is, or nothing above 0."""
    known = values[np.isfinite(values)]
    median = float(np.median(known)) if len(known) else 0.0
    return median if median > 0 else None


def _outages(found: History, frames: Columns, at_s: Floats, *, end_s: float) -> tuple[Span, ...]:
    """From the first frame for which the link had stalled or was dead until it was no more, if it was ever dead.

    One that the run did not see the end of lasts until `end_s`.
    """
    codes = [found.reasons.index(reason.value) for reason in _UNREACHED]
    away = np.isin(frames.reason, codes)
    cuts = np.flatnonzero(np.diff(away.astype(int))) + 1
    spans: list[Span] = []
    for rows in np.split(np.arange(len(away)), cuts):
        after_s = float(at_s[rows[-1] + 1]) if rows[-1] + 1 < len(away) else end_s
        if away[rows[0]] and np.any(frames.reason[rows] == codes[0]) and after_s > at_s[rows[0]]:
            spans.append((float(at_s[rows[0]]), after_s))
    return tuple(spans)
