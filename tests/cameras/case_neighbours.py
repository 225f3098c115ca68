"""Four cameras at 10 fps, one of them stuck in one way or another: the other three keep their rate."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cameras.finding import PATIENCE_S, Finding, World
from cameras.trial import Trial, faults_in
from real.rtsp_camera import RtspCamera

_NEIGHBOURS = ("east", "north", "west")
_FOURTH = "south"
_FPS = 10
_LEAST_SHARE = 0.95
_OLDEST_S = 1.5
_STUCK_FPS = 2.0


@dataclass(frozen=True)
class _Way:
    """How the fourth camera gets stuck, and out of it."""

    name: str
    source: dict[str, Any]
    begin: Callable[[], object]
    end: Callable[[], object]


WAYS = ("frozen", "hang", "crash@open")


def run(world: World, *, window_s: float = 30.0, ways: Sequence[str] = WAYS) -> list[Finding]:
    """Each way of being stuck, for `window_s`."""
    with RtspCamera(fps=_FPS) as healthy, RtspCamera(fps=_FPS) as other:
        return [
            _beside(world.subfolder(f"neighbours-{name}"), window_s, healthy, _way(name, other, world.folder))
            for name in ways
        ]


def _way(name: str, camera: RtspCamera, folder: Path) -> _Way:
    limits = {"next_frame_s": 1.5, "first_frame_s": 4}
    if name == "frozen":
        return _Way(name, {"type": "rtsp", "url": camera.url, **limits}, camera.freeze, camera.thaw)
    script = folder / f"{name}.txt"
    source = {"type": "scripted", "script": str(script), **limits}
    return _Way(name, source, lambda: _write(script, name), script.unlink)


def _write(script: Path, name: str) -> None:
    """The reader that runs crashes too: only then is there another opening."""
    script.write_text(name.removesuffix("@open"))
    time.sleep(0.3)
    script.write_text(name)


def _beside(folder: Path, window_s: float, healthy: RtspCamera, way: _Way) -> Finding:
    sources = {name: {"type": "rtsp", "url": healthy.url} for name in _NEIGHBOURS}
    finding = Finding(f"neighbours: one {way.name}")
    with Trial(folder, {_FOURTH: way.source, **sources}) as trial:
        for name in (_FOURTH, *_NEIGHBOURS):
            trial.await_frame(0.0, limit_s=time.monotonic() + PATIENCE_S, camera=name)
        way.begin()
        try:
            rates = _rates(trial, window_s)
        finally:
            way.end()
        for name in _NEIGHBOURS:
            finding.faults += faults_in(trial.frames(name), oldest_s=_OLDEST_S)
    shares = [rates[name] / _FPS for name in _NEIGHBOURS]
    finding.note = f"the others keep {', '.join(f'{share:.1%}' for share in shares)} of {_FPS} fps"
    if min(shares) < _LEAST_SHARE:
        finding.faults.append(finding.note)
    if rates[_FOURTH] > _STUCK_FPS:
        finding.faults.append(f"the fourth was not stuck: {rates[_FOURTH]:.1f} fps")
    return finding


def _rates(trial: Trial, window_s: float) -> dict[str, float]:
    """Frames per second of each camera from now on, by when they were made."""
    begun_s = time.monotonic()
    time.sleep(window_s)
    until_s = time.monotonic()
    time.sleep(0.3)  # for those that are on their way
    return {
        name: sum(begun_s < seen.made_s <= until_s for seen in trial.frames(name)) / (until_s - begun_s)
        for name in (*_NEIGHBOURS, _FOURTH)
    }
