"""One connection to an MQTT broker, from CONNECT to its end. The only file that imports paho-mqtt.

The sink's thread owns a Session. paho's network thread, which lives from `connect` to `end`, runs the `_on_` methods:
they only add to what the Session has heard, and wake whoever waits. Sizes and codes are those of OASIS MQTT 5.0.
"""

import contextlib
import functools
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

from agent.clock import Clock
from agent.sinks._mqtt_broker import Broker
from agent.sinks._mqtt_packet import Message, News, Properties, Stamp
from agent.sinks._mqtt_words import UNSPECIFIED, NoWebsocket, Reason

if TYPE_CHECKING:
    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
    from paho.mqtt.properties import Properties as PahoProperties
    from paho.mqtt.reasoncodes import ReasonCode

Version: TypeAlias = Literal["5", "3.1.1"]

QOS: Final = 1
_FAREWELL_S: Final = 1.0
"""How long `end` waits until DISCONNECT is on its way."""
_LOOK_S: Final = 0.5
"""How often a wait looks whether the network thread still lives: a dead one wakes nobody."""
_LARGEST_PACKET_BYTES: Final = 268_435_460
"""What MQTT itself allows: a remaining length of 268 435 455 bytes and a fixed header of five (section 2.1.4)."""
_QUICK_ACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)
"""Linux has it (tcp(7)); it holds for the moment only."""
_NO_PROPERTIES: Final = Properties(b"")


class Session:
    """One paho client that connects once and never again by itself; one thread."""

    def __init__(self, broker: Broker, version: Version, clock: Clock) -> None:
        self.version = version
        self._broker = broker
        self._clock = clock
        self._client = _client(broker, version)
        self._client.on_connect = self._on_connect
        self._client.on_publish = self._on_publish
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.on_disconnect = self._on_disconnect
        self._heard = threading.Event()
        self._network: threading.Thread | None = None
        self._ended = False
        self._acks: deque[tuple[int, Reason]] = deque()
        self._news: deque[News] = deque(maxlen=broker.inbox)
        self._denials: deque[Reason] = deque(maxlen=1)
        self.answer: Reason | None = None
        """To CONNECT."""
        self.end_reason: Reason | None = None
        """Why the connection ended, if the broker said so or paho knows."""
        self.window = broker.in_flight
        """Messages that may be on the wire at once."""
        self.largest_bytes = _LARGEST_PACKET_BYTES
        """The largest packet that the broker takes."""

    def _on_connect(
        self,
        _client: "Client",
        _data: object,
        _flags: "ConnectFlags",
        code: "ReasonCode",
        limits: "PahoProperties | None",
    ) -> None:
        self._network = threading.current_thread()
        self.window = min(self._broker.in_flight, getattr(limits, "ReceiveMaximum", self._broker.in_flight))
        self.largest_bytes = getattr(limits, "MaximumPacketSize", _LARGEST_PACKET_BYTES)
        self.answer = _reason(code)
        self._heard.set()

    def _on_publish(
        self, _client: "Client", _data: object, mid: int, code: "ReasonCode", _more: "PahoProperties"
    ) -> None:
        self._acks.append((mid, _reason(code)))
        self._heard.set()
        self._acknowledge_now()

    def _acknowledge_now(self) -> None:
        """Send the TCP acknowledgement of what was read.

        A broker with Nagle's algorithm on (Mosquitto's default) keeps its next PUBACKs until it has that, and the
        kernel delays it by 40 ms when there is nothing else to send: after each batch.
        """
        if _QUICK_ACK is not None:
            with contextlib.suppress(OSError):
                self._client.wire.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)

    def _on_subscribe(
        self, _client: "Client", _data: object, _mid: int, codes: "list[ReasonCode]", _more: "PahoProperties"
    ) -> None:
        if (answer := _reason(codes[0])).refuses:
            self._denials.append(answer)

    def _on_message(self, _client: "Client", _data: object, message: "MQTTMessage") -> None:
        told = message.properties
        response_topic, correlation = getattr(told, "ResponseTopic", ""), getattr(told, "CorrelationData", b"")
        retained = bool(message.retain)
        self._news.append(News(message.topic, bytes(message.payload), response_topic, correlation, retained))
        self._heard.set()

    def _on_disconnect(
        self,
        _client: "Client",
        _data: object,
        _flags: "DisconnectFlags",
        code: "ReasonCode",
        _more: "PahoProperties | None",
    ) -> None:
        if code.value > UNSPECIFIED and self.end_reason is None:
            self.end_reason = _reason(code)
        self._ended = True
        self._heard.set()

    @property
    def ended(self) -> bool:
        """Whether nothing will be heard any more: the connection is over, or the network thread is dead."""
        return self._ended or (self._network is not None and not self._network.is_alive())

    def connect(self) -> None:
        """Send CONNECT and start the network thread; `answer` comes later. Raises OSError or UnicodeError."""
        broker = self._broker
        # A publisher has nothing to come back to at the broker: what was not acknowledged waits in the outbox.
        settings = {} if self.version != "5" else {"clean_start": True, "properties": _limits(broker)}
        self._client.connect(broker.host, broker.port, keepalive=broker.keepalive_s, **settings)
        self._client.loop_start()

    def properties(self, stamp: Stamp, message: Message) -> Properties:
        """What `message` carries in this version of MQTT."""
        return stamp.properties(message) if self.version == "5" else _NO_PROPERTIES

    def publish(self, message: Message, properties: Properties) -> int:
        """Put a message on the wire; the packet id under which its PUBACK will be in `acks`."""
        packed = cast("PahoProperties", properties) if properties.packed else None
        return cast("int", self._client.publish(message.topic, message.body, QOS, message.retain, packed).mid)

    def subscribe(self, topic: str) -> None:
        """Ask for what is said on `topic` from now on: `news`, or a `denial`, come later."""
        self._client.subscribe(topic, QOS)

    def acks(self) -> Iterator[tuple[int, Reason]]:
        """The packet ids that were acknowledged since the last call, each with its reason."""
        while self._acks:
            yield self._acks.popleft()

    def news(self) -> News | None:
        """The oldest message on the topic that was subscribed, of those that came since and did not give way."""
        return self._news.popleft() if self._news else None

    def wait_for_news(self, timeout_s: float) -> None:
        """Until there is some, the connection has ended or `timeout_s` have passed."""
        self.wait(lambda: bool(self._news), timeout_s)

    def denial(self) -> Reason | None:
        """Why the broker does not let us hear of that topic; once."""
        return self._denials.pop() if self._denials else None

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
            self._clock.wait(self._heard, min(left_s, _LOOK_S))

    def end(self, *, politely: bool) -> None:
        """End the connection and the network thread; without a DISCONNECT the broker publishes the last will."""
        client = self._client
        if politely:
            client.disconnect()
            self.wait(lambda: self.ended, _FAREWELL_S)
        if client.wire is not None:
            # Not SSLSocket.shutdown, which takes the encryption off first. The network thread sees the end and ends.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(client.wire, socket.SHUT_RDWR)
        with contextlib.suppress(AttributeError):  # paho may clear its thread between its own check and its join
            client.loop_stop()
        # Client and Session hold each other through these; the client's sockets close with its last reference.
        client.on_connect = client.on_publish = client.on_disconnect = client.on_subscribe = client.on_message = None


