"""What each step of holding back is: fewer frames, or more of them to the cloud. Owner: the care's thread."""

import math
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from agent.controls import Controls
from agent.router import Prefer

SHARE: Final = 0.8
"""Of its frames a camera keeps at each step."""
RATE_S: Final = 10.0
"""Over so long a camera's rate is taken."""
BEST_S: Final = 600.0
"""The best of so long is what there is to be held back of; what a burst before it gave, no step would spare."""


class Policy(str, Enum):
    """What is done when the machine is too hot, or its power supply too weak."""

    NONE = "none"
    LOWER_FPS = "lower_fps"
    SHIFT_TO_CLOUD = "shift_to_cloud"
    BOTH = "both"

    @property
    def shifts(self) -> bool:
        """Whether the first step is to spare the device's model."""
        return self in (Policy.SHIFT_TO_CLOUD, Policy.BOTH)

    @property
    def lowers(self) -> bool:
        """Whether fewer frames are used, step by step."""
        return self in (Policy.LOWER_FPS, Policy.BOTH)


class Rates:
    """How many frames of each camera are answered in a second at best: what there is to be held back of."""

    def __init__(self) -> None:
        self._fps: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=round(BEST_S / RATE_S)))
        self._before: tuple[float, Mapping[str, int]] | None = None

    @property
    def best_fps(self) -> dict[str, float]:
        """By camera, of the last BEST_S in which nothing was held back."""
        return {camera: max(rates, default=0.0) for camera, rates in self._fps.items()}

    def note(self, answered: Mapping[str, int], now_s: float, *, held: bool = False) -> None:
        """So many frames of each camera were answered by now; `held`: what was held back is missing from them."""
        if self._before is None:
            self._before = now_s, answered
        since_s, before = self._before
        if now_s - since_s < RATE_S:
            return
        self._before = now_s, answered
        for camera, count in answered.items():
            fps = (count - before.get(camera, 0)) / (now_s - since_s)
            if not held or fps > max(self._fps[camera], default=0.0):
                self._fps[camera].append(fps)


@dataclass(frozen=True, slots=True)
class Relief:
    """What the steps of a policy do."""

    policy: Policy
    least_fps: float
    controls: Controls

    def most(self, best_fps: Mapping[str, float]) -> int:
        """How many steps are of use."""
        over = [fps / self.least_fps for fps in best_fps.values() if fps > self.least_fps]
        fewer = math.ceil(math.log(max(over)) / -math.log(SHARE)) if over and self.policy.lowers else 0
        return self.policy.shifts + fewer

    def apply(self, level: int, best_fps: Mapping[str, float], *, by: str, why: str) -> None:
        """Hold back so many steps, or nothing. A camera with fewer frames than `least_fps` keeps them all."""
        self.controls.steer(None, Prefer.COOL if level and self.policy.shifts else None, by=by, why=why)
        steps = level - self.policy.shifts if self.policy.lowers else 0
        for camera, fps in best_fps.items():
            limit = max(self.least_fps, fps * SHARE**steps) if steps > 0 and fps > self.least_fps else None
            self.controls.limit_fps(camera, limit, by=by, why=why)
