"""What results files tell, as columns of numbers: a set for each camera. No state."""

from dataclasses import dataclass, fields
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from agent.flow import Hedge

Floats: TypeAlias = NDArray[np.float64] | NDArray[np.float32]
Codes: TypeAlias = NDArray[np.int16] | NDArray[np.int32]

HEDGES = tuple(hedge.value for hedge in Hedge)


@dataclass(frozen=True, slots=True)
class Columns:
    """One row for each record, in the order of capture; every column is (n,). NaN: not known."""

    at_s: NDArray[np.float64]
    """When the frame was captured, seconds since the epoch."""
    span: NDArray[np.int32]
    """Which stretch without a restart or a long pause it belongs to, from 0."""
    reason: Codes
    """Index into History.reasons."""
    hedge: Codes
    """Index into HEDGES; -1: not known."""
    sent: NDArray[np.bool_]
    """It was decided to ask the cloud."""
    from_cloud: NDArray[np.bool_]
    """The answer is the cloud's."""
    late: NDArray[np.bool_]
    cloud_in_time: NDArray[np.bool_]
    """The cloud answered in time: first, or with a correction of the device's answer."""
    p: Floats
    threshold: Floats
    deadline_ms: Floats
    size_bytes: Floats
    quality: Floats
    rtt_ms: Floats
    """This and the next three are what was expected."""
    upload_ms: Floats
    server_ms: Floats
    uplink_mbit_s: Floats
    per_mb: Floats
    per_call: Floats
    data_left_mb: Floats
    credits_left: Floats
    took_ms: Floats
    """From capture to answer."""
    connect_took_ms: Floats
    upload_took_ms: Floats
    """From the body's first byte until the last was acknowledged: a round trip and the bytes' own time."""
    server_took_ms: Floats

    def __len__(self) -> int:
        return len(self.at_s)

    def where(self, rows: "NDArray[np.bool_] | slice") -> "Columns":
        """Those rows only."""
        return Columns(**{column.name: getattr(self, column.name)[rows] for column in fields(self)})


@dataclass(frozen=True, slots=True)
class CameraHistory:
    """What happened to the frames of one camera."""

    name: str
    """AGENT/CAMERA."""
    frames: Columns
    """One row for each answered frame: what was known of it first."""
    corrections: Columns
    """The cloud's answers that came after that."""
    clock_set: bool
    """Whether the wall clock was known to be right at some time of every boot."""


@dataclass(frozen=True, slots=True)
class History:
    """Of all files together."""

    cameras: tuple[CameraHistory, ...]
    """By name."""
    reasons: tuple[str, ...]
    """Those of this version, then those it does not know."""
    faults: tuple[str, ...]
    """What was left out, in words, a kind each."""
