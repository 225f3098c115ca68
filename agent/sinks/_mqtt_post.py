"""A connection that is up: messages go in, answers come out, refusals are said. Owner: the sink's thread."""

import logging
from collections.abc import Sequence

from agent import logs
from agent.clock import Clock
from agent.errors import SinkUnavailable
from agent.sinks import _mqtt_words as words
from agent.sinks._mqtt_packet import Message, Stamp
from agent.sinks._mqtt_session import Session
from agent.sinks._mqtt_window import Window

_log = logging.getLogger(__name__)


class Refusals:
    """Says what the broker does not take, and what helps; over all connections of one sink."""

    def __init__(self, where: words.Where, clock: Clock) -> None:
        self.where = where
        self._damper = logs.Damper(_log.warning, clock.now)

    def note(self, messages: Sequence[Message], answers: dict[str, words.Reason]) -> None:
        """Those of `answers` that are refusals."""
        for message in messages:
            reason = answers.get(message.name)
            if reason is not None and reason.refuses:
                event = f"{message.topic} {reason}"
                self._damper.note(event, words.not_taken(reason, self.where, message.topic))

    def note_birth(self, reason: words.Reason, topic: str) -> None:
        """Home Assistant's birth topic may not be read."""
        self._damper.note(topic, words.no_birth(reason, self.where, topic))


class Post:
    """One connection, from the broker's welcome to its end."""

    def __init__(self, session: Session, stamp: Stamp, refusals: Refusals, clock: Clock) -> None:
        self.session = session
        self._clock = clock
        self._begun_s = clock.now()
        self._window = Window(session, stamp)
        self._refusals = refusals

    def ask(self) -> None:
        """Whether the connection is still there. Raises SinkUnavailable."""
        if self.session.ended:
            raise self._lost()

    def deliver(self, messages: Sequence[Message], timeout_s: float) -> dict[str, words.Reason]:
        """Publish in order; the answers that come in time, by name. Raises SinkUnavailable: there is none."""
        self.ask()
        answers = self._window.settle(messages, timeout_s)
        if messages and not answers:
            raise self._no_answer(timeout_s)
        self._refusals.note(messages, answers)
        return answers

    def put(self, messages: Sequence[Message], timeout_s: float) -> None:
        """Publish what is retained; a refusal is said, no more. Raises SinkUnavailable: one has no answer."""
        if len(self.deliver(messages, timeout_s)) < len(messages):
            raise self._no_answer(timeout_s)

    def _no_answer(self, waited_s: float) -> SinkUnavailable:
        if self.session.ended:
            return self._lost()
        return words.silent(self._refusals.where, waited_s)

    def _lost(self) -> SinkUnavailable:
        lasted_s = self._clock.now() - self._begun_s
        return words.lost(self.session.end_reason, self._refusals.where, lasted_s=lasted_s)

    def __len__(self) -> int:
        return len(self._window)
