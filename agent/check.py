"""`vedette check --probe`: does every part answer? One line each, with the cure where one does not.

Runs on the main thread; each part is opened, used once and closed.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from agent import canvas, imaging, plugins
from agent.clock import Clock, SystemClock
from agent.config import Config
from agent.engines._local import LocalOptions, located
from agent.errors import AgentError, Cause, ConfigError, EngineError
from agent.flow import Answer, Frame, Pixels
from agent.isolation.isolated import Isolated
from agent.options import Options
from agent.ports import Context, Described
from agent.sinks._file_options import FileOptions
from agent.snapshot_options import SnapshotsConfig

LOCAL, STATE = "engine local", "state folder"
"""Parts that every machine has, whatever the configuration."""
_LIMIT_S = 15.0
_TRIAL_SIZE = (480, 640, 3)
_TRIAL_BYTES = 65_536
_ERROR_NUMBER = re.compile(r"\[Errno -?\d+\] ")
_CURES = {
    Cause.CONNECT: "does a server listen there, and are host and port of engines.cloud.url right?",
    Cause.TIMEOUT: "try again, for its model may have to load first; else look at the network and engines.cloud.url",
    Cause.NETWORK: "try again; else look at the network, and for a proxy or firewall on the way",
}
"""What to do where the engine says only what went wrong."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    part: str
    fine: bool
    text: str
    warning: bool = False
    """It works, and a person should know all the same."""

    def __str__(self) -> str:
        word = "warn" if self.warning else "ok  " if self.fine else "FAIL"
        return f"{word}  {self.part}: {self.text}"


@dataclass(frozen=True, slots=True)
class Trial:
    """One part that is to be used once."""

    part: str
    run: Callable[[], list[Finding]]


def ensure_model(options: Options | None, *, base_dir: Path, state_dirs: Sequence[Path]) -> None:
    """Whether the model of `engines.local`, if any, is there and of the right type; nothing of it is loaded.

    Args:
        options: of the on-device engine.
        base_dir: the folder of the configuration.
        state_dirs: the state folders whose installed packages count, for the agent may run as another user.

    Raises:
        ConfigError: it is not.
    """
    if not isinstance(options, LocalOptions):  # another's plugin knows by itself
        return
    problems = [_model_problems(options, base_dir, each) for each in state_dirs]
    if all(problems):
        closed = [each for each in state_dirs if each.is_dir() and not os.access(each, os.R_OK | os.X_OK)]
        hints = (f"{each} may be read by root alone: where the model is installed there, use sudo" for each in closed)
        raise ConfigError(*problems[0], *hints)


def _model_problems(options: LocalOptions, base_dir: Path, state_dir: Path) -> tuple[str, ...]:
    try:
        located(options, plugins.type_of(options), base_dir=base_dir, state_dir=state_dir)
    except ConfigError as error:
        return error.problems
    return ()


def probe(
    config: Config, *, base_dir: Path, state_dir: Path, progress: Callable[[str], None] = lambda _: None
) -> Iterator[Finding]:
    """Use every camera, engine and sink once; `progress` is told what takes long."""
    for trial in trials(config, base_dir, state_dir, progress=progress):
        yield from trial.run()


def trials(config: Config, base_dir: Path, state_dir: Path, *, progress: Callable[[str], None]) -> Iterator[Trial]:
    """Every part that `probe` uses, in the order of the file; nothing is done yet."""
    context = Context(config.agent, SystemClock(), base_dir, state_dir, progress, trial=True)
    for camera in config.cameras:
        yield _trial(f"camera {camera.name}", partial(_try_source, camera.source, context))
    engines = config.engines
    if engines.local is not None:
        yield Trial(LOCAL, partial(_local_findings, engines.local, context))
    if engines.cloud is not None:
        yield _trial("engine cloud", partial(_try_cloud, engines.cloud, context))
    for number, sink in enumerate(config.sinks, start=1):
        yield _trial(f"sink {number}", partial(_try_sink, sink, context))
    if config.snapshots is not None:
        yield _trial("snapshots", partial(_try_snapshots, config.snapshots, base_dir))
    yield _trial(STATE, partial(_try_state, state_dir, max(sink.outbox.keep_free_mb for sink in config.sinks)))


def _trial(part: str, attempt: Callable[[], str]) -> Trial:
    return Trial(part, lambda: [_tried(part, attempt)])


def _tried(part: str, trial: Callable[[], str]) -> Finding:
    try:
        return Finding(part, fine=True, text=trial())
    except AgentError as error:
        cure = _CURES.get(error.cause) if isinstance(error, EngineError) else None
        lines = [_ERROR_NUMBER.sub("", line) for line in str(error).splitlines()]
        return Finding(part, fine=False, text="; ".join([*lines, cure] if cure else lines))


