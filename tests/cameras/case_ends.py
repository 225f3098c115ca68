"""What is left when readers, or the agent, end at any moment: no process, thread, descriptor or shared memory."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cameras import survey
from cameras.finding import Finding, World
from cameras.trial import Missed, Trial, wait
from real.agent_process import REPOSITORY

_ORPHAN_S = 2.0
"""A reader outlives its agent by no more."""
_MOST_GROWTH_BYTES = 8_000_000
_STOP_S = 8.0
"""Cameras have 2 s; then lanes, results and sinks, none of which has much to do here."""
_HERE = Path(__file__).resolve().parent


def cycles(world: World, *, count: int = 200) -> list[Finding]:
    """Open, read, and end a camera in turns of every kind: by a close, SIGKILL, SIGSTOP and a crash."""
    folder, finding = world.subfolder("cycles"), Finding(f"ends: {count} cycles")
    said = subprocess.run(
        [sys.executable, str(_HERE / "cycles.py"), str(count), str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(_HERE)])},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    held = json.loads(said)
    growth_bytes = held["after_bytes"] - held["before_bytes"]
    kinds = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in held["after"].items())
    finding.note = f"{kinds}, {growth_bytes / 1e6:+.1f} MB"
    if held["after"] != held["before"] or growth_bytes > _MOST_GROWTH_BYTES:
        finding.faults.append(said)
    return [finding]


def kills(world: World, *, count: int = 60) -> list[Finding]:
    """SIGKILL for the agent at any moment of its first seconds, with readers of several habits."""
    finding, draw = Finding(f"ends: agent killed {count} times"), random.Random(world.seed)  # noqa: S311
    most, longest_s = 0, 0.0
    for number in range(count):
        folder = world.subfolder(f"kill-{number}")
        with Trial(folder, _habits(folder)) as trial:
            trial.await_ready()
            time.sleep(draw.uniform(0.0, 2.0))
            most = max(most, len(trial.readers))
            trial.kill()
            longest_s = max(longest_s, _time_of_emptiness(folder, finding.faults))
    finding.note = f"up to {most} readers, which outlived it by {longest_s:.2f} s at most"
    if not most:
        finding.faults.append("no reader was there at any kill")
    return [finding]


def _habits(folder: Path) -> dict[str, Any]:
    sources = {}
    for word in ("well", "hang", "stubborn", "crash@open"):
        script = folder / f"script-{word}"
        script.write_text(word)
        sources[word.removesuffix("@open")] = {"type": "scripted", "script": str(script)}
    return sources


def _time_of_emptiness(folder: Path, faults: list[str]) -> float:
    begun_s = time.monotonic()
    try:
        wait(lambda: not survey.of_folder(folder), _ORPHAN_S, lambda: f"left: {survey.of_folder(folder)}")
    except Missed as missed:
        faults.append(str(missed))
    return time.monotonic() - begun_s


def stops(world: World, *, count: int = 20) -> list[Finding]:
    """SIGTERM for the agent while readers hang, or begin."""
    finding, draw = Finding(f"ends: agent stopped {count} times"), random.Random(world.seed)  # noqa: S311
    longest_s = 0.0
    for number in range(count):
        folder = world.subfolder(f"stop-{number}")
        with Trial(folder, _habits(folder)) as trial:
            trial.await_ready()
            time.sleep(draw.uniform(0.0, 2.0))
            begun_s = time.monotonic()
            trial.ask_to_stop()
            code = trial.await_end()
            took_s = time.monotonic() - begun_s
            left = survey.of_folder(folder)
        longest_s = max(longest_s, took_s)
        if code or left or took_s > _STOP_S or "left behind" in trial.log:
            finding.faults.append(f"exit code {code} after {took_s:.1f} s, left: {left}; {trial.tail}")
    finding.note = f"within {longest_s:.1f} s"
    return [finding]
