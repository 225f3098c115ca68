"""The drawn world of the synthetic camera: moving shapes, and the truth about them. One thread uses a Scene.

The same size, seed and index give the same bytes everywhere, in any order of calls. That holds because everything is
built from raw PCG64 bits, whole numbers and single IEEE 754 operations (+, -, *, /): no sine, no generator of a
distribution, whose last bits differ between platforms and NumPy versions, and no clock.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.flow import Pixels

CLASSES = ("circle", "square", "triangle", "star")
"""Class names; the position is the class id."""

VISIBLE_SHARE = 0.4
"""A shape with less of its area than this in sight is left out of the truth: nobody could name it."""

_DIAMETERS = (0.10, 0.25)
"""Smallest and largest circumscribed circle, as a share of the frame's shorter side."""

_BACKGROUND = (60, 115)
"""Range of the gradient's corners; texture (up to 7) and noise (up to 3) come on top."""

_NOISE_SHIFTS = 4099
"""How many different noise patterns there are; a prime, so that the shift never falls in step with the rows."""

_NORMALS: tuple[tuple[tuple[float, float], ...], ...] = (
    (),
    ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)),
    ((0.0, 1.0), (0.8660254037844386, -0.5), (-0.8660254037844386, -0.5)),
    (
        (0.0, -1.0),
        (0.9510565162951535, -0.3090169943749474),
        (0.5877852522924731, 0.8090169943749475),
        (-0.5877852522924731, 0.8090169943749475),
        (-0.9510565162951535, -0.3090169943749474),
    ),
)
"""Unit normals of each class's edges: cosines and sines of multiples of 90, 120 and 72 degrees."""

_INRADII = (1.0, 0.7071067811865476, 0.5, 0.3090169943749474)
"""Distance of an edge from the centre, as a share of the circumscribed radius: cos 45, cos 60, cos 72 degrees."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One shape as it shows in a frame: the box of its visible part, in pixels."""

    class_id: int
    class_name: str
    x: float
    """Centre, from the left edge."""
    y: float
    """Centre, from the top edge."""
    width: float
    height: float


class Scene:
    """Coloured shapes that move, turn and bounce before a soft background.

    Along the shorter side a shape goes from edge to edge; along the longer one it keeps to its own lane and half of
    each neighbour's. So neighbours meet now and then, but seldom hide each other for long.

    Args:
        width: pixels across, 64 to 4096.
        height: pixels down, 64 to 4096.
        seed: 0 or more; another seed is another scene.
        shapes: how many there are, 0 or more. Later ones cover earlier ones.
    """

    def __init__(self, width: int, height: int, *, seed: int, shapes: int) -> None:
        bits = _Bits(seed)
        self._width = width
        self._height = height
        self._bodies = _bodies(width, height, shapes, bits)
        self._background = _background(width, height, bits)
        self._noise = bits.bytes(width * height * 3 + _NOISE_SHIFTS) & 3

    def render(self, index: int) -> Pixels:
        """Frame number `index` as (height, width, 3) uint8 BGR, owned by the caller."""
        pixels: Pixels = self._background.copy()
        for body in self._bodies:
            patch = self._patch(body, index)
            height, width = patch.mask.shape
            view = pixels[patch.top : patch.top + height, patch.left : patch.left + width]
            view[patch.mask] = body.colour_bgr
        shift = index * 1013 % _NOISE_SHIFTS
        flat = pixels.reshape(-1)
        flat += self._noise[shift : shift + flat.size]  # nothing overflows: no colour is above 250
        return pixels

    def truth(self, index: int) -> tuple[Shape, ...]:
        """What frame number `index` shows: each shape of which at least VISIBLE_SHARE is in sight, lowest first."""
        patches = [self._patch(body, index) for body in self._bodies]
        shapes = []
        for row, (body, patch) in enumerate(zip(self._bodies, patches, strict=True)):
            seen = patch.mask.copy()
            for cover in patches[row + 1 :]:
                patch.hide(seen, cover)
            if np.count_nonzero(seen) >= VISIBLE_SHARE * np.count_nonzero(patch.mask):
                shapes.append(_boxed(body.class_id, patch, seen))
        return tuple(shapes)

    def _patch(self, body: "_Body", index: int) -> "_Patch":
        x, y, radius = body.x.at(index), body.y.at(index), body.radius_px
        left, top = max(0, int(x - radius)), max(0, int(y - radius))
        right, bottom = min(self._width, int(x + radius) + 1), min(self._height, int(y + radius) + 1)
        across = np.arange(left, right, dtype=np.float32) + np.float32(0.5 - x)
        down = np.arange(top, bottom, dtype=np.float32) + np.float32(0.5 - y)
        return _Patch(top, left, body.covers(across, down, index))


