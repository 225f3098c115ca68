"""What became of an outbox's deliveries since the start. Its owner has the lock."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from agent.flow import Outcome


class Loss(str, Enum):
    """Why a delivery gave way unsent."""

    MEMORY = "memory is full"
    FULL = "more than may wait"
    AGE = "too old"
    UNREADABLE = "unreadable"
    """The outbox's file is damaged."""


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """What an outbox holds, and what became of the rest since the start."""

    waiting: int
    exposed: int
    """Of these, not on disk, though they should be by now: a kill or a power cut would take them."""
    waiting_bytes: int
    delivered: int
    rejected: int
    dropped: int
    kept: int
    """How often the sink left one for later."""
    losses: dict[Loss, int]
    """`dropped`, by why."""


class Tally:
    """Counts."""

    def __init__(self) -> None:
        self.losses: Counter[Loss] = Counter()
        self._outcomes: Counter[Outcome] = Counter()

    def note(self, outcomes: Sequence[Outcome]) -> None:
        """A batch ended so."""
        self._outcomes.update(outcomes)

    def status(self, *, waiting: int, exposed: int, waiting_bytes: int, unreadable: int) -> OutboxStatus:
        """With what waits, and what was lost in the file."""
        losses = {**self.losses, Loss.UNREADABLE: unreadable}
        return OutboxStatus(
            waiting,
            exposed,
            waiting_bytes,
            delivered=self._outcomes[Outcome.ACCEPTED],
            rejected=self._outcomes[Outcome.REJECTED],
            dropped=sum(losses.values()),
            kept=self._outcomes[Outcome.KEPT],
            losses={why: count for why, count in losses.items() if count},
        )
