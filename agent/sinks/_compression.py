"""Closed files -> gzip, a slice with each batch. Owned by the thread of the sink.

A large file at once would hold up results on a small board for many seconds, and with them the watchdog; a sink may not
start a thread; and a bound on the size of files, small enough for the slowest board, would be the reader's loss. So a
slice follows each batch and takes milliseconds, and the runtime sends empty batches while there is no result.

At every moment a file is readable whole in one form: the compressed one is written as `.gz.new`, flushed to the
medium, and renamed before the plain one is removed. What a kill leaves of `.gz.new` is removed at the next start, and
made again.
"""

import contextlib
import os
import zlib
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Final

from agent.folder import sync_folder
from agent.sinks import _closed

SLICE_BYTES: Final = 128 * 1024
_LEVEL: Final = 6
_GZIP_WINDOW: Final = 31
"""What zlib calls a gzip header around its largest window."""


class Compression:
    """The closed files that wait to be compressed, and the one in work."""

    def __init__(self) -> None:
        self._waiting: deque[Path] = deque()
        self._job: _Job | None = None

    def add(self, paths: Iterable[Path]) -> None:
        """These come after those that wait."""
        self._waiting.extend(paths)

    def forget(self, path: Path) -> None:
        """This one is gone, and will be passed over when its turn comes."""
        if self._job is not None and self._job.path == path:
            self.give_way()

    def step(self, size_bytes: int) -> None:
        """Compress so many bytes more. Raises OSError, after which the file is begun anew."""
        try:
            self._step(size_bytes)
        except FileNotFoundError:  # somebody has collected it
            self.give_way()
            self._waiting.popleft()
        except OSError:
            self.give_way()
            raise

    def _step(self, size_bytes: int) -> None:
        if self._job is None and self._waiting:
            self._job = _Job(self._waiting[0])
        if self._job is not None and self._job.step(size_bytes):
            self._job.finish()
            self._job = None
            self._waiting.popleft()

    def give_way(self) -> bool:
        """Let go of the file in work, and give back what it took of the disk; whether there was one."""
        job, self._job = self._job, None
        if job is None:
            return False
        job.abandon()
        return True


class _Job:
    """One file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._new = _closed.with_ending(path, _closed.UNFINISHED)
        self._source: BinaryIO = path.open("rb")
        try:
            self._target: BinaryIO = self._new.open("wb", buffering=0)
        except OSError:
            self._source.close()
            raise
        self._zlib = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)

    def step(self, size_bytes: int) -> bool:
        """Take a slice; whether it was the last one. Raises OSError."""
        data = self._source.read(size_bytes)
        is_last = len(data) < size_bytes
        self._write(self._zlib.compress(data) + (self._zlib.flush() if is_last else b""))
        return is_last

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._target.fileno(), rest) :]

    def finish(self) -> None:
        """Let the compressed form take the plain one's place, with its age. Raises OSError."""
        plain = self.path.stat()  # fails for one that was moved away meanwhile, which would be there twice
        os.utime(self._target.fileno(), ns=(plain.st_atime_ns, plain.st_mtime_ns))
        os.fsync(self._target.fileno())
        self._close()
        self._new.rename(_closed.with_ending(self.path, _closed.GZIP))
        sync_folder(self.path.parent)
        _closed.remove(self.path)

    def abandon(self) -> None:
        """Remove what there is; never raises."""
        self._close()
        with contextlib.suppress(OSError):
            self._new.unlink()

    def _close(self) -> None:
        for file in (self._source, self._target):
            with contextlib.suppress(OSError):
                file.close()
