"""Which classes each camera has told a count of, remembered over restarts. Owner: the main thread.

A count is retained at a broker, and in Home Assistant, until another one takes its place. After a restart a camera that
sees nobody would say nothing, and two persons would stand there for ever; with this file it can say that there is none.
It is written when a camera sees a class that is new to it, so in a week about as often as there are classes.
"""

import json
import logging
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Final

from agent import logs
from agent.clock import Clock
from agent.folder import make_folder, sync_folder, write_whole
from agent.states import States, Subject

_log = logging.getLogger(__name__)
_SCHEMA: Final = "vedette.classes/1"
MOST_CLASSES: Final = 300
"""Of a camera; the largest data sets for detection have that many in common use. The oldest give way."""
_MOST_BYTES: Final = 4_000_000
"""No file of ours is larger; what is there instead is not read."""
_RETRY_S: Final = 60.0
"""After the disk has failed."""


class Classes:
    """The file STATE/classes-AGENT.json."""

    def __init__(self, path: Path, cameras: Sequence[str], states: States, clock: Clock) -> None:
        """Read what an earlier run has left; a file that is missing or damaged is only said."""
        self._path = path
        self._states = states
        self._clock = clock
        self._mark = 0
        self._is_new = False
        """Whether there is something that the file does not have."""
        self._write_at_s = -inf
        found = _read(path)
        self._known = {camera: dict.fromkeys(found.get(camera, ())) for camera in cameras}
        """By camera; the keys are the classes, the oldest first. Cameras that are gone from the configuration go."""

    def of(self, camera: str) -> list[str]:
        """The classes that `camera` has told a count of."""
        return list(self._known[camera])

    def note(self) -> None:
        """Remember the classes that are new; called a few times a second."""
        self._mark, changed = self._states.since(self._mark)
        for state in changed:
            if state.subject is Subject.COUNT and state.camera in self._known and state.class_name is not None:
                self._add(self._known[state.camera], state.class_name)
        if self._is_new and self._clock.now() >= self._write_at_s:
            self._write()

    def _add(self, known: dict[str, None], name: str) -> None:
        if name in known:
            return
        known[name] = None
        self._is_new = True
        if len(known) > MOST_CLASSES:
            del known[next(iter(known))]

    def _write(self) -> None:
        """Beside, synced, renamed; a failure is said, and it is tried again in a while."""
        body = json.dumps({"schema": _SCHEMA, "cameras": {name: list(known) for name, known in self._known.items()}})
        beside = self._path.with_name(self._path.name + ".new")
        try:
            make_folder(self._path.parent)
            write_whole(self._path, body.encode(), beside=beside)
            sync_folder(self._path.parent)
        except OSError as error:
            if self._write_at_s == -inf:
                _log.warning("%s; counts may be out of date after a restart", _failed("written", self._path, error))
            self._write_at_s = self._clock.now() + _RETRY_S
        else:
            self._is_new, self._write_at_s = False, -inf

    def __repr__(self) -> str:
        return f"<Classes {self._path} {sum(map(len, self._known.values()))} of {len(self._known)} cameras>"


def _read(path: Path) -> dict[str, list[str]]:
    """The classes of each camera; none where the file cannot be read."""
    try:
        with path.open("rb") as file:
            return _parsed(file.read(_MOST_BYTES))
    except FileNotFoundError:
        _log.debug("no class is remembered yet %s", logs.fields(path=path))
    except OSError as error:
        _log.warning("%s; counts may be out of date", _failed("read", path, error))
    except (ValueError, RecursionError):  # among them bytes that are no UTF-8
        _log.warning("%s is damaged; begun anew, and counts may be out of date", path)
    return {}


def _parsed(data: bytes) -> dict[str, list[str]]:
    """Raises ValueError."""
    record = json.loads(data)
    cameras = record.get("cameras") if isinstance(record, dict) and record.get("schema") == _SCHEMA else None
    if not isinstance(cameras, dict) or not all(isinstance(names, list) for names in cameras.values()):
        raise ValueError("not of this schema")
    if not all(isinstance(name, str) for names in cameras.values() for name in names):
        raise ValueError("a class has no name")
    return {camera: names[-MOST_CLASSES:] for camera, names in cameras.items()}


def _failed(what: str, path: Path, error: OSError) -> str:
    return f"{path} cannot be {what}: {error.strerror or error}"
