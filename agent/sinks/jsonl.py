"""Results as JSON lines in a local file.

Talks to one regular file that no other program writes to. A full disk, a read-only or missing one, a folder in the
way, and a file that was moved or deleted are SinkUnavailable: results are kept and the file is opened again later.
A batch that was written in part is taken back first, so the file holds whole lines and no line twice.
Try it: `tail -f results.jsonl`. State is owned by the one thread of the sink.
"""

import contextlib
import json
import logging
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from agent import logs
from agent.errors import Cause, SinkUnavailable
from agent.flow import Delivery, Outcome
from agent.options import SinkOptions
from agent.ports import Context, Sink
from agent.sinks import _lines

_BLOCK_BYTES: Final = 64 * 1024
_LONGEST_LINE_BYTES: Final = 16 * 1024 * 1024
"""A last line longer than this is no result of ours, and the file is left alone."""
_log = logging.getLogger(__name__)


class Options(SinkOptions):
    """JSON lines in a local file."""

    type: Literal["jsonl"] = Field(description="one JSON line per result in a local file")
    path: Path = Field(
        Path("vedette-results.jsonl"), description="the file; a relative path starts at the configuration's folder"
    )
    append: bool = Field(True, description="true: go on at the end of the file; false: empty it when the agent starts")
    fsync: bool = Field(
        False,
        description="true: every batch is on the medium before it counts as delivered, which wears out SD cards; "
        "false: a power cut may lose what the system had not written yet, about the last 30 seconds",
    )

    @property
    def target(self) -> str:
        """The file."""
        return f"the file {os.path.normpath(self.path.expanduser())}"


class JsonLines:
    """One open file; one thread."""

    def __init__(self, options: Options, context: Context) -> None:
        self._path = context.base_dir / options.path.expanduser()
        self._trial = context.trial
        self._fsync = options.fsync
        self._empty_first = not options.append
        self._file = -1

    def open(self) -> None:
        """Make the folders, open the file and put its end in order. Raises SinkUnavailable."""
        with self._translated("cannot be opened"):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._file = os.open(self._path, flags, 0o644)
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                raise SinkUnavailable(f"{self._path} is not a regular file; name another path")
            if not self._trial:
                self._put_in_order()

    def _put_in_order(self) -> None:
        if self._empty_first:
            os.ftruncate(self._file, 0)
            self._empty_first = False
        self._repair()
        if self._fsync:
            _sync_folder(self._path.parent)

    def _repair(self) -> None:
        """After a power cut: end a whole last line, and move a torn one to PATH.torn."""
        size_bytes = os.fstat(self._file).st_size
        start = _start_of_last_line(self._file, size_bytes)
        if start == size_bytes:
            return
        if size_bytes - start > _LONGEST_LINE_BYTES:
            raise SinkUnavailable(f"{self._path} does not hold JSON lines, and is left as it is; name another path")
        tail = os.pread(self._file, size_bytes - start, start)
        if _is_record(tail):
            self._append(b"\n")
            _log.info("ended the last line %s", logs.fields(path=self._path))
        else:
            self._move_away(tail, start)

    def _move_away(self, tail: bytes, start: int) -> None:
        torn_path = self._path.with_name(self._path.name + ".torn")
        with torn_path.open("ab") as torn:
            torn.write(tail + b"\n")
            torn.flush()
            os.fsync(torn.fileno())
        os.ftruncate(self._file, start)
        _log.warning("moved a torn last line %s", logs.fields(path=self._path, to=torn_path, size_bytes=len(tail)))

    def send(self, batch: Sequence[Delivery]) -> Sequence[Outcome]:
        """Write the batch in one go; all of it is there, or SinkUnavailable is raised and none is."""
        with self._translated("cannot be written"):
            self._refuse_another_file()
            self._append(_lines.lines(batch))
        return [Outcome.ACCEPTED] * len(batch)

    def _refuse_another_file(self) -> None:
        """A file that was moved or deleted still takes bytes, but nobody would find them."""
        mine, named = os.fstat(self._file), self._path.stat()
        if (mine.st_dev, mine.st_ino) != (named.st_dev, named.st_ino):
            raise SinkUnavailable(f"{self._path} is another file than before; it is opened again")

    def _append(self, data: bytes) -> None:
        start = os.fstat(self._file).st_size
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            if self._fsync:
                os.fsync(self._file)
        except OSError:
            self._take_back(start)
            raise

    def _take_back(self, start: int) -> None:
        try:
            os.ftruncate(self._file, start)
        except OSError as error:
            cause = logs.fields(path=self._path, cause=error.strerror)
            _log.warning("lines that were written in part stay, and may come twice %s", cause)

    @contextlib.contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SinkUnavailable(f"{self._path} {what}: {error.strerror}{_advice(error)}", Cause.DISK) from error

    def close(self) -> None:
        """Let go of the file; every batch is already with the system."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = -1

    def __repr__(self) -> str:
        return f"<JsonLines {self._path} {'open' if self._file >= 0 else 'closed'}>"


def _start_of_last_line(file: int, size_bytes: int) -> int:
    """The offset after the last newline; stops looking when the line is longer than any of ours."""
    end = size_bytes
    while end > 0 and size_bytes - end <= _LONGEST_LINE_BYTES:
        begin = max(0, end - _BLOCK_BYTES)
        newline = os.pread(file, end - begin, begin).rfind(b"\n")
        if newline >= 0:
            return begin + newline + 1
        end = begin
    return end


def _is_record(tail: bytes) -> bool:
    """Whether `tail` is a whole JSON object: no beginning of an object is one itself."""
    try:
        return isinstance(json.loads(tail), dict)
    except (ValueError, RecursionError):
        return False


def _sync_folder(folder: Path) -> None:
    """A new file's name is on the medium only when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _advice(error: OSError) -> str:
    match error:
        case IsADirectoryError():
            return "; a folder is in the way: name a file"
        case FileExistsError() | NotADirectoryError():
            return "; a file is where a folder should be"
        case PermissionError():
            return "; let the agent's user write there, or name another path"
    return ""


def build(options: Options, context: Context) -> Sink:
    """The plugin's entry."""
    return JsonLines(options, context)
