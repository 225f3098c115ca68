"""How much may wait on disk for a sink, and what gives way when that is full. No state."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Final

from agent.parcel import Group
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


def make_room(store: Store, limits: Limits, packed: Sequence[Group], *, held: int) -> tuple[int, bool]:
    """Let give way what lies behind the position `held`. Inside a transaction of the store.

    Returns:
        How many deliveries gave way to `packed`, and whether it fits now.
    """
    need_bytes = sum(len(group.blob) + _ROW_BYTES for group in packed)
    dropped = 0
    while packed and not _fits(store, limits, need_bytes):
        gave_way = _give_way(store, limits.when_full, held)
        if not gave_way:
            return dropped, False
        dropped += gave_way
    return dropped, True


def _fits(store: Store, limits: Limits, need_bytes: int) -> bool:
    size, limit_bytes = store.measure(), limits.max_bytes
    if limits.keep_free_bytes and _free_bytes(store) < limits.keep_free_bytes:
        limit_bytes = min(limit_bytes, size.file_bytes)
    return size.used_bytes + need_bytes <= limit_bytes


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
