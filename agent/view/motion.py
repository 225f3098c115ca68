"""Whether anything moves: of a still scene hardly a frame is sent or looked at. Owner: the camera's thread.

A small grey picture is held against what was there of late. A change of light moves all of it by the same amount, which
is taken off first; sensor noise is averaged away by the shrinking. What comes and stays is part of the scene after a
while.

A picture of 1920x1080 takes 1.8 ms, nearly all of it to be shrunk; measured as in agent/view/view.py, with
`gate.passes(frame, 1.0)`. Of a still scene with sensor noise (a deviation of 8 levels) 34 of 1200 pictures at 10 fps
pass: the first 3 s, and the heartbeats. Light that drifts by 40 levels lets no more pass; a lamp that adds 60 levels at
once, where that whitens parts of the picture, lets 16 s pass.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agent.flow import Pixels

Grey: TypeAlias = NDArray[np.uint8]
_FORGET_S: Final = 10.0
"""What has been there for so long is two thirds of the scene."""


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What counts as motion, and what is let through without."""

    threshold: float = 0.002
    """Share of the picture that must differ, 0..1."""
    level: int = 15
    """By so many grey levels of 255."""
    hold_s: float = 3.0
    """Frames go on for so long after the last motion."""
    heartbeat_s: float = 30.0
    """One frame at least so often."""


class MotionGate:
    """Lets frames through while something moves."""

    def __init__(self, sensitivity: Sensitivity, shrink: Callable[[Pixels], Grey]) -> None:
        """`shrink`: makes the small grey picture."""
        self._sensitivity = sensitivity
        self._shrink = shrink
        self._scene: NDArray[np.float32] | None = None
        self._seen_s = self._moved_s = self._passed_s = -math.inf

    def passes(self, pixels: Pixels, now_s: float) -> bool:
        """Whether the frame of `now_s` is worth looking at."""
        if self._moves(self._shrink(pixels), now_s):
            self._moved_s = now_s
        wanted = self._sensitivity
        if now_s - self._moved_s <= wanted.hold_s or now_s - self._passed_s >= wanted.heartbeat_s:
            self._passed_s = now_s
            return True
        return False

    def _moves(self, small: Grey, now_s: float) -> bool:
        now = small.astype(np.float32)
        if self._scene is None or self._scene.shape != now.shape:
            self._scene, self._seen_s = now, now_s
            return True
        change = now - self._scene
        light = np.float32(np.median(change))
        share = float(np.mean(np.abs(change - light) > self._sensitivity.level))
        weight = np.float32(-math.expm1(-max(0.0, now_s - self._seen_s) / _FORGET_S))
        self._scene += light + weight * (change - light)  # light is taken over at once, the rest little by little
        self._seen_s = now_s
        return share >= self._sensitivity.threshold
