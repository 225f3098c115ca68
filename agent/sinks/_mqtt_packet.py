"""What goes into a PUBLISH packet: messages, their MQTT 5 properties, and how many bytes they make. No state.

Layouts are those of OASIS MQTT 5.0: 1.5 (data types), 2.2.2 (properties), 3.3 (PUBLISH).
"""

import re
from dataclasses import dataclass, field
from typing import Final

_MESSAGE_EXPIRY_INTERVAL: Final = 0x02
_CONTENT_TYPE: Final = 0x03
_CORRELATION_DATA: Final = 0x09
_USER_PROPERTY: Final = 0x26
_LENGTH_BITS: Final = 7
_SCHEMA: Final = re.compile(rb'\{\s*"schema"\s*:\s*"([^"\\]{1,200})"')
"""A record names its schema first."""


@dataclass(frozen=True, slots=True)
class Message:
    """One PUBLISH, QoS 1."""

    name: str
    """What it is known by until it is acknowledged; no other message has it."""
    topic: str
    body: bytes = field(repr=False)
    retain: bool = False
    id: str | None = None
    """Of the delivery; a message without one never expires."""
    correlation: bytes = b""
    """Of the request that it answers, as that gave it."""


@dataclass(frozen=True, slots=True)
class News:
    """A message on a topic that was subscribed."""

    topic: str
    body: bytes = field(repr=False)
    response_topic: str = ""
    """MQTT 5: where an answer is wanted."""
    correlation: bytes = b""
    retained: bool = False
    """It was said before this connection."""


@dataclass(frozen=True, slots=True)
class Properties:
    """A property list ready for the wire, its length in front; empty where the protocol has none (MQTT 3.1.1)."""

    packed: bytes

    def pack(self) -> bytes:
        """The bytes, under the name by which paho asks for them."""
        return self.packed


class Stamp:
    """The MQTT 5 properties that the messages of one sink carry: whose they are, what they hold, how long they last."""

    def __init__(self, user_properties: dict[str, str], message_expiry_s: int) -> None:
        """`message_expiry_s`: 0 for never."""
        self._always = b"".join(_user_property(name, value) for name, value in user_properties.items())
        self._expiry = bytes([_MESSAGE_EXPIRY_INTERVAL]) + message_expiry_s.to_bytes(4, "big")
        self._expires = message_expiry_s > 0

    def properties(self, message: Message) -> Properties:
        """Those of one message."""
        body = message.body
        listed = self._always
        if message.id is not None:
            listed += _user_property("id", message.id)
            listed += self._expiry if self._expires else b""
        if (schema := _SCHEMA.match(body)) is not None:
            listed += _pair(_USER_PROPERTY, b"schema", schema[1])
        if body.startswith((b"{", b"[")):
            listed += _JSON
        if message.correlation:
            listed += bytes([_CORRELATION_DATA]) + _text(message.correlation)
        return Properties(_variable_length(len(listed)) + listed)


def packet_bytes(message: Message, properties: Properties) -> int:
    """The size of the PUBLISH: fixed header, topic, packet id, properties, body."""
    remaining_bytes = 2 + len(message.topic.encode()) + 2 + len(properties.packed) + len(message.body)
    return 1 + len(_variable_length(remaining_bytes)) + remaining_bytes


def _variable_length(number: int) -> bytes:
    encoded = bytearray()
    while number >> _LENGTH_BITS:
        encoded.append(number & 0x7F | 0x80)
        number >>= _LENGTH_BITS
    encoded.append(number)
    return bytes(encoded)


def _user_property(name: str, value: str) -> bytes:
    return _pair(_USER_PROPERTY, name.encode(), value.encode())


def _pair(kind: int, name: bytes, value: bytes) -> bytes:
    return bytes([kind]) + _text(name) + _text(value)


def _text(text: bytes) -> bytes:
    return len(text).to_bytes(2, "big") + text


_JSON: Final = bytes([_CONTENT_TYPE]) + _text(b"application/json")
