"""The remote thread's own connection to the broker of an MQTT sink: commands in, answers out.

A connection of its own keeps the sink what it is: results neither wait for a command nor for its answer, and a broker
that minds the one lets the other be. It has the sink's settings, its client id with -remote, and no last will: whether
the agent is there is said on PREFIX/available. What is sent to an agent that is away is not kept for it: a restart that
was asked for yesterday is not wanted today.

Owner: the remote thread; paho's network thread stays inside of the Session.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from agent import logs
from agent.clock import Clock
from agent.errors import Cause, SinkUnavailable
from agent.remote.envelope import LARGEST_BYTES
from agent.remote.order import Answer, Letter
from agent.sinks import _mqtt_words as words
from agent.sinks._mqtt_broker import Broker
from agent.sinks._mqtt_dial import Dialer, Protocol
from agent.sinks._mqtt_packet import Message, Stamp
from agent.sinks._mqtt_post import Post, Refusals

_INBOX: Final = 32
"""Commands that wait for this thread; with more the oldest give way."""
_HEADERS_BYTES: Final = 4096
"""What a packet has beside its body, at most, where it is a command."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Peer:
    """The broker, and how to speak with it."""

    broker: Callable[[], Broker]
    """Asked for at each connection, for passwords and certificates are changed. Raises ConfigError."""
    where: words.Where
    prefix: str
    """What every topic begins with."""
    protocol: Protocol
    ack_timeout_s: float

    @property
    def commands(self) -> str:
        """What is subscribed to."""
        return f"{self.prefix}/command/+"

    @property
    def answers(self) -> str:
        """What the topics of answers without a response topic begin with."""
        return f"{self.prefix}/answer"

    @property
    def state(self) -> str:
        """Where it is retained what the agent takes."""
        return f"{self.prefix}/remote"


class Line:
    """One connection at a time."""

    def __init__(self, peer: Peer, clock: Clock) -> None:
        self._peer = peer
        self._clock = clock
        self._dialer = Dialer(peer.protocol, clock)
        self._refusals = Refusals(peer.where, clock)
        self._post: Post | None = None
        self._sent = self._told = 0

    @property
    def connected(self) -> bool:
        """Whether the broker has welcomed us and not been lost since. Any thread."""
        post = self._post
        return post is not None and not post.session.ended

    def open(self, state: bytes) -> None:
        """Connect, subscribe, and say what is taken here. Raises SinkUnavailable, ConfigError."""
        peer = self._peer
        broker = peer.broker()
        broker = replace(
            broker,
            client_id=f"{broker.client_id}-remote",
            will_topic=None,
            inbox=_INBOX,
            largest_inbound_bytes=LARGEST_BYTES + _HEADERS_BYTES,
        )
        session = self._dialer.dial(broker, peer.where)
        self._post = Post(session, Stamp({}, 0), self._refusals, self._clock)
        session.subscribe(peer.commands)
        self.tell(state)
        _log.info("commands are taken %s", logs.fields(broker=peer.where, topic=peer.commands, mqtt=session.version))

    def letters(self, wait_s: float) -> Iterator[Letter]:
        """What has come; waits `wait_s` for it at most. Raises SinkUnavailable: the connection is gone, or not ours."""
        post = self._connected()
        post.session.wait_for_news(wait_s)
        if (denial := post.session.denial()) is not None:
            where, topic = self._peer.where, self._peer.commands
            raise SinkUnavailable(
                f"{where} does not let this user read {topic} ({denial}); allow it in the broker's access list",
                Cause.AUTH,
            )
        while (news := post.session.news()) is not None:
            name = news.topic.rpartition("/")[2]
            yield Letter(name, news.body, news.response_topic, news.correlation, news.retained)

    def send(self, answer: Answer, agent: str) -> None:
        """Publish an answer and wait until the broker has it. One that is refused is said in the log, no more.

        Raises SinkUnavailable: the broker does not have it.
        """
        self._sent += 1
        message = Message(
            f"answer {self._sent}", answer.to.topic, answer.body(agent), correlation=answer.to.correlation
        )
        self._connected().put([message], self._peer.ack_timeout_s)

    def tell(self, state: bytes) -> None:
        """Retain what is taken here; empty: nothing any more. Raises SinkUnavailable: the broker does not have it."""
        self._told += 1
        message = Message(f"state {self._told}", self._peer.state, state, retain=True)
        self._connected().put([message], self._peer.ack_timeout_s)

    def _connected(self) -> Post:
        if self._post is None:
            raise SinkUnavailable(f"there is no connection to {self._peer.where}; open it first")
        self._post.ask()
        return self._post

    def close(self) -> None:
        """End the connection and its thread; never raises."""
        post, self._post = self._post, None
        if post is not None:
            post.session.end(politely=True)
