"""One connection to an MQTT broker, from CONNECT to its end. The only file that imports paho-mqtt.

The sink's thread owns a Session. paho's network thread, which lives from `connect` to `end`, runs the `_on_` methods:
they only add to what the Session has heard, and wake whoever waits. Sizes and codes are those of OASIS MQTT 5.0.
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

from agent.clock import Clock
from agent.sinks._mqtt_words import UNSPECIFIED, Reason
from agent.trust import tls_context

if TYPE_CHECKING:
    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

Version: TypeAlias = Literal["5", "3.1.1"]

QOS: Final = 1
_WINDOW: Final = 20
"""Messages on the wire at once: Mosquitto's and paho's own default for one client."""
_FAREWELL_S: Final = 1.0
"""How long `end` waits until DISCONNECT is on its way."""
_LARGEST_PACKET_BYTES: Final = 268_435_460
"""What MQTT itself allows: a remaining length of 268 435 455 bytes and a fixed header of five (section 2.1.4)."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Where to connect, and as whom."""

    host: str
    port: int
    client_id: str
    username: str | None
    password: str | None = field(repr=False)
    tls: ssl.SSLContext | None
    will_topic: str | None
    """Gets the retained message "offline" when the connection is lost; None: nothing is said."""
    keepalive_s: int
    connect_timeout_s: float
    """For TCP and for TLS, each."""


class Session:
    """One paho client that connects once and never again by itself; one thread."""

    def __init__(self, broker: Broker, version: Version, clock: Clock) -> None:
        self._broker = broker
        self._version = version
        self._clock = clock
        self._client = _client(broker, version)
        self._client.on_connect = self._on_connect
        self._client.on_publish = self._on_publish
        self._client.on_disconnect = self._on_disconnect
        self._heard = threading.Event()
        self.answer: Reason | None = None
        """To CONNECT."""
        self.acks: dict[int, Reason] = {}
        """By packet id; whoever waited for one takes it out."""
        self.ended = False
        self.end_reason: Reason | None = None
        """Why the connection ended, if the broker said so or paho knows."""
        self.window = _WINDOW
        """Messages that may be on the wire at once."""
        self.largest_bytes = _LARGEST_PACKET_BYTES
        """The largest packet that the broker takes."""

    def _on_connect(
        self, _client: "Client", _data: object, _flags: "ConnectFlags", code: "ReasonCode", limits: "Properties | None"
    ) -> None:
        self.window = min(_WINDOW, getattr(limits, "ReceiveMaximum", _WINDOW))
        self.largest_bytes = getattr(limits, "MaximumPacketSize", _LARGEST_PACKET_BYTES)
        self.answer = _reason(code)
        self._heard.set()

    def _on_publish(self, _client: "Client", _data: object, mid: int, code: "ReasonCode", _more: "Properties") -> None:
        self.acks[mid] = _reason(code)
        self._heard.set()

    def _on_disconnect(
        self,
        _client: "Client",
        _data: object,
        _flags: "DisconnectFlags",
        code: "ReasonCode",
        _more: "Properties | None",
    ) -> None:
        if code.value > UNSPECIFIED:
            self.end_reason = _reason(code)
        self.ended = True
        self._heard.set()

    def connect(self) -> None:
        """Send CONNECT and start the network thread; `answer` comes later. Raises OSError or UnicodeError."""
        broker = self._broker
        # A publisher has nothing to come back to at the broker: what was not acknowledged waits in the outbox.
        settings: dict[str, Any] = {"clean_start": True} if self._version == "5" else {}
        self._client.connect(broker.host, broker.port, keepalive=broker.keepalive_s, **settings)
        self._client.loop_start()

    def publish(self, topic: str, body: bytes, *, retain: bool = False) -> int:
        """Put a message on the wire; the packet id under which its PUBACK will be in `acks`."""
        return self._client.publish(topic, body, qos=QOS, retain=retain).mid

    def wait(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Ask `done` after everything that is heard, until it is true.

        Returns:
            Whether it is; False when the connection has ended or `timeout_s` has passed.
        """
        give_up_s = self._clock.now() + timeout_s
        while True:
            self._heard.clear()
            ended = self.ended  # read first: what was acknowledged before the end still counts
            if done():
                return True
            left_s = give_up_s - self._clock.now()
            if ended or left_s <= 0:
                return False
            self._clock.wait(self._heard, left_s)

    def end(self, *, politely: bool) -> None:
        """End the connection and the network thread; without a DISCONNECT the broker publishes the last will."""
        if politely:
            self._client.disconnect()
            self.wait(lambda: self.ended, _FAREWELL_S)
        connection = self._client.socket()
        if connection is not None:
            # Not SSLSocket.shutdown, which takes the encryption off first. The network thread sees the end and ends.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(cast("socket.socket", connection), socket.SHUT_RDWR)
        with contextlib.suppress(AttributeError):  # paho may clear its thread between its own check and its join
            self._client.loop_stop()
        # Client and Session hold each other through these; the client's sockets close with its last reference.
        self._client.on_connect = self._client.on_publish = self._client.on_disconnect = None


def packet_bytes(topic: str, body: bytes) -> int:
    """The size of a QoS 1 PUBLISH: header, topic, packet id, an empty property list, body (sections 2.1 and 3.3)."""
    remaining_bytes = 2 + len(topic.encode()) + 2 + 1 + len(body)
    length_field_bytes = 1 + sum(remaining_bytes >= limit for limit in (128, 16_384, 2_097_152))
    return 1 + length_field_bytes + remaining_bytes


def _reason(code: "ReasonCode") -> Reason:
    return Reason(code.value, str(code))


def _client(broker: Broker, version: Version) -> "Client":
    from paho.mqtt.client import Client, MQTTv5, MQTTv311
    from paho.mqtt.enums import CallbackAPIVersion

    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=broker.client_id,
        clean_session=None if version == "5" else True,
        protocol=MQTTv5 if version == "5" else MQTTv311,
        reconnect_on_failure=False,
    )
    client.connect_timeout = broker.connect_timeout_s
    if broker.will_topic is not None:
        client.will_set(broker.will_topic, "offline", qos=QOS, retain=True)
    if broker.username is not None:
        client.username_pw_set(broker.username, broker.password)
    if broker.tls is not None:
        client.tls_set_context(broker.tls)
    return client


class _ClosingSocket(ssl.SSLSocket):
    """paho leaves the socket open when the handshake fails, and the descriptor with it."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - the library's signature
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def broker_context(ca_file: Path | None, *, verify: bool) -> ssl.SSLContext:
    """What a TLS connection trusts: `ca_file`, or the system's CAs when it is None. Raises ConfigError."""
    context = tls_context(ca_file, key="tls.ca_file")
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.sslsocket_class = _ClosingSocket
    return context
