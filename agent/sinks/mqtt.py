"""Results, events and states to an MQTT broker, over TLS or websockets if wanted.

Talks to one broker with paho-mqtt 2: MQTT 5, or 3.1.1 where the broker refuses 5. QoS is always 1, and a result counts
as delivered when its PUBACK is there; a result that is sent again after a lost connection may come twice, with the
same id. Topics below the prefix:

    PREFIX/available          retained: "online" on every connect, "stopped" on a clean end, "offline" by last will
    PREFIX/health             retained: how the agent does, a JSON object
    PREFIX/CAMERA/status      retained: "online" or "offline"; holds while PREFIX/available is "online"
    PREFIX/CAMERA/CLASS       retained: how many of that class the newest result has
    PREFIX/CAMERA/zones/ZONE/CLASS  retained: how many of that class are in the zone
    PREFIX/CAMERA/lines/LINE/in     retained: how many have crossed the line so since the start; and .../out
    PREFIX/CAMERA/results     one message per result, not retained
    PREFIX/CAMERA/events      one message per event, not retained

With `home_assistant`, the agent and its cameras show up there as a device (`_mqtt_discovery`).
Every failure is SinkUnavailable with its cause (`_mqtt_words` has the sentences and the table of reason codes), and the
runtime opens the sink again later. Each `open` makes a new client that never reconnects by itself, so that nothing is
left in paho's own queue to be sent twice.
Try it: `mosquitto_sub -h HOST -t 'vedette/#' -v`.

State is owned by the one thread of the sink; paho's network thread stays inside `_mqtt_session`.
"""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from agent import logs
from agent.errors import SinkUnavailable
from agent.flow import Delivery, Kind, Outcome
from agent.options import Options as BaseOptions
from agent.options import Port, Secret, SinkOptions, What, kinds_of
from agent.ports import Context, Sink
from agent.sinks import _mqtt_words as words
from agent.sinks._mqtt_announcer import Announcer
from agent.sinks._mqtt_broker import Broker
from agent.sinks._mqtt_dial import Dialer
from agent.sinks._mqtt_discovery import Discovery
from agent.sinks._mqtt_packet import Message, Stamp
from agent.sinks._mqtt_post import Post, Refusals
from agent.sinks._mqtt_tls import Security, broker_context
from agent.sinks._mqtt_topics import Topics, level, retained
from agent.states import State

_GOODBYE_S: Final = 2.0
"""How long `close` waits for the PUBACK of "stopped"."""
_OWN_PROPERTIES: Final = frozenset({"id", "schema"})
_LATEST_EXPIRY_S: Final = 0xFFFF_FFFF
"""What a Message Expiry Interval can hold (OASIS MQTT 5.0, section 3.3.2.3.3)."""
_Text = Annotated[str, Field(min_length=1, max_length=256)]
_log = logging.getLogger(__name__)


def _topic(value: str) -> str:
    if value.strip("/") != value or not value or set(value) & set("+#\0"):
        raise ValueError("a topic is not empty, has no + or #, and neither begins nor ends with /")
    return value


class TLS(BaseOptions):
    """How the connection is encrypted, and whose certificate is trusted."""

    ca_file: Path | None = Field(
        None, description="PEM file of the CA behind the broker's certificate; default: system"
    )
    verify: bool = Field(True, description="false: any certificate will do, and anyone may read along; for trials only")
    min_version: Literal["1.2", "1.3"] = Field("1.2", description="least version of TLS that the broker must speak")
    client_certificate: Path | None = Field(
        None, description="PEM file of this agent's own certificate, for brokers that ask for one"
    )
    client_key: Path | None = Field(
        None, description="PEM file of the key to client_certificate; left out: it is in the same file"
    )
    client_key_password: Secret | None = Field(None, description="what that key is encrypted with, by reference")

    @field_validator("min_version", mode="before")
    @classmethod
    def _number_as_text(cls, value: Any) -> Any:  # noqa: ANN401 - whatever the YAML held
        return str(value) if isinstance(value, float) else value

    @model_validator(mode="after")
    def _certificate_beside_key(self) -> "TLS":
        if self.client_certificate is None and (self.client_key or self.client_key_password):
            raise ValueError("client_key and client_key_password need a client_certificate beside them")
        return self


