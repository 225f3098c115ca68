"""A broker that is away for a simulated week: the real outbox on the real disk, the clock moved by hand.

`python week.py FOLDER COUNT` puts COUNT results, ten to a simulated second, commits once a second as the commit thread
would, starts the outbox anew, and takes everything out again. A line of JSON tells what came of it, and of the memory.
"""

import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

from faults.driver import body_of  # noqa: E402 - the checkout goes first on the path

from agent.courier import IN_FLIGHT  # noqa: E402
from agent.flow import Delivery, Outcome  # noqa: E402
from agent.outbox import Limits, Outbox  # noqa: E402
from agent.store import Store  # noqa: E402

RATE_HZ = 10
WEEK = 7 * 86400 * RATE_HZ
_MAX_AGE_S = 8 * 86400.0


class HandClock:
    """Time that moves when it is told to."""

    def __init__(self) -> None:
        self._now_s = 1000.0

    def now(self) -> float:
        return self._now_s

    def wall(self) -> float:
        return 1_800_000_000.0 + self._now_s

    def synchronized(self) -> bool:
        return True

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        self._now_s += timeout_s
        return event.is_set()

    def advance(self, seconds: float) -> None:
        self._now_s += seconds


def memory_mb(name: str) -> float:
    """VmRSS, or the most that it was (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith(name))


def name_of(number: int) -> str:
    """The id of the nth result."""
    return f"faults/cam{number % 2}/week/{number}/0"


def put_all(outbox: Outbox, clock: HandClock, count: int) -> None:
    """Nobody takes anything."""
    for number in range(count):
        clock.advance(1 / RATE_HZ)
        name = name_of(number)
        outbox.put(Delivery(name, f"cam{number % 2}", body_of(name, number)))
        if number % RATE_HZ == RATE_HZ - 1:
            outbox.commit()
    outbox.close()


def take_all(outbox: Outbox) -> Iterator[Delivery]:
    """The broker is there again."""
    while batch := outbox.peek(IN_FLIGHT, 0.0):
        yield from batch
        outbox.settle(batch, [Outcome.ACCEPTED] * len(batch))


def receive(outbox: Outbox) -> dict[str, int]:
    """Everything that comes, in its order."""
    counts = {"delivered": 0, "damaged": 0, "disordered": 0}
    for delivery in take_all(outbox):
        name = name_of(counts["delivered"])
        counts["disordered"] += delivery.id != name
        counts["damaged"] += delivery.body != body_of(delivery.id, int(delivery.id.split("/")[3]))
        counts["delivered"] += 1
    return counts


def main(folder: Path, count: int) -> dict[str, float]:
    """Put, start anew, take; the counts, the seconds and the megabytes."""
    path, clock, limits = folder / "outbox.db", HandClock(), Limits(max_age_s=_MAX_AGE_S)
    begun_s, begun_mb = time.monotonic(), memory_mb("VmRSS")
    outbox = Outbox(Store(path, clock, "boot"), limits, clock)
    outbox.claim()
    outbox.verify()
    put_all(outbox, clock, count)
    put_s, disk_mb = time.monotonic() - begun_s, path.stat().st_size / 1e6
    again = Outbox(Store(path, clock, "boot"), limits, clock)
    again.claim()
    again.verify()
    opened_s = time.monotonic() - begun_s - put_s
    counts = receive(again)
    left = again.status()
    again.close()
    return {
        "accepted": count,
        **counts,
        "dropped": left.dropped,
        "waiting": left.waiting,
        "put_s": put_s,
        "open_s": opened_s,
        "take_s": time.monotonic() - begun_s - put_s - opened_s,
        "disk_mb": disk_mb,
        "grown_mb": memory_mb("VmHWM") - begun_mb,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))) + "\n")
