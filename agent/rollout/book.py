"""What becomes of the versions of one package: the shelf's history for people, and the mark of a trial for a crash.

The rollout's thread writes, the main thread recovers before it and stops it in the end; one lock. What stands here is
on the medium before it happens, so that at any step a kill leaves the version that was used before in use.
"""

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from agent.errors import AgentError
from agent.rollout import mark
from agent.rollout.mark import Trial
from agent.shelf import Event, Shelf, Standing

_log = logging.getLogger(__name__)
_UNDECIDED: Final = frozenset({Standing.INSTALLED, Standing.ON_TRIAL})
_RESTARTS: Final = "device_restarts"
_ENDED: Final = "the agent ended during its trial: killed, out of memory, or by a fault in the model's runtime"
_RESTARTED: Final = "the device restarted during its trial"


class Stopping(Exception):
    """The agent is on its way out."""


class Book:
    """The versions of one package."""

    def __init__(self, shelf: Shelf, package: str, path: Path, boot_id: str) -> None:
        """`path`: of the mark."""
        self.package = package
        self._shelf = shelf
        self._path = path
        self._boot_id = boot_id
        self._lock = threading.Lock()
        self._under_way: Trial | None = None
        self._stopped = False
        self._refused: set[str] = set()
        """In this run, whatever the disk says: what failed once is not tried in a circle."""

    def recover(self) -> None:
        """Before anything is opened: what a trial that was cut short means. A disk that fails is only said."""
        trial = mark.read(self._path)
        if trial is None:
            return
        try:
            self._judge_cut_short(trial)
            mark.clear(self._path)
        except (AgentError, OSError) as error:
            self._refused.add(trial.version)
            _log.warning("%s@%s: %s, and that cannot be noted: %s", trial.package, trial.version, _ENDED, error)

    def _judge_cut_short(self, trial: Trial) -> None:
        """A power cut is not the version's fault, unless it comes twice."""
        name, version = trial.package, trial.version
        if version not in self._shelf.versions(name):
            return
        again = any(each.version == version and _RESTARTS in each.measurements for each in self._shelf.history(name))
        if trial.boot_id != self._boot_id and not again:
            _log.warning("%s@%s: %s; it is tried once more", name, version, _RESTARTED)
            self._shelf.note(name, version, Standing.INSTALLED, reason=_RESTARTED, measurements={_RESTARTS: 1})
            return
        reason = _ENDED if trial.boot_id == self._boot_id else f"{_RESTARTED}, for the second time"
        _log.warning("%s@%s is rejected: %s; %s@%s is used", name, version, reason, name, trial.before)
        self._shelf.note(name, version, Standing.REJECTED, reason=reason)
        if self._shelf.current(name) == version and trial.before in self._shelf.versions(name):
            self._shelf.make_current(name, trial.before)

    def current(self) -> str | None:
        """The version that is to be used; None: the package is not installed any more."""
        return self._shelf.current(self.package)

    def candidate(self, running: str) -> str | None:
        """The newest version above `running` that nobody has judged yet."""
        there = self._shelf.versions(self.package)
        newer = there[there.index(running) + 1 :] if running in there else []
        undecided = (each for each in reversed(newer) if each not in self._refused and self._is_undecided(each))
        return next(undecided, None)

    def _is_undecided(self, version: str) -> bool:
        event = self._event(version)
        return event is None or event.standing in _UNDECIDED

    def is_on_trial(self, version: str) -> bool:
        """False: somebody has judged it meanwhile, or taken it off the shelf."""
        return self._is_undecided(version) and version in self._shelf.versions(self.package)

    def _event(self, version: str) -> Event | None:
        return self._shelf.standing(self.package, version)

    def waits(self, version: str, reason: str) -> None:
        """`version` is not tried yet. Raises AgentError."""
        event = self._event(version)
        if event is None or (event.standing, event.reason) != (Standing.INSTALLED, reason):
            _log.info("%s@%s %s", self.package, version, reason)
            self._shelf.note(self.package, version, Standing.INSTALLED, reason=reason)

    def begin(self, version: str, before: str) -> None:
        """From now on a kill means that `version` is no good. Raises AgentError, Stopping."""
        with self._lock:
            if self._stopped:
                raise Stopping
            trial = Trial(self.package, version, before, self._boot_id)
            try:
                mark.write(self._path, trial)
            except OSError as error:
                said = f"{self._path} cannot be written: {error.strerror}; no new version is tried"
                raise AgentError(said) from error
            self._under_way = trial

    def tell(self, version: str, reason: str, figures: Mapping[str, float] | None = None) -> None:
        """How far the trial is. Raises AgentError."""
        _log.info("%s@%s %s", self.package, version, reason)
        self._shelf.note(self.package, version, Standing.ON_TRIAL, reason=reason, measurements=figures)

    def postpone(self, version: str, reason: str, figures: Mapping[str, float] | None = None) -> None:
        """It is tried again later. Raises AgentError, Stopping."""
        self._end(version, Standing.INSTALLED, reason, figures)

    def reject(self, version: str, reason: str, figures: Mapping[str, float] | None = None) -> None:
        """It is not tried again. Raises AgentError, Stopping."""
        self._refused.add(version)
        _log.warning("%s@%s is rejected: %s", self.package, version, reason)
        trial = self._under_way
        if trial is not None and self._shelf.current(self.package) == version != trial.before:
            self._shelf.make_current(self.package, trial.before)  # somebody chose it, and it cannot be used
        self._end(version, Standing.REJECTED, reason, figures)

    def confirm(self, version: str, figures: Mapping[str, float]) -> None:
        """It is used from now on, after a restart, too. Raises AgentError, Stopping."""
        with self._lock:
            if self._stopped:
                raise Stopping
            self._shelf.make_current(self.package, version)
            self._clear()
            self._shelf.note(self.package, version, Standing.CONFIRMED, measurements=figures)

    def settle(self) -> None:
        """Nothing is under way; others have said what became of it. Raises AgentError."""
        with self._lock:
            self._clear()

    def stop(self) -> None:
        """The agent stops in good order: that is nobody's fault. Main thread."""
        with self._lock:
            self._stopped = True
            trial = self._under_way
            if trial is None:
                return
            reason = "the agent was stopped during its trial; it is tried again"
            try:
                if self._is_undecided(trial.version):
                    self._shelf.note(self.package, trial.version, Standing.INSTALLED, reason=reason)
                self._clear()
            except AgentError as error:
                _log.warning("%s", error)

    def _end(self, version: str, standing: Standing, reason: str, figures: Mapping[str, float] | None) -> None:
        with self._lock:
            if self._stopped:
                raise Stopping
            self._shelf.note(self.package, version, standing, reason=reason, measurements=figures)
            self._clear()

    def _clear(self) -> None:
        """Raises AgentError."""
        if self._under_way is None:
            return
        try:
            mark.clear(self._path)
        except OSError as error:
            raise AgentError(f"{self._path} cannot be removed: {error.strerror}; remove it by hand") from error
        self._under_way = None

    def __repr__(self) -> str:
        return f"<Book {self.package} {self._under_way}>"
