"""What TensorRT, from 10 on, tells of a build's progress, in words. Called by any of its threads; one lock."""

import threading
from collections.abc import Callable
from typing import Any

_NAME_UP_TO = 60


def monitor(trt: Any, say: Callable[[str], None]) -> Any:  # noqa: ANN401 - untyped library
    """A progress monitor for a builder's configuration."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc] # untyped library
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._phases = Phases(say)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:  # noqa: ARG002
            self._phases.advance(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._phases.advance(phase_name, step + 1)
            return True

        def phase_finish(self, phase_name: str) -> None:
            self._phases.end(phase_name)

    return Monitor()


class Phases:
    """Those that have begun and not ended; each but the first is part of one before it."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._steps: dict[str, tuple[int, int]] = {}
        """How many are done, and how many there are."""

    def advance(self, name: str, done: int, steps: int = 0) -> None:
        """So many steps of a phase are done; `steps`, where it begins: of so many."""
        with self._lock:
            self._steps[name] = (done, steps or self._steps.get(name, (0, 0))[1])
            self._say(self._words())

    def end(self, name: str) -> None:
        """The phase is over."""
        with self._lock:
            self._steps.pop(name, None)

    def _words(self) -> str:
        """The outermost phase and the innermost: it has many short ones."""
        names = list(self._steps)
        shown = {name: self._steps[name] for name in (names[0], names[-1])}
        return ", ".join(f"{name[:_NAME_UP_TO]} {done} of {steps}" for name, (done, steps) in shown.items())
