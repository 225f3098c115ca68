"""`vedette explain`: reads results files, prints why frames went where they went, and draws it. Main thread."""

import argparse
import contextlib
import difflib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from agent import history, words
from agent.chart import timeline
from agent.errors import AgentError, ChartError, ConfigError
from agent.explain import figures, moments
from agent.explain.moments import Moment
from agent.explain.report import explanation
from agent.explain.tracks import track
from agent.history import CameraHistory, History

_DONE, _FAILED = 0, 1
_RESULTS = ".jsonl"
_NO_PLACE = (Path("/dev"), Path("/proc"))
"""What is read from there has no folder for a picture."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `vedette explain`."""
    parser.description = (
        "Read a results file and say, for each camera, why its frames went where they went: in tables, and as a "
        "picture over time. The picture needs Matplotlib: pip install matplotlib."
    )
    parser.add_argument(
        "results",
        type=Path,
        nargs="+",
        help="files that a sink of type jsonl has written, compressed by gzip or not: with rotation "
        "RESULTS.*.jsonl* RESULTS.jsonl; -: standard input",
    )
    parser.add_argument(
        "--camera", action="append", metavar="NAME", help="only this camera, as NAME or AGENT/NAME; may come repeatedly"
    )
    parser.add_argument("--since", type=moments.parse, metavar="T", help=f"only frames from then on: {moments.FORMS}")
    parser.add_argument("--until", type=moments.parse, metavar="T", help="only frames up to then, written likewise")
    picture = parser.add_mutually_exclusive_group()
    picture.add_argument(
        "--picture",
        type=Path,
        metavar="FILE.png",
        help="where the picture goes; left out: beside the last of RESULTS, with .png in place of .jsonl or after any "
        "other name, and nowhere for standard input. An earlier picture of vedette's is replaced, anything else stays",
    )
    picture.add_argument("--no-picture", action="store_true", help="print only")


def run(options: argparse.Namespace) -> int:
    """Do it; the exit code.

    Raises:
        ConfigError: the file cannot be read or holds no result, or the options leave nothing of it.
        AgentError: the output cannot be written.
    """
    files: list[Path] = options.results
    read = history.read(*files)
    cameras = _between(_chosen(read, options.camera), options.since, options.until)
    _say("\n\n".join([_head(files, read), *(explanation(camera, read.reasons) for camera in cameras)]))
    path = None if options.no_picture else options.picture or _beside(files[-1])
    if path is None:
        return _DONE
    try:
        timeline.draw(path, [track(camera) for camera in cameras], read.reasons, title=_title(files, cameras))
    except ChartError as error:
        with contextlib.suppress(OSError):
            print(error, file=sys.stderr)  # noqa: T201 - for the person at the terminal
        return _FAILED if options.picture else _DONE
    _say(f"\nPicture: {path}")
    return _DONE


def _say(text: str) -> None:
    """Print to whoever still reads: `| head` is no error, a full disk is. Raises AgentError."""
    try:
        print(text, flush=True)  # noqa: T201 - the command's output
    except OSError as error:
        with Path(os.devnull).open("wb") as nowhere:  # else Python would try again at its end, and complain
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise AgentError(f"the output cannot be written: {error.strerror}") from error


def _head(files: Sequence[Path], read: History) -> str:
    frames = sum(len(camera.frames) for camera in read.cameras)
    lines = [
        f"{history.name_of(*files)}: {words.plural(frames, 'frame')} of {words.plural(len(read.cameras), 'camera')}"
    ]
    return "\n".join([*lines, *(f"  left out: {fault}" for fault in read.faults)])


def _title(files: Sequence[Path], cameras: Sequence[CameraHistory]) -> str:
    """Of the picture."""
    more = len(cameras) - timeline.MOST_CAMERAS
    others = f"; {words.plural(more, 'more camera')}: see --camera" if more > 0 else ""
    names = history.name_of(*(Path(path.name) for path in files))
    return f"Why frames went where they went: {names}{others}"


def _beside(results: Path) -> Path | None:
    """Where the picture of this file goes, a place of its own for each file; None: there is none."""
    if results == history.STDIN or any(results.is_relative_to(place) for place in _NO_PLACE):
        return None
    plain = results.with_suffix("") if results.suffix == _RESULTS else results
    return plain.with_name(f"{plain.name}.png")


def _chosen(read: History, names: Sequence[str] | None) -> list[CameraHistory]:
    """The cameras of these names, all without any. Raises ConfigError for one that the file does not have."""
    if not names:
        return list(read.cameras)
    for name in names:
        if not any(_is(camera, name) for camera in read.cameras):
            raise ConfigError(_no_such_camera(read, name))
    return [camera for camera in read.cameras if any(_is(camera, name) for name in names)]


def _is(camera: CameraHistory, name: str) -> bool:
    return name in (camera.name, camera.name.partition("/")[2])


def _no_such_camera(read: History, name: str) -> str:
    known = sorted(
        {camera.name.partition("/")[2] for camera in read.cameras} | {camera.name for camera in read.cameras}
    )
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    return f"--camera {name}: the file has no such camera, but {', '.join(c.name for c in read.cameras[:10])}{meant}"


def _between(cameras: list[CameraHistory], since: Moment | None, until: Moment | None) -> list[CameraHistory]:
    """What was captured from `since` up to `until`. Raises ConfigError when that is nothing."""
    known = [camera.frames.at_s for camera in cameras if len(camera.frames)]
    if not known or (since is None and until is None):
        return cameras
    begin_s, end_s = min(float(at_s[0]) for at_s in known), max(float(at_s[-1]) for at_s in known)
    since_s = since.resolved(end_s) if since else begin_s
    until_s = until.resolved(end_s) if until else end_s
    kept = [camera for camera in (_cut(camera, since_s, until_s) for camera in cameras) if len(camera.frames)]
    if kept:
        return kept
    asked = " ".join(f"{option} {at.text}" for option, at in (("--since", since), ("--until", until)) if at)
    raise ConfigError(f"{asked}: no frame was captured then; the file has {figures.period(begin_s, end_s)}")


def _cut(camera: CameraHistory, since_s: float, until_s: float) -> CameraHistory:
    parts = (camera.frames, camera.corrections)
    frames, corrections = (part.where((part.at_s >= since_s) & (part.at_s <= until_s)) for part in parts)
    return CameraHistory(camera.name, frames, corrections, clock_set=camera.clock_set)
