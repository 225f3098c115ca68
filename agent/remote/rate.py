"""How many commands there may be. Owner: the remote thread."""

from typing import Final

from agent.clock import Clock

BURST: Final = 10
"""Commands that may come at once after a rest."""
HEARD_A_MINUTE: Final = 600
"""Messages of up to 16 kB that are looked at, whoever sends them; larger ones count as several. Reading one of 210 kB
takes 58 ms of a busy core of an x86-64 server, so a flood of such takes 4 % of it."""


class Rate:
    """A token bucket."""

    def __init__(self, per_minute: int, clock: Clock, *, burst: int = BURST) -> None:
        self._per_s = per_minute / 60
        self._clock = clock
        self._most = float(min(burst, per_minute))
        self._tokens = self._most
        self._filled_s = clock.now()

    def take(self, amount: float = 1.0) -> bool:
        """Whether one more is allowed now, or so many."""
        now_s = self._clock.now()
        self._tokens = min(self._most, self._tokens + (now_s - self._filled_s) * self._per_s)
        self._filled_s = now_s
        if self._tokens < amount:
            return False
        self._tokens -= amount
        return True
