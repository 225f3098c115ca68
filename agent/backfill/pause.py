"""How long something that failed is left alone. Owned by the thread that tries it."""

from typing import Final

FIRST_S: Final = 5.0
LAST_S: Final = 600.0


class Pause:
    """Twice as long with every failure, up to ten minutes; over with a success."""

    def __init__(self) -> None:
        self._until_s = float("-inf")
        self._next_s = FIRST_S

    def is_over(self, now_s: float) -> bool:
        """Whether it may be tried again."""
        return now_s >= self._until_s

    def begin(self, now_s: float, *, least_s: float = 0.0) -> None:
        """It failed; `least_s`: what the other side asks for."""
        self._until_s = now_s + max(self._next_s, least_s)
        self._next_s = min(LAST_S, 2 * self._next_s)

    def end(self) -> None:
        """It went well."""
        self._until_s, self._next_s = float("-inf"), FIRST_S
