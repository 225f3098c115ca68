"""A real RTSP camera that freezes, dies, restarts, changes its size, its codec or its pace, or refuses the password."""

import re
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from cameras.finding import PATIENCE_S, Finding, World
from cameras.trial import Missed, Seen, Trial, faults_in, wait
from faults import shim
from real.rtsp_camera import RtspCamera

_NEXT_S = 1.5
_FIRST_S = 4.0
_OLDEST_S = 1.5
"""Of what a stream's beginning holds: the server sends from its last key frame on."""
_BETWEEN_S = 0.5
_YEARS_10_S = 3652 * 86400


def _source(camera: RtspCamera, **options: Any) -> dict[str, Any]:
    return {"type": "rtsp", "url": camera.url, "next_frame_s": _NEXT_S, "first_frame_s": _FIRST_S, **options}


def _settled(trial: Trial, camera: str = "door") -> None:
    trial.await_frame(0.0, limit_s=time.monotonic() + PATIENCE_S, camera=camera)


def run(
    world: World,
    *,
    rounds: int = 1,
    held_s: float = 2.0,
    steps: Sequence[str] = ("frozen", "dead", "restarted", "resized"),
) -> list[Finding]:
    """One camera through freeze, death, restart, and new sizes; a fault lasts `held_s` beyond its being noticed."""
    folder = world.subfolder("servers")
    findings = []
    with RtspCamera(fps=10) as camera, Trial(folder, {"door": _source(camera)}) as trial:
        _settled(trial)
        for step in steps * rounds:
            time.sleep(_BETWEEN_S)
            findings.append(_STEPS[step](trial, camera, held_s))
        findings[-1].faults += faults_in(trial.frames(), oldest_s=_OLDEST_S)
        findings[-1].note += f"; the oldest frame of all was {max(seen.age_s for seen in trial.frames()):.2f} s old"
    return [finding.judged(world) for finding in findings]


def _frozen(trial: Trial, camera: RtspCamera, held_s: float) -> Finding:
    finding = Finding("camera: frozen (SIGSTOP)", _NEXT_S)
    begun_s = time.monotonic()
    camera.freeze()
    try:
        finding.detected_s = trial.await_word("no picture came within", begun_s, limit_s=PATIENCE_S)
        time.sleep(held_s)
    finally:
        camera.thaw()
    finding.recovered_s = trial.await_frame(time.monotonic(), limit_s=PATIENCE_S)
    return finding


def _dead(trial: Trial, camera: RtspCamera, held_s: float) -> Finding:
    finding = Finding("camera: dead (SIGKILL)", _NEXT_S)
    begun_s = time.monotonic()
    camera.kill()
    finding.detected_s = trial.await_word("trying again", begun_s, limit_s=PATIENCE_S)
    time.sleep(held_s)
    camera.start()
    finding.recovered_s = trial.await_frame(time.monotonic(), limit_s=PATIENCE_S)
    return finding


def _restarted(trial: Trial, camera: RtspCamera, _: float) -> Finding:
    finding = Finding("camera: restarted")
    camera.restart()
    finding.recovered_s = trial.await_frame(time.monotonic(), limit_s=PATIENCE_S)
    return finding


def _resized(trial: Trial, camera: RtspCamera, _: float) -> Finding:
    """In mid-stream. Either way there are frames of the new size soon."""
    finding = Finding("camera: another size in mid-stream")
    before = trial.frames()[-1].size
    begun_s = time.monotonic()
    camera.resize()

    def found() -> list[Seen]:
        return [seen for seen in trial.frames() if seen.made_s > begun_s and seen.size != before]

    try:
        first = wait(found, PATIENCE_S, lambda: f"no frame of another size; it says:\n{trial.tail}")[0]
        finding.recovered_s = first.decided_s - begun_s
        finding.note = f"{before[0]}x{before[1]} -> {first.size[0]}x{first.size[1]}"
    except Missed as missed:
        finding.faults.append(str(missed))
    return finding


_STEPS: dict[str, Callable[[Trial, RtspCamera, float], Finding]] = {
    "frozen": _frozen,
    "dead": _dead,
    "restarted": _restarted,
    "resized": _resized,
}


def codec(world: World, *, held_s: float = 2.0) -> list[Finding]:
    """A camera set to a codec that cannot be read, and back."""
    camera = RtspCamera(fps=10).start()
    wrong = RtspCamera(fps=10, codec="other")
    wrong.port = camera.port
    finding = Finding("camera: wrong codec", _FIRST_S)
    try:
        with Trial(world.subfolder("codec"), {"door": _source(camera)}) as trial:
            _settled(trial)
            camera.kill()
            begun_s = time.monotonic()
            wrong.start()
            pattern = r"capture-door: rtsp://.*(decoded|first picture)"
            finding.detected_s = trial.await_word(pattern, begun_s, limit_s=PATIENCE_S)
            line = next(line for _, line in trial.words if re.search(pattern, line))
            finding.note = re.sub(r".*/cam:? |; .*", "", line).strip()
            time.sleep(held_s)
            wrong.kill()
            camera.start()
            finding.recovered_s = trial.await_frame(time.monotonic(), limit_s=PATIENCE_S)
    finally:
        camera.kill()
        wrong.kill()
    return [finding.judged(world)]


