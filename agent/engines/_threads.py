"""How many CPU threads a model runs fastest with on this device: measured once, and kept.

Used by the one thread of the local lane, while it opens the engine.
"""

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from agent import folder

MOST: Final = 4
"""More help no model of this kind on the devices that this is for."""
_GAIN: Final = 0.95
"""A thread more has to save a twentieth: it is one that cameras and sinks have not."""
_BUSY: Final = 0.75
"""Runnable processes a core, over a minute: what is measured beside them is true for this minute only."""
UNMEASURED: Final = 0
"""The model runs, but how fast it can is not known: the device was busy."""
_FILE: Final = "threads.json"
_MOST_KEPT: Final = 50


def candidates() -> range:
    """The counts worth trying here."""
    return range(1, min(MOST, os.cpu_count() or 1) + 1)


def busy() -> bool:
    """Whether others want the cores now."""
    cores = os.cpu_count() or 1
    return os.getloadavg()[0] > _BUSY * cores


def fastest(counts: range, run_s: Callable[[int], float]) -> int:
    """The fewest threads that no other count is much faster than; `run_s` measures a run."""
    best, best_s = counts[0], run_s(counts[0])
    for count in counts[1:]:
        taken_s = run_s(count)
        if taken_s <= best_s * _GAIN:
            best, best_s = count, taken_s
    return best


def known(state_dir: Path, model: str) -> int | None:
    """What was measured earlier for `model`, a name that changes with its file, its runtime and the device.

    UNMEASURED: only that it runs; None: nothing.
    """
    count = _kept(state_dir).get(model)
    return count if count == UNMEASURED or count in candidates() else None


def keep(state_dir: Path, model: str, count: int) -> None:
    """Remember it; a folder that cannot be written means that it is measured again."""
    kept = {**_kept(state_dir), model: count}
    newest = dict(list(kept.items())[-_MOST_KEPT:])
    with contextlib.suppress(OSError):
        state_dir.mkdir(parents=True, exist_ok=True)
        folder.write_whole(state_dir / _FILE, json.dumps(newest).encode(), beside=state_dir / f".{_FILE}")


def _kept(state_dir: Path) -> dict[str, int]:
    try:
        kept = json.loads((state_dir / _FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(kept, dict):
        return {}
    return {name: count for name, count in kept.items() if type(count) is int}
