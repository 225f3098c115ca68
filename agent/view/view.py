"""A camera's picture as everything else sees it: upright, cropped, and without what is nobody's business.

Owner: the camera's thread.

Masks are applied here and nowhere else, before a frame exists: what is uploaded, kept, drawn or shown never held more.

A picture of 1920x1080 takes 0.6 ms (180 degrees) to 1.9 ms (90, 270) to be turned, 0.1 ms to be cropped to a quarter,
and for a mask of half its width and height 0.7 ms (black) or 3 to 4 ms (blur, pixelate); for one of a fifth 0.1 and
0.4 ms. Two cores of an x86-64 server that was busy, the best of 7 runs of 10, by

    python -m timeit -n 10 -r 7 -s 'from agent import imaging; from agent.sources._scene import Scene
    from agent.view.view import Fill
    frame, area = Scene(1920, 1080, seed=1, shapes=6).render(5), [(192, 108), (1152, 108), (1152, 648), (192, 648)]' \
    'imaging.cover(frame, area, Fill.BLUR)'
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from agent.flow import Pixels
from agent.polygon import Polygon
from agent.view.crop import Crop

_log = logging.getLogger(__name__)
_OTHER_SHAPE: Final = 0.02


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
        self._crop = crop or Crop()
        self._turn = turn
        self._cover = cover
        self._rotate = rotate
        self._masks = tuple(masks)
        self._aspect: float | None = None

    def of(self, pixels: Pixels) -> Pixels:
        """The picture to be used; `pixels` may be changed. Raises FrameUnreadable: it could not be made."""
        if self._rotate:
            pixels = self._turn(pixels, self._rotate)
        height, width = pixels.shape[:2]
        left, top, right, bottom = self._crop.box_px(width, height)
        if not self._crop.whole:
            pixels = pixels[top:bottom, left:right].copy()
        self._heed_aspect(width / height)
        for mask in self._masks:
            points = [(point.x * width - left, point.y * height - top) for point in mask.polygon.points]
            self._cover(pixels, points, mask.fill)
        return pixels

    def _heed_aspect(self, aspect: float) -> None:
        """Masks are scaled with the picture; one of another shape shows another field of view, which they may miss."""
        before, self._aspect = self._aspect, aspect
        if self._masks and before is not None and abs(aspect / before - 1) > _OTHER_SHAPE:
            _log.warning(
                "the camera's picture has another shape now, %.2f to 1 instead of %.2f to 1: look whether its masks "
                "still lie where they should",
                aspect,
                before,
            )
