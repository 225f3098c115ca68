"""The configurations that were sent: the one on trial, and the one that was confirmed. Two files in the state folder.

Each is written beside and renamed, so it is there whole or not at all. A configuration is its YAML text; with it stands
the hash of the device's own file that it was checked against: once somebody changes that, it is no longer used.

    asked ──► running ──► confirmed                   trial.json becomes confirmed.json
       │         └──────► returning ──► failed        until this was answered; then trial.json goes
       └──────────────────────────────►

Written by the remote thread, and by the main thread while it swaps; each takes the newest from the disk.
"""

import contextlib
import json
from dataclasses import asdict, dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Final

from agent.folder import make_folder, sync_folder, write_whole
from agent.remote.order import Order, Return
from agent.remote.words import Word

_TRIAL: Final = "trial.json"
_CONFIRMED: Final = "confirmed.json"
_SET_ASIDE: Final = "superseded.json"


class Stage(str, Enum):
    """How far one on trial is."""

    ASKED = "asked"
    RUNNING = "running"
    RETURNING = "returning"
    """The one before it is being swapped in."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Draft:
    """One configuration, and who is to hear what became of it."""

    document: str | None
    """YAML; None: the device's own file, as it is."""
    base_sha256: str
    """Of the device's own file."""
    id: str
    command: str
    by: str
    topic: str
    correlation: str
    """In hexadecimal digits."""
    online: tuple[str, ...] = ()
    """The cameras that gave frames before it."""
    stage: Stage = Stage.ASKED
    reason: str = ""
    """Why it failed."""

    @property
    def to(self) -> Return:
        """Where its answers go."""
        return Return(self.topic, bytes.fromhex(self.correlation))

    @property
    def word(self) -> Word:
        """The command that it came by."""
        return Word(self.command)


def draft_of(order: Order, document: str | None, *, base_sha256: str, online: tuple[str, ...]) -> Draft:
    """What an order brings."""
    to = order.to
    return Draft(
        document, base_sha256, order.id, order.word.value, order.by, to.topic, to.correlation.hex(), online=online
    )


class Drafts:
    """Those of one agent."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def trial(self) -> Draft | None:
        """The one on trial, or not answered for."""
        return self._read(_TRIAL)

    @property
    def confirmed(self) -> Draft | None:
        """The one that is used at a start."""
        return self._read(_CONFIRMED)

    @property
    def confirmed_file(self) -> Path:
        """Where that lies."""
        return self._folder / _CONFIRMED

    def begin(self, draft: Draft) -> None:
        """It is on trial. Raises OSError."""
        make_folder(self._folder, 0o700)
        self._write(_TRIAL, draft)

    def move(self, stage: Stage, reason: str = "") -> None:
        """The one on trial is so far. Raises OSError."""
        draft = self.trial
        if draft is not None:
            self._write(_TRIAL, replace(draft, stage=stage, reason=reason))

    def confirm(self) -> None:
        """The one on trial is used from now on, also after a start. Raises OSError."""
        draft = self.trial
        if draft is not None and draft.document is None:
            (self._folder / _CONFIRMED).unlink(missing_ok=True)
            self.settle()
        elif draft is not None:
            (self._folder / _TRIAL).rename(self._folder / _CONFIRMED)
            sync_folder(self._folder)

    def settle(self) -> None:
        """What became of the one on trial was answered. Raises OSError."""
        (self._folder / _TRIAL).unlink(missing_ok=True)
        sync_folder(self._folder)

    def set_aside(self) -> None:
        """The confirmed one is not used any more, and kept for people."""
        with contextlib.suppress(OSError):
            (self._folder / _CONFIRMED).rename(self._folder / _SET_ASIDE)

    def _read(self, name: str) -> Draft | None:
        try:
            told = json.loads((self._folder / name).read_text(encoding="utf-8"))
            return Draft(**{**told, "stage": Stage(told["stage"]), "online": tuple(told["online"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def _write(self, name: str, draft: Draft) -> None:
        path = self._folder / name
        write_whole(path, json.dumps(asdict(draft)).encode(), beside=path.with_suffix(".new"), mode=0o600)
        sync_folder(self._folder)