class Websockets(BaseOptions):
    """MQTT inside a websocket, for networks that let only web traffic through."""

    path: str = Field("/mqtt", description="where the broker's web server has MQTT")

    @field_validator("path")
    @classmethod
    def _from_the_root(cls, value: str) -> str:
        if not value.startswith("/") or not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError("begins with / and has no blanks; other than ASCII is written as in a URL, with %")
        return value


class HomeAssistant(BaseOptions):
    """The agent and its cameras as a device in Home Assistant, by MQTT discovery."""

    discovery_prefix: str = Field("homeassistant", description="what Home Assistant's discovery topics begin with")
    birth_topic: str = Field(
        "homeassistant/status", description="where Home Assistant says online, upon which discovery is sent again"
    )

    _topics = field_validator("discovery_prefix", "birth_topic")(_topic)


class Options(SinkOptions):
    """An MQTT broker. QoS is always 1."""

    type: Literal["mqtt"] = Field(description="results, events and states to an MQTT broker, QoS 1")
    host: str = Field(min_length=1, description="the broker's name or address; with tls, as its certificate has it")
    port: Port | None = Field(
        None, description="left out: 8883 with tls, else 1883; with websockets 443 with tls, else 80"
    )
    client_id: str | None = Field(None, min_length=1, description="unique at the broker; left out: vedette-AGENT")
    username: str | None = Field(None, description="user name at the broker")
    password: Secret | None = Field(None, description="password, by reference; readable on the way without tls")
    tls: TLS | None = Field(None, description="left out: not encrypted; {}: encrypted, with the system's CAs")
    websockets: Websockets | None = Field(None, description="left out: TCP; {}: inside a websocket at /mqtt")
    topic_prefix: str | None = Field(None, description="what every topic begins with; left out: vedette/AGENT")
    what: What = Field("both", description="which records are published: results, events or both")
    states: bool = Field(
        True, description="false: no health, status and counts are published, which spares data; results and events are"
    )
    home_assistant: HomeAssistant | None = Field(
        None, description="left out: off; {}: the agent shows up in Home Assistant as a device"
    )
    in_flight: int = Field(
        20, ge=1, le=1000, description="messages on the way at once, unless the broker wants fewer (Mosquitto: 20)"
    )
    message_expiry_s: int = Field(
        0, ge=0, description="MQTT 5: the broker drops what a subscriber has not fetched by then; 0: never"
    )
    user_properties: dict[_Text, _Text] = Field(
        default={}, max_length=20, description="MQTT 5: names and their texts, which every message carries"
    )
    keepalive_s: int = Field(30, ge=5, le=65535, description="a ping after so many silent seconds")
    connect_timeout_s: float = Field(5.0, gt=0, le=5, description="seconds for each of: TCP, TLS, the broker's answer")
    ack_timeout_s: float = Field(10.0, gt=0, le=20, description="seconds in which a batch is acknowledged")
    protocol: Literal["auto", "5", "3.1.1"] = Field("auto", description="auto: MQTT 5, and 3.1.1 if that is refused")

    @field_validator("protocol", mode="before")
    @classmethod
    def _number_as_text(cls, value: Any) -> Any:  # noqa: ANN401 - whatever the YAML held
        return str(value) if isinstance(value, int) else value

    @field_validator("topic_prefix")
    @classmethod
    def _publishable(cls, value: str | None) -> str | None:
        return None if value is None else _topic(value)

    @field_validator("message_expiry_s")
    @classmethod
    def _in_four_bytes(cls, value: int) -> int:
        if value > _LATEST_EXPIRY_S:
            raise ValueError(f"MQTT knows at most {_LATEST_EXPIRY_S} seconds; 0 is never")
        return value

    @field_validator("user_properties")
    @classmethod
    def _not_our_own(cls, value: dict[str, str]) -> dict[str, str]:
        if taken := _OWN_PROPERTIES & value.keys():
            raise ValueError(f"{' and '.join(sorted(taken))} is what every record already carries; take another name")
        if not all(text.isprintable() for text in (*value, *value.values())):
            raise ValueError("has a control character, which MQTT does not take")
        return value

    @model_validator(mode="after")
    def _name_beside_password(self) -> "Options":
        if self.password is not None and self.username is None:
            raise ValueError("a password needs a username beside it")
        return self

    @model_validator(mode="after")
    def _states_for_home_assistant(self) -> "Options":
        if self.home_assistant is not None and not self.states:
            raise ValueError("home_assistant shows states; leave out states: false, or home_assistant")
        return self

    @field_validator("host")
    @classmethod
    def _name_alone(cls, value: str) -> str:
        if "/" in value or value.count(":") == 1:
            raise ValueError(
                "give the name or address alone; the port has its own key, and TLS is switched on by tls: {}"
            )
        return value

    @property
    def kinds(self) -> frozenset[Kind]:
        """What `what` names."""
        return kinds_of(self.what)

    @property
    def broker_port(self) -> int:
        """The port as set, or by what is spoken there."""
        plain, encrypted = (1883, 8883) if self.websockets is None else (80, 443)
        return self.port or (encrypted if self.tls else plain)

    @property
    def target(self) -> str:
        """The client id at the broker, which throws the older of two clients off."""
        return f"the client id {self.client_id or 'vedette-AGENT'} at {self.host}, port {self.port or 'left out'}"


