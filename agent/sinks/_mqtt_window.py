"""The messages of one connection that are on the wire, and the answers to them. Owner: the sink's thread."""

from collections import deque
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from agent.sinks._mqtt_packet import Message, Stamp, packet_bytes
from agent.sinks._mqtt_session import Session
from agent.sinks._mqtt_words import TOO_LARGE, Reason

_UNCLAIMED: Final = 2000
"""Answers that nobody has asked for; with more, the oldest is forgotten, and its message may be sent once more."""


class Window:
    """Never holds more than the broker takes at once, so that paho never holds a queue of its own.

    A message that had no answer in time stays on the wire: asked for again, it is waited for and not sent twice.
    """

    def __init__(self, session: Session, stamp: Stamp) -> None:
        self._session = session
        self._stamp = stamp
        self._on_wire: dict[int, str] = {}
        """Packet id -> name."""
        self._unclaimed: dict[str, Reason] = {}

    def settle(self, messages: Sequence[Message], timeout_s: float) -> dict[str, Reason]:
        """Publish in order, and wait until all are answered, `timeout_s` have passed or the connection has ended.

        Returns:
            The answers that there are, by name.
        """
        wanted = {message.name for message in messages}
        answers = {name: self._unclaimed.pop(name) for name in wanted & self._unclaimed.keys()}
        known = {*answers, *self._on_wire.values()}
        unsent = deque(message for message in messages if message.name not in known)

        def all_answered() -> bool:
            self._collect(wanted, answers)
            self._feed(unsent, answers)
            return len(answers) == len(wanted)

        self._session.wait(all_answered, timeout_s)
        self._forget_the_oldest()
        return answers

    def _collect(self, wanted: AbstractSet[str], answers: dict[str, Reason]) -> None:
        for packet_id, reason in self._session.acks():
            name = self._on_wire.pop(packet_id, None)
            if name is not None:
                (answers if name in wanted else self._unclaimed)[name] = reason

    def _feed(self, unsent: deque[Message], answers: dict[str, Reason]) -> None:
        session = self._session
        while unsent and len(self._on_wire) < session.window and not session.ended:
            message = unsent.popleft()
            properties = session.properties(self._stamp, message)
            if packet_bytes(message, properties) > session.largest_bytes:
                answers[message.name] = TOO_LARGE
            else:
                self._on_wire[session.publish(message, properties)] = message.name

    def _forget_the_oldest(self) -> None:
        while len(self._unclaimed) > _UNCLAIMED:
            del self._unclaimed[next(iter(self._unclaimed))]

    def __len__(self) -> int:
        return len(self._on_wire)
