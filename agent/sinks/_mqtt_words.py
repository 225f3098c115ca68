"""What a broker's reason codes and the network's errors mean, and the sentence for each. No state.

A reason code on a result's PUBACK (OASIS MQTT 5.0, section 3.4.2.1):

code                                   outcome   why
-------------------------------------  --------  ------------------------------------------------------------
below 0x80                             ACCEPTED  the broker has it, with or without subscribers
0x90 topic name invalid                REJECTED  this topic will never be taken
0x99 payload format invalid            REJECTED  these bytes will never be taken
0x87 not authorised                    KEPT      a person mends the broker's access list; nothing is lost until then
0x97 quota exceeded, 0x80, 0x83, 0x91  KEPT      the broker may take it later
0x95 packet too large                  REJECTED  our own: above the broker's Maximum Packet Size, so it was not sent,
                                                 for that would cost the connection
MQTT 3.1.1 has no reason codes: what a broker drops for its access list or size limit, it acknowledges all the same.
"""

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.errors import Cause, SinkTakenOver, SinkUnavailable
from agent.flow import Outcome
from agent.trust import distrust

_FAILURE: Final = 0x80
"""Reason codes from here on are refusals (OASIS MQTT 5.0, section 2.4)."""
UNSUPPORTED_VERSION: Final = 0x84
_NOT_AUTHORISED: Final = 0x87
_BAD_LOGIN: Final = 0x86
_TAKEN_OVER: Final = 0x8E
UNSPECIFIED: Final = 0x80
"""paho's word for an end without a reason; below are ends that are no failure."""
_SHORT_S: Final = 60.0
"""Two clients of one name throw each other out at each reconnect, so that no connection of theirs lasts."""
_NEVER: Final = frozenset({0x90, 0x95, 0x99})
_OTHER_NAME: Final = "set host to a name that the certificate lists"
_OLD_TLS: Final = frozenset({"TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL"})


@dataclass(frozen=True, slots=True)
class Where:
    """The broker as messages name it, and what is set for it."""

    address: str
    """HOST:PORT."""
    tls: bool
    ca_file: Path | None
    min_version: str
    """The least version of TLS."""
    shows_certificate: bool
    """Whether the client has one."""
    websocket_path: str | None

    def __str__(self) -> str:
        return self.address


class Refused(SinkUnavailable):
    """The broker was reached, and does not want this connection."""


class HungUp(Refused):
    """The connection ended without an answer to CONNECT. So does paho where MQTT 3.1.1 is refused for its version."""


class NoWebsocket(ConnectionError):
    """Reached, but what answers does not speak MQTT over websockets there."""


@dataclass(frozen=True, slots=True)
class Reason:
    """What a broker answered: a reason code of MQTT 5 (paho translates those of 3.1.1) and its name there."""

    code: int
    name: str

    @property
    def refuses(self) -> bool:
        """Whether it is a refusal."""
        return self.code >= _FAILURE

    def __str__(self) -> str:
        return f"{self.name} (0x{self.code:02x})"


TOO_LARGE: Final = Reason(0x95, "Packet too large")


def outcome(reason: Reason) -> Outcome:
    """How a delivery ended whose PUBACK carries `reason`; see the table above."""
    if not reason.refuses:
        return Outcome.ACCEPTED
    return Outcome.REJECTED if reason.code in _NEVER else Outcome.KEPT


def no_connection(error: OSError | UnicodeError, where: Where) -> SinkUnavailable:
    """Why no connection came about: `error` is what TCP, DNS, TLS or the websocket said."""
    if isinstance(error, NoWebsocket):
        return Refused(_no_websocket(where), Cause.CONNECT)
    if isinstance(error, ssl.SSLError) or (where.tls and isinstance(error, ConnectionResetError)):
        return SinkUnavailable(_no_handshake(error, where), Cause.TLS)
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return SinkUnavailable(f"no address is found for {where}; check host, and the network's DNS", Cause.DNS)
    if isinstance(error, TimeoutError):
        return SinkUnavailable(f"{where} did not answer in time; is the broker up, and the port open?", Cause.TIMEOUT)
    if isinstance(error, ConnectionRefusedError):
        return SinkUnavailable(f"{where} refuses connections; does the broker run, on this port?", Cause.CONNECT)
    reason = error.strerror or type(error).__name__
    return SinkUnavailable(f"{where} cannot be reached: {reason}", Cause.NETWORK)