class Mqtt:
    """One broker; one thread."""

    def __init__(self, options: Options, context: Context) -> None:
        self._options = options
        self._context = context
        self._where = where_of(options)
        self._topics = topics_of(options, context)
        self._stamp = Stamp(options.user_properties, options.message_expiry_s)
        self._dialer = Dialer(options.protocol, context.clock)
        self._announcer = _announcer(options, context, self._topics)
        self._refusals = Refusals(self._where, context.clock)
        self._post: Post | None = None
        self._healthy = False

    def open(self) -> None:
        """Connect and, unless on trial, say "online". Raises SinkUnavailable, ConfigError (password, files of tls)."""
        with self._noting_failure():
            broker = broker_of(self._options, self._context)
            session = self._dialer.dial(broker, self._where)
            post = self._post = Post(session, self._stamp, self._refusals, self._context.clock)
            if self._context.trial:
                return
            post.put([retained(self._topics.available, b"online")], self._options.ack_timeout_s)
            if self._announcer is not None:
                self._announcer.begin()
                session.subscribe(self._announcer.birth_topic)
        self._healthy = True
        _log.info("connected %s", logs.fields(broker=self._where, mqtt=session.version, tls=self._protection()))

    def _protection(self) -> str:
        tls = self._options.tls
        return "off" if tls is None else "verified" if tls.verify else "unverified"

    def send(self, batch: Sequence[Delivery]) -> Sequence[Outcome]:
        """Publish in order and wait for the PUBACKs, `ack_timeout_s` in all; what has none then is KEPT.

        An empty batch asks whether the connection is still there. On trial nothing is published, and all is KEPT.
        Raises SinkUnavailable: the connection is gone, or nothing at all was answered in time.
        """
        with self._noting_failure():
            post = self._connected()
            if self._context.trial:
                return [Outcome.KEPT] * len(batch)
            messages = [self._topics.delivery(delivery) for delivery in batch]
            answers = post.deliver([*self._announcement(post), *messages], self._options.ack_timeout_s)
            return [words.outcome(answers[each.id]) if each.id in answers else Outcome.KEPT for each in batch]

    def show(self, states: Sequence[State]) -> None:
        """Publish `states`, retained, and wait for the PUBACKs, `ack_timeout_s` in all.

        Nothing on trial, and where states are switched off. Raises SinkUnavailable.
        """
        with self._noting_failure():
            post = self._connected()
            if self._context.trial or not self._options.states:
                return
            if self._announcer is not None:
                self._announcer.note(states)
            newest = {message.topic: message for message in map(self._topics.state, states)}
            post.put([*self._announcement(post), *newest.values()], self._options.ack_timeout_s)

    def _announcement(self, post: Post) -> list[Message]:
        """What Home Assistant is to be told of this agent, if it is time."""
        if self._announcer is None:
            return []
        if (denial := post.session.denial()) is not None:
            self._refusals.note_birth(denial, self._announcer.birth_topic)
        news = post.session.news()
        # what was retained was said before this connection, and has been acted on by it
        self._announcer.hear(None if news is None or news.retained else news.body)
        message = self._announcer.due()
        return [] if message is None else [message]

    def _connected(self) -> Post:
        """The connection, if it is still there. Raises SinkUnavailable."""
        if self._post is None:
            raise SinkUnavailable(f"there is no connection to {self._where}; open it first")
        self._post.ask()
        return self._post

    @contextlib.contextmanager
    def _noting_failure(self) -> Iterator[None]:
        """After a failure nobody is told "stopped": the last will tells them."""
        try:
            yield
        except SinkUnavailable:
            self._healthy = False
            raise

    def close(self) -> None:
        """Say "stopped" if all was well, else leave it to the last will; end the connection and its thread."""
        post, self._post = self._post, None
        if post is None:
            return
        politely = False
        if self._healthy:
            with contextlib.suppress(SinkUnavailable):
                stopped = retained(self._topics.available, b"stopped")
                post.put([stopped], min(_GOODBYE_S, self._options.ack_timeout_s))
                politely = True
        self._healthy = False
        post.session.end(politely=politely)

    def __repr__(self) -> str:
        post = self._post
        state = "connected" if post is not None and not post.session.ended else "closed"
        return f"<Mqtt {self._where} {state}, {0 if post is None else len(post)} not acknowledged>"


