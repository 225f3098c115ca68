"""`vedette check --probe`: does every part answer? One line each, with the cure where one does not.

Runs on the main thread; each part is opened, used once and closed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from agent import imaging, plugins
from agent.clock import SystemClock
from agent.config import Config
from agent.errors import AgentError
from agent.flow import Frame
from agent.options import Options
from agent.ports import Context

_LIMIT_S = 15.0
_TRIAL_SIZE = (480, 640, 3)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    part: str
    fine: bool
    text: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.fine else 'FAIL'}  {self.part}: {self.text}"


def probe(config: Config, *, base_dir: Path, state_dir: Path) -> Iterator[Finding]:
    """Use every camera, engine and sink once."""
    context = Context(config.agent, SystemClock(), base_dir, state_dir, trial=True)
    for camera in config.cameras:
        yield _tried(f"camera {camera.name}", partial(_try_source, camera.source, context))
    for name, engine in (("local", config.engines.local), ("cloud", config.engines.cloud)):
        if engine is not None:
            yield _tried(f"engine {name}", partial(_try_engine, engine, context))
    for number, sink in enumerate(config.sinks, start=1):
        yield _tried(f"sink {number}", partial(_try_sink, sink, context))


def _tried(part: str, trial: Callable[[], str]) -> Finding:
    try:
        return Finding(part, fine=True, text=trial())
    except AgentError as error:
        return Finding(part, fine=False, text="; ".join(str(error).splitlines()))


def _try_source(options: Options, context: Context) -> str:
    source = plugins.build_source(options, context)
    try:
        source.open()
        height, width = source.read().shape[:2]
        return f"gives pictures of {width}x{height} ({imaging.opencv_summary()})"
    finally:
        source.close()


def _try_engine(options: Options, context: Context) -> str:
    clock, engine = context.clock, plugins.build_engine(options, context)
    try:
        engine.open()
        pixels = np.full(_TRIAL_SIZE, imaging.GREY, dtype=np.uint8)
        frame = Frame("check", 0, clock.now(), clock.wall(), clock.synchronized(), pixels)
        begun_s = clock.now()
        engine.infer(frame, begun_s + _LIMIT_S)
        took_ms = (clock.now() - begun_s) * 1000
        return f"{engine!r} answers in {took_ms:.0f} ms"
    finally:
        engine.close()


def _try_sink(options: Options, context: Context) -> str:
    sink = plugins.build_sink(options, context)
    try:
        sink.open()
        return f"{sink!r} can be reached"
    finally:
        sink.close()