def _no_websocket(where: Where) -> str:
    hint = "" if where.tls else "; if this is its TLS port, set tls"
    return (
        f"{where} does not speak MQTT over websockets at {where.websocket_path}; give the broker's websocket port and "
        f"its websockets.path, or leave out websockets{hint}"
    )


def _no_handshake(error: OSError, where: Where) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        wrong = distrust(error, where.ca_file, key="tls.ca_file", other_name=_OTHER_NAME)
        return f"{where} shows a certificate {wrong}"
    if isinstance(error, (ssl.SSLEOFError, ConnectionResetError)):
        return f"{where} hung up when asked for TLS; give the broker's TLS port, or leave out tls"
    reason = getattr(error, "reason", None) or error.strerror or ""
    if reason == "WRONG_VERSION_NUMBER":
        return f"{where} does not speak TLS; give the broker's TLS port, or leave out tls"
    if reason in _OLD_TLS:
        return f"{where} does not speak TLS {where.min_version} or later; renew the broker, or lower tls.min_version"
    return f"{where} failed the TLS handshake: {reason}{_certificate_hint(where, reason)}"


def _certificate_hint(where: Where, reason: str) -> str:
    return _shown_hint(where, before="; ") if "ALERT" in reason else ""


def _shown_hint(where: Where, *, before: str) -> str:
    if where.shows_certificate:
        return f"{before}does it trust the CA of tls.client_certificate?"
    return f"{before}if it asks for a client certificate, set tls.client_certificate"


def refused(reason: Reason, where: Where) -> Refused:
    """The broker answered CONNECT with a refusal."""
    if reason.code == _BAD_LOGIN:
        return Refused(f"{where} refuses the user name or password; check username and password", Cause.AUTH)
    if reason.code == _NOT_AUTHORISED:
        return Refused(
            f"{where} does not let this client in (not authorised); check username and password, "
            "and whether the broker allows this user and client_id",
            Cause.AUTH,
        )
    return Refused(f"{where} refuses the connection: {reason}", Cause.CONNECT)


def hung_up(where: Where) -> HungUp:
    """The connection was closed before the broker answered CONNECT."""
    hint = _shown_hint(where, before="") if where.tls else "if this is its TLS port, set tls"
    return HungUp(
        f'{where} hung up without an MQTT answer; {hint}; if it knows MQTT 3.1.1 only, set protocol: "3.1.1"',
        Cause.CONNECT,
    )


def silent(where: Where, timeout_s: float) -> SinkUnavailable:
    """Connected, and nothing comes back."""
    return SinkUnavailable(
        f"{where} takes the connection but did not answer within {timeout_s:g} s; is it an MQTT broker, and alive?",
        Cause.TIMEOUT,
    )


def lost(reason: Reason | None, where: Where, *, lasted_s: float) -> SinkUnavailable:
    """The connection ended, for the `reason` that the broker or paho gives; None when there is none."""
    if reason is None:
        # Mosquitto 2.0 and all of MQTT 3.1.1 do not say that a connection was given up for another.
        hint = "; if that goes on, see whether another client has the same client_id" if lasted_s < _SHORT_S else ""
        return SinkUnavailable(f"the connection to {where} is lost{hint}", Cause.NETWORK)
    if reason.code == _TAKEN_OVER:
        return SinkTakenOver(
            f"{where} gave this connection up for another client with the same client_id; "
            "give every agent a client_id of its own",
            Cause.NETWORK,
        )
    cause = Cause.AUTH if reason.code == _NOT_AUTHORISED else Cause.NETWORK
    return SinkUnavailable(f"the connection to {where} ended: {reason}", cause)


def not_taken(reason: Reason, where: Where, topic: str) -> str:
    """The broker answered a message on `topic` with a refusal: what a person can do."""
    if reason.code == _NOT_AUTHORISED:
        return f"{where} does not let this user publish on {topic}; allow the topic in the broker's access list"
    if reason == TOO_LARGE:
        return f"a message on {topic} is larger than {where} takes; raise the broker's limit for a packet"
    if reason.code in _NEVER:
        return f"{where} will never take what goes to {topic}: {reason}; see the broker's log for what it minds"
    return f"{where} takes nothing on {topic} now: {reason}; what may not be lost is kept and sent again"


def no_birth(reason: Reason, where: Where, topic: str) -> str:
    """The broker does not let us hear of Home Assistant's start."""
    return f"{where} does not let this user read {topic} ({reason}); allow it in the broker's access list"
