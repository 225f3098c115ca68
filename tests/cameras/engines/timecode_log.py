"""An engine for tests that finds nothing, at once, and writes down each frame's time code."""

import time
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field
from timecode import read_ms

from agent.flow import Answer, Frame, Route, Timings
from agent.options import Options as BaseOptions
from agent.ports import Context, Engine

ROUTE: Final = Route.LOCAL


class Options(BaseOptions):
    """Writes frames down."""

    type: Literal["timecode_log"] = Field(description="writes frames down")
    path: Path = Field(description="where: a line for each frame")


class TimecodeLog:
    """A line for each frame: camera, when it was decided and captured, when it was made, all in ms; width, height."""

    width = 1

    def __init__(self, options: Options) -> None:
        self._path = options.path
        self._file: Any = None

    def open(self) -> None:
        self._file = self._path.open("a", buffering=1)

    def infer(self, frame: Frame, give_up_s: float) -> Answer:  # noqa: ARG002 - as Engine has it
        now_ms, captured_ms = round(time.monotonic() * 1000), round(frame.captured_s * 1000)
        size = f"{frame.width} {frame.height}"
        self._file.write(f"{frame.camera} {now_ms} {captured_ms} {read_ms(frame.pixels)} {size}\n")
        return Answer((), "none", "timecode_log", Timings(0.0, 0.0, 0.0), size_bytes=0)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def build(options: Options, context: Context) -> Engine:  # noqa: ARG001 - as every plugin has it
    """The plugin's entry."""
    return TimecodeLog(options)
