"""Deliveries as they lie in the store: numbered, and several of them compressed into one blob. No state.

A blob is zlib (whose checksum shows damage) over one line of JSON, [[position, id, camera, kind, size_bytes], ...], and
the bodies one after the other. Records of one camera differ little, so a group is a sixth of its members' size.
"""

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from agent.flow import Delivery, Kind

MOST_IN_GROUP: Final = 64
"""More of them hardly compress better, and all of a group are unpacked where one of them stays behind."""


class ParcelError(ValueError):
    """The blob is damaged."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A delivery and its place in the order."""

    position: int
    delivery: Delivery


@dataclass(frozen=True, slots=True)
class Group:
    """Entries with rising positions, packed."""

    first: int
    last: int
    count: int
    blob: bytes


def groups(entries: Sequence[Entry]) -> Iterator[Group]:
    """Pack `entries`, which are in order, into as few groups as there may be."""
    for start in range(0, len(entries), MOST_IN_GROUP):
        yield pack(entries[start : start + MOST_IN_GROUP])


def pack(entries: Sequence[Entry]) -> Group:
    """One group of at least one entry."""
    head = [
        [entry.position, entry.delivery.id, entry.delivery.camera, entry.delivery.kind.value, len(entry.delivery.body)]
        for entry in entries
    ]
    line = json.dumps(head, separators=(",", ":"), ensure_ascii=False).encode()
    blob = zlib.compress(b"\n".join([line, b"".join(entry.delivery.body for entry in entries)]))
    return Group(entries[0].position, entries[-1].position, len(entries), blob)


def unpack(blob: bytes) -> list[Entry]:
    """What `pack` packed. Raises ParcelError."""
    try:
        line, _, bodies = zlib.decompress(blob).partition(b"\n")
        return list(_entries(json.loads(line), bodies))
    except (zlib.error, ValueError, TypeError) as error:
        raise ParcelError(f"a group of results cannot be unpacked: {error}") from error


def _entries(head: Iterable[tuple[int, str, str, str, int]], bodies: bytes) -> Iterator[Entry]:
    start = 0
    for position, name, camera, kind, size_bytes in head:
        body = bodies[start : start + size_bytes]
        start += size_bytes
        yield Entry(position, Delivery(name, camera, body, Kind(kind)))
    if start != len(bodies):
        raise ValueError("the bodies do not have the sizes that are stated")
