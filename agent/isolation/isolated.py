"""A Source that is read in a child process.

A child that gives nothing in time, leaks or dies is ended; the runtime opens the source again: that starts another.
Owner: the camera's thread.
"""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from agent import errors, logs
from agent.clock import Clock
from agent.errors import (
    ConfigError,
    FrameUnreadable,
    LibraryMissing,
    SourceCrashed,
    SourceError,
    SourceLost,
)
from agent.flow import Pixels
from agent.isolation.channel import Gone
from agent.isolation.freeze import Freeze
from agent.isolation.process import Process
from agent.isolation.reader import OWN_PYTHON, Limits, Recipe

_log = logging.getLogger(__name__)
STEP_S: Final = 0.25
"""The longest that a `read` waits."""
_WEIGH_EVERY_S: Final = 1.0


class Isolated:
    """One camera."""

    live = True
    pace_fps: float | None = None

    def __init__(
        self,
        cook: Callable[[], Recipe],
        limits: Limits,
        clock: Clock,
        *,
        name: str,
        knock: Callable[[], None] = lambda: None,
    ) -> None:
        """The camera is not touched yet.

        Args:
            cook: makes the recipe, secrets included; called at each `open`. Raises ConfigError.
            limits: when a child is given up.
            clock: the agent's.
            name: the camera as people know it.
            knock: asks, cheaply, whether there is anything to be opened. Raises SourceAbsent.
        """
        self._cook = cook
        self._limits = limits
        self._clock = clock
        self._name = name
        self._knock = knock
        self._recipe: Recipe | None = None
        self._python = OWN_PYTHON
        self._lacking: set[str] = set()
        """Interpreters that have not what is needed."""
        self._process: Process | None = None
        self._freeze = Freeze(limits.frozen_s)
        self._asked = self._came = self._fresh = False
        self._since_s = self._weighed_s = -math.inf

    def open(self) -> None:
        """Start a child. Raises SourceLost, ConfigError."""
        if self._process is not None and not self._process.ended:
            raise SourceLost(
                f"{self._name}: its driver holds process {self._process.pid}, which cannot be killed; "
                "unplug the camera, or start this machine anew"
            )
        self._recipe = self._cook()
        self._knock()
        self._start(self._recipe)

    def _start(self, recipe: Recipe) -> None:
        """Start a child by the best Python that is not known to lack something. Raises SourceLost."""
        left = [python for python in recipe.pythons if python not in self._lacking]
        self._python = left[0] if left else recipe.pythons[0]
        try:
            self._process = Process(recipe, self._python, self._clock)
        except OSError as error:
            raise SourceLost(f"{self._name}: no process can be started to read it: {error}") from error
        self._freeze = Freeze(self._limits.frozen_s)
        self._asked = self._came = self._fresh = False
        self._since_s = self._weighed_s = self._clock.now()

    def read(self) -> Pixels | None:
        """See Source. Raises SourceLost, SourceRefused, FrameUnreadable, ConfigError."""
        process = self._process
        if process is None:
            raise SourceLost(f"{self._name} is not open")
        self._ask(process)
        try:
            came = process.receive(STEP_S)
        except Gone as error:
            raise self._death(process) from error
        self._weigh(process)
        if came is None:
            self._watch()
            return None
        self._asked = False
        if isinstance(came, dict):
            self._heed(came)
            return None
        self._came = self._fresh = True
        if self._freeze.note(came, self._clock.now()):
            raise SourceLost(
                f"{self._name}: the picture has been the same for {self._limits.frozen_s:g} s; "
                "set frozen_s to 0 if that is as it should be"
            )
        return came

    def _ask(self, process: Process) -> None:
        if not self._asked:
            process.ask()
            self._asked = True
            if self._fresh:  # while nobody asks, no time is lost
                self._fresh = False
                self._since_s = self._clock.now()

    def _watch(self) -> None:
        """Raises SourceLost: it takes too long."""
        limit_s = self._limits.next_frame_s if self._came else self._limits.first_frame_s
        if self._clock.now() - self._since_s >= limit_s:
            which = "picture" if self._came else "first picture"
            raise SourceLost(f"{self._name}: no {which} came within {limit_s:g} s; is the camera still there?")

    def _weigh(self, process: Process) -> None:
        """Raises SourceLost: it takes too much memory."""
        now_s = self._clock.now()
        if now_s - self._weighed_s >= _WEIGH_EVERY_S:
            self._weighed_s = now_s
            if (taken := process.memory_bytes) > self._limits.memory_bytes:
                raise SourceLost(f"{self._name}: its reader has grown to {taken / 1e6:.0f} MB, and is replaced")

    def _heed(self, words: dict[str, Any]) -> None:
        """Raises what the child says is wrong, unless another Python may do better."""
        kind = getattr(errors, str(words.get("error")), None)
        text = logs.redact(str(words.get("text")))
        if kind is LibraryMissing and self._recipe is not None and self._has_another(self._recipe):
            _log.debug("%s; another Python of this machine is tried", text)
            self.close()
            self._start(self._recipe)
            return
        if kind is FrameUnreadable:
            self._watch()  # pictures that cannot be decoded are none
        if isinstance(kind, type) and issubclass(kind, SourceLost | FrameUnreadable | ConfigError):
            raise kind(text)
        raise SourceLost(f"{self._name}: {text}")

    def _has_another(self, recipe: Recipe) -> bool:
        """Whether there is a Python that was not found wanting; when there is none, all are tried again next time."""
        self._lacking.add(self._python)
        if any(python not in self._lacking and Path(python).exists() for python in recipe.pythons):
            return True
        self._lacking.clear()
        return False

    def _death(self, process: Process) -> SourceError:
        """It has ended without a word: a fault in a driver or a library, or in its reader."""
        fate, said = process.fate(), logs.redact(process.last_words)
        last = said.splitlines()[-1] if said else "it said nothing"
        if said:
            _log.debug("last words of the reader of %s:\n%s", self._name, said)
        return SourceCrashed(f"{self._name}: its reader {fate}: {last}")

    def close(self) -> None:
        """End the child. One that cannot be ended is remembered."""
        if self._process is not None:
            self._process.close()
            if self._process.ended:
                self._process = None

    def __repr__(self) -> str:
        return f"<Isolated {self._name} {'closed' if self._process is None else f'process {self._process.pid}'}>"