def password(world: World, *, watched_s: float = 4.0) -> list[Finding]:
    """A wrong password: said once, tried at most once a minute, and the camera beside it is not disturbed."""
    finding = Finding("camera: wrong password", 0.5)
    env = {"RIGHT": "all right", "WRONG": "all wrong"}
    with RtspCamera(fps=10, user="viewer", password=env["RIGHT"]) as camera:
        sources = {
            name: _source(camera, username="viewer", password={"env": variable})
            for name, variable in (("door", "RIGHT"), ("yard", "WRONG"))
        }
        with Trial(world.subfolder("password"), sources, env=env) as trial:
            pattern = "capture-yard: .*refuses user or password"
            trial.await_word(pattern, 0.0, limit_s=time.monotonic() + PATIENCE_S)
            _settled(trial)
            begun_s = time.monotonic()
            time.sleep(watched_s)
            said = [at_s for at_s, line in trial.words if re.search(pattern, line)]
            frames = [seen for seen in trial.frames() if seen.made_s > begun_s]
            finding.note = f"tried {len(said)} times in {time.monotonic() - said[0]:.0f} s"
            if len(said) > 1 + watched_s / 60 or any(later - earlier < 60 for earlier, later in pairwise(said)):
                finding.faults.append(f"{finding.note}: {said}")
            if len(trial.readers) > 1 and watched_s < 30:
                finding.faults.append("a reader is there in the pause after a refusal")
            if len(frames) < 9 * watched_s:
                finding.faults.append(f"the camera beside it gave {len(frames)} frames in {watched_s:g} s")
    return [finding]


def boot(world: World, *, absent_s: float = 3.0) -> list[Finding]:
    """A camera that is absent when the agent starts, which is ready meanwhile."""
    finding = Finding("camera: absent at the start")
    camera = RtspCamera(fps=10)
    begun_s = time.monotonic()
    with Trial(world.subfolder("boot"), {"door": _source(camera)}) as trial:
        trial.await_ready()
        finding.note = f"ready after {time.monotonic() - begun_s:.1f} s"
        trial.await_word("nothing answers at", begun_s, limit_s=PATIENCE_S)
        time.sleep(absent_s)
        with camera:
            finding.recovered_s = trial.await_frame(time.monotonic(), limit_s=PATIENCE_S)
            trial.ask_to_stop()
            if trial.await_end():
                finding.faults.append(trial.tail)
    return [finding.judged(world)]


def clock(world: World) -> list[Finding]:
    """Steps of the wall clock: frames go on, and a frozen camera is noticed and found again as ever."""
    if shim.MISSING:
        return [Finding("clock steps", note=f"not run; {shim.REASON}")]
    folder = world.subfolder("clock")
    wall = folder / "wall"
    env = {**shim.Plan(folder / "none", wall=wall).environment(), "LD_PRELOAD": str(shim.compiled(folder))}
    with RtspCamera(fps=10) as camera, Trial(folder / "agent", {"door": _source(camera)}, env=env) as trial:
        _settled(trial)
        finding = Finding("clock: stepped by years")
        for step_s in (_YEARS_10_S, -_YEARS_10_S, 25, 0):
            _step(wall, step_s)
            finding.recovered_s = max(
                finding.recovered_s or 0.0, trial.await_frame(time.monotonic(), limit_s=PATIENCE_S)
            )
            time.sleep(0.5)
        if "trying again" in trial.log:
            finding.faults.append(trial.tail)
        _step(wall, -_YEARS_10_S)
        frozen = _frozen(trial, camera, 0.0)
        frozen.what = "clock: stepped, and the camera frozen"
        frozen.faults += faults_in(trial.frames(), oldest_s=_OLDEST_S)
        shift = (folder / "agent" / "results.jsonl").read_text()
        if "T" not in shift or len({line.split('"captured_at":"')[1][:4] for line in shift.splitlines()}) < 3:
            finding.faults.append("the results do not show the steps: the clock was not stepped")
    return [finding.judged(world), frozen.judged(world)]


def _step(wall: Path, step_s: int) -> None:
    beside = wall.with_suffix(".new")
    beside.write_text(str(step_s))
    beside.rename(wall)


def sparse(world: World, *, every_s: float = 60.0, next_s: float = 90.0, frames: int = 3) -> list[Finding]:
    """A camera that sends a frame now and then is not taken for one that has frozen."""
    limits = {"next_frame_s": next_s, "first_frame_s": 5 * every_s}
    with RtspCamera(fps=10, frame_every_s=every_s, key_every_s=0.1) as camera:  # each is a key frame
        return [_seldom(world.subfolder("sparse"), _source(camera, **limits), every_s, frames)]


def seldom(world: World, *, every_s: float, next_s: float, frames: int) -> list[Finding]:
    """The same with a reader that does so."""
    folder = world.subfolder("seldom")
    source = {"type": "scripted", "script": str(folder / "none"), "fps": 1 / every_s, "next_frame_s": next_s}
    return [_seldom(folder, source, every_s, frames)]


def _seldom(folder: Path, source: dict[str, Any], every_s: float, frames: int) -> Finding:
    finding = Finding(f"camera: a frame every {every_s:g} s", source["next_frame_s"])
    with Trial(folder / "agent", {"door": source}) as trial:
        wait(lambda: len(trial.frames()) >= frames, (frames + 5) * every_s, lambda: f"{frames} frames; {trial.tail}")
        seen = trial.frames()
        finding.note = f"{len(seen)} frames, at most {max(each.age_s for each in seen):.2f} s old"
        if "trying again" in trial.log:
            finding.faults.append(trial.tail)
        finding.faults += faults_in(seen, oldest_s=every_s + _OLDEST_S)  # FFmpeg gives H.264 when the next one begins
    return finding
