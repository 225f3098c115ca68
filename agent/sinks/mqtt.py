"""Results to an MQTT broker, over TLS if wanted.

Talks to one broker with paho-mqtt 2: MQTT 5, or 3.1.1 where the broker refuses 5. QoS is always 1, and a result counts
as delivered when its PUBACK is there; a result that is sent again after a lost connection may come twice, with the
same id. Topics below the prefix:

    PREFIX/available          retained: "online" on every connect, "stopped" on a clean end, "offline" by last will
    PREFIX/CAMERA/results     one message per result, not retained

Every failure is SinkUnavailable with its cause (`_mqtt_words` has the sentences and the table of reason codes), and the
runtime opens the sink again later. Each `open` makes a new client that never reconnects by itself, so that nothing is
left in paho's own queue to be sent twice.
Try it: `mosquitto_sub -h HOST -t 'vedette/#' -v`.

State is owned by the one thread of the sink; paho's network thread stays inside `_mqtt_session`.
"""

import contextlib
import logging
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from agent import logs
from agent.errors import SinkUnavailable
from agent.flow import Delivery, Outcome
from agent.options import Options as BaseOptions
from agent.options import Port, Secret, SinkOptions
from agent.ports import Context, Sink
from agent.sinks import _mqtt_words as words
from agent.sinks._mqtt_session import Broker, Session, Version, broker_context, packet_bytes

_GOODBYE_S: Final = 2.0
"""How long `close` waits for the PUBACK of "stopped"."""
_log = logging.getLogger(__name__)


class TLS(BaseOptions):
    """How the connection is encrypted, and whose certificate is trusted."""

    ca_file: Path | None = Field(
        None, description="PEM file of the CA behind the broker's certificate; default: system"
    )
    verify: bool = Field(True, description="false: any certificate will do, and anyone may read along; for trials only")


class Options(SinkOptions):
    """An MQTT broker. QoS is always 1."""

    type: Literal["mqtt"] = Field(description="results to an MQTT broker, QoS 1")
    host: str = Field(min_length=1, description="the broker's name or address; with tls, as its certificate has it")
    port: Port | None = Field(None, description="left out: 8883 with tls, else 1883")
    client_id: str | None = Field(None, min_length=1, description="unique at the broker; left out: vedette-AGENT")
    username: str | None = Field(None, description="user name at the broker")
    password: Secret | None = Field(None, description="password, by reference; readable on the way without tls")
    tls: TLS | None = Field(None, description="left out: not encrypted; {}: encrypted, with the system's CAs")
    topic_prefix: str | None = Field(None, description="what every topic begins with; left out: vedette/AGENT")
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
        if value is not None and (value.strip("/") != value or not value or set(value) & set("+#\0")):
            raise ValueError("a topic prefix is not empty, has no + or #, and neither begins nor ends with /")
        return value

    @model_validator(mode="after")
    def _name_beside_password(self) -> "Options":
        if self.password is not None and self.username is None:
            raise ValueError("a password needs a username beside it")
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
    def target(self) -> str:
        """The client id at the broker, which throws the older of two clients off."""
        return f"the client id {self.client_id or 'vedette-AGENT'} at {self.host}, port {self.port or 'left out'}"


class _VersionRefused(SinkUnavailable):
    """The broker does not know this version of MQTT."""


