"""Carries results from one outbox to its sink, and states past it. A failure is the supervisor's to repeat.

Owner: the sink's thread; `put` is for the emit threads.
"""

import logging
from typing import Final

from agent.clock import Clock
from agent.errors import SinkError
from agent.flow import Delivery, Kind
from agent.loop import Pulse
from agent.outbox import Outbox
from agent.ports import Board, Sink
from agent.states import States

_log = logging.getLogger(__name__)
IN_FLIGHT: Final = 128
"""Handed to a sink and not settled: what may come twice after a kill or a lost connection."""
DRAIN_S: Final = 3.0
"""How long a stop goes on delivering what waits; the rest is for the next start."""
_LAST_BATCH: Final = 16
_IDLE_WAIT_S: Final = 0.25
_SHOW_EVERY_S: Final = 1.0
"""Counts change with every frame; a person, or a home's automation, is served well enough."""


class Courier:
    """One sink behind its outbox."""

    def __init__(
        self, name: str, sink: Sink, outbox: Outbox, *, kinds: frozenset[Kind], states: States, clock: Clock
    ) -> None:
        self.name = name
        self.outbox = outbox
        self.connected = False
        self._sink = sink
        self._kinds = kinds
        self._states = states
        self._clock = clock
        self._shown = 0
        self._show_at_s = 0.0

    def put(self, delivery: Delivery) -> None:
        """Take what this sink wants. Never waits."""
        if delivery.kind in self._kinds:
            self.outbox.put(delivery)

    def run(self, pulse: Pulse) -> None:
        """Deliver until told to stop, and then what still waits. Raises SinkUnavailable; nothing is lost by it."""
        try:
            self._sink.open()
            self._shown = 0
            while not pulse.stopping.is_set():
                self.step()
                pulse.beat()
                self._note_connected()
            self._drain(pulse)
        except SinkError:
            self.connected = False
            raise
        finally:
            self._sink.close()

    def _drain(self, pulse: Pulse) -> None:
        """The rest, in small batches, so that none is under way when time is up: it would come again."""
        until_s = self._clock.now() + DRAIN_S
        while self._clock.now() < until_s and self.step(_LAST_BATCH, wait_s=0.0):
            pulse.beat()
        self._show_at_s = 0.0
        self.step(_LAST_BATCH, wait_s=0.0)

    def _note_connected(self) -> None:
        if not self.connected:
            self.connected = True
            _log.info("sink %s takes results", self.name)

    def step(self, limit: int = IN_FLIGHT, *, wait_s: float = _IDLE_WAIT_S) -> bool:
        """Deliver one batch; whether there was one in `wait_s`. An empty one asks whether the sink is still there."""
        batch = self.outbox.peek(limit, wait_s)
        self.outbox.settle(batch, self._sink.send(batch))
        if isinstance(self._sink, Board):
            self._show(self._sink)
        return bool(batch)

    def _show(self, board: Board) -> None:
        """What changed since it was shown, now and then."""
        if not self._shown or self._clock.now() >= self._show_at_s:
            shown, changed = self._states.since(self._shown)
            if changed:
                board.show(changed)
            self._shown, self._show_at_s = shown, self._clock.now() + _SHOW_EVERY_S

    def __repr__(self) -> str:
        return f"<Courier {self.name} {'connected' if self.connected else 'away'} {self.outbox!r}>"
