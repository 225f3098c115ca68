"""A lane: one engine, the threads that use it, and the jobs promised to it. Several cameras share a lane.

Jobs are put by the admit thread and run by the lane's own threads; one lock, never held while an engine works.
"""

import heapq
import itertools
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.clock import Clock
from agent.loop import Pulse
from agent.ports import Engine

_REMEMBERED_RUNS = 64
_IDLE_WAIT_S = 0.5


@dataclass(order=True, slots=True)
class Job:
    """One run for one frame: due at a time, and useless after its deadline."""

    start_s: float
    number: int
    deadline_s: float = field(compare=False)
    work: Callable[[], bool] = field(compare=False)
    """Does the run; False when it was no longer wanted, so that its time says nothing about the engine."""


class Lane:
    """An engine with room for `width` runs at once."""

    def __init__(self, name: str, engine: Engine, clock: Clock, *, on_room: Callable[[], None]) -> None:
        self.name = name
        self.engine = engine
        self.opened = threading.Event()
        self._clock = clock
        self._on_room = on_room
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._opening = threading.Lock()
        self._opened_once = False
        self._jobs: list[Job] = []
        self._numbers = itertools.count()
        self._running = 0
        self._runs_s: deque[float] = deque(maxlen=_REMEMBERED_RUNS)
        self._stopped = False

    def start(self, work: Callable[[], bool], *, start_s: float, deadline_s: float) -> Job:
        """Promise a run that begins at `start_s` at the earliest."""
        with self._work:
            job = Job(start_s, next(self._numbers), deadline_s, work)
            heapq.heappush(self._jobs, job)
            self._work.notify()
        return job

    def hurry(self, job: Job, now_s: float) -> None:
        """The run is needed at once, if it has not begun."""
        with self._work:
            if self._drop(job):
                heapq.heappush(self._jobs, Job(now_s, job.number, job.deadline_s, job.work))
                self._work.notify()

    def cancel(self, job: Job) -> None:
        """The run is not needed any more; its room is free for others, if it has not begun."""
        with self._work:
            self._drop(job)

    def _drop(self, job: Job) -> bool:
        if job not in self._jobs:
            return False
        self._jobs.remove(job)
        heapq.heapify(self._jobs)
        return True

    @property
    def in_flight(self) -> int:
        """Runs begun or promised, and not ended."""
        with self._lock:
            return self._running + len(self._jobs)

    @property
    def free(self) -> bool:
        """Whether a run begun now would not keep another waiting, nor wait itself."""
        now_s = self._clock.now()
        with self._lock:
            return (
                self.opened.is_set()
                and self._running < self.engine.width
                and not any(job.start_s <= now_s for job in self._jobs)
            )

    @property
    def run_s(self) -> float:
        """What a run takes, nearly always: the p99 of the last 64. 0 before the first."""
        with self._lock:
            return self._p99()

    def fits(self, deadline_s: float, now_s: float) -> bool:
        """Whether one more run could end by `deadline_s` after all that are promised; for lanes of width 1.

        Plays the promises through: each begins when it is due and the one before it has ended.
        """
        with self._lock:
            run_s = self._p99()
            free_s = now_s + run_s * self._running
            for job in sorted(self._jobs):
                free_s = max(free_s, job.start_s) + run_s
            return free_s + run_s <= deadline_s

    def _p99(self) -> float:
        ordered = sorted(self._runs_s)
        return ordered[int(0.99 * (len(ordered) - 1) + 0.5)] if ordered else 0.0

    def run(self, pulse: Pulse) -> None:
        """The body of each of the lane's threads: open the engine, then do the jobs as they fall due."""
        with self._opening:
            if not self._opened_once:
                self._opened_once = True
                self.engine.open()
                self.opened.set()
                self._on_room()
        while not self._stopped and self.opened.is_set():
            pulse.beat()
            job = self._next(_IDLE_WAIT_S)
            if job is not None:
                self._do(job)

    def step(self) -> bool:
        """Do one job that is due, if any; whether there was one."""
        job = self._next(0.0)
        if job is not None:
            self._do(job)
        return job is not None

    def _next(self, wait_s: float) -> Job | None:
        with self._work:
            due_s = self._jobs[0].start_s - self._clock.now() if self._jobs else wait_s
            if due_s > 0 and wait_s > 0:
                self._work.wait(min(due_s, wait_s))
            if not self._jobs or self._jobs[0].start_s > self._clock.now() or self._stopped:
                return None
            self._running += 1
            return heapq.heappop(self._jobs)

    def _do(self, job: Job) -> None:
        begun_s = self._clock.now()
        wanted = False
        try:
            wanted = job.work()
        finally:
            with self._lock:
                self._running -= 1
                if wanted:
                    self._runs_s.append(self._clock.now() - begun_s)
            self._on_room()

    def stop(self) -> None:
        """Let the threads end after what they are doing. Jobs not begun are dropped."""
        with self._work:
            self._stopped = True
            self._jobs.clear()
            self._work.notify_all()

    def close(self) -> None:
        """Close the engine, after the threads have ended."""
        self.engine.close()

    def __repr__(self) -> str:
        return f"<Lane {self.name} {self._running}/{self.engine.width} running, {len(self._jobs)} promised>"
