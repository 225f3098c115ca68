"""Where an MQTT connection leads, and as whom. No state."""

import ssl
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Broker:
    """Where to connect, and as whom."""

    host: str
    port: int
    client_id: str
    username: str | None
    password: str | None = field(repr=False)
    tls: ssl.SSLContext | None
    websocket_path: str | None
    """None: MQTT directly over TCP or TLS."""
    will_topic: str | None
    """Gets the retained message "offline" when the connection is lost; None: nothing is said."""
    user_properties: dict[str, str]
    """Of the last will."""
    in_flight: int
    """Messages that may be on the wire at once, unless the broker wants fewer."""
    keepalive_s: int
    connect_timeout_s: float
    """For TCP and for TLS, each."""
    inbox: int = 1
    """Messages on a subscribed topic that wait to be heard; with more, the oldest gives way."""
    largest_inbound_bytes: int | None = None
    """MQTT 5: a larger packet is not sent to us. None: as large as MQTT allows."""
