"""What can be put back: records of a file of JSON lines, of an outbox, or of a damaged one. No state.

A source can be gone through twice, for a replay does: it holds no more than one group of it in memory.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

from agent.backlog.reading import Reader
from agent.errors import AgentError
from agent.flow import Delivery, Kind
from agent.record import EVENT_SCHEMA, SCHEMA

Source: TypeAlias = Callable[[], Iterator[Delivery]]
_KINDS: Final = {SCHEMA: Kind.RESULT, EVENT_SCHEMA: Kind.EVENT}
_DATABASE: Final = b"SQLite format 3\0"
_LONGEST_LINE_BYTES: Final = 16 * 1024 * 1024


def is_database(path: Path) -> bool:
    """Whether the file is an outbox's, by its first bytes or, where those are damaged, its name. Raises AgentError."""
    try:
        with path.open("rb") as file:
            return file.read(len(_DATABASE)) == _DATABASE or ".db.damaged-" in path.name
    except OSError as error:
        raise AgentError(f"{path} cannot be read: {error.strerror}") from error


def from_lines(path: Path) -> Source:
    """The records of a file that `vedette outbox export` or a sink of type jsonl has written.

    Going through it raises AgentError at a line that is no record.
    """

    def deliveries() -> Iterator[Delivery]:
        try:
            with path.open("rb") as file:
                for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE_BYTES), b""), start=1):
                    body = line.rstrip(b"\r\n")
                    if body:
                        yield _delivery(body, f"{path}, line {number}")
        except OSError as error:
            raise AgentError(f"{path} cannot be read: {error.strerror}") from error

    return deliveries


def _delivery(body: bytes, where: str) -> Delivery:
    """Raises AgentError."""
    try:
        record: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise AgentError(f"{where}: is no JSON; take the line out, or mend it") from error
    if not isinstance(record, dict) or record.get("schema") not in _KINDS:
        raise AgentError(f"{where}: is no record of this version, with schema {' or '.join(_KINDS)}; take the line out")
    name, camera = record.get("id"), record.get("camera")
    if not (isinstance(name, str) and name and isinstance(camera, str) and camera):
        raise AgentError(f"{where}: has no id or no camera; take the line out")
    return Delivery(name, camera, body, _KINDS[record["schema"]])


def from_reader(reader: Reader, table: str, whole: set[int] | None = None) -> Source:
    """The records of an outbox's table. Damaged groups are left where they are: what is in doubt is not sent.

    Args:
        reader: stays open as long as the source is used.
        table: `waiting` or `rejected`.
        whole: gets the numbers of the groups that could be read the first time: what comes later is not asked for.
    """
    again = False

    def deliveries() -> Iterator[Delivery]:
        nonlocal again
        for group, entries in reader.entries(table):
            if entries is not None:
                if whole is not None and not again:
                    whole.add(group.first)
                yield from (entry.delivery for entry in entries)
        again = True

    return deliveries
