"""Readers at their worst: they hang in native code with every signal blocked, crash, leak, print, talk nonsense, ...

Several cameras at a time, each with a habit of its own: they begin at once, and end at once. So each case also shows
that the others go on.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cameras import survey
from cameras.finding import PATIENCE_S, Finding, World
from cameras.trial import Missed, Trial, faults_in, wait

_NEXT_S = 1.5
_FIRST_S = 3.0
_OLDEST_S = 0.5
_AFTER_KILL_S = 0.5
"""How long a reader may take to die of SIGKILL before it is given up."""


@dataclass(frozen=True)
class Habit:
    """What a reader does, and how that is noticed."""

    word: str
    said: str = "no picture came within"
    limit_s: float = _NEXT_S
    options: dict[str, Any] = field(default_factory=dict)


HABITS = (  # the first six are those of which a test run measures the time
    Habit("hang"),
    Habit("stop"),
    Habit("helper"),
    Habit("leak", "has grown to", options={"memory_mb": 200}),
    Habit("still", "has been the same", options={"frozen_s": _NEXT_S}),
    Habit("crash", r"was killed \(Segmentation fault\)", 0.0),
    Habit("print"),
    Habit("torn"),
    Habit("stubborn"),
    Habit("mute", "ended with code 3", 0.0),
    Habit("deaf", "has not ended", 0.5),
    Habit("garbage", "has not ended", 0.5),
)


def run(world: World, chosen: Sequence[Habit] = HABITS, *, rounds: int = 1, at_once: int = 6) -> list[Finding]:
    """Every habit, so many at a time."""
    groups = [chosen[start : start + at_once] for start in range(0, len(chosen), at_once)]
    return [
        finding
        for number in range(rounds)
        for place, group in enumerate(groups)
        for finding in _together(world, world.subfolder(f"readers-{number}-{place}"), group)
    ]


def _together(world: World, folder: Path, habits: Sequence[Habit]) -> list[Finding]:
    scripts = {habit.word: folder / f"{habit.word}.txt" for habit in habits}
    limits = {"next_frame_s": _NEXT_S, "first_frame_s": _FIRST_S}  # it is often replaced before its habit ends
    sources = {
        habit.word: {"type": "scripted", "script": str(scripts[habit.word]), **limits, **habit.options}
        for habit in habits
    }
    with Trial(folder / "agent", sources) as trial:
        for habit in habits:
            trial.await_frame(0.0, limit_s=time.monotonic() + PATIENCE_S, camera=habit.word)
        time.sleep(0.5)
        victims = trial.readers
        begun_s = time.monotonic()
        for habit in habits:
            scripts[habit.word].write_text(habit.word)
        findings = [_noticed(trial, habit, begun_s) for habit in habits]
        ended_s = time.monotonic()
        for habit in habits:
            scripts[habit.word].unlink()
        for finding in findings:
            _back(trial, finding, ended_s)
        _look_for_remains(trial, findings, victims)
    return [finding.judged(world) for finding in findings]


def _noticed(trial: Trial, habit: Habit, begun_s: float) -> Finding:
    finding = Finding(f"reader: {habit.word}", habit.limit_s)
    try:
        pattern = f"capture-{habit.word}: scripted: .*{habit.said}"
        finding.detected_s = trial.await_word(pattern, begun_s, limit_s=PATIENCE_S)
    except Missed as missed:
        finding.faults.append(str(missed))
    return finding


def _back(trial: Trial, finding: Finding, ended_s: float) -> None:
    camera = finding.what.rpartition(" ")[2]
    try:
        finding.recovered_s = trial.await_frame(ended_s, limit_s=PATIENCE_S, camera=camera)
    except Missed as missed:
        finding.faults.append(str(missed))
    frames = trial.frames(camera)
    if camera != "still":
        finding.faults += faults_in(frames, oldest_s=_OLDEST_S)


def _look_for_remains(trial: Trial, findings: list[Finding], victims: set[int]) -> None:
    """One reader for each camera, and nothing of those that were replaced."""
    try:
        wait(lambda: len(trial.readers) == len(findings), 3.0, lambda: f"one reader each: {trial.readers}")
        wait(
            lambda: not any(survey.session(pid) for pid in victims - trial.readers),
            3.0,
            lambda: f"processes of readers that were replaced: {[survey.session(pid) for pid in victims]}",
        )
    except Missed as missed:
        findings[0].faults.append(str(missed))


def chatter(world: World) -> list[Finding]:
    """A reader that prints without end beside its pictures is not disturbed, nor does it occupy the agent."""
    folder = world.subfolder("chatter")
    script = folder / "script.txt"
    script.write_text("chatter")
    with Trial(folder / "agent", {"door": {"type": "scripted", "script": str(script), "next_frame_s": 2}}) as trial:
        trial.await_frame(0.0, limit_s=time.monotonic() + PATIENCE_S)
        begun_s, before_s = time.monotonic(), survey.cpu_s(trial.pid)
        time.sleep(3.0)
        share = (survey.cpu_s(trial.pid) - before_s) / (time.monotonic() - begun_s)
        frames = [seen for seen in trial.frames() if seen.made_s > begun_s]
        finding = Finding("reader: chatter", note=f"{len(frames) / 3:.1f} fps, the agent takes {share:.0%} of a core")
        finding.faults += faults_in(frames, oldest_s=_OLDEST_S)
        if len(frames) < 25 or share > 0.3:
            finding.faults.append(f"{len(frames)} of 30 frames, {share:.0%} of a core")
        if "trying again" in trial.log:
            finding.faults.append(trial.tail)
    return [finding]


_FREEZER = Path("/sys/fs/cgroup/freezer")
NO_FREEZER = "" if os.access(_FREEZER, os.W_OK) else f"needs {_FREEZER} (cgroup v1), to be written by root"


def unkillable(world: World) -> list[Finding]:
    """A reader in uninterruptible sleep, which not even SIGKILL ends: as with a driver that waits for its device.

    A frozen cgroup does that to any process. The camera is given up, no second reader is started beside the first, and
    the other camera and the agent's stop are not disturbed.
    """
    folder = world.subfolder("unkillable")
    cage = _FREEZER / f"vedette-{os.getpid()}"
    sources = {
        name: {"type": "scripted", "script": str(folder / "none"), "next_frame_s": _NEXT_S} for name in ("door", "yard")
    }
    cage.mkdir()
    try:
        with Trial(folder / "agent", sources) as trial:
            return [_caged(world, trial, cage)]
    finally:
        (cage / "freezer.state").write_text("THAWED")
        wait(lambda: not (cage / "cgroup.procs").read_text(), 10, lambda: "the cage is not empty")
        cage.rmdir()


def _caged(world: World, trial: Trial, cage: Path) -> Finding:
    for camera in ("door", "yard"):
        trial.await_frame(0.0, limit_s=time.monotonic() + PATIENCE_S, camera=camera)
    victim = min(trial.readers)
    finding = Finding("reader: unkillable", _NEXT_S + _AFTER_KILL_S)
    begun_s = time.monotonic()
    (cage / "cgroup.procs").write_text(str(victim))
    (cage / "freezer.state").write_text("FROZEN")
    finding.detected_s = trial.await_word("no picture came within", begun_s, limit_s=PATIENCE_S)
    trial.await_word(f"its driver holds process {victim}, which cannot be killed", begun_s, limit_s=PATIENCE_S)
    held = trial.readers
    if len(held) != 2:
        finding.faults.append(f"readers beside the one that is held: {held}")
    ended_s = time.monotonic()
    (cage / "freezer.state").write_text("THAWED")
    for camera in ("door", "yard"):
        back_s = trial.await_frame(ended_s, limit_s=PATIENCE_S, camera=camera)
        finding.recovered_s = max(finding.recovered_s or 0.0, back_s)
    (cage / "cgroup.procs").write_text(str(min(trial.readers)))
    (cage / "freezer.state").write_text("FROZEN")
    begun_s = time.monotonic()
    trial.ask_to_stop()
    code = trial.await_end()
    finding.note = f"a stop beside it took {time.monotonic() - begun_s:.1f} s"
    if code or time.monotonic() - begun_s > 10:
        finding.faults.append(f"exit code {code}; {finding.note}; {trial.tail}")
    return finding.judged(world)
