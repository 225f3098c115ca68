"""An engine for tests that does what its model file says: which class it finds, and what goes wrong when.

{"finds": "car", "after": 20, "then": "fail"}      fail, exit or stall; without `then`: nothing goes wrong
"""

import json
import os
import time
from typing import Any, Final, Literal

from pydantic import Field

from agent import package
from agent.errors import EngineBroken
from agent.flow import Answer, Frame, Prediction, Route, Timings
from agent.options import Options as BaseOptions
from agent.ports import Context, Engine

ROUTE: Final = Route.LOCAL
_EXIT = 139
"""What a shell says of a process that a segmentation fault has ended."""


class Options(BaseOptions):
    """Does what its model file says."""

    type: Literal["acting"] = Field(description="does what its model file says")
    model: str = Field(description="an installed package")


class Acting:
    """One box, until something goes wrong."""

    width = 1

    def __init__(self, options: Options, context: Context) -> None:
        self._options = options
        self._context = context
        self._acts: dict[str, Any] = {}
        self._runs = 0

    def open(self) -> None:
        context = self._context
        found = package.find(self._options.model, base_dir=context.base_dir, shelf=context.state_dir / "models")
        self._acts = json.loads(found.file.read_text(encoding="utf-8"))

    def infer(self, frame: Frame, give_up_s: float) -> Answer:  # noqa: ARG002 - as Engine has it
        self._runs += 1
        if self._runs > self._acts.get("after", 0):
            self._go_wrong(self._acts.get("then"))
        time.sleep(0.002)
        found = Prediction(frame.width / 2, frame.height / 2, 40.0, 30.0, 0.9, self._acts["finds"], 0)
        return Answer((found,), self._options.model, "acting", Timings())

    def _go_wrong(self, how: str | None) -> None:
        if how == "fail":
            raise EngineBroken("it was told to fail")
        if how == "exit":
            os._exit(_EXIT)
        if how == "stall":
            time.sleep(0.05)

    def close(self) -> None: ...


def build(options: Options, context: Context) -> Engine:
    """The plugin's entry."""
    return Acting(options, context)
