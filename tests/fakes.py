"""Stand-ins for the clock and for engines and cameras that are not here; for plugin authors too."""

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from agent.budget import Budget, Caps
from agent.clock import Clock
from agent.errors import EngineError, SourceEnded
from agent.flow import Answer, Delivery, Frame, Kind, Picture, Pixels, Prediction, Reading, Timings
from agent.ladder import Ladder
from agent.link import Link
from agent.ports import CloudEngine, Context, Source, Watch
from agent.uplink import Uplink

PICTURE: Pixels = np.zeros((48, 64, 3), dtype=np.uint8)


class FakeClock:
    """Time that moves only when told to; a wait that is not fulfilled lets its time pass at once."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self._now_s = now_s
        self.wall_s = 1_800_000_000.0

    def now(self) -> float:
        return self._now_s

    def wall(self) -> float:
        return self.wall_s

    def synchronized(self) -> bool:
        return True

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        if not event.is_set():
            self._now_s += max(0.0, timeout_s)
        return event.is_set()

    def advance(self, seconds: float) -> None:
        self._now_s += seconds


class ScriptedSource:
    """Gives pictures for ever, or the scripted ones and then ends."""

    def __init__(self, script: Sequence[Pixels | Exception] | None = None, *, live: bool = True) -> None:
        self.live = live
        self.pace_fps: float | None = None
        self.opened = self.closed = 0
        self._script = None if script is None else list(script)

    def open(self) -> None:
        self.opened += 1

    def read(self) -> Pixels:
        if self._script is None:
            return PICTURE
        if not self._script:
            raise SourceEnded("the script has ended")
        item = self._script.pop(0)
        if isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None:
        self.closed += 1


def an_answer(model: str = "fake", *, engine: str = "fake", cold: bool = False) -> Answer:
    found = (Prediction(10.0, 10.0, 4.0, 4.0, 0.9, "thing", 0),)
    return Answer(found, model, engine, Timings(0.001, 0.01, 0.001, server_s=0.05), size_bytes=1000, cold_start=cold)


@dataclass
class GatedEngine:
    """Every run waits until the test says how it ends: the order of events is the test's."""

    width: int = 1
    entered: "queue.Queue[Gate]" = field(default_factory=queue.Queue)

    def open(self) -> None: ...

    def infer(self, frame: Frame, give_up_s: float) -> Answer:  # noqa: ARG002 - as Engine has it
        return self._pass(give_up_s)

    def _pass(self, give_up_s: float) -> Answer:
        gate = Gate(give_up_s)
        self.entered.put(gate)
        outcome = gate.outcome.get(timeout=20)
        if isinstance(outcome, EngineError):
            raise outcome
        return outcome

    def close(self) -> None: ...


@dataclass
class Gate:
    """One run that is under way."""

    give_up_s: float
    outcome: "queue.Queue[Answer | EngineError]" = field(default_factory=queue.Queue)


class _Hosted:
    """What every stand-in for a hosted model has."""

    longest_px = 64
    finest_quality = 85
    measures = True
    dialled = knocked = 0

    def dial(self, give_up_s: float) -> int:  # noqa: ARG002 - as CloudEngine has it
        self.dialled += 1
        return 1200

    def knock(self, give_up_s: float) -> int:  # noqa: ARG002 - as CloudEngine has it
        self.knocked += 1
        return 800


@dataclass
class GatedCloud(_Hosted, GatedEngine):
    """A hosted model of the test's: the whole picture is acknowledged at once, and then the gate waits."""

    clock: Clock = field(default_factory=FakeClock)

    def infer(self, picture: Picture, give_up_s: float, watch: Watch) -> Answer:  # type: ignore[override]
        acknowledge(picture, watch, self.clock)
        return self._pass(give_up_s)


def acknowledge(picture: Picture, watch: Watch, clock: Clock, *, metered_bytes: int | None = None) -> None:
    """Tell `watch` that the picture is through, a round trip of 40 ms away."""
    size_bytes = len(picture.data)
    metered = 2 * size_bytes if metered_bytes is None else metered_bytes
    watch(Reading(clock.now(), 0, size_bytes, 0.04, metered_bytes=100))
    watch(Reading(clock.now(), size_bytes, 0, 0.04, metered_bytes=metered))


class InstantEngine:
    """Answers at once, or raises what it is given."""

    def __init__(self, *, width: int = 1, error: EngineError | None = None) -> None:
        self.width = width
        self.error = error
        self.frames: list[Frame] = []

    def open(self) -> None: ...

    def infer(self, frame: Frame, give_up_s: float) -> Answer:  # noqa: ARG002 - as Engine has it
        self.frames.append(frame)
        if self.error is not None:
            raise self.error
        return an_answer()

    def close(self) -> None: ...


class InstantCloud(_Hosted):
    """A hosted model that answers at once, or raises what it is given."""

    def __init__(self, clock: Clock, *, width: int = 1, error: EngineError | None = None) -> None:
        self.width = width
        self.error = error
        self.pictures: list[Picture] = []
        self._clock = clock

    def open(self) -> None: ...

    def infer(self, picture: Picture, give_up_s: float, watch: Watch) -> Answer:  # noqa: ARG002 - as CloudEngine has it
        self.pictures.append(picture)
        acknowledge(picture, watch, self._clock)
        if self.error is not None:
            raise self.error
        return an_answer()

    def close(self) -> None: ...


def an_encoding(pixels: Pixels, longest_px: int, quality: int) -> Picture:
    """A picture of ten bytes for each pixel across and step of quality."""
    height, width = pixels.shape[:2]
    return Picture(bytes(10 * longest_px * quality // 10), longest_px, longest_px, quality, width, height)


def a_ladder() -> Ladder:
    return Ladder(an_encoding, 64, 85)


def an_uplink(
    cloud: CloudEngine,
    clock: Clock,
    *,
    caps: Caps | None = None,
    store: Path = Path("never-written"),
    on_progress: Callable[[], None] = lambda: None,
) -> Uplink:
    budget = Budget(caps or Caps(), store, clock=clock, boot_id="boot")
    return Uplink(cloud, link=Link(clock.now()), budget=budget, clock=clock, on_progress=on_progress)


class ListOutbox:
    """Remembers what was put into it."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.events: list[Delivery] = []

    def put(self, delivery: Delivery) -> None:
        (self.events if delivery.kind is Kind.EVENT else self.deliveries).append(delivery)


def a_frame(seq: int = 0, *, captured_s: float = 1000.0, camera: str = "cam") -> Frame:
    return Frame(camera, seq, captured_s, 1_800_000_000.0 + seq, clock_synchronized=True, pixels=PICTURE)


def a_context(folder: Path, clock: object = None) -> Context:
    return Context("tester", clock or FakeClock(), folder, folder / "state")  # type: ignore[arg-type]


def picture(source: Source) -> Pixels:
    """The next picture; a live camera is asked until it has one, or is lost."""
    while (pixels := source.read()) is None:
        pass
    return pixels
