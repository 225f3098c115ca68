"""`vedette outbox list`: what waits for each sink, as a table or as JSON. No state."""

from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from agent import words
from agent.backlog import spans
from agent.backlog.places import Place, in_use
from agent.backlog.reading import Group, Reader
from agent.clock import Clock
from agent.database import PAGE_BYTES, StoreError
from agent.parcel import ParcelError, unpack
from agent.stamp import elapsed_s
from agent.store import VISIBLE

_COUNT: Final = f"SELECT coalesce(sum(count), 0) FROM waiting WHERE {VISIBLE}"  # noqa: S608 - ours
_NEWEST: Final = f"SELECT first FROM waiting WHERE {VISIBLE} ORDER BY first DESC LIMIT 1"  # noqa: S608 - ours
_UNFINISHED: Final = "SELECT count(*) FROM hidden"
_NONE: Final = "-"


@dataclass(frozen=True, slots=True)
class Ago:
    """A record that waits: when its frame was taken, by the record, and how long it has been on disk, at least."""

    captured_at: str | None
    waits_s: float


@dataclass(frozen=True, slots=True)
class Holding:
    """What one outbox holds."""

    place: Place
    runs: bool
    """Whether an agent uses it."""
    waiting: int = 0
    size_bytes: int = 0
    oldest: Ago | None = None
    newest: Ago | None = None
    rejected: int = 0
    damaged_groups: int = 0
    unfinished: bool = False
    """Whether a replay was cut off, or is at work."""
    moved_aside: dict[Path, int] = field(default_factory=dict)
    """Damaged files, and their sizes in bytes."""
    problem: str | None = None
    """Why it cannot be read."""


def holding(place: Place, clock: Clock, boot_id: str) -> Holding:
    """Look into one outbox; what cannot be read is a `problem`."""
    aside = {path: path.stat().st_size for path in place.damaged}
    runs = in_use(place)
    if not place.path.exists():
        return Holding(place, runs, moved_aside=aside)
    try:
        with closing(Reader(place.path)) as reader:
            if not reader.holds_outbox:
                return Holding(place, runs, moved_aside=aside)
            pages, free = reader.ask("PRAGMA page_count"), reader.ask("PRAGMA freelist_count")
            return Holding(
                place,
                runs,
                reader.ask(_COUNT),
                (pages - free) * PAGE_BYTES,
                _ago(next(reader.groups("waiting"), None), 0, clock, boot_id),
                _ago(next(reader.groups("waiting", (reader.ask(_NEWEST) or 1) - 1), None), -1, clock, boot_id),
                sum(len(entries or ()) for _, entries in reader.entries("rejected")),
                reader.ask("SELECT count(*) FROM damaged"),
                bool(reader.ask(_UNFINISHED)),
                aside,
            )
    except StoreError as error:
        return Holding(place, runs, moved_aside=aside, problem=str(error))


def _ago(group: Group | None, which: int, clock: Clock, boot_id: str) -> Ago | None:
    if group is None:
        return None
    try:
        captured_at = spans.captured_at(unpack(group.blob)[which].delivery.body)
    except ParcelError:
        captured_at = None
    return Ago(captured_at, elapsed_s(group.stamp, clock, boot_id))


def report(state: Path, found: list[Holding]) -> str:
    """For people."""
    head = f"Outboxes in {state}"
    if not found:
        return f"{head}: none. Nothing waits here, and no agent keeps its state here; another folder: --state"
    agents = {each.place.agent for each in found if each.runs}
    rows = [_row(each, agents) for each in found]
    lines = words.table(
        ("SINK", "WAITING", "SIZE", "OLDEST", "NEWEST", "REJECTED", "DAMAGED", "AGENT"), rows, left=(0, 7)
    )
    notes = [note for each in found for note in _notes(each)]
    waiting = sum(each.waiting for each in found)
    if not waiting and not any(each.problem for each in found):
        notes.insert(0, "Nothing waits.")
    elif agents:
        notes.append("Why a sink takes nothing is in the agent's log: journalctl -u vedette")
    return "\n".join([head, "", *lines, *([""] if notes else []), *notes])


def _row(each: Holding, agents: set[str]) -> tuple[str, ...]:
    if each.problem:
        return (each.place.name, "?", "?", "?", "?", "?", "?", _user(each, agents))
    return (
        each.place.name,
        str(each.waiting),
        words.size(each.size_bytes) if each.size_bytes else _NONE,
        _when(each.oldest),
        _when(each.newest),
        str(each.rejected),
        str(each.damaged_groups),
        _user(each, agents),
    )


def _when(ago: Ago | None) -> str:
    if ago is None:
        return _NONE
    return f"{ago.captured_at or 'unknown'} ({spans.span(ago.waits_s)})"


def _user(each: Holding, agents: set[str]) -> str:
    if each.runs:
        return "runs"
    return "runs without this sink" if each.place.agent in agents else "does not run"


def _notes(each: Holding) -> list[str]:
    notes = [f"{each.place}: {each.problem}"] if each.problem else []
    if each.unfinished:
        notes.append(f"{each.place}: a replay was cut off, or is at work; the next replay or purge clears what it left")
    if each.rejected:
        notes.append(
            f"{each.place}: what the sink rejected is sent again by: vedette outbox replay {each.place} --rejected"
        )
    for path, size_bytes in each.moved_aside.items():
        notes.append(f"{each.place}: damaged and moved aside: {path} ({words.size(size_bytes)})")
    return notes


def as_json(state: Path, found: list[Holding]) -> dict[str, Any]:
    """For programs."""
    return {"state": str(state), "outboxes": [_json(each) for each in found]}


def _json(each: Holding) -> dict[str, Any]:
    return {
        "agent": each.place.agent,
        "sink": each.place.sink,
        "path": str(each.place.path),
        "agent_runs": each.runs,
        "waiting": each.waiting,
        "size_bytes": each.size_bytes,
        "oldest": _ago_json(each.oldest),
        "newest": _ago_json(each.newest),
        "rejected": each.rejected,
        "damaged_groups": each.damaged_groups,
        "damaged_files": [{"path": str(path), "size_bytes": size} for path, size in each.moved_aside.items()],
        "unfinished_replay": each.unfinished,
        "problem": each.problem,
    }


def _ago_json(ago: Ago | None) -> dict[str, Any] | None:
    return None if ago is None else {"captured_at": ago.captured_at, "waits_s": round(ago.waits_s, 1)}
