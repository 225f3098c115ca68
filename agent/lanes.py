"""A lane: one engine, the threads that use it, and the jobs promised to it. Several cameras share a lane.

Jobs are put by the admit thread and run by the lane's own threads; one lock, never held while an engine works.
"""

import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from agent.clock import Clock
from agent.errors import EngineUnwanted
from agent.logs import Damper
from agent.loop import Pulse
from agent.ports import CloudEngine, Engine

_log = logging.getLogger(__name__)
_REMEMBERED_RUNS = 64
_ENOUGH_RUNS = 2
_IDLE_WAIT_S = 0.5
OPENING_STEP_S = 180.0
"""While an engine opens it may say nothing for so long: a slow board loads a large model, and runs it once. Its trial
may take as long."""


@dataclass(eq=False, slots=True)
class Job:
    """One run for one frame: due at a time, and useless after its deadline."""

    start_s: float
    number: int
    deadline_s: float
    work: Callable[[], bool]
    """Does the run; False when it gave no answer, so that its time says nothing about the engine."""


def next_due(jobs: Sequence[Job], now_s: float) -> Job | None:
    """Of the runs that are due the one with the earliest deadline: what was promised first is kept first."""
    due = [job for job in jobs if job.start_s <= now_s]
    return min(due, key=lambda job: (job.deadline_s, job.number), default=None)


def end_s(jobs: Sequence[Job], deadline_s: float, *, free_s: float, run_s: float, last: bool = False) -> float:
    """When one more run would end, one run at a time.

    Args:
        jobs: what is promised already.
        deadline_s: the new run's; monotonic, as all here.
        free_s: when the engine is free.
        run_s: what a run takes.
        last: after every promise is kept; otherwise it begins as soon as it is its turn.
    """
    if last:
        for job in sorted(jobs, key=lambda job: job.start_s):
            free_s = max(free_s, job.start_s) + run_s
        return free_s + run_s
    before = [job for job in jobs if job.start_s <= free_s and job.deadline_s <= deadline_s]
    return free_s + run_s * (len(before) + 1)


def nearly_always(runs_s: Collection[float]) -> float:
    """What a run takes at most, but for one that took longest: of 64 runs that is the p99. 0 without runs.

    One slow run, such as the first while files are read, would else keep every hedge away until 64 others have passed.
    """
    *most, longest_s = sorted(runs_s) or [0.0]
    return most[-1] if len(most) >= _ENOUGH_RUNS else longest_s


class Lane:
    """An engine with room for `width` runs at once."""

    def __init__(self, name: str, engine: Engine | CloudEngine, clock: Clock, *, on_room: Callable[[], None]) -> None:
        self.name = name
        self.engine = engine
        self.opened = threading.Event()
        self.opening = ""
        """What the engine does while it opens, in words for people."""
        self.signs = 0
        """How often it has said so: signs of life."""
        self._pulse: Pulse | None = None
        self._damper = Damper(_log.info, clock.now)
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
            self._jobs.append(job)
            self._work.notify()
        return job

    def hurry(self, job: Job, now_s: float) -> None:
        """The run is needed at once, if it has not begun."""
        with self._work:
            job.start_s = min(job.start_s, now_s)
            self._work.notify()

    def hurry_all(self, now_s: float) -> None:
        """Every run that was promised is needed at once."""
        with self._work:
            for job in self._jobs:
                job.start_s = min(job.start_s, now_s)
            self._work.notify()

    def cancel(self, job: Job) -> None:
        """The run is not needed any more; its room is free for others, if it has not begun."""
        with self._work:
            if job in self._jobs:
                self._jobs.remove(job)

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
        """What a run takes, nearly always, by the last 64. 0 before the first."""
        with self._lock:
            return nearly_always(self._runs_s)

    def fits(self, deadline_s: float, now_s: float, *, last: bool = False) -> bool:
        """Whether one more run could end by `deadline_s`; for lanes of width 1.

        `last`: after all that are promised already, so that it can be promised too. Otherwise in its turn. As long as
        nothing is known of the engine's speed, one run may be promised, but none is let in behind another.
        """
        with self._lock:
            run_s = nearly_always(self._runs_s)
            if not self.opened.is_set() or not run_s:
                return self.opened.is_set() and last
            free_s = now_s + run_s * self._running
            return end_s(self._jobs, deadline_s, free_s=free_s, run_s=run_s, last=last) <= deadline_s

    def run(self, pulse: Pulse) -> None:
        """The body of each of the lane's threads: open the engine, then do the jobs as they fall due."""
        pulse.beat(longest_step_s=OPENING_STEP_S)
        with self._opening:
            if not self._opened_once:
                self._opened_once = True
                self._open(pulse)
        while not self._stopped and self.opened.is_set():
            pulse.beat()
            job = self._next(_IDLE_WAIT_S)
            if job is not None:
                self._do(job)

    def _open(self, pulse: Pulse) -> None:
        self._pulse = pulse
        try:
            self.engine.open()
        except EngineUnwanted:
            return
        self.opened.set()
        self._on_room()

    def progress(self, words: str) -> None:
        """The engine, which is opening, is alive and does what `words` say; called by its thread.

        Raises EngineUnwanted: the lane stops.
        """
        if self._stopped:
            raise EngineUnwanted(f"the {self.name} engine is not needed any more")
        if self._pulse is not None:
            self._pulse.beat(longest_step_s=OPENING_STEP_S)
        self.opening = words
        self.signs += 1
        self._damper.note(self.name, words)

    def step(self) -> bool:
        """Do one job that is due, if any; whether there was one."""
        job = self._next(0.0)
        if job is not None:
            self._do(job)
        return job is not None

    def _next(self, wait_s: float) -> Job | None:
        with self._work:
            now_s = self._clock.now()
            due_s = min((job.start_s - now_s for job in self._jobs), default=wait_s)
            if due_s > 0 and wait_s > 0:
                self._work.wait(min(due_s, wait_s))
            job = None if self._stopped else next_due(self._jobs, self._clock.now())
            if job is not None:
                self._running += 1
                self._jobs.remove(job)
            return job

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
