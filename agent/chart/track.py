"""What is drawn of one camera, and how its rows fall into the bins of a time axis. No state."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.chart import bins
from agent.chart.bins import Floats, Ints, Rows

_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Track:
    """What is drawn of one camera: a row for each frame, in the order of capture; NaN: not known."""

    title: str
    at_s: NDArray[np.float64]
    """Seconds since the epoch."""
    span: Ints
    """The stretch without a restart or a long pause it belongs to."""
    reason: Ints
    """Index into the names of the reasons."""
    from_cloud: Rows
    """The first answer was the cloud's."""
    corrected: Rows
    """The cloud's came after the device's, and in time."""
    late: Rows
    took_ms: Floats
    deadline_ms: Floats
    uplink_mbit_s: Floats
    rtt_ms: Floats
    p: Floats
    threshold: Floats
    data_left_mb: Floats
    credits_left: Floats
    corrected_at_s: Floats
    """When the frames were taken that the cloud answered after the device."""
    corrected_took_ms: Floats

    @property
    def budgeted(self) -> bool:
        """Whether there was a budget."""
        return bool(np.isfinite(self.data_left_mb).any() or np.isfinite(self.credits_left).any())


@dataclass(frozen=True, slots=True)
class Column:
    """One camera on the axis of all."""

    track: Track
    reasons: Sequence[str]
    limits_s: NDArray[np.float64]

    @property
    def middles(self) -> NDArray[np.float64]:
        """Of the bins, in the days that a time axis counts."""
        return days((self.limits_s[1:] + self.limits_s[:-1]) / 2)

    def shares(self, kinds: list[Rows]) -> NDArray[np.float64]:
        """Of each bin's time, (kinds, bins)."""
        step_s = bins.steps(self.track.at_s, self.track.span)
        return bins.shares(self.track.at_s, step_s, kinds, self.limits_s)

    def band(self, values: Floats, rows: Rows | None = None) -> bins.Band:
        """The values of each bin, of these rows or all."""
        track = self.track
        if rows is None:
            return bins.band(track.at_s, values, track.span, self.limits_s)
        return bins.band(track.at_s[rows], values[rows], track.span[rows], self.limits_s)


def days(seconds: Floats) -> NDArray[np.float64]:
    """As a time axis counts, from 1970."""
    return np.asarray(seconds, np.float64) / _DAY_S
