"""Who sent a command: HMAC-SHA256 over its text, with a key that the fleet's operators share with the agent. No state.

What is signed binds the text to one agent and one command, so that it is worth nothing at another:

    vedette.command/1 LF AGENT LF COMMAND LF TEXT

Symmetric keys, as the standard library has nothing else: whoever can read an agent's key can command the agents that
have the same one. Keys are as many as wanted, so each agent, and each operator, can have one.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from agent import logs
from agent.errors import CommandRefused, ConfigError

_LEAST_LETTERS: Final = 32
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,62}")
_MADE_BY: Final = "make one with: openssl rand -hex 32"


@dataclass(frozen=True, slots=True)
class Key:
    """One key."""

    name: str
    """Whose it is: stands in audit lines."""
    value: str = field(repr=False)


def keys_of(secret: str) -> tuple[Key, ...]:
    """The keys in a secret: one on each line, as KEY or as NAME KEY; a key without a name goes by its fingerprint.

    Raises:
        ConfigError: a line is neither, or its key is too short to be one.
    """
    lines = [line.split() for line in secret.splitlines() if line.strip()]
    keys = tuple(_key(number, words) for number, words in enumerate(lines, 1))
    if not keys:
        raise ConfigError(f"remote.signature_key holds no key; {_MADE_BY}")
    return keys


def _key(number: int, words: Sequence[str]) -> Key:
    *names, value = words
    logs.hide(value)
    if len(names) > 1 or not all(map(_NAME.fullmatch, names)) or len(value) < _LEAST_LETTERS:
        raise ConfigError(
            f"remote.signature_key: line {number} should be KEY or NAME KEY, the key of {_LEAST_LETTERS} letters at "
            f"least; {_MADE_BY}"
        )
    fingerprint = hashlib.sha256(value.encode()).hexdigest()[:8]
    return Key(names[0] if names else fingerprint, value)


def signed(text: str, key: str, *, agent: str, command: str) -> str:
    """The signature of a command's text: 64 hexadecimal digits."""
    content = f"vedette.command/1\n{agent}\n{command}\n{text}"
    return hmac.new(key.encode(), content.encode(), hashlib.sha256).hexdigest()


def signer(text: str, signature: str, keys: Sequence[Key], *, agent: str, command: str) -> str:
    """Whose key signed it. Raises CommandRefused: none of ours."""
    given = signature.lower().encode()
    for key in keys:
        if hmac.compare_digest(signed(text, key.value, agent=agent, command=command).encode(), given):
            return key.name
    raise CommandRefused(
        "the signature is not one of this agent's keys over this text, this agent and this command; "
        "docs/remote.md says what is signed"
    )
