"""A camera's picture as everything else sees it: upright, cropped, and without what is nobody's business. No state.

Masks are applied here and nowhere else, before a frame exists: what is uploaded, kept, drawn or shown never held more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from agent.flow import Pixels
from agent.polygon import Polygon
from agent.view.crop import Crop


class Fill(str, Enum):
    """What a masked area shows instead."""

    BLACK = "black"
    BLUR = "blur"
    PIXELATE = "pixelate"


@dataclass(frozen=True, slots=True)
class Mask:
    """An area that is nobody's business, in fractions of the rotated picture before it is cropped."""

    polygon: Polygon
    fill: Fill = Fill.BLACK


Turn: TypeAlias = Callable[[Pixels, int], Pixels]
"""A picture turned clockwise by 90, 180 or 270 degrees."""
Cover: TypeAlias = Callable[[Pixels, Sequence[tuple[float, float]], Fill], None]
"""Hides the area within these points, in pixels of the picture, in place."""


class View:
    """What is done to each picture of one camera."""

    def __init__(
        self,
        turn: Turn,
        cover: Cover,
        *,
        rotate: int = 0,
        crop: Crop | None = None,
        masks: Sequence[Mask] = (),
    ) -> None:
        """`rotate`: degrees clockwise, 0, 90, 180 or 270."""
        self.crop = crop or Crop()
        self._turn = turn
        self._cover = cover
        self._rotate = rotate
        self._masks = tuple(masks)

    def of(self, pixels: Pixels) -> Pixels:
        """The picture to be used; `pixels` may be changed. Raises FrameUnreadable: it could not be made."""
        if self._rotate:
            pixels = self._turn(pixels, self._rotate)
        height, width = pixels.shape[:2]
        left, top, right, bottom = self.crop.box_px(width, height)
        if not self.crop.whole:
            pixels = pixels[top:bottom, left:right].copy()
        for mask in self._masks:
            points = [(point.x * width - left, point.y * height - top) for point in mask.polygon.points]
            self._cover(pixels, points, mask.fill)
        return pixels
