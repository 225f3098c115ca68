"""Whether a camera shows the same picture for ever. Owner: the camera's thread."""

import zlib

from agent.flow import Pixels

_LOOK_EVERY_S = 0.4
_EVERY_ROW = 7
"""Of a picture that lives, sensor noise and compression change more than what lies between two such rows."""


class Freeze:
    """Looks often enough to know within a second."""

    def __init__(self, limit_s: float) -> None:
        """`limit_s`: a picture that stays the same for so long is frozen; 0: never."""
        self._limit_s = limit_s
        self._mark: int | None = None
        self._since_s = self._looked_s = 0.0

    def note(self, pixels: Pixels, now_s: float) -> bool:
        """A picture came; whether the camera has frozen."""
        if not self._limit_s or (self._mark is not None and now_s - self._looked_s < min(_LOOK_EVERY_S, self._limit_s)):
            return False
        self._looked_s = now_s
        mark = zlib.crc32(pixels[::_EVERY_ROW].tobytes(), hash(pixels.shape) & 0xFFFFFFFF)
        if mark != self._mark:
            self._mark, self._since_s = mark, now_s
        return now_s - self._since_s >= self._limit_s