def _reason(code: "ReasonCode") -> Reason:
    return Reason(code.value, str(code))


@functools.cache
def _client_type() -> Any:  # noqa: ANN401 - a class that exists once paho is imported
    from paho.mqtt.client import Client, WebsocketConnectionError

    class WiredClient(Client):
        """Knows its socket, below TLS's and websockets' wrappings, and does not leave it open when those fail."""

        wire: socket.socket | None = None

        def _create_socket(self) -> Any:  # noqa: ANN401 - paho's own union of sockets
            try:
                return super()._create_socket()
            except (OSError, ValueError, IndexError) as error:
                if self.wire is None:
                    raise
                self.wire.close()
                if isinstance(error, OSError) and not isinstance(error, WebsocketConnectionError):
                    raise
                raise NoWebsocket(str(error)) from error

        def _create_socket_connection(self) -> socket.socket:
            wire = self.wire = super()._create_socket_connection()
            # Nagle's algorithm would keep the last message of a window until the one before it is acknowledged.
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return wire

        def _ssl_wrap_socket(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
            self.wire = wrapped = super()._ssl_wrap_socket(tcp_sock)
            return wrapped

    return WiredClient


def _client(broker: Broker, version: Version) -> Any:  # noqa: ANN401 - see _client_type
    from paho.mqtt.client import MQTTv5, MQTTv311
    from paho.mqtt.enums import CallbackAPIVersion

    client = _client_type()(
        CallbackAPIVersion.VERSION2,
        client_id=broker.client_id,
        clean_session=None if version == "5" else True,
        protocol=MQTTv5 if version == "5" else MQTTv311,
        transport="tcp" if broker.websocket_path is None else "websockets",
        reconnect_on_failure=False,
    )
    client.connect_timeout = broker.connect_timeout_s
    client.max_inflight_messages_set(broker.in_flight)
    if broker.websocket_path is not None:
        client.ws_set_options(path=broker.websocket_path)
    if broker.will_topic is not None:
        client.will_set(broker.will_topic, "offline", QOS, True, _will_properties(broker, version))
    if broker.username is not None:
        client.username_pw_set(broker.username, broker.password)
    if broker.tls is not None:
        client.tls_set_context(broker.tls)
    return client


def _limits(broker: Broker) -> "PahoProperties | None":
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties as PahoProperties

    if broker.largest_inbound_bytes is None:
        return None
    properties = PahoProperties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.MaximumPacketSize = broker.largest_inbound_bytes
    return properties


def _will_properties(broker: Broker, version: Version) -> "PahoProperties | None":
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties as PahoProperties

    if version != "5" or not broker.user_properties:
        return None
    properties = PahoProperties(PacketTypes.WILLMESSAGE)  # type: ignore[no-untyped-call]
    properties.UserProperty = list(broker.user_properties.items())
    return properties
