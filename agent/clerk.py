"""Checks configurations that come from afar, has them swapped in and taken back. Remote threads, and the main thread.

The main thread swaps (`reload`). What it says of that is written down, for the remote loop that asked has gone with the
old configuration by then, and the new one's has come.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from agent import applied, config
from agent.config import Config
from agent.errors import CommandRefused
from agent.reload import OVERTAKEN, STOPPING, StopSign
from agent.remote.drafts import Drafts, Stage, draft_of
from agent.remote.order import Order

_log = logging.getLogger(__name__)


class Clerk:
    """See agent.remote.commands.configuration."""

    def __init__(
        self, path: Path, state_dir: Path, drafts: Drafts, *, stop: StopSign, online: Callable[[], Sequence[str]]
    ) -> None:
        """`path`: the device's own file; `online`: the cameras that give frames now."""
        self._path = path
        self._state_dir = state_dir
        self._drafts = drafts
        self._stop = stop
        self._online = online

    def check(self, text: str) -> Sequence[str]:
        """See the protocol."""
        return applied.merged(self._path, text).notes

    def begin(self, order: Order, text: str | None) -> Callable[[], None]:
        """See the protocol."""
        trial = self._drafts.trial
        if trial is not None:
            raise CommandRefused(f"the configuration sent as {trial.id} is on trial; wait for its answer")
        draft = draft_of(order, text, base_sha256=applied.sha256(self._path), online=tuple(self._online()))
        try:
            self._drafts.begin(draft)
        except OSError as error:
            raise CommandRefused(f"it cannot be kept in the state folder: {error.strerror}; make room there") from error
        return lambda: self._stop.reload(lambda: self._load(text), self._told)

    def _load(self, text: str | None) -> Config:
        return config.load(self._path) if text is None else applied.merged(self._path, text)

    def _told(self, refusal: str | None) -> None:
        """What the main thread says of the swap."""
        if refusal is None:
            self._move(Stage.RUNNING)
        elif refusal in (OVERTAKEN, STOPPING):
            self._move(Stage.FAILED, f"it was not tried to the end: {refusal}")
        else:
            self._move(Stage.FAILED, f"it cannot run, so the one before it goes on: {refusal}")

    def take_back(self, reason: str) -> None:
        """Have the configuration before it swapped in."""
        self._move(Stage.RETURNING, f"{reason}; the one before it is used again")
        self._return()

    def _return(self) -> None:
        self._stop.reload(lambda: applied.in_force(self._path, self._state_dir), self._returned)

    def _returned(self, refusal: str | None) -> None:
        if refusal == OVERTAKEN:
            self._go_on_returning()
        elif refusal not in (None, STOPPING):  # the next start ends the trial
            _log.error("the configuration before it cannot run any more: %s", refusal)
            self._move(Stage.FAILED, f"it is not well, and the one before it cannot run any more: {refusal}")

    def _go_on_returning(self) -> None:
        """Somebody else's wish came first: it may have done what was wanted here, or be one that cannot be run."""
        trial = self._drafts.trial
        if trial is not None and trial.stage is Stage.RETURNING:
            self._return()

    def _move(self, stage: Stage, reason: str = "") -> None:
        try:
            self._drafts.move(stage, reason)
        except OSError as error:
            _log.error("what became of a sent configuration cannot be written down: %s", error)
