"""How much may wait on disk for a sink, and what gives way when that is full. No state."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Final

from agent.parcel import Entry, Group, groups
from agent.store import Store

_ROW_BYTES: Final = 120
"""What a group takes beside its blob."""


class WhenFull(str, Enum):
    """What gives way when an outbox is full."""

    DROP_OLDEST = "drop_oldest"
    DROP_NEWEST = "drop_newest"
    THIN = "thin"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait for a sink, and for how long."""

    commit_interval_s: float = 1.0
    max_bytes: float = inf
    """On disk."""
    max_age_s: float = inf
    when_full: WhenFull = WhenFull.DROP_OLDEST
    keep_free_bytes: float = 0.0
    """Of the filesystem."""


def fill(store: Store, limits: Limits, entries: Sequence[Entry], *, held: int) -> tuple[int, int]:
    """Append `entries`, as far as there is room or what lies behind the position `held` gives way. In a transaction.

    Returns:
        How many deliveries gave way, and the position of the last entry that was appended; 0: none was.
    """
    dropped = last = 0
    for group in groups(entries):
        gave_way, fits = _make_room(store, limits, group, held)
        dropped += gave_way
        if not fits:
            break
        store.append([group])
        last = group.last
    return dropped, last


def _make_room(store: Store, limits: Limits, group: Group, held: int) -> tuple[int, bool]:
    """How many deliveries gave way, and whether `group` fits now."""
    need_bytes, dropped = len(group.blob) + _ROW_BYTES, 0
    while (used_bytes := store.measure().used_bytes) + need_bytes > (limit_bytes := _limit_bytes(store, limits)):
        gave_way = _give_way(store, limits.when_full, held) if used_bytes and need_bytes <= limit_bytes else 0
        if not gave_way:
            return dropped, False
        dropped += gave_way
    return dropped, True


def _limit_bytes(store: Store, limits: Limits) -> float:
    """What may be used; where little space is free, the file may not grow."""
    if limits.keep_free_bytes and _free_bytes(store) < limits.keep_free_bytes:
        return min(limits.max_bytes, store.size.file_bytes)
    return limits.max_bytes


def _give_way(store: Store, when_full: WhenFull, held: int) -> int:
    match when_full:
        case WhenFull.DROP_OLDEST:
            return store.drop_oldest(held)
        case WhenFull.THIN:
            return store.thin(held)
        case WhenFull.DROP_NEWEST:
            return 0


def _free_bytes(store: Store) -> int:
    return shutil.disk_usage(store.path.parent).free