class _Bits:
    """Random draws from raw PCG64 output, which NumPy promises never to change."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.PCG64(seed)

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * (int(self._generator.random_raw()) >> 11) / (1 << 53)

    def whole(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + int(self._generator.random_raw()) % (high - low + 1)

    def bytes(self, count: int) -> NDArray[np.uint8]:
        words = np.asarray(self._generator.random_raw(count // 8 + 1), dtype=np.uint64)
        return words.astype("<u8").view(np.uint8)[:count]


@dataclass(frozen=True, slots=True)
class _Swing:
    """A triangle wave over the frame index: a value that goes from `low` to `high` and back at an even speed."""

    low: float
    high: float
    half_period: int
    """Frames from one end to the other."""
    offset: int

    def at(self, index: int) -> float:
        phase = (index + self.offset) % (2 * self.half_period)
        return self.low + (self.high - self.low) * (self.half_period - abs(phase - self.half_period)) / self.half_period


@dataclass(frozen=True, slots=True)
class _Body:
    """One shape's looks and path."""

    class_id: int
    radius_px: float
    colour_bgr: tuple[int, int, int]
    x: _Swing
    y: _Swing
    turn_frames: int
    """Frames for one full turn."""
    turn_offset: int
    clockwise: bool

    def covers(self, across: NDArray[np.float32], down: NDArray[np.float32], index: int) -> NDArray[np.bool_]:
        """Which of the points lie inside: (len(down), len(across)), given as distances from the centre in pixels.

        A polygon is where enough half-planes meet. A five-pointed star is where at least four of its five lines have
        the point on their inner side: each tip lies beyond exactly one line, each notch beyond two.
        """
        normals = _NORMALS[self.class_id]
        if not normals:
            return (down * down)[:, None] + (across * across)[None, :] <= self.radius_px * self.radius_px
        cosine, sine = self._direction(index)
        edge_px = self.radius_px * _INRADII[self.class_id]
        inside = np.zeros((len(down), len(across)), dtype=np.uint8)
        for x, y in normals:
            along = across * (x * cosine - y * sine)
            inside += along[None, :] <= (edge_px - down * (x * sine + y * cosine))[:, None]
        return inside >= min(len(normals), 4)

    def _direction(self, index: int) -> tuple[float, float]:
        """Cosine and sine of the shape's turn.

        Inside a quarter turn they are (1 - t^2) / (1 + t^2) and 2t / (1 + t^2), the rational form of the unit circle
        (t is the tangent of half the angle). The speed varies a little; in return the value is exact everywhere.
        """
        phase = (self.turn_offset + (index if self.clockwise else -index)) % self.turn_frames
        quarter, rest = divmod(4 * phase, self.turn_frames)
        t = rest / self.turn_frames
        cosine, sine = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
        return ((cosine, sine), (-sine, cosine), (-cosine, -sine), (sine, -cosine))[quarter]


@dataclass(frozen=True, slots=True)
class _Patch:
    """The pixels one shape would cover if it were alone: `mask` lies at (top, left) of the frame."""

    top: int
    left: int
    mask: NDArray[np.bool_]

    def hide(self, seen: NDArray[np.bool_], cover: "_Patch") -> None:
        """Strike from `seen`, which lies where `mask` does, what `cover` lies on."""
        top, left = max(self.top, cover.top), max(self.left, cover.left)
        bottom = min(self.top + self.mask.shape[0], cover.top + cover.mask.shape[0])
        right = min(self.left + self.mask.shape[1], cover.left + cover.mask.shape[1])
        if top < bottom and left < right:
            over = cover.mask[top - cover.top : bottom - cover.top, left - cover.left : right - cover.left]
            seen[top - self.top : bottom - self.top, left - self.left : right - self.left] &= ~over


