"""When Home Assistant is to be told of this agent. Owner: the sink's thread."""

import random
from collections.abc import Sequence
from typing import Final

from agent.clock import Clock
from agent.sinks._mqtt_discovery import Discovery
from agent.sinks._mqtt_packet import Message
from agent.states import State

_SPREAD_S: Final = 5.0
"""Devices answer Home Assistant's start within so many seconds, each at a time of its own."""
_BORN: Final = b"online"
_NEVER: Final = float("inf")
_AT_ONCE: Final = float("-inf")


class Announcer:
    """Discovery is due after a connection's first states, when there are more entities, and after a birth message."""

    def __init__(self, discovery: Discovery, birth_topic: str, clock: Clock) -> None:
        self.birth_topic = birth_topic
        self._discovery = discovery
        self._clock = clock
        self._draw = random.Random().random  # noqa: S311 - jitter, not a secret
        self._announced = False
        self._due_s = _NEVER

    def begin(self) -> None:
        """A new connection; the states that come first tell which entities there are."""
        self._announced = False
        self._due_s = _NEVER

    def note(self, states: Sequence[State]) -> None:
        """Learn from `states` that are about to be shown."""
        grown = self._discovery.note(states)
        if grown or not self._announced:
            self._due_s = _AT_ONCE

    def hear(self, word: bytes | None) -> None:
        """What was said on the birth topic, if anything."""
        if word == _BORN and self._announced and self._due_s == _NEVER:
            self._due_s = self._clock.now() + _SPREAD_S * self._draw()

    def due(self) -> Message | None:
        """The discovery message, once whenever it is due."""
        if self._clock.now() < self._due_s:
            return None
        self._announced = True
        self._due_s = _NEVER
        return self._discovery.message()
