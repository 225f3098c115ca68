"""A whole agent in this process, with stand-ins for cameras, model, sink and disk that fail when a test wants it."""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fakes import PICTURE, InstantEngine

from agent import app, backoff, config, document
from agent.app import Agent, Handover
from agent.backoff import Pauses
from agent.clock import SystemClock, wait_until
from agent.config import Config
from agent.courier import Courier
from agent.database import StoreError
from agent.errors import Cause, ConfigError, EngineBroken, SinkUnavailable
from agent.flow import Delivery, Fate, Kind, Outcome, Pixels
from agent.service import Service
from agent.store import Store
from agent.telemetry import CameraStatus

TEXT = """
agent: box
cameras:
  - {{name: gate, source: {{type: synthetic, width: {width}}}}}
  - {{name: yard, source: {{type: synthetic}}}}
engines: {{local: {{type: tflite, model: {model}.tflite}}}}
routing: {{deadline_ms: {deadline_ms}}}
sinks: [{{type: jsonl, path: {path}.jsonl, outbox: {{commit_interval_ms: 50}}}}]
"""
LIMIT_S = 20.0


def configured(model: str = "good", path: str = "results", deadline_ms: int = 500, width: int = 640) -> Config:
    text = TEXT.format(model=model, path=path, deadline_ms=deadline_ms, width=width)
    return config.validate(document.parse(text, name="box.yaml"))


@dataclass
class World:
    """What lies outside of the agent: cameras, a model, a sink, a disk, and whether they work."""

    folder: Path
    wanted: Counter[str] = field(default_factory=Counter)
    """Frames that each camera is to give."""
    read: Counter[str] = field(default_factory=Counter)
    """Frames that it gave."""
    sent: list[Delivery] = field(default_factory=list)
    sink_is_there: bool = True
    disk_works: bool = True
    agents: list[Agent] = field(default_factory=list)

    def make(self, settings: Config, left: Handover) -> Agent:
        made = app.build(settings, left, base_dir=self.folder, state_dir=self.folder / "state")
        for pipeline in made.pipelines:
            if isinstance(pipeline.source, Feed):
                pipeline.source.camera = pipeline.camera
        self.agents.append(made)
        return made

    @property
    def statuses(self) -> list[CameraStatus]:
        """Of all cameras, under every configuration."""
        return [pipeline.telemetry.status() for agent in self.agents for pipeline in agent.pipelines]

    @property
    def fates(self) -> Counter[Fate]:
        """Of all frames, whoever took them."""
        return sum((Counter(status.fates) for status in self.statuses), Counter[Fate]())


class Feed:
    """A camera whose every picture is wanted. It gives one as soon as it is open, as cameras do."""

    live = False
    pace_fps: float | None = None
    camera = ""

    def __init__(self, world: World) -> None:
        self._world = world

    def open(self) -> None:
        self._world.wanted[self.camera] += 1

    def read(self) -> Pixels | None:
        if self._world.read[self.camera] < self._world.wanted[self.camera]:
            self._world.read[self.camera] += 1
            return PICTURE
        threading.Event().wait(0.005)
        return None

    def close(self) -> None: ...


class Model(InstantEngine):
    """One that can be loaded, unless its file is called otherwise."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def open(self) -> None:
        if "good" not in self._path:
            raise EngineBroken(f"{self._path} is no model")


@dataclass
class Drain:
    """A sink that takes everything while it is there."""

    world: World
    path: str

    def open(self) -> None:
        if "results" not in self.path:
            threading.Event().wait(0.2)  # as long as it takes to find out
            raise ConfigError(f"{self.path} is a folder")

    def send(self, batch: Sequence[Delivery]) -> Sequence[Outcome]:
        if not self.world.sink_is_there:
            raise SinkUnavailable("away", Cause.DISK)
        self.world.sent += [each for each in batch if each.kind is Kind.RESULT]
        return [Outcome.ACCEPTED] * len(batch)

    def close(self) -> None: ...


@contextlib.contextmanager
def a_world(folder: Path) -> Iterator[World]:
    """Everything inside the agent is its own, but for how long its loops wait when there is nothing to do."""
    world, really = World(folder), Store.transaction

    @contextlib.contextmanager
    def transaction(store: Store) -> Iterator[None]:
        if not world.disk_works:
            raise StoreError("the disk fails")
        with really(store):
            yield

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agent.plugins.build_source", lambda *_: Feed(world))
        patch.setattr("agent.plugins.build_engine", lambda options, _: Model(str(options.model)))
        patch.setattr("agent.plugins.build_sink", lambda options, _: Drain(world, str(options.path)))
        patch.setattr(Store, "transaction", transaction)
        patch.setattr(backoff, "DISK", Pauses(0.01, 0.02))
        patch.setattr("agent.service.TICK_S", 0.005)
        patch.setattr("agent.service.DRAIN_S", 0.1)
        patch.setattr("agent.outbox._RETRY_S", 0.02)
        patch.setitem(Courier.step.__kwdefaults__ or {}, "wait_s", 0.01)
        for module in ("lanes", "admission", "pipeline"):
            patch.setattr(f"agent.{module}._IDLE_WAIT_S", 0.01)
        yield world


@contextlib.contextmanager
def running(world: World, first: Config) -> Iterator[Service]:
    service = Service(first, world.make)
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        yield service
    finally:
        service.agent.stop.ask()
        thread.join(LIMIT_S)
    assert not thread.is_alive()


def eventually(done: Callable[[], bool]) -> bool:
    return wait_until(done, LIMIT_S, SystemClock())
