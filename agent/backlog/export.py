"""`vedette outbox export`: records as JSON lines, and nothing is taken out. No state."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from agent import words
from agent.backlog.reading import Reader
from agent.backlog.salvage import salvaged
from agent.errors import AgentError
from agent.folder import sync_folder

_WRITE_BYTES: Final = 65_536


@dataclass(slots=True)
class Tally:
    """What an export found."""

    records: int = 0
    damaged_groups: int = 0
    doubtful: int = 0
    """Records out of damaged groups: they are whole, but a figure in them may be wrong."""
    lost: int = 0
    """Records of damaged groups that could not be got out, as far as that is known."""

    def told(self, gaps: int) -> str | None:
        """What was left out, for people; None: nothing was."""
        parts = []
        if self.damaged_groups:
            lost = f", {self.lost} lost" if self.lost else ""
            got = f"{words.plural(self.doubtful, 'record')} got out of it, in which a figure may be wrong{lost}"
            parts.append(f"{words.plural(self.damaged_groups, 'group')} damaged: {got}")
        if gaps:
            parts.append(f"{words.plural(gaps, 'part')} of the file unreadable")
        return "; ".join(parts) or None


def bodies(reader: Reader, table: str, tally: Tally) -> Iterator[bytes]:
    """The bodies of all records of a table, in order, with what can be saved of damaged groups."""
    for group, entries in reader.entries(table):
        if entries is None:
            saved = salvaged(group.blob)
            tally.damaged_groups += 1
            tally.doubtful += len(saved)
            tally.lost += max(0, group.count - len(saved))
            yield from saved
            tally.records += len(saved)
            continue
        tally.records += len(entries)
        yield from (entry.delivery.body for entry in entries)


def to_output(lines: Iterable[bytes]) -> None:
    """Write lines for whoever still reads: `| head` is no error. Raises AgentError."""
    try:
        for line in lines:
            sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()
    except OSError as error:
        with Path(os.devnull).open("wb") as nowhere:  # else Python would try again at its end, and complain
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise AgentError(f"the output cannot be written: {error.strerror}") from error


def to_file(lines: Iterable[bytes], path: Path) -> None:
    """Write lines into a new file, which is there whole or not at all. Raises AgentError."""
    if path.exists() or path.is_symlink():
        raise AgentError(f"{path} exists already and stays as it is; give --to another name")
    try:
        number, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".part", dir=path.parent)
        part = Path(name)
        try:
            with os.fdopen(number, "wb", buffering=_WRITE_BYTES) as file:
                _write(lines, file)
            _give_name(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise AgentError(f"{path} cannot be written: {error.strerror}; give --to another place") from error


def _write(lines: Iterable[bytes], file: BinaryIO) -> None:
    file.writelines(line + b"\n" for line in lines)
    file.flush()
    os.fsync(file.fileno())


def _give_name(part: Path, path: Path) -> None:
    """Unless somebody else has taken it meanwhile, where the filesystem can tell: those of USB sticks have no links."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:
        part.rename(path)
    with contextlib.suppress(OSError):
        sync_folder(path.parent)
