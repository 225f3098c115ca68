"""How often a frame is wanted. Owner: the camera's thread."""

import math
from typing import Final

_SLACK_S: Final = 0.001
"""What comes so little too early is in time: a wait ends no more exactly than that."""


class Pace:
    """At most so many frames per second, on a grid: what comes early waits for its turn, what comes late costs none."""

    def __init__(self, fps: float | None) -> None:
        """`fps`: None takes every frame."""
        self._period_s = 1 / fps if fps else 0.0
        self._due_s = -math.inf

    def wait_s(self, now_s: float) -> float:
        """Seconds until the next frame is wanted; 0: now."""
        wait_s = self._due_s - now_s
        return wait_s if wait_s > _SLACK_S else 0.0

    def take(self, now_s: float) -> None:
        """A frame was taken. The grid gives way when frames come more than one period late."""
        since_s = now_s if self._due_s == -math.inf else max(self._due_s, now_s - self._period_s)
        self._due_s = since_s + self._period_s
