"""New versions of the on-device model, from the shelf into use, without anybody at the device. Read this first.

    a newer version on the shelf ──► enough reference frames ──► opened ──► measured ──► gate ──► on trial ──► confirmed
                                                                   │           │          │         │
                                                                   └───────────┴──────────┴─────────┴────► rejected

Owner: the rollout's thread. Nothing here may cost a frame, nor end the agent: what a new version does wrong is its
rejection. A person's word, `vedette model use NAME@VERSION`, needs no trial.
"""

import logging
from dataclasses import dataclass
from typing import Final

from agent import logs
from agent.clock import Clock
from agent.errors import AgentError
from agent.loop import Pulse
from agent.rollout import gate, probation
from agent.rollout.book import Book, Stopping
from agent.rollout.comparison import CandidateFailed, Comparison
from agent.rollout.gate import Against, Outcome, Terms, Verdict
from agent.rollout.opening import Build, Opening, Unusable
from agent.rollout.probation import LEAST_RUNS, Baseline
from agent.rollout.switch import Switch, Version

_log = logging.getLogger(__name__)
_EVERY_S: Final = 1.0
_AGAIN_S: Final = 60.0
"""After the disk has failed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What new versions go through."""

    terms: Terms
    probation_s: float
    """How long a version is on trial, at least."""
    hosted: bool
    """Whether the hosted API answers frames here."""


@dataclass(slots=True)
class _Trial:
    """A version that answers frames and is not confirmed."""

    version: str
    began_s: float
    before: Baseline


