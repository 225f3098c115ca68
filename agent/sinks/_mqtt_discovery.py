"""What Home Assistant is told of an agent: device-based MQTT discovery. Owner: the sink's thread.

One retained message at DISCOVERY_PREFIX/device/OBJECT_ID/config lists the device and its entities (Home Assistant's
page "MQTT", section "Device discovery payload"). Entities are there for the cameras, classes, zones and lines that
were seen; when there are more of them, the message is sent again. Values come from the topics that everybody reads: the
templates below take them out of PREFIX/health, whose shape they therefore know.
"""

import json
import re
import zlib
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import agent
from agent.flow import Route
from agent.sinks._mqtt_packet import Message
from agent.sinks._mqtt_topics import Topics, retained
from agent.states import State, Subject

_Entity: TypeAlias = dict[str, Any]

EXPIRE_AFTER_S: Final = 120
"""A value that is older is shown as unknown; the agent reports its health every half minute."""


class Discovery:
    """The device, and what has been told of its cameras."""

    def __init__(self, name: str, topics: Topics, prefix: str) -> None:
        """`name` is the agent's, `prefix` Home Assistant's own for discovery."""
        self._name = name
        self._topics = topics
        self._device = f"vedette_{_id(name)}"
        self._topic = f"{prefix}/device/{self._device}/config"
        self._counted: dict[str, dict[tuple[str | None, ...], State]] = {}
        """By camera: a count of everything that it has told counts of, each once."""

    def note(self, states: Sequence[State]) -> bool:
        """Learn of cameras and of what is counted there; whether one of them is new."""
        before = self._size()
        for state in states:
            if state.camera is not None:
                counted = self._counted.setdefault(state.camera, {})
                if state.subject is not Subject.CAMERA:
                    counted.setdefault(state.about, state)
        return self._size() > before

    def _size(self) -> int:
        return sum(1 + len(counted) for counted in self._counted.values())

    def message(self) -> Message:
        """The discovery message, as things stand."""
        body = {
            "device": {
                "identifiers": [self._device],
                "name": self._name,
                "manufacturer": "Vedette",
                "model": "Vision agent",
                "sw_version": agent.__version__,
            },
            "origin": {"name": "vedette", "sw_version": agent.__version__},
            "components": {key: {**entity, "unique_id": f"{self._device}-{key}"} for key, entity in self._entities()},
        }
        return retained(self._topic, json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode())

    def _entities(self) -> list[tuple[str, _Entity]]:
        entities = [("connectivity", self._agent_there()), ("outbox_waiting", self._outbox_waiting())]
        for camera in sorted(self._counted):
            key = _id(camera)
            entities += [(f"{key}-{what}", entity) for what, entity in self._camera(camera).items()]
            for _, state in sorted(self._counted[camera].items(), key=lambda item: [part or "" for part in item[0]]):
                entities += [(f"{key}-{what}", entity) for what, entity in self._counts(camera, state).items()]
        return entities

    def _agent_there(self) -> _Entity:
        return {
            "platform": "binary_sensor",
            "name": "Connection",
            "device_class": "connectivity",
            "entity_category": "diagnostic",
            "state_topic": self._topics.available,
            "value_template": "{{ 'ON' if value == 'online' else 'OFF' }}",
        }

    def _outbox_waiting(self) -> _Entity:
        return {
            **self._measured("{{ value_json.outboxes.values() | sum(attribute='waiting') }}"),
            "name": "Waiting results",
            "availability": [self._while_agent()],
        }

    def _camera(self, camera: str) -> dict[str, _Entity]:
        told = f"value_json.cameras.get({_literal(camera)}, {{}})"
        while_both = self._while_both(camera)
        return {
            "connectivity": self._camera_there(camera),
            "fps": {
                **self._measured(f"{{{{ {told}.get('fps') }}}}"),
                "name": f"{camera} frame rate",
                "unit_of_measurement": "fps",
                **while_both,
            },
            "route": {
                **self._reported(f"{{{{ {told}.get('route') }}}}"),
                "name": f"{camera} route",
                "device_class": "enum",
                "options": [route.value for route in Route],
                **while_both,
            },
            "latency": {
                **self._measured(f"{{{{ {told}.get('latency_ms') }}}}"),
                "name": f"{camera} latency",
                "device_class": "duration",
                "unit_of_measurement": "ms",
                **while_both,
            },
        }

    def _camera_there(self, camera: str) -> _Entity:
        return {
            "platform": "binary_sensor",
            "name": f"{camera} connection",
            "device_class": "connectivity",
            "entity_category": "diagnostic",
            "state_topic": self._topics.status(camera),
            "payload_on": "online",
            "payload_off": "offline",
            "availability": [self._while_agent()],
        }

    def _counts(self, camera: str, state: State) -> dict[str, _Entity]:
        """The entities that show one count."""
        topic, of_class = self._topics.of(state), state.class_name or ""
        if state.subject is Subject.LINE and state.place is not None and state.direction is not None:
            way = state.direction.value
            total = self._count(camera, f"{state.place} {way}", topic, "total_increasing")
            return {f"line-{_id(state.place)}-{way}": total}
        name = of_class if state.place is None else f"{state.place} {of_class}"
        key = _id(of_class) if state.place is None else f"zone-{_id(state.place)}-{_id(of_class)}"
        return {
            f"{key}-count": self._count(camera, f"{name} count", topic, "measurement"),
            f"{key}-occupancy": self._occupancy(camera, name, topic),
        }

    def _count(self, camera: str, name: str, topic: str, state_class: str) -> _Entity:
        return {
            "platform": "sensor",
            "name": f"{camera} {name}",
            "state_class": state_class,
            "state_topic": topic,
            **self._while_both(camera),
        }

    def _occupancy(self, camera: str, name: str, topic: str) -> _Entity:
        return {
            "platform": "binary_sensor",
            "name": f"{camera} {name}",
            "device_class": "occupancy",
            "state_topic": topic,
            "value_template": "{{ 'ON' if value | int(0) > 0 else 'OFF' }}",
            **self._while_both(camera),
        }

    def _measured(self, template: str) -> _Entity:
        return {**self._reported(template), "state_class": "measurement"}

    def _reported(self, template: str) -> _Entity:
        return {
            "platform": "sensor",
            "entity_category": "diagnostic",
            "state_topic": self._topics.health,
            "value_template": template,
            "expire_after": EXPIRE_AFTER_S,
        }

    def _while_agent(self) -> dict[str, str]:
        return {
            "topic": self._topics.available,
            "value_template": "{{ 'online' if value == 'online' else 'offline' }}",  # "stopped" is a word of our own
        }

    def _while_both(self, camera: str) -> _Entity:
        return {
            "availability": [self._while_agent(), {"topic": self._topics.status(camera)}],
            "availability_mode": "all",
        }


def _id(name: str) -> str:
    """`name` in the letters that Home Assistant allows in an id; never with -, which stands between ids."""
    plain = re.sub(r"[^a-zA-Z0-9_]", "_", name)
    return plain if plain == name else f"{plain}_{zlib.crc32(name.encode()):08x}"


def _literal(text: str) -> str:
    """A string in a Jinja template, which reads what JSON writes."""
    return json.dumps(text, ensure_ascii=False)
