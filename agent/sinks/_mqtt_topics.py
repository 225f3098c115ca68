"""Which message goes to which topic below a sink's prefix. No state."""

from dataclasses import dataclass
from typing import Final

from agent.flow import Delivery, Kind, State, Subject
from agent.sinks._mqtt_packet import Message

_BRANCH: Final = {Kind.RESULT: "results", Kind.EVENT: "events"}
_STATUS: Final = "status"
_TAKEN: Final = frozenset({*_BRANCH.values(), _STATUS})
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

    def delivery(self, delivery: Delivery) -> Message:
        """A result or an event."""
        topic = f"{self.prefix}/{level(delivery.camera)}/{_BRANCH[delivery.kind]}"
        return Message(delivery.id, topic, delivery.body, id=delivery.id)

    def state(self, state: State) -> Message:
        """A state, retained."""
        return retained(self._topic_of(state), state.body)

    def _topic_of(self, state: State) -> str:
        if state.subject is Subject.HEALTH:
            return self.health
        camera = state.camera or ""
        return self.status(camera) if state.subject is Subject.CAMERA else self.count(camera, state.class_name or "")


def retained(topic: str, body: bytes) -> Message:
    """The newest word on a topic; another word there is another message."""
    return Message(f"retained {topic} {hash(body)}", topic, body, retain=True)


def level(name: str) -> str:
    """`name` as one level of a topic: MQTT keeps /, + and # for itself."""
    return "".join("_" if letter in "/+#\0" else letter for letter in name)
