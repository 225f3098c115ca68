"""One file that grows by whole batches, is closed and begun anew by size and age, and compressed when closed.

A full disk, a read-only or missing one, a folder in the way, and a file that was moved or deleted are SinkUnavailable:
results are kept and the file is opened again later. What merely cannot be tidied (closed, compressed, removed) is said
in the log and tried again a minute later, and lines go on. Owned by the one thread of the sink.
"""

import contextlib
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agent import logs
from agent.errors import Cause, SinkUnavailable
from agent.folder import make_folder, sync_folder
from agent.ports import Context
from agent.sinks._file_options import FileOptions
from agent.sinks._rotation import Rotation
from agent.sinks._tail import Form, refuse_foreign, repair

_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
_log = logging.getLogger(__name__)


class ActiveFile:
    """One open file."""

    def __init__(self, options: FileOptions, context: Context, form: Form) -> None:
        path = context.base_dir / options.path.expanduser()
        self.path = path if options.rotate is None else Path(os.path.realpath(path))
        """Past links, where a file is renamed: that is to happen to the file, not to the link."""
        self._form = form
        self._trial = context.trial
        self._clock = context.clock
        self._sync_every_s = options.sync_every_s
        self._unsynced_s: float | None = None
        """When the oldest line was written that may not be on the medium yet."""
        self._empty_first = not options.append
        self._rotation = None if options.rotate is None else Rotation(options.rotate, context, self.path)
        self._file = -1

    def open(self) -> None:
        """Make the folders, open the file and put its end in order. Raises SinkUnavailable."""
        with self._translated("cannot be opened"):
            if self._sync_every_s is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            else:
                make_folder(self.path.parent)
            self._file = os.open(self.path, _FLAGS, 0o644)
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                raise SinkUnavailable(f"{self.path} is not a regular file; name another path")
            if self._empty_first and not self._trial:
                os.ftruncate(self._file, 0)
                self._empty_first = False
            refuse_foreign(self._file, self.path, self._form)
            if not self._trial:
                self._put_in_order()

    def _put_in_order(self) -> None:
        repair(self._file, self.path, self._form)
        if self._sync_every_s is not None:
            sync_folder(self.path.parent)
        if self._rotation is not None:
            self._rotation.open(holds_lines=self._size_bytes() > len(self._form.head))

    def append(self, lines: bytes) -> None:
        """Write `lines` in one go, and tidy a little; all of them are there, or SinkUnavailable is raised and none is.

        With b"" the file is only looked after.
        """
        with self._translated("cannot be written"):
            self._refuse_another_file()
            if self._rotation is not None and self._rotation.is_full(self._held_bytes(), len(lines)):
                self._begin_anew(self._rotation)
            if lines:
                self._write_and_make_room(lines)
            self._sync_if_due()
            if self._rotation is not None:
                self._rotation.tidy(len(lines))

    def _refuse_another_file(self) -> None:
        """A file that was moved or deleted still takes bytes, but nobody would find them."""
        mine, named = os.fstat(self._file), self.path.stat()
        if (mine.st_dev, mine.st_ino) != (named.st_dev, named.st_ino):
            raise SinkUnavailable(f"{self.path} is another file than before; it is opened again")

    def _size_bytes(self) -> int:
        return os.fstat(self._file).st_size

    def _held_bytes(self) -> int:
        """Of lines: 0 for a file that holds none."""
        size_bytes = self._size_bytes()
        return size_bytes if size_bytes > len(self._form.head) else 0

    def _begin_anew(self, rotation: Rotation) -> None:
        """Close the file under another name; where that fails, it grows on."""
        self._sync()
        with rotation.spared("closed"):
            closed = rotation.next_path()
            self.path.rename(closed)
            new = self._opened_anew(closed)
            os.close(self._file)
            self._file = new
            rotation.add(closed)
            if self._sync_every_s is not None:
                sync_folder(self.path.parent)

    def _opened_anew(self, closed: Path) -> int:
        try:
            return os.open(self.path, _FLAGS, 0o644)
        except OSError:
            closed.rename(self.path)
            raise

    def _write_and_make_room(self, lines: bytes) -> None:
        """A file that is half compressed gives its place to results."""
        try:
            self._write(lines)
        except OSError:
            if self._rotation is None or not self._rotation.give_way():
                raise
            self._write(lines)

    def _write(self, lines: bytes) -> None:
        start = self._size_bytes()
        try:
            rest = memoryview(lines if start else self._form.head + lines)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            self._unsynced_s = self._clock.now() if self._unsynced_s is None else self._unsynced_s
            self._sync_if_due()
        except OSError:
            self._take_back(start)
            raise
        if self._rotation is not None and start <= len(self._form.head):
            self._rotation.begin()

    def _take_back(self, start: int) -> None:
        try:
            os.ftruncate(self._file, start)
        except OSError as error:
            cause = logs.fields(path=self.path, cause=error.strerror)
            _log.warning("lines that were written in part stay, and may come twice %s", cause)

    def _sync_if_due(self) -> None:
        since_s, every_s = self._unsynced_s, self._sync_every_s
        if since_s is not None and every_s is not None and self._clock.now() - since_s >= every_s:
            self._sync()

    def _sync(self) -> None:
        if self._unsynced_s is not None and self._sync_every_s is not None:
            os.fsync(self._file)
        self._unsynced_s = None

    @contextlib.contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SinkUnavailable(f"{self.path} {what}: {error.strerror}{_advice(error)}", Cause.DISK) from error

    def close(self) -> None:
        """Let go of the file; with any policy of fsync but never, all of it is on the medium then."""
        if self._file < 0:
            return
        if self._rotation is not None and not self._trial:
            self._rotation.close()
        try:
            self._sync()
        except OSError as error:
            _log.warning("lines may not be on the medium %s", logs.fields(path=self.path, cause=error.strerror))
        with contextlib.suppress(OSError):
            os.close(self._file)
        self._file, self._unsynced_s = -1, None

    def __repr__(self) -> str:
        return f"{self.path} {'open' if self._file >= 0 else 'closed'}"


def _advice(error: OSError) -> str:
    match error:
        case IsADirectoryError():
            return "; a folder is in the way: name a file"
        case FileExistsError() | NotADirectoryError():
            return "; a file is where a folder should be"
        case PermissionError():
            return "; let the agent's user write there, or name another path"
    return ""
