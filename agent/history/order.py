"""The rows of a camera as they were read -> columns in the order of capture, each record once, on one time axis.

Times are the monotonic clock's, laid on the wall clock's once for each boot: the clock's corrections make no steps.
"""

import math
from array import array
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.history.columns import CameraHistory, Columns

LEAST_GAP_S = 10.0
USUAL_GAPS = 20.0
"""No frame for 10 s and for 20 times the usual: the agent, or the camera, was away."""
LAST_S = 4_102_444_800.0
"""2100: later moments are a clock's mistake, and what they are printed with ends at the year 9999."""
PLACES = {
    "p": ("route", "p"),
    "threshold": ("route", "threshold"),
    "deadline_ms": ("route", "deadline_ms"),
    "size_bytes": ("route", "size_bytes"),
    "quality": ("route", "quality"),
    "rtt_ms": ("outlook", "rtt_ms"),
    "upload_ms": ("outlook", "upload_ms"),
    "server_ms": ("outlook", "server_ms"),
    "uplink_mbit_s": ("outlook", "uplink_mbit_s"),
    "per_mb": ("prices", "per_mb"),
    "per_call": ("prices", "per_call"),
    "data_left_mb": ("prices", "data_left_mb"),
    "credits_left": ("prices", "credits_left"),
    "took_ms": ("latency_ms", "total"),
    "connect_took_ms": ("latency_ms", "connect"),
    "upload_took_ms": ("latency_ms", "upload"),
    "server_took_ms": ("latency_ms", "server"),
}
"""Column -> the object of the record that has the number, and its name there."""


@dataclass(slots=True)
class Growing:
    """One camera while the files are read."""

    numbers: "array[float]" = field(default_factory=lambda: array("f"))
    """One after the other, as PLACES has them."""
    wall_s: "array[float]" = field(default_factory=lambda: array("d"))
    monotonic_s: "array[float]" = field(default_factory=lambda: array("d"))
    seq: "array[int]" = field(default_factory=lambda: array("q"))
    boot: "array[int]" = field(default_factory=lambda: array("i"))
    reason: "array[int]" = field(default_factory=lambda: array("h"))
    hedge: "array[int]" = field(default_factory=lambda: array("h"))
    flags: bytearray = field(default_factory=bytearray)
    """Bits: sent, from the cloud, late, a correction, the clock was right."""


SENT, FROM_CLOUD, LATE, CORRECTS, CLOCK_SET = (1 << bit for bit in range(5))


def settled(name: str, camera: Growing) -> CameraHistory:
    """The columns in the order of capture, each record once."""
    boot, seq = np.array(camera.boot), np.array(camera.seq)
    monotonic_s, flags = np.array(camera.monotonic_s), np.array(camera.flags, np.uint8)
    at_s, rank, clock_set = _axis(boot, monotonic_s, np.array(camera.wall_s), flags & CLOCK_SET > 0)
    corrects = flags & CORRECTS > 0
    order = np.lexsort((corrects, seq, at_s, rank))
    keys = np.stack((boot, seq, corrects))[:, order]
    order = order[np.concatenate(([True], np.any(keys[:, 1:] != keys[:, :-1], axis=0)))]
    span = np.empty(len(boot), np.int32)
    span[order] = _spans(at_s[order], boot[order])
    in_time = (flags & FROM_CLOUD > 0) & (flags & LATE == 0)
    columns: dict[str, NDArray[Any]] = {
        "at_s": at_s,
        "span": span,
        "reason": np.array(camera.reason),
        "hedge": np.array(camera.hedge),
        "sent": flags & SENT > 0,
        "from_cloud": flags & FROM_CLOUD > 0,
        "late": flags & LATE > 0,
        "cloud_in_time": _with_corrections(in_time, order, keys=(boot, seq), corrects=corrects),
    }
    first, later = order[~corrects[order]], order[corrects[order]]
    frames, corrections = ({column: values[rows] for column, values in columns.items()} for rows in (first, later))
    numbers = np.frombuffer(camera.numbers, np.float32).reshape(-1, len(PLACES))
    numbers[~np.isfinite(numbers)] = np.nan  # what no 32 bits can hold is not known
    for place, column in enumerate(PLACES):
        frames[column], corrections[column] = numbers[first, place], numbers[later, place]
    return CameraHistory(name, Columns(**frames), Columns(**corrections), clock_set=clock_set)


def _with_corrections(
    in_time: NDArray[np.bool_],
    order: NDArray[np.intp],
    *,
    keys: tuple[NDArray[np.int32], NDArray[np.int64]],
    corrects: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """`in_time`, also for a record whose correction, the next one in `order`, is."""
    before, after = order[:-1], order[1:]
    corrected = corrects[after] & ~corrects[before] & in_time[after]
    for key in keys:
        corrected &= key[before] == key[after]
    found: NDArray[np.bool_] = in_time.copy()
    found[before[corrected]] = True
    return found


def _axis(
    boot: NDArray[np.int32],
    monotonic_s: NDArray[np.float64],
    wall_s: NDArray[np.float64],
    trusted: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.int32], bool]:
    """Every row's time, the place of its boot among the others, and whether each boot had a clock to trust.

    Boots follow each other by their clocks where all could be trusted, else as in the files; one that would begin
    before the one before it has ended is put after it.
    """
    order = np.argsort(boot, kind="stable")
    rows_of = np.split(order, np.flatnonzero(np.diff(boot[order])) + 1)
    clock_set = all(bool(trusted[rows].any()) for rows in rows_of)
    placed: list[tuple[float, NDArray[np.intp]]] = []
    for rows in rows_of:
        clocked = rows[trusted[rows]] if trusted[rows].any() else rows
        placed.append((float(np.median(wall_s[clocked] - monotonic_s[clocked])), rows))
    if clock_set:
        placed.sort(key=lambda pair: pair[0])
    at_s, rank, end_s = np.empty(len(boot)), np.empty(len(boot), np.int32), -math.inf
    for number, (offset_s, rows) in enumerate(placed):
        begin_s = float(monotonic_s[rows].min()) + offset_s
        shift_s = end_s + 1.0 - begin_s if begin_s < end_s else 0.0
        at_s[rows] = np.clip(monotonic_s[rows] + (offset_s + shift_s), 0.0, LAST_S)
        rank[rows] = number
        end_s = float(at_s[rows].max())
    return at_s, rank, clock_set


def _spans(at_s: NDArray[np.float64], boot: NDArray[np.int32]) -> NDArray[np.int32]:
    """The number of each row's stretch: a new one begins with a boot and after a long pause."""
    steps_s = np.diff(at_s)
    pauses = steps_s > max(LEAST_GAP_S, USUAL_GAPS * float(np.median(steps_s))) if len(steps_s) else steps_s > 0
    return np.concatenate(([0], np.cumsum(pauses | (np.diff(boot) != 0)))).astype(np.int32)
