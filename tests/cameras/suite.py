"""The cases, each as it is run on demand (full) and in every test run (part)."""

from collections.abc import Callable
from dataclasses import dataclass

from cameras import case_ends, case_neighbours, case_readers, case_secrets, case_servers
from cameras.case_readers import HABITS
from cameras.finding import Finding, World
from real.rtsp_camera import needs_rtsp


@dataclass(frozen=True)
class Case:
    """One kind of fault."""

    full: Callable[[World], list[Finding]]
    part: Callable[[World], list[Finding]]
    timed: bool = False
    """Whether its part measures time, so that nothing may run beside it."""
    needs_server: bool = False
    missing: str = ""
    """What it lacks on this machine; empty: nothing."""


CASES = {
    "readers": Case(
        lambda world: case_readers.run(world, rounds=2, at_once=1),
        lambda world: case_readers.run(world, HABITS[:6]),
        timed=True,
    ),
    "babblers": Case(
        lambda world: case_readers.run(world, HABITS[6:], at_once=6),
        lambda world: case_readers.run(world, HABITS[6:]),
    ),
    "chatter": Case(case_readers.chatter, case_readers.chatter),
    "unkillable": Case(case_readers.unkillable, case_readers.unkillable, missing=case_readers.NO_FREEZER),
    "servers": Case(
        lambda world: case_servers.run(world, rounds=5, held_s=8.0),
        lambda world: case_servers.run(world, held_s=0.0, steps=("frozen", "dead", "resized")),
        timed=True,
        needs_server=True,
    ),
    "codec": Case(
        lambda world: case_servers.codec(world, held_s=20.0),
        lambda world: case_servers.codec(world, held_s=0.0),
        needs_server=True,
    ),
    "password": Case(
        lambda world: case_servers.password(world, watched_s=150.0),
        case_servers.password,
        needs_server=True,
    ),
    "boot": Case(
        lambda world: case_servers.boot(world, absent_s=20.0),
        lambda world: case_servers.boot(world, absent_s=1.0),
        needs_server=True,
    ),
    "clock": Case(case_servers.clock, case_servers.clock, needs_server=True),
    "sparse": Case(
        case_servers.sparse,
        lambda world: case_servers.seldom(world, every_s=6.0, next_s=8.0, frames=2),
        needs_server=True,
    ),
    "cycles": Case(
        lambda world: case_ends.cycles(world, count=200),
        lambda world: case_ends.cycles(world, count=20),
    ),
    "kills": Case(
        lambda world: case_ends.kills(world, count=60),
        lambda world: case_ends.kills(world, count=2),
    ),
    "stops": Case(
        lambda world: case_ends.stops(world, count=20),
        lambda world: case_ends.stops(world, count=1),
    ),
    "secrets": Case(case_secrets.run, case_secrets.run, needs_server=True),
    "neighbours": Case(
        case_neighbours.run,
        lambda world: case_neighbours.run(world, window_s=3.0, ways=["frozen"]),
        timed=True,
        needs_server=True,
    ),
}


def lacks(case: Case) -> str:
    """Why a case cannot be run here; empty: it can."""
    absent = case.needs_server and needs_rtsp.mark.args[0]
    return case.missing or (str(needs_rtsp.mark.kwargs["reason"]) if absent else "")
