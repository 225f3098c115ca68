"""A source for tests: tests/cameras/scripted_reader.py in a child process."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from agent.isolation.isolated import Isolated
from agent.isolation.reader import Recipe
from agent.options import Secret
from agent.ports import Context, Source
from agent.sources._live_options import LiveOptions


class Options(LiveOptions):
    """A reader that misbehaves when told to."""

    type: Literal["scripted"] = Field(description="a reader that misbehaves when told to")
    script: Path = Field(description="file that holds how")
    fps: float = Field(10.0, description="pictures a second")
    width: int = Field(640, description="pixels")
    height: int = Field(480, description="pixels")
    password: Secret | None = Field(None, description="handed to the child, for nothing")


def build(options: Options, context: Context) -> Source:
    """The plugin's entry."""

    def cook() -> Recipe:
        settings = options.model_dump(include={"fps", "width", "height"})
        password = options.password.reveal(context.base_dir) if options.password else ""
        return Recipe("scripted_reader", "scripted", {**settings, "script": str(options.script), "password": password})

    return Isolated(cook, options.limits, context.clock, name="scripted")
