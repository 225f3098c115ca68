"""The cases, each as it is run on demand (full) and in every test run (a seeded part)."""

from collections.abc import Callable
from dataclasses import dataclass

from faults import (
    case_clock,
    case_disk,
    case_flaps,
    case_full,
    case_gone,
    case_kills,
    case_power,
    case_space,
    case_week,
    week,
)
from faults.table import Row, World
from real import broker


@dataclass(frozen=True)
class Case:
    """One kind of fault."""

    full: Callable[[World], Row]
    part: Callable[[World], Row]
    needs_broker: bool = False
    needs_library: bool = True


_QUICK = {"speed": 20.0, "down_s": 1.0, "up_s": 0.7, "ack_timeout_s": 1.0, "connect_timeout_s": 1.0}

CASES = {
    "kills": Case(
        lambda world: case_kills.run(world, kills=200, real=50, over_mqtt=40 if not broker.MISSING else 0),
        lambda world: case_kills.run(world, kills=12),
    ),
    "flaps": Case(
        lambda world: case_flaps.run(world, flaps=100),
        lambda world: case_flaps.run(world, flaps=8, **_QUICK),
        needs_broker=True,
        needs_library=False,
    ),
    "week": Case(
        lambda world: case_week.run(world, results=week.WEEK),
        lambda world: case_week.run(world, results=3000, limit_s=50.0),
        needs_library=False,
    ),
    "disk": Case(
        case_disk.run,
        lambda world: case_disk.run(world, share=0.02),
    ),
    "gone": Case(
        case_gone.run,
        lambda world: case_gone.run(world, shapes=2),
    ),
    "full": Case(
        case_full.run,
        case_full.run,
        needs_library=False,
    ),
    "space": Case(
        case_space.run,
        lambda world: case_space.run(world, kinds=("tmpfs", "ext4 read-only")),
        needs_library=False,
    ),
    "clock": Case(
        lambda world: case_clock.run(world, rounds=10),
        lambda world: case_clock.run(world, rounds=1),
    ),
    "power": Case(
        case_power.run,
        lambda world: case_power.run(world, lives=1, share=0.03, draws=2),
    ),
}
