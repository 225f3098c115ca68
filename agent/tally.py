"""What became of an outbox's deliveries since the start. Its owner has the lock."""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.flow import Outcome


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


class Tally:
    """Counts."""

    def __init__(self) -> None:
        self.dropped = 0
        self._delivered = 0
        self._rejected = 0

    def note(self, outcomes: Sequence[Outcome]) -> None:
        """A batch ended so."""
        self._delivered += sum(outcome is Outcome.ACCEPTED for outcome in outcomes)
        self._rejected += sum(outcome is Outcome.REJECTED for outcome in outcomes)

    def status(self, *, waiting: int, exposed: int, waiting_bytes: int, lost: int) -> OutboxStatus:
        """With what waits, and what was `lost` elsewhere."""
        return OutboxStatus(waiting, exposed, waiting_bytes, self._delivered, self._rejected, self.dropped + lost)
