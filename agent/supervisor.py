"""Owns every thread: starts the loops, repeats those that lost camera or broker, watches their progress, stops them.

Started and stopped by the main thread; loops report through their Pulse, failures through one lock-free slot.
"""

import logging
import random
import threading
from collections.abc import Sequence
from typing import Final

from agent import backoff
from agent.backoff import Backoff, Pauses
from agent.clock import Clock
from agent.errors import (
    AgentError,
    Cause,
    SinkUnavailable,
    SourceAbsent,
    SourceBroken,
    SourceCrashed,
    SourceEnded,
    SourceLost,
    SourceRefused,
)
from agent.logs import Damper
from agent.loop import Loop, Pulse, Stage

_log = logging.getLogger(__name__)
HANG_LIMIT_S = 30.0
"""A loop that has not come round for so long is stuck, and the watchdog is no longer fed. A Loop may ask for more."""


_PAUSES: Final = {
    SourceAbsent: backoff.ABSENT,
    SourceBroken: backoff.BROKEN,
    SourceCrashed: backoff.CRASHED,
    SourceRefused: backoff.REFUSED,
}


class Supervisor:
    """Runs stages of loops, first to last, and stops them last to first."""

    def __init__(self, stages: Sequence[Stage], clock: Clock) -> None:
        self.fatal: BaseException | None = None
        self._stages = list[Stage]()
        self._clock = clock
        self._pulses = dict[str, Pulse]()
        self._threads: dict[str, threading.Thread] = {}
        self._damper = Damper(_log.warning, clock.now)
        self._troubles: dict[str, str] = {}
        self._draw = random.Random().random  # noqa: S311 - jitter, not a secret
        for stage in stages:
            self.add(stage)

    def add(self, stage: Stage) -> None:
        """One more, which starts last and stops first; to be called before `start`."""
        self._stages.append(stage)
        self._pulses |= {loop.name: Pulse(self._clock) for loop in stage.loops}

    def start(self) -> None:
        """Start every loop on a daemon thread of its own."""
        for stage in self._stages:
            for loop in stage.loops:
                thread = threading.Thread(target=self._keep, args=(loop,), name=loop.name, daemon=True)
                self._threads[loop.name] = thread
                thread.start()

    def _keep(self, loop: Loop) -> None:
        """One thread's life: run the loop, and again after a pause while it fails for want of a camera or a broker."""
        pulse, waits = self._pulses[loop.name], Backoff(self._draw)
        while not pulse.stopping.is_set():
            waits.begin(self._clock.now())
            try:
                loop.run(pulse)
                return  # noqa: TRY300 - the loop said it is done
            except SourceEnded:
                return
            except (SourceLost, SinkUnavailable) as error:
                self._troubles[loop.name] = str(error)
                pauses = _pauses_after(error)
                pause_s = waits.pause_s(pauses, now_s=self._clock.now(), least_s=error.least_pause_s)
                most_s = max(pauses.last_s, error.least_pause_s)
                again = f"{loop.name}: {error}; trying again, pauses up to {most_s:.0f} s"
                self._damper.note(f"{loop.name} {error}", again)
                pulse.rest(pause_s)
            except Exception as error:  # noqa: BLE001 - the thread wrapper: nothing may end a thread unseen
                self._fail(loop, error)
                return

    def _fail(self, loop: Loop, error: Exception) -> None:
        if self.fatal is None:
            self.fatal = error
        if isinstance(error, AgentError):
            _log.error("%s: %s", loop.name, error)
        else:
            _log.error("%s failed; this is a fault in the agent", loop.name, exc_info=error)

    def alive(self, stage: str) -> bool:
        """Whether any loop of `stage` runs."""
        return any(not self.ended(loop.name) for each in self._stages if each.name == stage for loop in each.loops)

    def ended(self, loop: str) -> bool:
        """Whether the thread of this name is no more, or never was: loops are started while others run already."""
        thread = self._threads.get(loop)
        return thread is None or not thread.is_alive()

    @property
    def begun(self) -> bool:
        """Whether every loop has come round, has ended, or has failed once in a way that is tried again."""
        names = [loop.name for stage in self._stages for loop in stage.loops]
        return all(self._pulses[name].begun or name in self._troubles or self.ended(name) for name in names)

    def trouble(self, loop: str) -> str | None:
        """Why the loop of this name was last begun anew, in words; None: it never was."""
        return self._troubles.get(loop)

    def stuck(self) -> list[str]:
        """Names of loops that run but have not come round within their limit."""
        loops = [loop for stage in self._stages for loop in stage.loops]
        names = [loop.name for loop in loops if not self.ended(loop.name) and self._is_stuck(loop)]
        for name in names:
            self._damper.note(f"stuck {name}", f"{name} makes no progress; systemd will restart the agent")
        return names

    def _is_stuck(self, loop: Loop) -> bool:
        return self._pulses[loop.name].is_late(max(HANG_LIMIT_S, loop.longest_step_s))

    def stop(self, only: str | None = None) -> None:
        """Stop the stages from the cameras to the sinks, each within its limit; or `only` the one of this name."""
        for stage in reversed(self._stages):
            if only not in (None, stage.name):
                continue
            for loop in stage.loops:
                self._pulses[loop.name].stopping.set()
            stage.on_stop()
            self._join(stage)

    def _join(self, stage: Stage) -> None:
        until_s = self._clock.now() + stage.stop_within_s
        for loop in stage.loops:
            thread = self._threads.get(loop.name)
            if thread is not None:
                thread.join(max(0.0, until_s - self._clock.now()))
                if thread.is_alive():
                    _log.info("%s was still busy after %g s and is left behind", loop.name, stage.stop_within_s)


def _pauses_after(error: SourceLost | SinkUnavailable) -> Pauses:
    if isinstance(error, SinkUnavailable):
        return backoff.DISK if error.cause is Cause.DISK else backoff.REMOTE
    return _PAUSES.get(type(error), backoff.LOST)
