"""Which network interface leads out of this machine, as the kernel's routing tables tell. No state."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
_UP, _REJECT = 0x1, 0x200
"""Flags of a route (route(8), linux/route.h)."""
_ANYWHERE: Final = ("00000000", "0" * 32)
_IPV4_FIELDS, _IPV6_FIELDS = 8, 10


def interface(proc: Path = PROC) -> str | None:
    """The interface of the default route, of several the one of the lowest metric; None: there is none.

    IPv4 first; IPv6 where that has no default route.
    """
    for routes in (_ipv4(proc / "net/route"), _ipv6(proc / "net/ipv6_route")):
        best = min(routes, default=None)
        if best is not None:
            return best[1]
    return None


def _ipv4(path: Path) -> Iterator[tuple[int, str]]:
    """Metric and interface of each default route: interface, destination, gateway, flags, two, metric, mask."""
    for fields in _lines(path):
        anywhere = len(fields) >= _IPV4_FIELDS and fields[1] in _ANYWHERE and fields[7] in _ANYWHERE
        if anywhere and int(fields[3], 16) & _UP:
            yield int(fields[6]), fields[0]


def _ipv6(path: Path) -> Iterator[tuple[int, str]]:
    """The same: destination, its length, source, its length, gateway, metric, two, flags, interface; hexadecimal."""
    for fields in _lines(path):
        anywhere = len(fields) >= _IPV6_FIELDS and fields[0] in _ANYWHERE and fields[1] == "00"
        if anywhere and int(fields[8], 16) & (_UP | _REJECT) == _UP:
            yield int(fields[5], 16), fields[9]


def _lines(path: Path) -> Iterator[list[str]]:
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return
    yield from (line.split() for line in text.splitlines())
