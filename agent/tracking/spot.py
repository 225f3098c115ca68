"""Where an object stands: the one point of its box that zones and lines go by. No state."""

import math
from dataclasses import dataclass
from enum import Enum
from typing import Final

from agent.flow import Prediction
from agent.polygon import Point
from agent.view.crop import Crop

MARGIN: Final = 0.1
"""Boxes of one object that stands still differ by a few hundredths of its size; by so much of it (the side of the
square of its area) a point must be beyond an edge to be beyond it for certain."""
_LEAST_MARGIN_PX: Final = 1.0
_EDGE: Final = 1e-6
"""Points are kept so far inside the picture: what is cut off by its edge stands in a zone that reaches the edge."""


class Anchor(str, Enum):
    """Which point of its box stands for an object."""

    BOTTOM = "bottom"
    """The middle of the lower edge, where an object meets the ground."""
    CENTRE = "centre"


@dataclass(frozen=True, slots=True)
class Spot:
    """A point in the rotated picture before it is cropped, in fractions of its width and height."""

    x: float
    y: float
    margin_x: float
    """The margin, as a fraction of the picture's width."""
    margin_y: float
    """The same length as a fraction of its height."""

    def offset(self, begin: Point, end: Point) -> float:
        """Distance from the straight line through two points, in margins.

        Above 0 on the right of who looks from `begin` to `end`.
        """
        (ax, ay), (bx, by) = self._from_here(begin), self._from_here(end)
        return (ax * by - ay * bx) / math.hypot(bx - ax, by - ay)

    def distance(self, begin: Point, end: Point) -> float:
        """Distance from the nearest point between `begin` and `end`, in margins."""
        (ax, ay), (bx, by) = self._from_here(begin), self._from_here(end)
        dx, dy = bx - ax, by - ay
        share = min(1.0, max(0.0, -(ax * dx + ay * dy) / (dx * dx + dy * dy)))
        return math.hypot(ax + share * dx, ay + share * dy)

    def _from_here(self, point: Point) -> tuple[float, float]:
        """In margins to the right and down: the same length in both directions, unlike a fraction of the picture."""
        return (point.x - self.x) / self.margin_x, (point.y - self.y) / self.margin_y


def spot_of(found: Prediction, anchor: Anchor, *, crop: Crop, width: int, height: int) -> Spot:
    """Where `found` stands.

    Args:
        found: an object, in pixels of the published picture.
        anchor: the point of its box that is meant.
        crop: the part of the rotated picture that is published.
        width: pixels of that part across.
        height: and down.
    """
    across, down = (crop.right - crop.left) / width, (crop.bottom - crop.top) / height
    lower = found.height / 2 if anchor is Anchor.BOTTOM else 0.0
    margin_px = max(_LEAST_MARGIN_PX, MARGIN * math.sqrt(found.width * found.height))
    x, y = crop.left + found.x * across, crop.top + (found.y + lower) * down
    return Spot(_inside(x), _inside(y), margin_px * across, margin_px * down)


def _inside(fraction: float) -> float:
    return min(1 - _EDGE, max(_EDGE, fraction))
