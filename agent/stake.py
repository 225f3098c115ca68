"""How much the cloud could tell of a camera's next frame that the device would not: where a tight budget goes.

Estimated from the frame before it, for a decision cannot wait for the on-device answer. The emit thread writes, the
admit thread reads one number.
"""

import math
from collections.abc import Sequence

from agent.flow import Prediction, Route

LEAST, MOST = 0.5, 2.0
"""The cloud's usual gain is at most doubled or halved."""
_SMALL_SHARE = 0.05
"""Of the picture's longer side (32 of 640 px, COCO's small objects): below it on-device models miss most."""
_NEWEST_SHARE = 0.02
"""Weight of the newest frame in what is usual: about the last 50 frames."""


def doubt(predictions: Sequence[Prediction], width: int, height: int) -> float:
    """How uncertain an answer is: the sum over its objects of their grey-band score and their smallness.

    Args:
        predictions: what was found.
        width: of the frame, pixels.
        height: of the frame, pixels.
    """
    small_px = _SMALL_SHARE * max(width, height)
    return sum(_grey(found.confidence) + _small(found, small_px) for found in predictions)


def _grey(confidence: float) -> float:
    """1 where the score says neither yes nor no, 0 where it is sure."""
    return 1.0 - abs(2.0 * confidence - 1.0)


def _small(found: Prediction, small_px: float) -> float:
    """1 for an object of the least size or below, falling with the size of larger ones."""
    size_px = max(1.0, math.sqrt(found.width * found.height))
    return min(1.0, small_px / size_px)


class Stakes:
    """One camera's."""

    def __init__(self) -> None:
        self._usual: dict[Route, float] = {}
        self.next = 1.0
        """Multiplies what the cloud's answer to the next frame is thought to gain; 1: as usual."""

    def note(self, route: Route, predictions: Sequence[Prediction], *, width: int, height: int) -> None:
        """A frame was answered. Answers are compared with those of the same route: the cloud sees more than the device.

        Args:
            route: whose answer it is.
            predictions: what was found.
            width: of the frame, pixels.
            height: of the frame, pixels.
        """
        newest = 1.0 + doubt(predictions, width, height)
        usual = self._usual.get(route, newest)
        usual += _NEWEST_SHARE * (newest - usual)
        self._usual[route] = usual
        self.next = min(MOST, max(LEAST, newest / usual))
