"""The lines of results files -> rows. Owned by the one thread that reads."""

import gzip
import io
import json
import math
import re
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from agent.errors import ConfigError
from agent.flow import Reason, Route
from agent.history.columns import HEDGES, History
from agent.history.order import (
    CLOCK_SET,
    CORRECTS,
    FROM_CLOUD,
    LAST_S,
    LATE,
    PLACES,
    SENT,
    Growing,
    settled,
)
from agent.record import SCHEMA

STDIN = Path("-")
"""In place of a file: standard input."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_REASON = re.compile(r"[a-z][a-z0-9_]{0,39}")
_BOOT = re.compile(r"[^/\s]{1,100}")
_SCHEMA = re.compile(r"[\w./-]{1,60}")
_GZIP = b"\x1f\x8b"
_LONGEST_LINE_BYTES = 16 * 1024 * 1024
_NAMED = 3
"""So many lines of each kind of fault are named; the others are counted."""
_MOST_CAMERAS, _MOST_BOOTS, _MOST_REASONS, _MOST_FAULTS = 1000, 100_000, 200, 20
"""More than any agent writes; memory stays bounded whatever the file is."""
_PLACES = tuple(PLACES.values())
_LONGEST_UPTIME_S = 1e9
_HIGHEST = 1e18


@dataclass(slots=True)
class _Fault:
    """Lines that were left out for one cause."""

    count: int = 0
    first: list[int] = field(default_factory=list)
    """The numbers of the first few."""

    def note(self, line: int) -> None:
        self.count += 1
        if len(self.first) < _NAMED:
            self.first.append(line)

    def named(self, cause: str) -> str:
        numbers, more = ", ".join(map(str, self.first)), self.count - len(self.first)
        return f"line{'s' * (self.count > 1)} {numbers}{f' and {more} more' if more else ''}: {cause}"


def read(*paths: Path) -> History:
    """Read results files, of which one may be STDIN, as one. Raises ConfigError for an unreadable one, or no record."""
    reader = _Reader(name_of(*paths))
    for path in paths:
        _read_into(reader, path, place=f"{name_of(path)}, " if len(paths) > 1 else "")
    return reader.history()


def _read_into(reader: "_Reader", path: Path, *, place: str) -> None:
    try:
        with _opened(path) as file, gzip.open(file) if file.peek(2)[:2] == _GZIP else file as plain:
            reader.read(plain, place=place)
    except OSError as error:
        raise ConfigError(f"{name_of(path)} cannot be read: {error.strerror or error}; name a results file") from error


def name_of(*paths: Path) -> str:
    """As people know it, or them."""
    names = ["standard input" if path == STDIN else str(path) for path in paths]
    return names[0] if len(names) == 1 else f"{len(names)} files, {names[0]} to {names[-1]}"


def _opened(path: Path) -> io.BufferedReader:
    return open(0, "rb", closefd=False) if path == STDIN else path.open("rb")


class _Reader:
    """Takes the file apart line by line."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._cameras: dict[str, Growing] = {}
        self._reasons = {reason.value: code for code, reason in enumerate(Reason)}
        self._boots: dict[str, int] = {}
        self._faults: dict[tuple[str, str], _Fault] = {}
        """By the file, where there are several, and the cause."""
        self._place = ""
        self._lines = 0
        """Of this file so far."""
        self._is_empty = True

    def read(self, file: io.BufferedIOBase, *, place: str) -> None:
        """Take in one file; `place` is what the words for its faults begin with."""
        self._place, self._lines = place, 0
        for line in self._lines_of(file):
            self._lines, self._is_empty = self._lines + 1, False
            fault = self._take(line)
            if fault is not None:
                self._note(fault)

    def _note(self, fault: str) -> None:
        key = (self._place, fault)
        if key not in self._faults and len(self._faults) >= _MOST_FAULTS:
            key = ("elsewhere, " if self._place else "", "not a record, for other causes")
        self._faults.setdefault(key, _Fault()).note(self._lines)

    def _lines_of(self, file: io.BufferedIOBase) -> Iterator[bytes]:
        """Every line; an endless one in pieces, none of which is a record."""
        try:
            while line := file.readline(_LONGEST_LINE_BYTES):
                yield line
        except (EOFError, zlib.error, gzip.BadGzipFile):
            self._lines, self._is_empty = self._lines + 1, False
            self._note("the compressed file is damaged from here on")

    def _take(self, line: bytes) -> str | None:
        """Keep a record; the fault of one that is none."""
        if not line.strip():
            return None
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            torn = not line.endswith(b"\n") and len(line) < _LONGEST_LINE_BYTES
            return "torn: the file ends in the middle of it" if torn else "not JSON"
        schema = record.get("schema") if isinstance(record, dict) else None
        if schema != SCHEMA:
            named = isinstance(schema, str) and _SCHEMA.fullmatch(schema)
            return f"a record of {schema}, not of {SCHEMA}" if named else "JSON, but no result"
        try:
            self._keep(record)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            return f"not as {SCHEMA} should be"
        return None

    def _keep(self, record: dict[str, Any]) -> None:
        """Add a row to its camera's columns; all that can fail comes first, so that no column has one more."""
        route = _part(record, "route")
        numbers = _numbers(record, route)
        wall_s = _finite(moment(record["captured_at"]).timestamp(), highest=LAST_S)
        monotonic_s = _finite(record["captured_monotonic_s"], highest=_LONGEST_UPTIME_S)
        seq, flags, hedge = int(_finite(record["seq"])), _flags(record, route), route.get("hedge")
        reason = _numbered(self._reasons, route["reason"], _REASON, most=_MOST_REASONS)
        boot = _numbered(self._boots, record["boot_id"], _BOOT, most=_MOST_BOOTS)
        camera = self._camera(record["agent"], record["camera"])
        camera.seq.append(seq)
        camera.boot.append(boot)
        camera.wall_s.append(wall_s)
        camera.monotonic_s.append(monotonic_s)
        camera.reason.append(reason)
        camera.hedge.append(HEDGES.index(hedge) if hedge in HEDGES else -1)
        camera.flags.append(flags)
        camera.numbers.extend(numbers)

    def _camera(self, agent: str, name: str) -> Growing:
        if not (_NAME.fullmatch(agent) and _NAME.fullmatch(name)):
            raise ValueError("a name that no configuration allows")
        whole = f"{agent}/{name}"
        if whole not in self._cameras:
            if len(self._cameras) >= _MOST_CAMERAS:
                raise ValueError("more cameras than an agent can have")
            self._cameras[whole] = Growing()
        return self._cameras[whole]

    def history(self) -> History:
        faults = tuple(place + fault.named(cause) for (place, cause), fault in self._faults.items())
        if not self._cameras:
            found = f"{self._name} is empty" if self._is_empty else f"{self._name} holds no result"
            why = f" ({'; '.join(faults)})" if faults else ""
            raise ConfigError(f"{found}{why}; name a file that a sink of type jsonl has written")
        cameras = tuple(settled(name, self._cameras.pop(name)) for name in sorted(self._cameras))
        return History(cameras, tuple(self._reasons), faults)


