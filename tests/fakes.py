"""Stand-ins for the clock and for engines and cameras that are not here; for plugin authors too."""

import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from agent.errors import EngineError, SourceEnded
from agent.flow import Answer, Delivery, Frame, Outcome, Pixels, Prediction, Timings
from agent.ports import Context

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

    def infer(self, frame: Frame, give_up_s: float) -> Answer:
        gate = Gate(frame, give_up_s)
        self.entered.put(gate)
        outcome = gate.outcome.get(timeout=20)
        if isinstance(outcome, EngineError):
            raise outcome
        return outcome

    def close(self) -> None: ...


@dataclass
class Gate:
    """One run that is under way."""

    frame: Frame
    give_up_s: float
    outcome: "queue.Queue[Answer | EngineError]" = field(default_factory=queue.Queue)


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


class ListOutbox:
    """Remembers what was put into it."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []

    def put(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)

    def peek(self, limit: int, timeout_s: float) -> Sequence[Delivery]:  # noqa: ARG002 - as Outbox has it
        return self.deliveries[:limit]

    def settle(self, batch: Sequence[Delivery], outcomes: Sequence[Outcome]) -> None: ...

    def close(self) -> None: ...

    def status(self) -> None: ...


def a_frame(seq: int = 0, *, captured_s: float = 1000.0, camera: str = "cam") -> Frame:
    return Frame(camera, seq, captured_s, 1_800_000_000.0 + seq, clock_synchronized=True, pixels=PICTURE)


def a_context(folder: Path, clock: object = None) -> Context:
    return Context("tester", clock or FakeClock(), folder, folder / "state")  # type: ignore[arg-type]
