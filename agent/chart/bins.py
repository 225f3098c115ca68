"""Any number of rows -> at most a pixel's worth each: what is drawn does not grow with what happened. No state."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64] | NDArray[np.float32]
Rows: TypeAlias = NDArray[np.bool_]
Ints: TypeAlias = NDArray[np.signedinteger[Any]]


@dataclass(frozen=True, slots=True)
class Band:
    """One point for each bin that has rows; NaN where nothing is known of it, which breaks a line."""

    at_s: NDArray[np.float64]
    lowest: NDArray[np.float64]
    median: NDArray[np.float64]
    highest: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.at_s)


def edges(begin_s: float, end_s: float, count: int) -> NDArray[np.float64]:
    """The limits of so many bins of one length, (count + 1,)."""
    return np.linspace(begin_s, end_s, count + 1)


def band(at_s: Floats, values: Floats, span: Ints, limits_s: NDArray[np.float64]) -> Band:
    """The values of each bin.

    Args:
        at_s: when, in rising order.
        values: NaN where not known.
        span: the stretch each row belongs to; a line is broken between two.
        limits_s: of the bins.
    """
    bins = np.clip(np.searchsorted(limits_s, at_s, side="right") - 1, 0, len(limits_s) - 2)
    keys = bins if not len(span) else bins + (span.astype(np.int64) - int(span[0])) * len(limits_s)
    places, begins = np.unique(keys, return_index=True)
    known = np.isfinite(values)
    points = np.full((3, len(places)), np.nan)
    if known.any():
        rows, of = values[known].astype(np.float64), np.searchsorted(places, keys[known])
        order = np.lexsort((rows, of))
        rows, of = rows[order], of[order]
        some, first, count = np.unique(of, return_index=True, return_counts=True)
        points[:, some] = rows[first], rows[first + count // 2], rows[first + count - 1]
    whole = np.vstack((np.asarray(at_s, np.float64)[begins], points))
    changes = np.flatnonzero(np.diff(span[begins])) + 1
    return Band(*np.insert(whole, changes, np.nan, axis=1))


def shares(at_s: Floats, step_s: Floats, kinds: "list[Rows]", limits_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Which part of each bin's time belongs to frames of each kind, (kinds, bins); a frame lasts until the next.

    Args:
        at_s: when each frame was taken, in rising order.
        step_s: how long it lasts.
        kinds: for each kind, which frames are of it.
        limits_s: of the bins.
    """
    ends_s = np.column_stack((at_s, at_s + step_s)).ravel()
    parts = [np.zeros(len(limits_s) - 1)]
    for rows in kinds:
        lasted_s = np.repeat(np.cumsum(step_s * rows), 2)
        lasted_s[0::2] -= step_s * rows
        parts.append(np.diff(np.interp(limits_s, ends_s, lasted_s)) / np.diff(limits_s))
    return np.clip(np.array(parts[1:]), 0.0, 1.0)


def steps(at_s: Floats, span: Ints) -> NDArray[np.float64]:
    """How long each frame lasts, seconds: until the next of its stretch, the last as long as is usual."""
    if len(at_s) < 2:  # noqa: PLR2004 - one frame has no next
        return np.full(len(at_s), 1.0)
    waits_s = np.diff(np.asarray(at_s, np.float64))
    inside = np.diff(span) == 0
    usual_s = float(np.median(waits_s[inside])) if inside.any() else 1.0
    return np.append(np.where(inside, waits_s, np.minimum(waits_s, usual_s)), usual_s)
