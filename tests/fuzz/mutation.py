"""Damage, drawn from a seed: to bytes, and to what JSON holds."""

import copy
import random
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

MOST_PLACES = 2000
ODD_NUMBERS = (0, -1, 1, 0x7F, 0x80, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 1e308, -1e308, float("nan"), float("inf"), 1 << 63, 10**400, "", "x", "\0", "9" * 5000),
    *(
        [],
        {},
        [[]],
        [{}],
        {"x": {}},
        [None],
        "NaN",
        "-1",
        {"size": [10**9, 10**9], "counts": "0"},
        [1] * 2000,
        "A" * 9000,
    ),
)
"""What a server may put where a number, a name, a list or an object belongs."""


def damaged(data: bytes, draw: random.Random) -> bytes:
    """One to eight kinds of damage, one after the other."""
    page = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4, 8))):
        draw.choice(_DAMAGE)(page, draw)
    return bytes(page)


def _place(page: bytearray, draw: random.Random) -> int:
    """Anywhere; half of the time near the beginning or the end, where the structure is."""
    size = max(1, len(page))
    near = min(size, 600)
    return draw.choice(
        (draw.randrange(size), draw.randrange(size), draw.randrange(near), size - 1 - draw.randrange(near))
    )


def _flip(page: bytearray, draw: random.Random) -> None:
    for _ in range(draw.choice((1, 2, 16))):
        if page:
            page[_place(page, draw)] ^= 1 << draw.randrange(8)


def _overwrite(page: bytearray, draw: random.Random) -> None:
    at = _place(page, draw)
    page[at : at + 4] = (draw.choice(ODD_NUMBERS) & 0xFFFFFFFF).to_bytes(4, "little")


def _cut(page: bytearray, draw: random.Random) -> None:
    del page[_place(page, draw) :]


def _drop(page: bytearray, draw: random.Random) -> None:
    at = _place(page, draw)
    del page[at : at + draw.choice((1, 4, 64, 4096))]


def _repeat(page: bytearray, draw: random.Random) -> None:
    at = _place(page, draw)
    page[at:at] = page[at : at + draw.choice((1, 4, 64, 4096))]


def _blank(page: bytearray, draw: random.Random) -> None:
    at, size = _place(page, draw), draw.choice((4, 32, 512))
    page[at : at + size] = bytes([draw.choice((0, 255))]) * len(page[at : at + size])


def _move(page: bytearray, draw: random.Random) -> None:
    source, target, size = _place(page, draw), _place(page, draw), draw.choice((4, 32, 512))
    part = page[source : source + size]
    page[target : target + len(part)] = part


_DAMAGE: tuple[Callable[[bytearray, random.Random], None], ...] = (
    *(_flip, _flip, _overwrite, _cut, _drop, _repeat, _blank, _move),
)


def spoiled(value: Any, draw: random.Random) -> Any:
    """A copy of what JSON holds, with one to four of its parts taken away, doubled, or replaced by something odd."""
    copied = copy.deepcopy(value)
    for _ in range(draw.choice((1, 1, 2, 4))):
        places = list(_places(copied))
        if not places:
            return copy.deepcopy(draw.choice(ODD_VALUES))
        holder, key = draw.choice(places)
        _spoil(holder, key, draw)
    return copied


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every part, as what holds it and its key or number there; of very many the outer ones."""
    waiting, given = deque([value]), 0
    while waiting and given < MOST_PLACES:
        holder = waiting.popleft()
        items = holder.items() if isinstance(holder, dict) else enumerate(holder) if isinstance(holder, list) else ()
        for key, part in islice(items, MOST_PLACES - given):
            given += 1
            waiting.append(part)
            yield holder, key


def _spoil(holder: Any, key: Any, draw: random.Random) -> None:
    way = draw.choice(("odd", "odd", "odd", "drop", "many", "swap", "deep"))
    if way == "drop":
        del holder[key]
    elif way == "many" and isinstance(holder, list) and not isinstance(holder[key], list):
        holder.extend([holder[key]] * draw.choice((1, 100, 3500)))  # of a list it would soon be many of many
    elif way == "swap":
        holder[key] = copy.deepcopy(draw.choice(list(_places(holder)))[0])
    elif way == "deep":
        nest: Any = holder[key]
        for _ in range(draw.choice((3, 300))):
            nest = [nest]
        holder[key] = nest
    else:
        holder[key] = copy.deepcopy(draw.choice(ODD_VALUES))
