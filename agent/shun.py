"""What a sink has refused for now: not offered again before a pause, which doubles. Its owner has the lock.

A broker refuses by topic, that is by camera and kind: those of the others go on, and what is refused is offered one
batch at a time, so that a wrong access list costs little of a metered link.
"""

from collections.abc import Sequence
from math import inf
from typing import Final, TypeAlias

from agent.flow import Delivery, Kind, Outcome

FIRST_S: Final = 5.0
LAST_S: Final = 300.0
_Topic: TypeAlias = tuple[str, Kind]


class Shun:
    """Pauses by camera and kind."""

    def __init__(self) -> None:
        self._until_s: dict[_Topic, float] = {}
        self._pause_s: dict[_Topic, float] = {}

    def note(self, batch: Sequence[Delivery], outcomes: Sequence[Outcome], now_s: float) -> None:
        """How a batch ended. What was kept at its end, after others went, had no answer yet: it is not refused."""
        settled = [place for place, outcome in enumerate(outcomes) if outcome is not Outcome.KEPT]
        topics = [(delivery.camera, delivery.kind) for delivery in batch]
        taken = {topics[place] for place in settled}
        judged = topics[: settled[-1]] if settled else topics
        for topic in taken:
            self._until_s.pop(topic, None)
            self._pause_s.pop(topic, None)
        for topic in set(judged) - taken:
            pause_s = self._pause_s[topic] = min(LAST_S, 2 * self._pause_s.get(topic, FIRST_S / 2))
            self._until_s[topic] = now_s + pause_s

    def wants(self, delivery: Delivery, now_s: float) -> bool:
        """Whether `delivery` may be offered."""
        return now_s >= self._until_s.get((delivery.camera, delivery.kind), -inf)

    def expires(self, now_s: float) -> bool:
        """Whether a pause has ended since the last call that said so."""
        over = [topic for topic, until_s in self._until_s.items() if now_s >= until_s]
        for topic in over:
            del self._until_s[topic]
        return bool(over)
