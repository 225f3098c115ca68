"""What an outbox has in memory alone: numbered in the order it came, and bounded. Its owner has the lock."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice, takewhile
from math import inf

from agent.flow import Delivery


@dataclass(frozen=True, slots=True)
class _Fresh:
    delivery: Delivery
    came_s: float


class Fresh:
    """Deliveries by number; at most `limit_bytes` of bodies, but a single one of any size."""

    def __init__(self, limit_bytes: int) -> None:
        self.size_bytes = 0
        self.newest = 0
        """The highest number that was given."""
        self._limit_bytes = limit_bytes
        self._waiting: dict[int, _Fresh] = {}

    def add(self, delivery: Delivery, now_s: float) -> None:
        """Take `delivery`."""
        self.newest += 1
        self._waiting[self.newest] = _Fresh(delivery, now_s)
        self.size_bytes += len(delivery.body)

    @property
    def is_full(self) -> bool:
        """Whether something has to give way."""
        return self.size_bytes > self._limit_bytes and len(self._waiting) > 1

    def drop(self, *, oldest: bool, every_second: bool, held: Collection[int]) -> int:
        """Make room, but not with what is `held`: the oldest or the newest goes, or every second. How many went."""
        order = self._waiting if oldest else reversed(self._waiting)
        free = (number for number in order if number not in held)
        victims = list(free)[::2] if every_second else list(islice(free, 1))
        return sum(self.forget(number) for number in victims)

    def forget(self, number: int) -> bool:
        """Take it out; whether it was there."""
        found = self._waiting.pop(number, None)
        if found is not None:
            self.size_bytes -= len(found.delivery.body)
        return found is not None

    def after(self, number: int) -> Iterator[tuple[int, Delivery]]:
        """Numbers and deliveries behind `number`, in order."""
        return ((each, fresh.delivery) for each, fresh in self._waiting.items() if each > number)

    @property
    def oldest_s(self) -> float:
        """When the oldest came, monotonic; infinite when there is none."""
        return next((fresh.came_s for fresh in self._waiting.values()), inf)

    def older_than(self, at_s: float) -> int:
        """How many came before the monotonic time `at_s`."""
        return sum(1 for _ in takewhile(lambda fresh: fresh.came_s < at_s, self._waiting.values()))

    def __len__(self) -> int:
        return len(self._waiting)
