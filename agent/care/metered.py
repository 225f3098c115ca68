"""While a link that costs carries the data, less of it is used. Owner: the care's thread."""

import logging
import math
from collections.abc import Callable, Sequence
from enum import Enum
from fnmatch import fnmatchcase
from typing import Final

from agent.controls import Controls
from agent.router import Mode, Prefer

_log = logging.getLogger(__name__)
BY: Final = "data"
EASE_S: Final = 60.0
"""A cheaper link must carry the data for so long before it counts."""


class WhenMetered(str, Enum):
    """How frames are routed meanwhile."""

    COST = "cost"
    LOCAL_ONLY = "local_only"


class Metered:
    """Looks at the interface that leads out."""

    def __init__(
        self,
        names: Sequence[str],
        act: WhenMetered,
        controls: Controls,
        *,
        interface: Callable[[], str | None],
    ) -> None:
        """`names`: of interfaces whose data costs, * for any letters. `interface`: the one that leads out now."""
        self._names = names
        self._act = act
        self._controls = controls
        self._interface = interface
        self._dear_s = -math.inf
        self._holds = False

    def step(self, now_s: float) -> None:
        """Look once."""
        name = self._interface()
        if name is not None and any(fnmatchcase(name, pattern) for pattern in self._names):
            self._dear_s = now_s
            if not self._holds:
                self._hold(name)
        elif self._holds and now_s - self._dear_s >= EASE_S:
            self._holds = False
            self._controls.steer(None, None, by=BY)
            _log.info("%s carries the data, which costs nothing extra: frames are routed as configured", name)

    def _hold(self, name: str) -> None:
        self._holds = True
        why = f"{name} carries the data, and care.metered names it"
        if self._act is WhenMetered.COST:
            self._controls.steer(None, Prefer.COST, by=BY, why=why)
            _log.info("%s: the cloud is used only where it is well worth its data", why)
        else:
            self._controls.steer(Mode.LOCAL_ONLY, None, by=BY, why=why)
            _log.info("%s: frames are answered on the device", why)
