"""Watches a configuration that was sent and swapped in, confirms it, or has the one before it back. Owner: its thread.

It is well when every loop makes progress, the engines are open, every camera that gave frames before gives some again,
and both the MQTT sinks and the commands have their broker. Ten seconds of that in a row confirm it; without them by
`confirm_within_s` it is taken back. A thread of its own, so that a broker that is lost does not hold up just that.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final

from agent import logs
from agent.clock import Clock
from agent.loop import Pulse
from agent.remote.audit import Audit
from agent.remote.drafts import Draft, Drafts, Stage
from agent.remote.order import Answer
from agent.remote.words import Status

HOLD_S: Final = 10.0
"""So long it must be well."""
_LOOK_S: Final = 0.5
_log = logging.getLogger(__name__)


class Trial:
    """The loop."""

    def __init__(
        self,
        drafts: Drafts,
        *,
        amiss: Callable[[Draft], Sequence[str]],
        take_back: Callable[[str], None],
        tell: Callable[[Answer], None],
        audit: Audit,
        clock: Clock,
    ) -> None:
        """Nothing is watched yet.

        Args:
            drafts: where it is written what is on trial.
            amiss: what is wrong now, in words.
            take_back: has the configuration before it swapped in, for a reason.
            tell: sends an answer.
            audit: gets a line for each outcome.
            clock: the time.
        """
        self._drafts = drafts
        self._amiss = amiss
        self._take_back = take_back
        self._tell = tell
        self._audit = audit
        self._clock = clock
        self._running_s: float | None = None
        self._well_s: float | None = None
        self._damper = logs.Damper(_log.warning, clock.now)

    def run(self, pulse: Pulse, confirm_within_s: float) -> None:
        """Watch until told to stop."""
        while not pulse.rest(_LOOK_S):
            self._look(confirm_within_s)

    def _look(self, confirm_within_s: float) -> None:
        try:
            self.step(confirm_within_s)
        except OSError as error:
            self._damper.note("disk", f"what became of a sent configuration cannot be written down: {error}")

    def step(self, confirm_within_s: float) -> None:
        """One look. Raises OSError: the disk does not take what became of it."""
        draft = self._drafts.trial
        if draft is None:
            self._running_s = self._well_s = None
        elif draft.stage is Stage.FAILED:
            self._say(draft, Status.FAILED, draft.reason)
            self._drafts.settle()
        elif draft.stage is Stage.RUNNING:
            self._watch(draft, confirm_within_s)

    def _watch(self, draft: Draft, confirm_within_s: float) -> None:
        now_s = self._clock.now()
        self._running_s = now_s if self._running_s is None else self._running_s
        wrong = self._amiss(draft)
        if wrong:
            self._well_s = None
            if now_s - self._running_s >= confirm_within_s:
                self._take_back(f"not well within {confirm_within_s:g} s: {'; '.join(wrong)}")
            return
        self._well_s = now_s if self._well_s is None else self._well_s
        if now_s - self._well_s >= HOLD_S:
            self._drafts.confirm()
            self._say(draft, Status.DONE, "")

    def _say(self, draft: Draft, status: Status, reason: str) -> None:
        more = {"reason": reason} if reason else {}
        self._audit.note({"id": draft.id, "command": draft.command, "by": draft.by, "outcome": status.value, **more})
        self._tell(Answer(draft.id, draft.command, status, draft.to, reason=reason))
