"""When the active file is closed, and what becomes of its closed ones. Owned by the one thread of the sink.

A failure in here costs no line: it is said in the log and tried again a minute later, and the active file grows on.
"""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agent import logs
from agent.ports import Context
from agent.sinks._age import Age
from agent.sinks._closed import ClosedFiles
from agent.sinks._compression import SLICE_BYTES, Compression
from agent.sinks._file_options import RotateOptions

_AGAIN_S: Final = 60.0
_log = logging.getLogger(__name__)


class Rotation:
    """Of one active file."""

    def __init__(self, options: RotateOptions, context: Context, path: Path) -> None:
        self._options = options
        self._clock = context.clock
        self._closed_files = ClosedFiles(path)
        self._path = path
        self._age = Age(path, context.clock) if options.max_age_s else None
        self._compression = Compression()
        self._not_before_s = float("-inf")

    def open(self, *, holds_lines: bool) -> None:
        """Find what is there, and put in order what a kill left."""
        self._compression = Compression()
        with self.spared("tidied"):
            self._closed_files.tidy()
            if self._options.compress:
                self._compression.add(self._closed_files.plain())
        self._prune()
        if self._age is not None and holds_lines:
            self._age.resume(self._closed_files.next_number)

    def begin(self) -> None:
        """The active file has its first lines."""
        if self._age is not None:
            self._age.begin(self._closed_files.next_number)

    def is_full(self, held_bytes: int, more_bytes: int) -> bool:
        """Whether a file of that size is to be closed before so much more goes into it; an empty one never is."""
        if not held_bytes or self._clock.now() < self._not_before_s:
            return False
        too_old = self._age is not None and self._age.now_s() >= self._options.max_age_s
        return too_old or held_bytes + more_bytes > self._options.max_bytes

    def next_path(self) -> Path:
        """Where the active file goes now. Raises OSError."""
        return self._closed_files.next_path(self._clock.wall())

    def add(self, closed: Path) -> None:
        """This one has been closed."""
        _log.info("closed a file %s", logs.fields(path=closed))
        if self._options.compress:
            self._compression.add([closed])
        self._prune()

    def _prune(self) -> None:
        with self.spared("removed"):
            for gone in self._closed_files.prune(self._options.keep, self._options.keep_bytes):
                self._compression.forget(gone.path)
                _log.info("removed an old file %s", logs.fields(path=gone.path))

    def tidy(self, written_bytes: int) -> None:
        """Compress a slice: more than what was written, so that there is never more and more to compress."""
        if self._clock.now() >= self._not_before_s:
            with self.spared("compressed"):
                self._compression.step(max(SLICE_BYTES, 2 * written_bytes))

    def give_way(self) -> bool:
        """Give back what is only half done, as results need the room; whether there was any."""
        self._not_before_s = self._clock.now() + _AGAIN_S
        return self._compression.give_way()

    @contextlib.contextmanager
    def spared(self, what: str) -> Iterator[None]:
        """Say that something could not be done, and leave all of it for a minute."""
        try:
            yield
        except OSError as error:
            self._not_before_s = self._clock.now() + _AGAIN_S
            cause = logs.fields(path=self._path, cause=error.strerror)
            _log.warning("files could not be %s, which is tried again in a minute %s", what, cause)

    def close(self) -> None:
        """Leave all as the next start can take it up."""
        self._compression.give_way()
        if self._age is not None:
            self._age.pause()
