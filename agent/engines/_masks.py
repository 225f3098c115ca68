"""Masks as COCO's compressed run lengths and as outlines. No state.

A mask is read column by column. Its runs, in pixels, alternate between background and object, and begin with the
background. Each is written as its difference to the run before last of its kind (the first three as they are): five
bits a letter, lowest first, as 48 + bits, or 80 + bits where another letter follows; bit 4 of the last is the sign.
Format: https://github.com/cocodataset/cocoapi (common/maskApi.c, rleToString).
"""

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agent import canvas
from agent.flow import Runs

Ints: TypeAlias = NDArray[np.int64]
_BITS: Final = 5
_LOW, _SIGN, _MORE, _ZERO = 0x1F, 0x10, 0x20, 48
_RUN_LETTERS: Final = 8
MOST_LETTERS: Final = 1 << 22
"""At most, of one run and of one mask: with 40 bits in each of 4 million numbers, no sum leaves the 63 bits it has."""
_LARGEST_SUM: Final = 1 << 40
LARGEST_PX: Final = 1 << 26
"""Pixels of a mask that is painted; 64 MB."""
_MOST_PARTS: Final = 1 << 22
"""Column by column, of one mask that is resized; 32 MB in each of a few arrays."""


def encode_runs(mask: NDArray[np.bool_]) -> Runs:
    """The runs of `mask`, (height, width)."""
    height, width = mask.shape
    return placed_runs(mask, left=0, top=0, width=width, height=height)


def placed_runs(part: NDArray[np.bool_], *, left: int, top: int, width: int, height: int) -> Runs:
    """The runs of a mask of `width` x `height` that is `part` at (`left`, `top`), and background elsewhere.

    `part` (rows, columns) must lie inside.
    """
    rows = part.shape[0]
    framed = np.zeros((part.shape[1], rows + 1), bool)  # turned, and with a background's pixel behind each column
    framed[:, :rows] = part.T
    flat = framed.ravel()
    begins = np.flatnonzero(flat[1:] & ~flat[:-1]) + 1
    ends = np.flatnonzero(flat[:-1] & ~flat[1:]) + 1
    if flat.size and flat[0]:
        begins = np.concatenate(([0], begins))
    columns, first_rows = np.divmod(begins, rows + 1)
    starts = (columns + left) * height + first_rows + top
    return _runs_of(starts, starts + (ends - begins), width=width, height=height)


def decode_runs(runs: Runs) -> NDArray[np.bool_]:
    """The mask, (height, width). Raises ValueError: the runs are none, or of more than LARGEST_PX pixels."""
    if runs.height * runs.width > LARGEST_PX:
        raise ValueError(f"a mask of {runs.width}x{runs.height} is larger than any picture")
    counts = _counts(runs)
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return np.ascontiguousarray(flat.reshape(runs.width, runs.height).T)


