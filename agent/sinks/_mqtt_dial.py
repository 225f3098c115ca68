"""Connects to a broker with the version of MQTT that it knows. Owner: the sink's thread."""

from typing import Final, Literal, TypeAlias

from agent.clock import Clock
from agent.errors import SinkUnavailable
from agent.sinks import _mqtt_words as words
from agent.sinks._mqtt_broker import Broker
from agent.sinks._mqtt_session import Session, Version

Protocol: TypeAlias = Literal["auto", "5", "3.1.1"]
_ASK_FOR_5_EVERY_S: Final = 86_400.0
"""A broker that is replaced by a newer one is found out within a day."""


class _VersionRefused(words.Refused):
    """The broker does not know this version of MQTT."""


class Dialer:
    """Remembers which version a broker refused, so that an attempt is one connection.

    Only once are both tried in one attempt, so that a start finds a broker of either version at once. From then on the
    other version's turn is the next attempt: the promise of so many attempts a minute is one of connections too.
    """

    def __init__(self, protocol: Protocol, clock: Clock) -> None:
        self._protocol = protocol
        self._clock = clock
        self._refused_5_s = float("-inf")
        """When MQTT 5 was last refused; far away: never, or worth asking again."""
        self._tries_both = True

    def dial(self, broker: Broker, where: words.Where) -> Session:
        """A connection that the broker has answered with a welcome. Raises SinkUnavailable."""
        if self._protocol != "auto":
            return self._start(broker, self._protocol, where)
        if self._clock.now() - self._refused_5_s < _ASK_FOR_5_EVERY_S:
            return self._without_5(broker, where)
        try:
            return self._start(broker, "5", where)
        except _VersionRefused as error:
            self._refused_5_s = self._clock.now()
            if not self._tries_both:
                raise _VersionRefused(f"{where} does not know MQTT 5; MQTT 3.1.1 is next") from error
            self._tries_both = False
            return self._without_5(broker, where)

    def _without_5(self, broker: Broker, where: words.Where) -> Session:
        """MQTT 5 is worth asking for again only where 3.1.1 is not known: a login is refused in either."""
        try:
            return self._start(broker, "3.1.1", where)
        except (_VersionRefused, words.HungUp):
            self._refused_5_s = float("-inf")
            raise

    def _start(self, broker: Broker, version: Version, where: words.Where) -> Session:
        session = Session(broker, version, self._clock)
        try:
            self._greet(session, broker, where)
        except SinkUnavailable:
            session.end(politely=False)
            raise
        return session

    def _greet(self, session: Session, broker: Broker, where: words.Where) -> None:
        """Connect and hear the broker's answer. Raises SinkUnavailable."""
        try:
            session.connect()
        except (OSError, UnicodeError) as error:
            raise words.no_connection(error, where) from error
        session.wait(lambda: session.answer is not None, broker.connect_timeout_s)
        if session.answer is None:
            raise words.hung_up(where) if session.ended else words.silent(where, broker.connect_timeout_s)
        if session.answer.code == words.UNSUPPORTED_VERSION:
            raise _VersionRefused(f"{where} does not know MQTT {session.version}; set protocol: auto")
        if session.answer.refuses:
            raise words.refused(session.answer, where)
