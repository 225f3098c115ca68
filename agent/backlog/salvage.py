"""What can still be got out of a damaged group. No state."""

import json
import zlib
from collections.abc import Iterator
from typing import Final

_PIECE_BYTES: Final = 16
"""zlib gives nothing of a call in which it comes upon the damage."""


def salvaged(blob: bytes) -> list[bytes]:
    """The bodies that are whole JSON and have the id that the group's head states; few or none."""
    line, _, bodies = _inflated(blob).partition(b"\n")
    try:
        head = [(str(name), int(size_bytes)) for _, name, _, _, size_bytes in json.loads(line)]
    except (ValueError, TypeError):
        return []
    return list(_whole(head, bodies))


def _whole(head: list[tuple[str, int]], bodies: bytes) -> Iterator[bytes]:
    start = 0
    for name, size_bytes in head:
        body = bodies[start : start + size_bytes]
        start += size_bytes
        if _id_of(body) == name:
            yield body


def _id_of(body: bytes) -> str | None:
    try:
        record = json.loads(body)
        return str(record["id"])
    except (ValueError, TypeError, KeyError):
        return None


def _inflated(blob: bytes) -> bytes:
    """As much as comes before the damage."""
    inflater, found = zlib.decompressobj(), bytearray()
    try:
        for start in range(0, len(blob), _PIECE_BYTES):
            found += inflater.decompress(blob[start : start + _PIECE_BYTES])
    except zlib.error:
        pass
    return bytes(found)
