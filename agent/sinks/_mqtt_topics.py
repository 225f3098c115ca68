"""Which message goes to which topic below a sink's prefix. No state."""

from dataclasses import dataclass
from typing import Final

from agent.flow import Delivery, Kind
from agent.sinks._mqtt_packet import Message
from agent.states import Direction, State, Subject

_BRANCH: Final = {Kind.RESULT: "results", Kind.EVENT: "events"}
_STATUS: Final = "status"
_ZONES: Final = "zones"
_LINES: Final = "lines"
_TAKEN: Final = frozenset({*_BRANCH.values(), _STATUS, _ZONES, _LINES})
"""Levels below a camera that no class may have."""


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics below one prefix."""

    prefix: str

    @property
    def available(self) -> str:
        """Whether the agent is there."""
        return f"{self.prefix}/available"

    @property
    def health(self) -> str:
        """How the agent does."""
        return f"{self.prefix}/health"

    def status(self, camera: str) -> str:
        """Whether a camera is there."""
        return f"{self.prefix}/{level(camera)}/{_STATUS}"

    def count(self, camera: str, class_name: str) -> str:
        """How many objects of a class are in the picture; a class named as another topic is gets a _ behind it."""
        name = level(class_name)
        return f"{self.prefix}/{level(camera)}/{name}_" if name in _TAKEN else f"{self.prefix}/{level(camera)}/{name}"

    def zone(self, camera: str, zone: str, class_name: str) -> str:
        """How many objects of a class are in a zone."""
        return f"{self.prefix}/{level(camera)}/{_ZONES}/{level(zone)}/{level(class_name)}"

    def line(self, camera: str, line: str, direction: Direction) -> str:
        """How many objects have crossed a line in one direction."""
        return f"{self.prefix}/{level(camera)}/{_LINES}/{level(line)}/{direction.value}"

    def delivery(self, delivery: Delivery) -> Message:
        """A result or an event."""
        topic = f"{self.prefix}/{level(delivery.camera)}/{_BRANCH[delivery.kind]}"
        return Message(delivery.id, topic, delivery.body, id=delivery.id)

    def state(self, state: State) -> Message:
        """A state, retained."""
        return retained(self.of(state), state.body)

    def of(self, state: State) -> str:
        """Where a state is published."""
        camera, name, place = state.camera or "", state.class_name or "", state.place or ""
        match state.subject:
            case Subject.HEALTH:
                return self.health
            case Subject.CAMERA:
                return self.status(camera)
            case Subject.COUNT:
                return self.count(camera, name)
            case Subject.ZONE:
                return self.zone(camera, place, name)
            case Subject.LINE:
                return self.line(camera, place, state.direction or Direction.IN)


def retained(topic: str, body: bytes) -> Message:
    """The newest word on a topic; another word there is another message."""
    return Message(f"retained {topic} {hash(body)}", topic, body, retain=True)


def level(name: str) -> str:
    """`name` as one level of a topic: MQTT keeps /, + and # for itself."""
    return "".join("_" if letter in "/+#\0" else letter for letter in name)
