"""The on-device model: one run at a time, in the order the agent's own lane takes them. One thread."""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from agent.lanes import Job, end_s, nearly_always, next_due
from agent.simulator.agenda import Agenda

if TYPE_CHECKING:
    from agent.simulator.world import Shot

_REMEMBERED_RUNS = 64


class Worker:
    """Keeps its promises earliest deadline first, and never interrupts a run."""

    def __init__(self, agenda: Agenda, run_s: float, *, on_done: Callable[["Shot"], None]) -> None:
        self._agenda = agenda
        self._usual_s = run_s
        self._on_done = on_done
        self._jobs: dict[int, Job] = {}
        self._running = False
        self._free_s = 0.0
        self._runs_s = deque([run_s], maxlen=_REMEMBERED_RUNS)
        self._run_s = run_s
        self.busy_s = 0.0

    @property
    def free(self) -> bool:
        """Whether a run begun now would neither wait nor keep another waiting."""
        now_s = self._agenda.now_s
        return not self._running and not any(job.start_s <= now_s for job in self._jobs.values())

    @property
    def run_s(self) -> float:
        """What a run takes, nearly always, by the last 64."""
        return self._run_s

    def fits(self, deadline_s: float, *, last: bool = False) -> bool:
        """Whether one more run could end by then: in its turn, or after all that are promised (`last`)."""
        free_s = self._agenda.now_s + (self._run_s if self._running else 0.0)
        jobs = list(self._jobs.values())
        return end_s(jobs, deadline_s, free_s=free_s, run_s=self._run_s, last=last) <= deadline_s

    def promise(self, shot: "Shot", start_s: float, *, hedge: bool = False) -> None:
        """A run for a frame, once; no earlier than `start_s`. A hedge is of use only if it begins by the deadline."""
        if not shot.promised:
            shot.promised, shot.hedged = True, hedge
            start_s = max(start_s, self._agenda.now_s)
            self._jobs[shot.seq] = Job(start_s, shot.seq, shot.deadline_s, lambda: self._begin(shot))
            self._agenda.at(start_s, self._next)

    def hurry(self, seqs: "list[int] | None" = None) -> None:
        """What was promised for these frames, or for all, is needed now."""
        for job in self._jobs.values():
            if seqs is None or job.number in seqs:
                job.start_s = min(job.start_s, self._agenda.now_s)
        self._next()

    def cancel(self, shot: "Shot") -> None:
        """The run is not needed, if it has not begun."""
        self._jobs.pop(shot.seq, None)

    def _next(self) -> None:
        while not self._running:
            job = next_due(list(self._jobs.values()), self._agenda.now_s)
            if job is None:
                return
            del self._jobs[job.number]
            job.work()

    def _begin(self, shot: "Shot") -> bool:
        """Run, late or not, unless the frame is settled: as the agent's ticket has it."""
        if shot.hedged and self._agenda.now_s >= shot.settle_s:
            return False
        self._running = True
        took_s = self._usual_s * shot.local_factor
        self.busy_s += took_s
        self._agenda.at(self._agenda.now_s + took_s, self._end, shot, took_s)
        return True

    def _end(self, shot: "Shot", took_s: float) -> None:
        self._running = False
        self._runs_s.append(took_s)
        self._run_s = nearly_always(self._runs_s)
        shot.local_s = self._agenda.now_s
        self._next()
        self._on_done(shot)