def _try_state(state_dir: Path, keep_free_mb: float) -> str:
    """Whether budget and undelivered results can be kept there; nothing is left behind. Raises AgentError."""
    try:
        folder, free_mb = _room(state_dir)
    except OSError as error:
        cure = "free some space, or set XDG_STATE_HOME (as a service: StateDirectory) to a folder that can be written"
        raise AgentError(f"{state_dir} cannot be written: {error.strerror}; {cure}") from error
    if free_mb < keep_free_mb:
        raise AgentError(
            f"{state_dir} has {free_mb:.0f} MB free, and outbox.keep_free_mb is {keep_free_mb:g}: what a sink cannot "
            "take would wait in memory alone; free some space, or set a lower keep_free_mb"
        )
    can = "can be written" if folder == state_dir.absolute() else "is not there yet, and can be created"
    return f"{state_dir} {can}; {free_mb:.0f} MB are free"


def _try_snapshots(options: SnapshotsConfig, base_dir: Path) -> str:
    """Whether pictures can be written; nothing is left behind. Raises AgentError."""
    folder = base_dir / options.folder
    try:
        _, free_mb = _room(folder)
    except OSError as error:
        raise AgentError(
            f"{folder} cannot be written: {error.strerror}; look at snapshots.folder and its rights"
        ) from error
    if free_mb < options.keep_free_mb:
        raise AgentError(
            f"{folder} has {free_mb:.0f} MB free, and snapshots.keep_free_mb is {options.keep_free_mb:g}: pictures "
            "would give way or not be written; free some space, or set a lower keep_free_mb"
        )
    return f"{folder} can be written; {free_mb:.0f} MB are free"


def _room(folder: Path) -> tuple[Path, float]:
    """The folder or, where it is absent, the one it would come into, and the megabytes that are free there.

    Raises:
        OSError: nothing can be written there.
    """
    folder = folder.absolute()
    while not os.path.lexists(folder):
        folder = folder.parent
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(_TRIAL_BYTES))
        file.flush()
    return folder, shutil.disk_usage(folder).free / 1e6


def _try_source(options: Options, context: Context) -> str:
    source = plugins.build_source(options, context)
    try:
        source.open()
        while (pixels := source.read()) is None:  # a source ends this itself: see Source
            pass
        height, width = pixels.shape[:2]
        reader = "" if isinstance(source, Isolated) else f" ({imaging.opencv_summary()})"
        return f"gives pictures of {width}x{height}{reader}"
    finally:
        source.close()


def _local_findings(options: Options, context: Context) -> list[Finding]:
    """Does it answer, and what is wrong with its model all the same?"""
    complaints = list[str]()
    found = _tried(LOCAL, partial(_try_local, options, context, complaints))
    return [found, *(Finding(LOCAL, fine=True, text=complaint, warning=True) for complaint in complaints)]


def _try_local(options: Options, context: Context, complaints: list[str]) -> str:
    engine = plugins.build_engine(options, context)
    try:
        engine.open()
        clock = context.clock
        frame = Frame("check", 0, clock.now(), clock.wall(), clock.synchronized(), _trial_picture())
        text = _timed(engine, lambda give_up_s: engine.infer(frame, give_up_s), clock)
        if isinstance(engine, Described) and engine.card is not None:
            complaints.extend(engine.card.complaints)
        return text
    finally:
        engine.close()


def _try_cloud(options: Options, context: Context) -> str:
    engine = plugins.build_cloud_engine(options, context, width=1)
    try:
        engine.open()
        picture = imaging.encode(_trial_picture(), engine.longest_px, engine.finest_quality)
        return _timed(engine, lambda give_up_s: engine.infer(picture, give_up_s, lambda _: True), context.clock)
    finally:
        engine.close()


def _trial_picture() -> Pixels:
    return np.full(_TRIAL_SIZE, canvas.GREY, dtype=np.uint8)


def _timed(engine: object, infer: Callable[[float], Answer], clock: Clock) -> str:
    begun_s = clock.now()
    infer(begun_s + _LIMIT_S)
    return f"{engine!r} answers in {(clock.now() - begun_s) * 1000:.0f} ms"


def _try_sink(options: Options, context: Context) -> str:
    if isinstance(options, FileOptions):
        path = context.base_dir / options.path.expanduser()
        if not os.path.lexists(path):
            return _would_create(path)
    sink = plugins.build_sink(options, context)
    try:
        sink.open()
        return f"{sink!r} can be reached"
    finally:
        sink.close()


def _would_create(path: Path) -> str:
    """What a start of the agent makes; a check makes nothing. Raises AgentError where it cannot be made."""
    try:
        folder, free_mb = _room(path.parent)
    except OSError as error:
        cure = "free some space, let the agent's user write there, or name another path"
        raise AgentError(f"{path} cannot be created: {error.strerror}; {cure}") from error
    absent = "" if folder == path.parent.absolute() else f" with its folder {path.parent}, which is absent"
    return f"{path} is not there yet; the agent creates it{absent}; {free_mb:.0f} MB are free"
