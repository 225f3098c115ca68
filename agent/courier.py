"""Carries results from one outbox to its sink. Owner: the sink's thread. A failure is the supervisor's to repeat."""

import logging

from agent.errors import SinkError
from agent.loop import Pulse
from agent.outbox import Outbox
from agent.ports import Sink

_log = logging.getLogger(__name__)
_BATCH = 64
_IDLE_WAIT_S = 0.25


class Courier:
    """One sink behind its outbox."""

    def __init__(self, name: str, sink: Sink, outbox: Outbox) -> None:
        self.name = name
        self.outbox = outbox
        self.connected = False
        self._sink = sink

    def run(self, pulse: Pulse) -> None:
        """Deliver until told to stop, and then what still waits. Raises SinkUnavailable; nothing is lost by it."""
        try:
            self._sink.open()
            while self.step() or not pulse.stopping.is_set():
                pulse.beat()
                self._note_connected()
        except SinkError:
            self.connected = False
            raise
        finally:
            self._sink.close()

    def _note_connected(self) -> None:
        if not self.connected:
            self.connected = True
            _log.info("sink %s takes results", self.name)

    def step(self) -> bool:
        """Deliver one batch; whether there was one. An empty one asks whether the sink is still there."""
        batch = self.outbox.peek(_BATCH, _IDLE_WAIT_S)
        self.outbox.settle(batch, self._sink.send(batch))
        return bool(batch)

    def __repr__(self) -> str:
        return f"<Courier {self.name} {'connected' if self.connected else 'away'} {self.outbox!r}>"