class Mqtt:
    """One broker; one thread."""

    def __init__(self, options: Options, context: Context) -> None:
        self._options = options
        self._context = context
        self._port = options.port or (8883 if options.tls else 1883)
        self._where = f"{options.host}:{self._port}"
        self._prefix = options.topic_prefix or f"vedette/{_level(context.agent)}"
        self._ca_file = options.tls.ca_file if options.tls else None
        self._session: Session | None = None
        self._healthy = False
        self._waiting: dict[str, int] = {}
        """Delivery id -> packet id: on the wire, not acknowledged, not sent again while this connection lasts."""
        self._damper = logs.Damper(_log.warning, context.clock.now)

    def open(self) -> None:
        """Connect and, unless on trial, say "online". Raises SinkUnavailable, ConfigError (password, tls.ca_file)."""
        try:
            version = self._connect()
            if self._context.trial:
                return
            self._say("online", self._options.ack_timeout_s)
        except SinkUnavailable:
            self._drop(politely=False)
            raise
        self._healthy = True
        _log.info("connected %s", logs.fields(broker=self._where, mqtt=version, tls=self._protection()))

    def _protection(self) -> str:
        tls = self._options.tls
        return "off" if tls is None else "verified" if tls.verify else "unverified"

    def _connect(self) -> Version:
        broker = self._broker()
        if self._options.protocol != "auto":
            return self._start(broker, self._options.protocol)
        try:
            return self._start(broker, "5")
        except _VersionRefused:
            self._drop(politely=False)
            return self._start(broker, "3.1.1")

    def _broker(self) -> Broker:
        options, base_dir = self._options, self._context.base_dir
        client_id = options.client_id or f"vedette-{self._context.agent}"
        ca_file = base_dir / self._ca_file.expanduser() if self._ca_file else None
        return Broker(
            host=options.host,
            port=self._port,
            client_id=f"{client_id}-check" if self._context.trial else client_id,
            username=options.username,
            password=options.password.reveal(base_dir) if options.password else None,
            tls=broker_context(ca_file, verify=options.tls.verify) if options.tls else None,
            will_topic=None if self._context.trial else f"{self._prefix}/available",
            keepalive_s=options.keepalive_s,
            connect_timeout_s=options.connect_timeout_s,
        )

    def _start(self, broker: Broker, version: Version) -> Version:
        """Connect with one version of MQTT and hear the broker's answer. Raises SinkUnavailable."""
        session = self._session = Session(broker, version, self._context.clock)
        try:
            session.connect()
        except (OSError, UnicodeError) as error:
            raise words.no_connection(error, self._where, tls=broker.tls is not None, ca_file=self._ca_file) from error
        session.wait(lambda: session.answer is not None, broker.connect_timeout_s)
        if session.answer is None:
            if session.ended:
                raise words.hung_up(self._where, tls=broker.tls is not None)
            raise words.silent(self._where, broker.connect_timeout_s)
        if session.answer.code == words.UNSUPPORTED_VERSION:
            raise _VersionRefused(f"{self._where} does not know MQTT {version}; set protocol: auto")
        if session.answer.refuses:
            raise words.refused(session.answer, self._where)
        return version

    def _say(self, availability: str, timeout_s: float) -> None:
        """Publish the retained availability and wait for its PUBACK. Raises SinkUnavailable."""
        session, topic = self._connected(), f"{self._prefix}/available"
        mid = session.publish(topic, availability.encode(), retain=True)
        if not session.wait(lambda: mid in session.acks, timeout_s):
            raise self._no_answer(session, timeout_s)
        reason = session.acks.pop(mid)
        if reason.refuses:
            detail = logs.fields(broker=self._where, topic=topic, reason=reason)
            self._damper.note(topic, f"the broker does not take the availability {detail}")

    def send(self, batch: Sequence[Delivery]) -> Sequence[Outcome]:
        """Publish in order and wait for the PUBACKs, `ack_timeout_s` in all; what has none then is KEPT.

        An empty batch asks whether the connection is still there. Raises SinkUnavailable.
        """
        try:
            return self._send(self._connected(), batch)
        except SinkUnavailable:
            self._healthy = False
            raise

    def _send(self, session: Session, batch: Sequence[Delivery]) -> list[Outcome]:
        settled: dict[str, Outcome] = {}
        refusals: list[words.Reason] = []
        unsent = deque(delivery for delivery in batch if delivery.id not in self._waiting)

        def all_settled() -> bool:
            refusals.extend(self._collect(session, settled))
            self._feed(session, unsent, settled)
            return all(delivery.id in settled for delivery in batch)

        heard_all = session.wait(all_settled, self._options.ack_timeout_s)
        outcomes = [settled.get(delivery.id, Outcome.KEPT) for delivery in batch]
        if batch and set(outcomes) == {Outcome.KEPT}:
            if heard_all:
                raise words.not_taken(refusals[-1], self._where)
            raise self._no_answer(session, self._options.ack_timeout_s)
        if refusals:
            detail = logs.fields(broker=self._where, reason=refusals[-1])
            self._damper.note("refused", f"the broker does not take some results {detail}")
        return outcomes

    def _collect(self, session: Session, settled: dict[str, Outcome]) -> list[words.Reason]:
        """Move what is acknowledged from waiting to `settled`; the reasons of those that were refused."""
        refusals = []
        for name in [name for name, mid in self._waiting.items() if mid in session.acks]:
            reason = session.acks.pop(self._waiting.pop(name))
            settled[name] = words.outcome(reason)
            if reason.refuses:
                refusals.append(reason)
        return refusals

    def _feed(self, session: Session, unsent: deque[Delivery], settled: dict[str, Outcome]) -> None:
        """Publish while there is room in the window, so that paho never holds a queue of its own."""
        while unsent and len(self._waiting) < session.window and not session.ended:
            delivery = unsent.popleft()
            topic = f"{self._prefix}/{_level(delivery.camera)}/results"
            size_bytes = packet_bytes(topic, delivery.body)
            if size_bytes > session.largest_bytes:
                settled[delivery.id] = Outcome.REJECTED
                detail = logs.fields(id=delivery.id, size_bytes=size_bytes, limit_bytes=session.largest_bytes)
                self._damper.note("too large", f"a result is larger than the broker takes {detail}")
            else:
                self._waiting[delivery.id] = session.publish(topic, delivery.body)

    def _connected(self) -> Session:
        """The session, if it is still there. Raises SinkUnavailable."""
        if self._session is None:
            raise SinkUnavailable(f"there is no connection to {self._where}; open it first")
        if self._session.ended:
            raise words.lost(self._session.end_reason, self._where)
        return self._session

    def _no_answer(self, session: Session, waited_s: float) -> SinkUnavailable:
        if session.ended:
            return words.lost(session.end_reason, self._where)
        return words.silent(self._where, waited_s)

    def close(self) -> None:
        """Say "stopped" if all was well, else leave it to the last will; end the connection and its thread."""
        politely = False
        if self._healthy:
            with contextlib.suppress(SinkUnavailable):
                self._say("stopped", min(_GOODBYE_S, self._options.ack_timeout_s))
                politely = True
        self._drop(politely=politely)

    def _drop(self, *, politely: bool) -> None:
        self._healthy = False
        self._waiting.clear()
        if self._session is not None:
            self._session.end(politely=politely)
            self._session = None

    def __repr__(self) -> str:
        state = "connected" if self._session is not None and not self._session.ended else "closed"
        return f"<Mqtt {self._where} {state}, {len(self._waiting)} not acknowledged>"


def _level(name: str) -> str:
    """`name` as one level of a topic: MQTT keeps /, + and # for itself."""
    return "".join("_" if letter in "/+#\0" else letter for letter in name)


def build(options: Options, context: Context) -> Sink:
    """The plugin's entry."""
    return Mqtt(options, context)
