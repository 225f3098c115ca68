"""Whether the names of the API, the broker and the cameras can be looked up, and how long that takes. No state."""

import ipaddress
import socket
from collections.abc import Iterator
from typing import Final

from agent.check import Finding
from agent.clock import Clock
from agent.doctor.finding import doubt, fault, fine
from agent.doctor.machine import Machine

LIMIT_S: Final = 12.0
"""glibc's resolver asks for 5 s, twice (resolv.conf(5))."""
_SLOW_S: Final = 1.0


def is_address(host: str) -> bool:
    """Whether nothing has to be looked up."""
    try:
        ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    return True


def findings(machine: Machine, host: str, clock: Clock) -> Iterator[Finding]:
    """Look up one name."""
    part, begun_s = f"DNS {host}", clock.now()
    try:
        found = {row[4][0] for row in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (socket.gaierror, UnicodeError) as error:
        yield fault(part, f"cannot be looked up ({_reason(error)}); {_cure(machine, host)}")
        return
    took_s = clock.now() - begun_s
    said = f"{min(map(str, found))}, found in {took_s * 1000:.0f} ms"
    if took_s > _SLOW_S:
        yield doubt(part, f"{said}: slow, and a new connection waits as long; {_cure(machine, host)}")
    else:
        yield fine(part, said)


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


def _cure(machine: Machine, host: str) -> str:
    servers = [
        words[1]
        for words in map(str.split, machine.read("/etc/resolv.conf").splitlines())
        if words[:1] == ["nameserver"] and len(words) > 1
    ]
    if host.endswith(".local"):
        return "names in .local need mDNS on both sides: sudo apt install avahi-daemon libnss-mdns, or give its address"
    if not servers:
        return "/etc/resolv.conf names no DNS server: is the network up?"
    return f"is the name right, and does the DNS server {servers[0]} (/etc/resolv.conf) answer?"
