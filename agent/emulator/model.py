"""The model behind the emulated API: cold starts, server time, and one worker thread that decodes and infers.

The counters and the time of the last use are owned by the event loop; the engine by the worker thread.
"""

import asyncio
import math
import queue
import random
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

from agent import imaging
from agent.clock import Clock
from agent.emulator import replies, selection
from agent.emulator.query import Wanted
from agent.errors import FrameUnreadable
from agent.flow import Answer, Frame
from agent.ports import Described, Engine

_GIVE_UP_S = 60.0
"""Longer than any client waits; an on-device engine does not look at it."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ServerTiming:
    """How long the server takes, beside the inference itself."""

    cold_start_s: float
    """Loading the model; 0: it is always loaded."""
    idle_unload_s: float
    """The model is unloaded when nobody asked for it this long."""
    server_s: float
    """Mean extra time of every request: queue and gateway."""
    spread: float
    """Sigma of the log-normal distribution of that time; 0: it is constant."""
    seed: int


@dataclass(frozen=True, slots=True)
class Served:
    """What one request found."""

    width: int
    height: int
    answer: Answer
    time_s: float
    """Decoding, inference and suppression; no queue."""
    load_s: float | None
    """How long the model was loaded for this request; None: it was there."""


class Worker:
    """One daemon thread that runs jobs in the order they came: an engine of width one needs no other lock."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="emulator-model", daemon=True)

    def start(self) -> None:
        """Begin with the jobs."""
        self._thread.start()

    async def run(self, job: Callable[[], _T]) -> _T:
        """The result of `job()`, or its exception."""
        future: Future[_T] = Future()

        def carry() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(job())
            except Exception as error:  # noqa: BLE001 - it is raised again where the job was asked for
                future.set_exception(error)

        self._jobs.put(carry)
        return await asyncio.wrap_future(future)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def close(self, timeout_s: float) -> bool:
        """End the thread after the job at hand; False if that takes longer than `timeout_s`."""
        self._jobs.put(None)
        if self._thread.ident is not None:  # it was started
            self._thread.join(timeout_s)
        return not self._thread.is_alive()


class HostedModel:
    """One engine, served as the hosted API serves a model."""

    def __init__(self, engine: Engine, clock: Clock, timing: ServerTiming) -> None:
        self._engine = engine
        self._clock = clock
        self._timing = timing
        self._draw = random.Random(timing.seed)  # noqa: S311 - a latency, not a secret
        self._used_s: float | None = None
        self._seq = 0
        self._cold_starts = 0
        self._loading = asyncio.Lock()
        self._worker = Worker()

    def open(self) -> None:
        """Load the engine and start the worker. Raises EngineBroken or ConfigError."""
        self._engine.open()
        self._worker.start()

    def close(self) -> None:
        """End the worker and free the engine; an engine that hangs is left to the end of the process."""
        if self._worker.close(timeout_s=0.5):
            self._engine.close()

    def registered(self) -> dict[str, object]:
        """What the registry of a server says of it, beside its id."""
        card = self._engine.card if isinstance(self._engine, Described) else None
        if card is None:
            return {"batch_size": 1}
        return {
            "task_type": card.task.value,
            "batch_size": 1,
            "input_height": card.height,
            "input_width": card.width,
        }

    def state(self) -> dict[str, object]:
        """For `GET /emulator/state`: pictures looked at, and cold starts."""
        return {"inferences": self._seq, "cold_starts": self._cold_starts}

    async def look(self, picture: bytes, wanted: Wanted) -> Served:
        """What is in an encoded picture.

        Raises:
            Refused: 400 when it cannot be decoded.
        """
        load_s = await self._load()
        await asyncio.sleep(self._extra_s())
        return await self._worker.run(lambda: self._look(picture, wanted, load_s))

    async def _load(self) -> float | None:
        """Make the first request after an idle time wait for the model; those that come meanwhile wait with it."""
        async with self._loading:
            idle_s = math.inf if self._used_s is None else self._clock.now() - self._used_s
            cold = self._timing.cold_start_s > 0 and idle_s >= self._timing.idle_unload_s
            if cold:
                self._cold_starts += 1
                await asyncio.sleep(self._timing.cold_start_s)
            self._used_s = self._clock.now()
        return self._timing.cold_start_s if cold else None

    def _extra_s(self) -> float:
        """One draw of the server's own time. A log-normal of this mu and sigma has the mean exp(mu + sigma^2 / 2)."""
        mean_s, sigma = self._timing.server_s, self._timing.spread
        if mean_s <= 0:
            return 0.0
        return self._draw.lognormvariate(math.log(mean_s) - sigma**2 / 2, sigma)

    def _look(self, picture: bytes, wanted: Wanted, load_s: float | None) -> Served:
        """In the worker thread."""
        begun_s = self._clock.now()
        try:
            pixels = imaging.decode_image(picture, name="it")
        except FrameUnreadable as error:
            raise replies.Refused(replies.undecodable(str(error))) from error
        self._seq += 1
        frame = Frame("emulator", self._seq, begun_s, self._clock.wall(), clock_synchronized=False, pixels=pixels)
        found = self._engine.infer(frame, begun_s + _GIVE_UP_S)
        kept = selection.select(found, wanted, width=frame.width, height=frame.height)
        return Served(frame.width, frame.height, kept, self._clock.now() - begun_s, load_s)
