"""Who wanted what, and what became of it: a log line, and a JSON line in the state folder. Owner: the remote thread.

The file holds a megabyte, and the one before it is kept beside it. A disk that fails costs lines there, no command.
"""

import json
import logging
import os
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from agent import logs
from agent.clock import Clock
from agent.folder import make_folder
from agent.logs import redact

_LARGEST_BYTES: Final = 1_000_000
_LONGEST: Final = 200
"""Letters of one value."""
_log = logging.getLogger(__name__)


class Audit:
    """The lines of one agent."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._damper = logs.Damper(_log.warning, clock.now)

    def note(self, what: Mapping[str, Any]) -> None:
        """One command's outcome: `id`, `command`, `by`, `outcome`, and more."""
        told = {name: _plain(value) for name, value in what.items()}
        _log.info("remote command %s", logs.fields(**told))
        moment = datetime.fromtimestamp(self._clock.wall(), tz=timezone.utc).isoformat(timespec="milliseconds")
        line = {"at": moment.replace("+00:00", "Z"), "clock_synchronized": self._clock.synchronized(), **told}
        try:
            self._append(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        except OSError as error:
            self._damper.note("disk", f"{self._path} cannot be written: {error.strerror}; the log alone has the lines")

    def _append(self, line: bytes) -> None:
        make_folder(self._path.parent, 0o700)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(descriptor, line)
            os.fsync(descriptor)
            full = os.fstat(descriptor).st_size >= _LARGEST_BYTES
        finally:
            os.close(descriptor)
        if full:
            self._path.replace(self._path.with_name(self._path.name + ".1"))


def _plain(value: object) -> Any:  # noqa: ANN401 - what JSON can have
    if value is None or isinstance(value, bool | int | float):
        return value
    text = redact(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))
    text = text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
    return text.encode(errors="backslashreplace").decode()  # the log and the file are UTF-8, whatever somebody sent
