"""The part of a camera's picture that is used. No state."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Crop:
    """Left, top, right and bottom edge as fractions 0..1 of the rotated picture; by default all of it.

    Raises ValueError: an edge lies outside of the picture, or nothing is between two of them.
    """

    left: float = 0.0
    top: float = 0.0
    right: float = 1.0
    bottom: float = 1.0

    def __post_init__(self) -> None:
        if not (0 <= self.left < self.right <= 1 and 0 <= self.top < self.bottom <= 1):
            raise ValueError(
                "give [left, top, right, bottom] as fractions of the picture, each 0..1, left below right and top "
                "below bottom"
            )

    @property
    def whole(self) -> bool:
        """Nothing is cut off."""
        return (self.left, self.top, self.right, self.bottom) == (0.0, 0.0, 1.0, 1.0)

    def box_px(self, width: int, height: int) -> tuple[int, int, int, int]:
        """The same edges in whole pixels of a picture of `width` x `height`: at least one pixel is between them."""
        left, right = _between(self.left, self.right, width)
        top, bottom = _between(self.top, self.bottom, height)
        return left, top, right, bottom


def _between(low: float, high: float, size_px: int) -> tuple[int, int]:
    first = min(round(low * size_px), size_px - 1)
    return first, max(first + 1, round(high * size_px))
