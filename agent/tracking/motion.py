"""Where each tracked box is by now: one constant-velocity Kalman filter a track. Owner: the tracker's thread.

The four numbers of a box (centre, width, height) are filtered each by itself, as their noises are independent: position
and rate, with a covariance of 2 by 2. Time is in seconds, so frames may come when they like. The noises:

- Between frames, continuous white-noise acceleration: over `t` seconds the covariance grows by
  q [[t^3/3, t^2/2], [t^2/2, t]] (Bar-Shalom, Li and Kirubarajan, Estimation with Applications to Tracking and
  Navigation, 2001, section 6.2.2). Unlike a noise given for each frame, that of two steps is that of one twice as long.
- Noises are shares of the box's own size, as in DeepSORT (Wojke, Bewley and Paulus, 2017, arXiv:1703.07402) and
  ByteTrack. Theirs, a measurement within 1/20 of the height, and a rate that changes by 1/160 of it from one frame to
  the next, give at 30 frames a second q = (30/160)^2 * 30 = 1.05 sizes^2 a second^3.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_JITTER = 0.05
"""Standard deviation of a detected box, in sizes: DeepSORT's 1/20."""
_RATE_NOISE = 1.0
"""q above, in sizes^2 a second^3."""
_FIRST_RATE = 1.0
"""Standard deviation of the rate of what was seen once, in sizes a second."""
_LEAST_PX = 1.0


class Motion:
    """All tracks' boxes, one a row: centre x, centre y, width, height, in pixels."""

    def __init__(self) -> None:
        self.boxes: Floats = np.empty((0, 4))
        """(tracks, 4): where they are thought to be."""
        self._rates: Floats = np.empty((0, 4))
        self._covariance: Floats = np.empty((3, 0, 4))
        """Of position and position, position and rate, rate and rate."""

    def add(self, boxes: Floats) -> None:
        """Tracks seen for the first time, (n, 4), become the last rows."""
        rates, covariance = _unknown(boxes)
        self.boxes = np.concatenate([self.boxes, boxes])
        self._rates = np.concatenate([self._rates, rates])
        self._covariance = np.concatenate([self._covariance, covariance], axis=1)

    def advance(self, elapsed_s: float) -> None:
        """Time passes: every box goes on at its rate, and less is known of it."""
        t = elapsed_s
        own, shared, rate = self._covariance
        q = _RATE_NOISE * _sizes(self.boxes) ** 2
        self._covariance = np.stack(
            [own + t * (2 * shared + t * rate) + q * t**3 / 3, shared + t * rate + q * t**2 / 2, rate + q * t]
        )
        self.boxes = self.boxes + t * self._rates
        np.maximum(self.boxes[:, 2:], _LEAST_PX, out=self.boxes[:, 2:])

    def rest(self) -> None:
        """Nothing is known of the time since the last look: the boxes stay, their rates are forgotten."""
        self._rates, self._covariance = _unknown(self.boxes)

    def correct(self, rows: NDArray[np.intp], seen: Floats) -> None:
        """The tracks of these rows were seen as these boxes, (n, 4)."""
        own, shared, rate = self._covariance[:, rows]
        total = own + (_JITTER * _sizes(seen)) ** 2
        surprise = seen - self.boxes[rows]
        self.boxes[rows] += own / total * surprise
        self._rates[rows] += shared / total * surprise
        kept = 1 - own / total
        self._covariance[:, rows] = own * kept, shared * kept, rate - shared**2 / total

    def keep(self, rows: NDArray[np.intp]) -> None:
        """Only the tracks of these rows are left, in this order."""
        self.boxes, self._rates = self.boxes[rows], self._rates[rows]
        self._covariance = self._covariance[:, rows]

    def overlaps(self, rows: list[int], found: Floats, padding: Floats) -> Floats:
        """Intersection over union, (rows, found), of these rows' boxes and those found, enlarged on each side.

        Args:
            rows: of the tracks.
            found: boxes, (n, 4).
            padding: for each row, (rows, 1), by how many standard deviations of its place.
        """
        spread = padding * np.sqrt(self._covariance[0, rows, :2])
        centres, halves = self.boxes[rows, :2], self.boxes[rows, 2:] / 2 + spread
        centres, halves, spread = centres[:, None], halves[:, None], spread[:, None]
        others = found[:, 2:] / 2 + spread
        sides = np.minimum(centres + halves, found[:, :2] + others) - np.maximum(
            centres - halves, found[:, :2] - others
        )
        shared = np.maximum(sides, 0.0).prod(axis=2)
        overlaps: Floats = shared / (4 * halves.prod(axis=2) + 4 * others.prod(axis=2) - shared)
        return overlaps


def _unknown(boxes: Floats) -> tuple[Floats, Floats]:
    """Rates, (n, 4), and covariance, (3, n, 4), of boxes that were seen once."""
    sizes, nought = _sizes(boxes), np.zeros_like(boxes)
    return nought, np.stack([nought + (_JITTER * sizes) ** 2, nought, nought + (_FIRST_RATE * sizes) ** 2])


def _sizes(boxes: Floats) -> Floats:
    """Each box's size, (n, 1): the side of the square of its area, in pixels."""
    sizes: Floats = np.sqrt(boxes[:, 2:3] * boxes[:, 3:4])
    return np.maximum(sizes, _LEAST_PX)