def where_of(options: Options) -> words.Where:
    """The broker as messages name it."""
    tls = options.tls
    return words.Where(
        address=f"{options.host}:{options.broker_port}",
        tls=tls is not None,
        ca_file=tls.ca_file if tls else None,
        min_version=tls.min_version if tls else "",
        shows_certificate=tls is not None and tls.client_certificate is not None,
        websocket_path=options.websockets.path if options.websockets else None,
    )


def topics_of(options: Options, context: Context) -> Topics:
    """The topics below its prefix."""
    return Topics(options.topic_prefix or f"vedette/{level(context.agent)}")


def broker_of(options: Options, context: Context) -> Broker:
    """Where to connect, and as whom. Raises ConfigError: a password or a file of tls cannot be had."""
    client_id = options.client_id or f"vedette-{context.agent}"
    return Broker(
        host=options.host,
        port=options.broker_port,
        client_id=f"{client_id}-check" if context.trial else client_id,
        username=options.username,
        password=options.password.reveal(context.base_dir) if options.password else None,
        tls=broker_context(_security(options.tls, context.base_dir)) if options.tls else None,
        websocket_path=options.websockets.path if options.websockets else None,
        will_topic=None if context.trial else topics_of(options, context).available,
        user_properties=options.user_properties,
        in_flight=options.in_flight,
        keepalive_s=options.keepalive_s,
        connect_timeout_s=options.connect_timeout_s,
    )


def _security(tls: TLS, base_dir: Path) -> Security:
    password = tls.client_key_password
    return Security(
        ca_file=base_dir / tls.ca_file if tls.ca_file else None,
        verify=tls.verify,
        min_version=tls.min_version,
        certificate=base_dir / tls.client_certificate if tls.client_certificate else None,
        key=base_dir / tls.client_key if tls.client_key else None,
        key_password=password.reveal(base_dir) if password else None,
    )


def _announcer(options: Options, context: Context, topics: Topics) -> Announcer | None:
    section = options.home_assistant
    if section is None:
        return None
    discovery = Discovery(context.agent, topics, section.discovery_prefix)
    return Announcer(discovery, section.birth_topic, context.clock)


def build(options: Options, context: Context) -> Sink:
    """The plugin's entry."""
    return Mqtt(options, context)
