"""Puts the end of a file in order that a power cut or a kill may have torn. No state."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent import logs
from agent.errors import SinkUnavailable

_BLOCK_BYTES: Final = 64 * 1024
_LONGEST_LINE_BYTES: Final = 16 * 1024 * 1024
"""A last line longer than this is no result of ours, and the file is left alone."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Form:
    """How a kind of file is made up of lines."""

    name: str
    """What the file holds, for people."""
    end: bytes
    """Ends each line, and stands nowhere inside of one."""
    head: bytes
    """The line that each file begins with; may be empty."""
    is_whole: Callable[[bytes], bool]
    """Whether a last line without its end can be known to lack nothing else."""


def refuse_foreign(file: int, path: Path, form: Form) -> None:
    """Raise SinkUnavailable for a file that begins as none of ours; OSError where it cannot be read."""
    if not form.head.startswith(os.pread(file, len(form.head), 0)):
        raise SinkUnavailable(f"{path} does not begin as {form.name} of this version do; move it, or name another path")


def repair(file: int, path: Path, form: Form) -> None:
    """End a whole last line, and move a torn one to PATH.torn.

    Raises:
        OSError: the file or its folder cannot be written.
        SinkUnavailable: the file is none of ours.
    """
    size_bytes = os.fstat(file).st_size
    start = _start_of_last_line(file, size_bytes, form.end)
    tail = os.pread(file, min(size_bytes - start, _LONGEST_LINE_BYTES + 1), start)
    if len(tail) > _LONGEST_LINE_BYTES:
        raise SinkUnavailable(f"{path} does not hold {form.name}, and is left as it is; name another path")
    if tail and form.is_whole(tail):
        os.write(file, form.end)
        _log.info("ended the last line %s", logs.fields(path=path))
    elif tail:
        _move_away(file, path, tail, start)


def _move_away(file: int, path: Path, tail: bytes, start: int) -> None:
    torn_path = path.with_name(path.name + ".torn")
    with torn_path.open("ab") as torn:
        torn.write(tail + b"\n")
        torn.flush()
        os.fsync(torn.fileno())
    os.ftruncate(file, start)
    _log.warning("moved a torn last line %s", logs.fields(path=path, to=torn_path, size_bytes=len(tail)))


def _start_of_last_line(file: int, size_bytes: int, end: bytes) -> int:
    """The offset after the last line's end; stops looking when the line is longer than any of ours."""
    begin = size_bytes
    while begin > 0 and size_bytes - begin <= _LONGEST_LINE_BYTES:
        stop = min(size_bytes, begin + len(end) - 1)  # an end may lie across two blocks
        begin = max(0, begin - _BLOCK_BYTES)
        found = os.pread(file, stop - begin, begin).rfind(end)
        if found >= 0:
            return begin + found + len(end)
    return begin
