"""Remote control, over MQTT. Read this first.

    PREFIX/command/NAME ──► Line ──► Desk ──► commands ──► Line ──► PREFIX/answer/ID, or the response topic
                                       └──► audit, ledger

Off unless `remote.allow` names commands. One thread, one connection of its own; no frame ever waits for it. Whoever may
publish on the command's topic, by the broker's access list, and has a key, where `remote.signature_key` is given, is
obeyed: within the allow-list, at a limited rate, once for each id.

Owner: the remote thread. Others leave answers in its tray.
"""

import json
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from agent import logs
from agent.errors import ConfigError, SinkUnavailable
from agent.loop import Pulse
from agent.remote.desk import Desk, Reply
from agent.remote.line import Line
from agent.remote.words import SCHEMA, Word

_LOOK_S: Final = 0.2
_MOST_WAITING: Final = 64
"""Answers that wait for the broker to be back."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Terms:
    """What is retained on PREFIX/remote, so that people and programs know what is taken here."""

    agent: str
    allowed: Sequence[Word]
    signed: bool
    window_s: float

    def body(self, session: str) -> bytes:
        """As JSON, with the present session."""
        told: dict[str, Any] = {"schema": SCHEMA, "agent": self.agent, "session": session}
        told |= {"commands": [word.value for word in self.allowed], "signed": self.signed, "window_s": self.window_s}
        return json.dumps(told, separators=(",", ":")).encode()


class Remote:
    """The loop."""

    def __init__(self, line: Line, desk: Desk, terms: Terms) -> None:
        self._line = line
        self._desk = desk
        self._terms = terms
        self._tray: deque[Reply] = deque(maxlen=_MOST_WAITING)
        self._session = ""
        """That was told last."""

    @property
    def connected(self) -> bool:
        """Whether commands can come. Any thread."""
        return self._line.connected

    def say(self, reply: Reply) -> None:
        """Send an answer when the broker is there. Any thread."""
        self._tray.append(reply)

    def run(self, pulse: Pulse) -> None:
        """Take commands until told to stop. Raises SinkUnavailable, after which it is to be called again."""
        try:
            self._open()
            while not pulse.stopping.is_set():
                pulse.beat()
                for letter in self._line.letters(_LOOK_S):
                    self._tray.extend(self._desk.take(letter))
                    self._tell_session()
                    self._send()
                self._tray.extend(self._desk.step())
                self._send()
            self._tray.extend(self._desk.close())
            self._send()
            self._line.tell(b"")  # nothing is taken any more, unless another configuration says so at once
        finally:
            self._line.close()

    def _open(self) -> None:
        self._session = self._desk.session
        try:
            self._line.open(self._terms.body(self._session))
        except ConfigError as error:  # a certificate that was removed, say: the agent's own work goes on
            raise SinkUnavailable(str(error)) from error

    def _tell_session(self) -> None:
        if self._desk.session != self._session:
            self._session = self._desk.session
            self._line.tell(self._terms.body(self._session))

    def _send(self) -> None:
        """What is in the tray, the oldest first. What is to follow an answer is done even if the broker is lost."""
        while self._tray:
            reply = self._tray.popleft()
            try:
                self._line.send(reply.answer, self._terms.agent)
            except SinkUnavailable:
                self._tray.appendleft(Reply(reply.answer))  # what is to follow is not done again
                raise
            finally:
                self._after(reply)

    def _after(self, reply: Reply) -> None:
        if reply.then is not None:
            _log.info("carried out %s", logs.fields(command=reply.answer.name, id=reply.answer.id))
            reply.then()

    def __repr__(self) -> str:
        return f"<Remote {self._terms.agent} {'connected' if self.connected else 'away'}>"