def resized_runs(runs: Runs, width: int, height: int) -> Runs:
    """The same mask in a picture of another size: each pixel is that of the old mask at its place (nearest neighbour).

    Column by column, without painting it. Raises ValueError: the runs are none, or too many.
    """
    columns, starts, ends = _by_column(runs)
    wanted = np.arange(width) * runs.width // width
    first, last = np.searchsorted(columns, wanted, "left"), np.searchsorted(columns, wanted, "right")
    each = last - first
    if int(each.sum()) > _MOST_PARTS:
        raise ValueError("a mask has more runs than any object's")
    rows = _ranges(first, each)
    starts, ends = (-(-edge[rows] * height // runs.height) for edge in (starts, ends))  # rounded up
    offsets = np.repeat(np.arange(width) * height, each)
    there = ends > starts
    return _runs_of((offsets + starts)[there], (offsets + ends)[there], width=width, height=height)


def outline(mask: NDArray[np.bool_]) -> tuple[tuple[float, float], ...]:
    """The outer contour of the largest piece of `mask` (height, width) in pixels, x before y; () when it is empty.

    One outline an object, through the middles of its outermost pixels, as the hosted API has it.
    """
    return canvas.largest_outline(mask)


def _by_column(runs: Runs) -> tuple[Ints, Ints, Ints]:
    """Where the object is: column, first row and row after the last, in the order of the columns. Raises ValueError."""
    edges = np.cumsum(_counts(runs))
    begins, ends = edges[:-1:2], edges[1::2]
    begins, ends = begins[ends > begins], ends[ends > begins]
    height = runs.height
    first, last = begins // height, (ends - 1) // height
    each = last - first + 1
    if int(each.sum()) > _MOST_PARTS:
        raise ValueError("a mask has more runs than any object's")
    columns = _ranges(first, each)
    top = columns * height
    starts = np.maximum(np.repeat(begins, each), top) - top
    return columns, starts, np.minimum(np.repeat(ends, each), top + height) - top


def _ranges(first: Ints, lengths: Ints) -> Ints:
    """first[0], first[0] + 1 ... one after another, `lengths[0]` of them, and so for each."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    steps: Ints = np.arange(total, dtype=np.int64) + np.repeat(first - (ends - lengths), lengths)
    return steps


def _runs_of(starts: Ints, ends: Ints, *, width: int, height: int) -> Runs:
    """From where the object begins and ends, in pixels column by column; what touches becomes one run."""
    apart = starts[1:] != ends[:-1]
    starts = starts[np.concatenate(([True], apart))] if len(starts) else starts
    ends = ends[np.concatenate((apart, [True]))] if len(ends) else ends
    edges = np.stack((starts, ends), axis=1).ravel()
    counts = np.diff(edges, prepend=0, append=height * width)
    if counts[-1] == 0 and len(counts) > 1:
        counts = counts[:-1]
    return Runs(height, width, _written(counts))


def _written(counts: Ints) -> str:
    """Run lengths as text."""
    left = counts.copy()
    left[3:] -= counts[1:-2]
    letters = np.zeros((len(left), _RUN_LETTERS), np.uint8)
    more = np.ones(len(left), bool)
    for place in range(_RUN_LETTERS):
        low = left & _LOW
        left >>= _BITS
        goes_on = more & (left != np.where(low & _SIGN, -1, 0))
        letters[more, place] = (low + np.where(goes_on, _ZERO + _MORE, _ZERO))[more]
        more = goes_on
    return str(letters[letters != 0].tobytes(), "ascii")


def _counts(runs: Runs) -> Ints:
    """Run lengths from text, in pixels. Raises ValueError: they are not those of a mask of that size."""
    area = runs.height * runs.width
    if min(runs.height, runs.width) <= 0 or area > _LARGEST_SUM:
        raise ValueError(f"there are no pictures of {runs.width}x{runs.height}")
    counts = _differences(runs.counts)
    counts[1::2] = np.cumsum(counts[1::2])
    counts[2::2] = np.cumsum(counts[2::2])
    if (counts < 0).any() or (counts > area).any() or int(counts.sum()) != area:
        raise ValueError(f"the runs of a mask are not those of {runs.width}x{runs.height} pixels")
    return counts


def _differences(text: str) -> Ints:
    """The numbers as written. Raises ValueError: the text is none of these."""
    if len(text) > MOST_LETTERS:
        raise ValueError("a mask has more runs than any object's")
    letters = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - _ZERO
    if not len(letters) or (letters < 0).any() or (letters >= 2 * _MORE).any() or letters[-1] & _MORE:
        raise ValueError("the runs of a mask are not in COCO's letters")
    last = np.flatnonzero((letters & _MORE) == 0)
    first = np.concatenate(([0], last[:-1] + 1))
    length = last - first + 1
    if int(length.max()) > _RUN_LETTERS:
        raise ValueError("a run of a mask is longer than any picture")
    places = np.arange(len(letters)) - np.repeat(first, length)
    values = np.add.reduceat((letters & _LOW) << (_BITS * places), first)
    negative = (letters[last] & _SIGN) != 0
    return values - np.where(negative, 1 << (_BITS * length), 0)
