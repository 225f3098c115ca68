"""Pauses between attempts at something that fails: longer and longer, never in step, and never too many a minute.

Owned by the thread that makes the attempts.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

STABLE_S: Final = 60.0
"""Who ran for so long before it failed begins with the shortest pause again. A mere success does not count: a broker
that takes every connection and then drops it would be stormed."""
_MINUTE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Pauses:
    """How long to wait: from `first_s`, twice as long each time, up to `last_s`."""

    first_s: float
    last_s: float
    attempts_a_minute: int | None = None
    """Attempts that may begin within any 60 s; None: as many as the pauses give."""


ABSENT: Final = Pauses(0.5, 1.0)
"""A camera that is looked for."""
LOST: Final = Pauses(0.5, 2.0)
"""A camera that is opened again. What ran into a limit has taken its time already."""
BROKEN: Final = Pauses(0.5, 2.5)
"""A camera that starts refuses its stream for a while. What is not to be mended costs a child every few seconds."""
CRASHED: Final = Pauses(0.5, 30.0)
"""A reader in a crash loop must not take from the other cameras what they need."""
REFUSED: Final = Pauses(60.0, 90.0)
"""Some cameras lock a user out for half an hour after five to ten wrong passwords, and forget them after minutes."""
REMOTE: Final = Pauses(1.0, 30.0, attempts_a_minute=6)
"""A broker or a server."""
DISK: Final = Pauses(0.5, 5.0)
"""Trying again costs nothing, and results should be written soon after there is space."""


class Backoff:
    """The pauses of one loop."""

    def __init__(self, draw: Callable[[], float]) -> None:
        """`draw` gives numbers from 0 to 1; a pause lies in the upper half of its length by them."""
        self._draw = draw
        self._doublings = 0
        self._before: Pauses | None = None
        self._begun_s: deque[float] = deque(maxlen=16)

    def begin(self, now_s: float) -> None:
        """An attempt begins."""
        self._begun_s.append(now_s)

    def pause_s(self, pauses: Pauses, *, now_s: float, least_s: float = 0.0) -> float:
        """The pause after the attempt that has just failed."""
        stable = bool(self._begun_s) and now_s - self._begun_s[-1] >= STABLE_S
        if stable or pauses != self._before:  # another trouble than before has no long pauses of its own yet
            self._doublings, self._before = 0, pauses
        longest_s = min(pauses.last_s, pauses.first_s * 2.0**self._doublings)
        self._doublings = min(self._doublings + 1, 16)
        pause_s = max(least_s, longest_s) * (0.5 + self._draw() / 2)
        return max(pause_s, least_s, self._until_allowed_s(pauses, now_s))

    def _until_allowed_s(self, pauses: Pauses, now_s: float) -> float:
        most = pauses.attempts_a_minute
        if most is None or len(self._begun_s) < most:
            return 0.0
        return self._begun_s[-most] + _MINUTE_S - now_s
