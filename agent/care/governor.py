"""How many steps to hold back, by how far a machine is over its limit. Pure: degrees and the time in, a level out.

    over the limit     a step more every 10 s, unless it is cooling down already
    a little below it  as it is: the hysteresis
    well below it      a step less every minute

A step less that has to be taken back shows that this much work is too much: the next wait is twice as long, up to a
quarter of an hour, so that a machine at the edge of its limit changes a few times an hour at most.
"""

import math
from typing import Final

RAISE_S: Final = 10.0
"""What a step does to the temperature of a chip on its board is seen about then."""
LOWER_S: Final = 60.0
MOST_LOWER_S: Final = 960.0
FALLING_C: Final = 0.4
"""In RAISE_S; most sensors tell half degrees."""


class Governor:
    """One limit's."""

    def __init__(self, hysteresis_c: float) -> None:
        """`hysteresis_c`: so many degrees below the limit less may be held back."""
        self.level = 0
        """Steps; 0: nothing is held back."""
        self._hysteresis_c = hysteresis_c
        self._changed_s = -math.inf
        self._looked: tuple[float, float] | None = None
        """When it was last found over its limit, and by how many degrees."""
        self._cool_s: float | None = None
        """Since when it has been well below its limit."""
        self._eased = False
        """The last change was a step less."""
        self._patience_s = LOWER_S

    def note(self, over_c: float, now_s: float, *, most: int) -> bool:
        """The machine is `over_c` degrees over its limit. Whether the level has changed; `most` steps are of use."""
        if over_c >= 0:
            self._cool_s = None
            return self._press(over_c, now_s, most)
        self._looked = None
        if over_c > -self._hysteresis_c:
            self._cool_s = None
            return False
        if self._cool_s is None:
            self._cool_s = now_s
        return self._ease(now_s, self._cool_s)

    def _press(self, over_c: float, now_s: float, most: int) -> bool:
        before = self._looked
        if before is not None and now_s - before[0] < RAISE_S:
            return False
        self._looked = now_s, over_c
        falling = before is not None and over_c <= before[1] - FALLING_C
        since_s = now_s - self._changed_s
        if falling or self.level >= most or since_s < RAISE_S:
            return False
        if since_s >= MOST_LOWER_S:
            self._patience_s = LOWER_S
        elif self._eased:
            self._patience_s = min(MOST_LOWER_S, 2 * self._patience_s)
        self._change(1, now_s)
        return True

    def _ease(self, now_s: float, cool_s: float) -> bool:
        patience_s = LOWER_S if self._eased else self._patience_s  # the step before this one was not taken back
        if not self.level or now_s - max(cool_s, self._changed_s) < patience_s:
            return False
        self._change(-1, now_s)
        return True

    def _change(self, steps: int, now_s: float) -> None:
        self.level += steps
        self._eased = steps < 0
        self._changed_s = now_s

    def __repr__(self) -> str:
        return f"<Governor {self.level} steps>"
