"""Faults on demand: which one is on, for how many requests yet. State is owned by the emulator's event loop.

On the command line a fault is `KIND[:VALUE][:name=value...]`: `delay:2.0`, `status:429:retry_after_s=3`,
`blackhole:requests=5`. VALUE is the seconds of delay and drip, and the number of status.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Protocol

from agent.emulator import replies
from agent.errors import ConfigError


class Kind(str, Enum):
    """What can go wrong with a request."""

    DELAY = "delay"
    """Everything as usual, `seconds` later."""
    DRIP = "drip"
    """The whole answer, head included, at one byte per `seconds`; then the connection ends."""
    RESET = "reset"
    """Half of the answer, then a TCP reset."""
    BLACKHOLE = "blackhole"
    """The request is taken and never answered."""
    CAPTIVE_PORTAL = "captive_portal"
    """A login page: HTML with status 200."""
    BAD_JSON = "bad_json"
    """Status 200 and JSON that ends too early."""
    STATUS = "status"
    """An error with `status`, and Retry-After when `retry_after_s` is given."""


class Target(str, Enum):
    """Which requests a fault meets."""

    INFERENCE = "inference"
    """All but uploads."""
    UPLOAD = "upload"
    """Of training images."""


FORMS = (
    f"what meets every request, or with :requests=N the next N: {', '.join(kind.value for kind in Kind)}; as in "
    "delay:2.0, drip:0.1 (seconds), status:429:retry_after_s=3; with :on=upload or :on=inference those alone "
    "(default: none)"
)
"""For people."""


class Wire(Protocol):
    """What a fault asks of the link that carries a request. An unknown port is a request that did not come by it."""

    def drip(self, peer_port: int, interval_s: float) -> None:
        """From now on, one byte per `interval_s` towards the client of this connection."""

    def reset_at_end(self, peer_port: int) -> None:
        """When the server ends this connection, the client sees a reset, after all bytes sent so far."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, as it was asked for."""

    kind: Kind
    seconds: float | None = None
    status: int | None = None
    retry_after_s: float | None = None
    requests: int | None = None
    """How many requests it meets; None: all, until it is taken away."""
    on: Target | None = None
    """None: whatever is asked."""


class FaultBox:
    """The fault that is on, and how many requests met one."""

    def __init__(self, fault: Fault | None = None) -> None:
        self._counts: Counter[str] = Counter()
        self.set(fault)

    def set(self, fault: Fault | None) -> None:
        """Switch `fault` on, or with None the present one off."""
        self._fault = fault
        self._left = fault.requests if fault is not None else None

    def take(self, target: Target = Target.INFERENCE) -> Fault | None:
        """The fault that meets the next request, of this kind."""
        fault = self._fault
        if fault is None or fault.on not in {None, target}:
            return None
        self._counts[fault.kind.value] += 1
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                self.set(None)
        return fault

    def state(self) -> dict[str, object]:
        """For `GET /emulator/state`: the fault that is on with the requests it has left, and counts by kind."""
        present = None if self._fault is None else _plain(self._fault) | {"requests": self._left}
        return {"fault": present, "faults": dict(self._counts)}


def _plain(fault: Fault) -> dict[str, object]:
    return {name: value for name, value in asdict(fault).items() if value is not None} | {"kind": fault.kind.value}


def parse(text: str) -> Fault:
    """A fault from the command line.

    Raises:
        ConfigError: it is none.
    """
    word, *rest = text.split(":")
    values: dict[str, object] = {"kind": word}
    for part in rest:
        name, equals, value = part.partition("=")
        if not equals:
            name, value = ("status" if word == Kind.STATUS.value else "seconds"), part
        values[name] = value if name == "on" else _number(name, value)
    return from_mapping(values)


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"the fault's {name} {text!r} is not a number") from None


def from_mapping(values: Mapping[str, object]) -> Fault:
    """A fault from its JSON object.

    Raises:
        ConfigError: an unknown kind or key, or a value that the kind does not take.
    """
    known = ("kind", "seconds", "status", "retry_after_s", "requests", "on")
    strange = sorted(set(values) - set(known))
    if strange:
        raise ConfigError(f"a fault has no {', '.join(strange)}; it has {', '.join(known)}")
    kinds = [kind.value for kind in Kind]
    if values.get("kind") not in kinds:
        raise ConfigError(f"there is no fault {values.get('kind')!r}; there are {', '.join(kinds)}")
    seconds, retry_after_s = _positive(values, "seconds"), _positive(values, "retry_after_s")
    requests, status = _whole(values, "requests"), _whole(values, "status")
    fault = Fault(Kind(values["kind"]), seconds, status, retry_after_s, requests, on=_target(values.get("on")))
    _check(fault)
    return fault


def _target(value: object) -> Target | None:
    targets = [target.value for target in Target]
    if value is not None and value not in targets:
        raise ConfigError(f"the fault's on is {value!r}; there are {', '.join(targets)}")
    return None if value is None else Target(value)


def _positive(values: Mapping[str, object], name: str) -> float | None:
    value = values.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ConfigError(f"the fault's {name} is {value!r}; give a number above 0")
    return float(value)


def _whole(values: Mapping[str, object], name: str) -> int | None:
    value = _positive(values, name)
    if value is not None and not value.is_integer():
        raise ConfigError(f"the fault's {name} is {value:g}; give a whole number")
    return None if value is None else int(value)


def _check(fault: Fault) -> None:
    timed = fault.kind in {Kind.DELAY, Kind.DRIP}
    if timed != (fault.seconds is not None):
        word = "needs its seconds, for example" if timed else "takes no seconds; write"
        raise ConfigError(f"the fault {fault.kind.value} {word} {fault.kind.value}{':0.5' if timed else ''}")
    if (fault.kind is Kind.STATUS) != (fault.status is not None):
        raise ConfigError("the fault status needs its number, and no other fault takes one; write status:503")
    if fault.status is not None and fault.status not in replies.STATUSES:
        allowed = ", ".join(str(status) for status in replies.STATUSES)
        raise ConfigError(f"the fault status {fault.status} is not there; there are {allowed}")
    if fault.retry_after_s is not None and fault.kind is not Kind.STATUS:
        raise ConfigError(f"the fault {fault.kind.value} takes no retry_after_s; only status does")
