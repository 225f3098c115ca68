"""A command as it came, and the answers to it. No state."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from agent.logs import redact
from agent.remote.words import ANSWER_SCHEMA, Status, Word

NOBODY: Final = "-"
"""Who sent a command without a signature: MQTT does not tell."""


@dataclass(frozen=True, slots=True)
class Return:
    """Where the answers go."""

    topic: str
    correlation: bytes = b""
    """MQTT 5: given back with each answer."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A message on a command's topic, before anything in it is believed."""

    name: str
    """The topic's last level."""
    body: bytes = field(repr=False)
    response_topic: str = ""
    correlation: bytes = b""
    retained: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """A command that was understood."""

    id: str
    word: Word
    fields: Mapping[str, Any]
    """All but id, at and session; not checked yet."""
    digest: str
    """Of its text: another text with this id is another command."""
    by: str = NOBODY
    """The name of the key that signed it."""
    at_s: float | None = None
    """When it was sent, seconds since the epoch by the sender's clock."""
    session: str | None = None
    """The agent's session that it is for."""
    to: Return = Return("")


@dataclass(frozen=True, slots=True)
class Answer:
    """One word about one command."""

    id: str | None
    """None: the message had none."""
    name: str
    """The command's."""
    status: Status
    to: Return
    reason: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)

    def body(self, agent: str) -> bytes:
        """As JSON; what it says in words has no secret."""
        told = {"schema": ANSWER_SCHEMA, "agent": agent, "id": self.id, "command": self.name}
        told |= {"status": self.status.value}
        told |= {"reason": redact(self.reason)} if self.reason else {}
        said: dict[str, Any] = {**told, "result": self.result} if self.result else told
        return json.dumps(said, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode(errors="replace")
