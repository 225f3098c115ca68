"""MQTT sinks of one agent, porch, with a camera called door: made, filled and closed."""

import json
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from real.broker import Subscriber

from agent.clock import Clock, SystemClock
from agent.errors import SinkUnavailable
from agent.flow import Delivery
from agent.ports import Context
from agent.sinks import mqtt
from agent.states import State, Subject

RESULTS = "vedette/porch/door/results"
AVAILABLE = "vedette/porch/available"


class Shifted(SystemClock):
    """The system's clock, and time that has passed beside it."""

    shift_s = 0.0

    def now(self) -> float:
        return super().now() + self.shift_s


class Sinks:
    """Makes sinks, and closes them when the block ends."""

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self._folder = folder
        self._clock = clock or SystemClock()
        self._closing = ExitStack()

    def __call__(self, port: int, *, trial: bool = False, **options: Any) -> mqtt.Mqtt:
        context = Context("porch", self._clock, self._folder, self._folder, trial=trial)
        settings = {"type": "mqtt", "host": "localhost", "port": port, "ack_timeout_s": 20.0, **options}
        made = mqtt.build(mqtt.Options.model_validate(settings), context)
        assert isinstance(made, mqtt.Mqtt)
        self._closing.callback(made.close)
        return made

    def __enter__(self) -> "Sinks":  # noqa: PYI034 - typing.Self needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()


def deliveries(count: int, *, start: int = 0, camera: str = "door", padding: int = 0) -> list[Delivery]:
    ids = [f"porch/{camera}/boot/{seq}/0" for seq in range(start, start + count)]
    return [Delivery(each, camera, json.dumps({"id": each, "more": "x" * padding}).encode()) for each in ids]


def received(subscriber: Subscriber, topic: str = RESULTS) -> list[str]:
    return [json.loads(text)["id"] for text in subscriber.texts(topic)]


def health(**more: Any) -> State:
    return State(Subject.HEALTH, json.dumps({"schema": "vedette.health/1", **more}).encode())


def status(camera: str, word: str = "online") -> State:
    return State(Subject.CAMERA, word.encode(), camera)


def count(camera: str, class_name: str, number: int) -> State:
    return State(Subject.COUNT, str(number).encode(), camera, class_name)


def network_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("paho")]


def refused(sink: mqtt.Mqtt) -> SinkUnavailable:
    with pytest.raises(SinkUnavailable) as caught:
        sink.open()
    sink.close()
    assert network_threads() == []
    return caught.value