def _boxed(class_id: int, patch: _Patch, seen: NDArray[np.bool_]) -> Shape:
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    top, bottom = patch.top + int(rows[0]), patch.top + int(rows[-1]) + 1
    left, right = patch.left + int(columns[0]), patch.left + int(columns[-1]) + 1
    return Shape(
        class_id=class_id,
        class_name=CLASSES[class_id],
        x=(left + right) / 2,
        y=(top + bottom) / 2,
        width=float(right - left),
        height=float(bottom - top),
    )


def _bodies(width: int, height: int, count: int, bits: _Bits) -> tuple[_Body, ...]:
    """Classes and hues are dealt in turn, each from its own start: neighbours differ, and no class is missing."""
    first_class, first_hue = bits.whole(0, 3), bits.whole(0, 5)
    bodies = []
    for row in range(count):
        radius_px = bits.between(*_DIAMETERS) * min(width, height) / 2
        x, y = _path((width, height), radius_px, (row, count), bits)
        turn_frames = bits.whole(150, 500)
        bodies.append(
            _Body(
                class_id=(first_class + row) % len(CLASSES),
                radius_px=radius_px,
                colour_bgr=_colour(first_hue + row, bits),
                x=x,
                y=y,
                turn_frames=turn_frames,
                turn_offset=bits.whole(0, turn_frames - 1),
                clockwise=bits.whole(0, 1) == 1,
            )
        )
    return tuple(bodies)


def _path(size: tuple[int, int], radius_px: float, lane: tuple[int, int], bits: _Bits) -> tuple[_Swing, _Swing]:
    """The centre's way across and down the frame."""
    wander = _swing(*_lane(max(size), radius_px, *lane), bits)
    bounce = _swing(radius_px, min(size) - radius_px, bits)
    return (wander, bounce) if size[0] >= size[1] else (bounce, wander)


def _lane(longer_px: int, radius_px: float, row: int, count: int) -> tuple[float, float]:
    """Where the centre may go along the longer side: its own lane and half of each neighbour's, inside the frame."""
    lane_px = longer_px / count
    ends = ((row - 0.5) * lane_px, (row + 1.5) * lane_px)
    low, high = (min(max(end, radius_px), longer_px - radius_px) for end in ends)
    return low, high


def _swing(low: float, high: float, bits: _Bits) -> _Swing:
    half_period = bits.whole(60, 180)
    return _Swing(low, high, half_period, bits.whole(0, 2 * half_period - 1))


def _colour(hue: int, bits: _Bits) -> tuple[int, int, int]:
    """One channel bright, one dark, one between: far from any background, and six families of hues."""
    bright, dark = bits.whole(220, 250), bits.whole(5, 40)
    between = bits.whole(dark, 180)
    orders = (
        (bright, dark, between),
        (dark, between, bright),
        (between, bright, dark),
        (dark, bright, between),
        (bright, between, dark),
        (between, dark, bright),
    )
    return orders[hue % len(orders)]


def _background(width: int, height: int, bits: _Bits) -> Pixels:
    """A gradient between four corner colours, under a faint texture of small cells."""
    corners = [[bits.whole(*_BACKGROUND) for _ in range(3)] for _ in range(4)]
    across = (np.arange(width, dtype=np.float32) / np.float32(width))[None, :]
    down = (np.arange(height, dtype=np.float32) / np.float32(height))[:, None]
    cell = max(2, min(width, height) // 160)
    rows, columns = -(-height // cell), -(-width // cell)
    coarse = bits.bytes(rows * columns).reshape(rows, columns) & 7
    texture = coarse.repeat(cell, axis=0).repeat(cell, axis=1)[:height, :width]
    pixels = np.empty((height, width, 3), dtype=np.uint8)
    for channel, (a, b, c, d) in enumerate(zip(*corners, strict=True)):
        upper, lower = a + (b - a) * across, c + (d - c) * across
        pixels[..., channel] = (upper + (lower - upper) * down).astype(np.uint8) + texture
    return pixels