def _numbered(known: dict[str, int], name: str, allowed: re.Pattern[str], *, most: int) -> int:
    """The name's place among those seen. Raises ValueError for a name that cannot be, or one too many."""
    number = known.get(name)
    if number is None:
        if not allowed.fullmatch(name) or len(known) >= most:
            raise ValueError("a name that no version gives, or too many")
        number = known[name] = len(known)
    return number


def _flags(record: dict[str, Any], route: dict[str, Any]) -> int:
    return (
        SENT * (Route(route["decided"]) is Route.CLOUD)
        | FROM_CLOUD * (Route(route["published"]) is Route.CLOUD)
        | LATE * bool(route.get("late"))
        | CORRECTS * (record.get("revision", 0) > 0 and record.get("supersedes") is not None)
        | CLOCK_SET * bool(record.get("clock_synchronized"))
    )


def _numbers(record: dict[str, Any], route: dict[str, Any]) -> "array[float]":
    """As PLACES has them, NaN where one is not given. Raises TypeError, OverflowError for what is no number."""
    parts = {
        "route": route,
        "outlook": _part(route, "outlook"),
        "prices": _part(route, "prices"),
        "latency_ms": _part(record, "latency_ms"),
    }
    found = [parts[part].get(name) for part, name in _PLACES]
    return array("f", [math.nan if number is None else number for number in found])


def _part(section: dict[str, Any], key: str) -> dict[str, Any]:
    """An object of the record, empty where it is null or missing. Raises ValueError for anything else."""
    value = section.get(key)
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"{key} is not an object")
    return value or {}


def _finite(value: object, *, highest: float = _HIGHEST) -> float:
    """A number of a size that makes sense. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -_HIGHEST < value < highest:
        raise ValueError(f"{value!r} is not a number, or too large a one")
    return float(value)


def moment(text: str) -> datetime:
    """A moment as RFC 3339 has it, UTC where no zone is given. Raises ValueError."""
    at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return at if at.tzinfo else at.replace(tzinfo=timezone.utc)
