"""The mark of a trial under way, on the medium before a new version is opened: STATE/trial-AGENT.json. No state.

Whoever finds it at a start knows that the agent ended without a word: killed, out of memory, or by a fault in native
code. An orderly stop takes it away.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from agent.folder import make_folder, sync_folder, write_whole

_SCHEMA: Final = "vedette.trial/1"
_MOST_BYTES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Trial:
    """One version on its way to be used."""

    package: str
    version: str
    before: str
    """The version that is used if it fails."""
    boot_id: str


def write(path: Path, trial: Trial) -> None:
    """Put the mark on the medium. Raises OSError."""
    make_folder(path.parent)
    body = json.dumps({"schema": _SCHEMA, **asdict(trial)}).encode()
    write_whole(path, body, beside=path.with_name(path.name + ".new"))
    sync_folder(path.parent)


def read(path: Path) -> Trial | None:
    """The mark, if there is one that can be read."""
    with suppress(OSError, ValueError, TypeError):
        with path.open("rb") as file:
            told = json.loads(file.read(_MOST_BYTES))
        if isinstance(told, dict) and told.pop("schema", None) == _SCHEMA:
            trial = Trial(**told)
            if all(isinstance(each, str) for each in asdict(trial).values()):
                return trial
    return None


def clear(path: Path) -> None:
    """Take the mark away. Raises OSError."""
    path.unlink(missing_ok=True)
    sync_folder(path.parent)
