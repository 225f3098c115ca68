"""The broker is away for a simulated week at ten results a second. See week.py, which is a process of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from faults.table import Row, World

_MOST_GROWN_MB = 64.0
"""What waits is on disk: memory may not grow with it."""


def run(world: World, *, results: int, limit_s: float = 7200.0) -> Row:
    """So many results; a week of them is 6 048 000."""
    row, folder = Row("broker away for a week"), world.subfolder("week")
    command = [sys.executable, Path(__file__).with_name("week.py"), folder, str(results)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    if done.returncode:
        row.faults.append(f"failed: {done.stderr[-500:]}")
        return row
    _judge(row, json.loads(done.stdout))
    return row


def _judge(row: Row, end: dict[str, Any]) -> None:
    row.rounds, row.accepted, row.delivered = 1, end["accepted"], end["delivered"]
    row.lost = max(0, end["accepted"] - end["delivered"])
    row.notes.append(
        f"memory grew by {end['grown_mb']:.1f} MB at most; {end['disk_mb']:.1f} MB on disk; "
        f"put in {end['put_s']:.0f} s, opened in {end['open_s']:.1f} s, taken in {end['take_s']:.0f} s"
    )
    wrong = ("damaged", "disordered", "dropped", "waiting")
    row.faults += [f"{end[word]} {word}" for word in wrong if end[word]]
    if end["delivered"] != end["accepted"]:
        row.faults.append(f"{end['delivered']} of {end['accepted']} delivered")
    if end["grown_mb"] > _MOST_GROWN_MB:
        row.faults.append(f"memory grew by {end['grown_mb']:.0f} MB")
