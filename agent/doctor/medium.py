"""How fast a disk keeps what it is given. A process of its own, for a disk that hangs would hold up any thread of ours.

Imports little: it starts within a blink on a slow board.
"""

import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, BinaryIO, Final

from agent.clock import Clock, SystemClock
from agent.doctor.machine import answer

LIMIT_S: Final = 20.0
_PHASE_S: Final = 3.0
_COMMITS, _COMMIT_BYTES = 30, 4096
"""What an outbox does once a second: a page or two, and a sync."""
_PIECES, _PIECE_BYTES = 32, 1 << 18
_HOME: Final = str(Path(__file__).resolve().parents[2])
_START: Final = "import sys; sys.path.append(sys.argv[1]); from agent.doctor.medium import main; main(sys.argv[2])"


@dataclass(frozen=True, slots=True)
class Speed:
    """What was measured in one folder."""

    error: str
    """Why nothing could be; empty: it was."""
    commit_ms: float
    """Median of a small write and its sync."""
    worst_ms: float
    mb_s: float
    """A larger file, synced at its end; megabytes a second."""


def measured(folder: Path) -> Speed | None:
    """The speed of the disk under `folder`, which must be there; None: it gave no answer within LIMIT_S."""
    said = answer([sys.executable, "-I", "-c", _START, _HOME, str(folder)], LIMIT_S)
    return None if said is None else Speed(**json.loads(said))


def main(folder: str) -> None:
    """Measure, and print a Speed as JSON; the child's entry. Nothing is left behind."""
    clock = SystemClock()
    told: dict[str, Any] = {"error": "", "commit_ms": 0.0, "worst_ms": 0.0, "mb_s": 0.0}
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            took_s = _commits(file, clock)
            told |= {"commit_ms": median(took_s) * 1000, "worst_ms": max(took_s) * 1000, "mb_s": _stream(file, clock)}
    except OSError as error:
        told["error"] = error.strerror or str(error)
    sys.stdout.write(json.dumps(told))


def _commits(file: BinaryIO, clock: Clock) -> list[float]:
    """Seconds of each."""
    begun_s, took_s = clock.now(), list[float]()
    while len(took_s) < _COMMITS and (not took_s or clock.now() - begun_s < _PHASE_S):
        before_s = clock.now()
        file.write(os.urandom(_COMMIT_BYTES))
        os.fdatasync(file.fileno())
        took_s.append(clock.now() - before_s)
    return took_s


def _stream(file: BinaryIO, clock: Clock) -> float:
    """Megabytes a second, the sync included."""
    begun_s, written = clock.now(), 0
    for _ in range(_PIECES):
        written += file.write(os.urandom(_PIECE_BYTES))
        if clock.now() - begun_s > _PHASE_S:
            break
    os.fsync(file.fileno())
    return written / 1e6 / max(clock.now() - begun_s, 1e-6)