class Rollout:
    """Follows one package."""

    def __init__(
        self,
        switch: Switch,
        book: Book,
        comparison: Comparison,
        *,
        build: Build,
        plan: Plan,
        clock: Clock,
    ) -> None:
        self._switch = switch
        self._book = book
        self._comparison = comparison
        self._references = comparison.references
        self._opening = Opening(book.package, build, clock)
        self._plan = plan
        self._clock = clock
        self._used = switch.running.version
        """What is used when nothing is on trial, and after a restart."""
        self._trial: _Trial | None = None
        self._awaits_hosted: str | None = None
        """The version that only the hosted API's answers can let in."""
        self._rest_until_s = float("-inf")
        self._damper = logs.Damper(_log.warning, clock.now)

    def run(self, pulse: Pulse) -> None:
        """Follow the package until told to stop."""
        while not pulse.stopping.is_set():
            pulse.beat()
            if self._comparison.ready:
                self.step(pulse)
            pulse.rest(_EVERY_S)

    def stop(self) -> None:
        """The agent stops in good order. Main thread."""
        self._book.stop()

    def step(self, pulse: Pulse) -> None:
        """One look at the shelf, and what follows from it."""
        if self._clock.now() < self._rest_until_s:
            return
        try:
            self._step(pulse)
        except Stopping:
            return
        except AgentError as error:
            self._damper.note("disk", str(error))
            self._rest_until_s = self._clock.now() + _AGAIN_S

    def _step(self, pulse: Pulse) -> None:
        wanted = self._book.current()
        if wanted is None:
            return  # it is not installed any more: what is loaded goes on
        if self._trial is not None:
            self._watch(self._trial, wanted, pulse)
        elif wanted != self._used:
            self._follow(wanted, pulse)
        elif (version := self._book.candidate(wanted)) is not None:
            self._consider(version, pulse)
        else:
            self._references.forget()

    def _follow(self, version: str, pulse: Pulse) -> None:
        """Somebody chose `version`."""
        self._book.begin(version, self._used)
        opened = self._open(version, pulse)
        if opened is None:
            return
        self._switch.replace(opened, keep=False).engine.close()
        self._used = version
        self._book.settle()
        _log.info("%s answers from now on: it was chosen", opened.label)

    def _consider(self, version: str, pulse: Pulse) -> None:
        """Try `version` once there are frames to try it on."""
        terms, references = self._plan.terms, self._references
        references.collect()
        needs_hosted = terms.against is Against.HOSTED or self._awaits_hosted == version
        if references.found < terms.frames:
            self._book.waits(version, f"waits for reference frames: {terms.frames} with objects in them")
        elif needs_hosted and references.hosted < terms.frames:
            self._book.waits(version, f"waits for reference frames: {terms.frames} that the hosted API has answered")
        else:
            self._try(version, pulse)

    def _try(self, version: str, pulse: Pulse) -> None:
        running = self._switch.running
        self._book.begin(version, running.version)
        self._book.tell(version, f"is opened and measured beside {running.label}")
        candidate = self._open(version, pulse)
        answers = False
        try:
            answers = candidate is not None and self._examine(running, candidate, pulse)
        finally:
            if candidate is not None and not answers:
                candidate.engine.close()

    def _examine(self, running: Version, candidate: Version, pulse: Pulse) -> bool:
        """Measure and judge; whether `candidate` answers frames from now on. Raises AgentError, Stopping."""
        try:
            measured = self._comparison.measure(running.engine, candidate.engine, pulse)
        except CandidateFailed as error:
            self._book.reject(candidate.version, str(error))
            return False
        verdict = gate.judge(measured, self._plan.terms, hosted=self._plan.hosted)
        if verdict.outcome is not Outcome.PASSED:
            self._turn_away(candidate.version, verdict)
            return False
        took_s = [each.running_s for each in measured if each.running_s is not None]
        self._begin_trial(candidate, verdict, probation.baseline(self._switch.tally(), took_s))
        return True

    def _open(self, version: str, pulse: Pulse) -> Version | None:
        """The version, ready to answer. None: it cannot be, and is rejected. Raises AgentError, Stopping."""
        try:
            return self._opening.open(version, pulse)
        except Unusable as error:
            self._book.reject(version, str(error))
            return None

    def _turn_away(self, version: str, verdict: Verdict) -> None:
        if verdict.outcome is Outcome.FAILED:
            self._book.reject(version, verdict.reason, verdict.figures)
            return
        if "agreement_hosted" in verdict.figures or not self._plan.hosted:
            self._references.forget()  # these frames cannot tell
        else:
            self._awaits_hosted = version
        self._book.postpone(version, verdict.reason, verdict.figures)

    def _begin_trial(self, candidate: Version, verdict: Verdict, before: Baseline) -> None:
        reason = f"answers from now on, on trial for {self._plan.probation_s:g} s"
        self._book.tell(candidate.version, reason, verdict.figures)
        self._trial = _Trial(candidate.version, self._clock.now(), before)
        self._switch.replace(candidate, keep=True)

    def _watch(self, trial: _Trial, wanted: str, pulse: Pulse) -> None:
        """Confirm the version on trial, or take it back, when there is reason to."""
        if wanted == trial.version:
            self._confirm(trial)
        elif wanted != self._used or not self._book.is_on_trial(trial.version):
            self._take_back()
            self._book.settle()
            _log.info("%s is not on trial any more: somebody chose otherwise", trial.version)
        elif (worse := self._worse(trial, pulse)) is not None:
            figures = self._figures()
            self._take_back()
            self._book.reject(trial.version, f"{worse}; {self._switch.model} answers again", figures)
        elif self._clock.now() - trial.began_s >= self._plan.probation_s and self._switch.tally().runs >= LEAST_RUNS:
            self._confirm(trial)

    def _worse(self, trial: _Trial, pulse: Pulse) -> str | None:
        """Why it does worse than the version before it, in words. None: it does not.

        Longer runs may be a hot device's, or those of another process: then the version before it, which is still
        loaded, takes longer, too.
        """
        tally, slower = self._switch.tally(), self._plan.terms.slower
        failing = probation.failing(tally, trial.before)
        slowing = probation.slowing(tally, trial.before, slower)
        if failing is not None or slowing is None:
            return failing
        reserve = self._switch.reserve
        try:
            if reserve is None:
                return slowing
            measured = self._comparison.measure(reserve.engine, self._switch.running.engine, pulse, rounds=2)
        except CandidateFailed as error:
            return str(error)
        if probation.is_slower(measured, slower):
            return slowing
        _log.info("%s: %s; both do by now, so it stays", self._switch.model, slowing)
        trial.before = probation.baseline(tally, ())
        return None

    def _take_back(self) -> None:
        """The version before it answers again."""
        self._trial = None
        bad = self._switch.restore()
        if bad is not None:
            bad.engine.close()
        self._references.forget()

    def _confirm(self, trial: _Trial) -> None:
        self._book.confirm(trial.version, self._figures())
        self._trial, self._used = None, trial.version
        old = self._switch.release()
        if old is not None:
            old.engine.close()
        self._references.forget()
        _log.info("%s is confirmed, and used from now on", self._switch.model)

    def _figures(self) -> dict[str, float]:
        """How the running version did."""
        tally = self._switch.tally()
        return {"median_ms": 1000 * tally.median_s, "p95_ms": 1000 * tally.p95_s, "failed_share": tally.failed_share}

    def __repr__(self) -> str:
        return f"<Rollout {self._switch!r} trial {self._trial}>"
