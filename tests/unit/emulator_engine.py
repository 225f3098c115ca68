"""An engine that finds what it was told to, and an emulator that runs it: for the tests of the emulator."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from canary import secret

from agent.clock import SystemClock
from agent.emulator.server import Emulator
from agent.emulator.settings import EmulatorSettings
from agent.flow import Answer, Frame, Prediction, Task, Timings

FORKLIFT = Prediction(350.2, 200.4, 300.1, 200.9, 0.8731, "forklift", 3)
PERSON = Prediction(100.0, 100.0, 40.0, 80.0, 0.35, "person", 0)
NEAR_FORKLIFT = replace(FORKLIFT, x=400.0, confidence=0.7)
"""Overlaps FORKLIFT with an IoU of about 0.7."""
KEY = secret("right-key")


def an_answer(task: Task = Task.OBJECT_DETECTION, found: Sequence[Prediction] = (), **more: Any) -> Answer:
    """An answer of an engine with a script."""
    return Answer(tuple(found), "scripted", "scripted", Timings(), task=task, **more)


class ScriptedEngine:
    """Finds the same in every frame, and remembers the frames' sizes."""

    width = 1

    def __init__(self, found: Sequence[Prediction] = (FORKLIFT, NEAR_FORKLIFT, PERSON)) -> None:
        self.answer = an_answer(found=found)
        self.sizes: list[tuple[int, int]] = []
        self.threads: set[int] = set()
        self.opened = 0

    def open(self) -> None:
        self.opened += 1

    def infer(self, frame: Frame, give_up_s: float) -> Answer:
        assert give_up_s > frame.captured_s
        self.sizes.append((frame.width, frame.height))
        self.threads.add(threading.get_ident())
        return self.answer

    def close(self) -> None:
        self.opened -= 1


class AheadClock(SystemClock):
    """The machine's clock, and as much later as a test says."""

    ahead_s = 0.0

    def now(self) -> float:
        return super().now() + self.ahead_s


@contextlib.contextmanager
def emulating(engine: Any = None, clock: Any = None, **settings: Any) -> Iterator[Emulator]:
    """A running emulator on free ports, by default without cold starts."""
    from agent.emulator import keys

    plain: dict[str, Any] = {"port": 0, "cold_start_s": 0.0, "keys": keys.parse([KEY])}
    wanted = EmulatorSettings(**(plain | settings))
    with Emulator(wanted, engine or ScriptedEngine(), clock or SystemClock()).background() as emulator:
        yield emulator
