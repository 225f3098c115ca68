"""A Raspberry Pi camera through picamera2, which comes from the system: python3-picamera2.

Where only the system's Python has picamera2, that reads the camera. Never run on a camera by its authors; see
docs/cameras.md. Read in a child process, whose owner is the camera's thread; see agent/isolation. Try it:
`vedette check --probe`.
"""

from typing import Literal

from pydantic import Field

from agent.isolation.isolated import Isolated
from agent.isolation.reader import OWN_PYTHON, SYSTEM_PYTHON, Recipe
from agent.ports import Context, Source
from agent.sources._live_options import LiveOptions

_READER = "agent.sources._picamera_reader"


class Options(LiveOptions):
    """A Raspberry Pi camera."""

    type: Literal["picamera"] = Field(description="a Raspberry Pi camera, through picamera2")
    camera: int = Field(0, ge=0, le=15, description="which of the cameras, from 0 on, as rpicam-hello lists them")
    width: int = Field(1280, ge=16, le=8192, description="pixels across")
    height: int = Field(720, ge=16, le=8192, description="pixels down")
    fps: float = Field(30.0, gt=0, le=240, description="frames per second that the sensor is asked for")
    controls: dict[str, bool | int | float] = Field(
        {}, description="controls of libcamera by their names, such as AwbMode or ExposureValue"
    )


def build(options: Options, context: Context) -> Source:
    """The plugin's entry."""
    name = f"picamera {options.camera}"
    settings = options.model_dump(include={"camera", "width", "height", "fps", "controls"})
    recipe = Recipe(_READER, name, settings, (OWN_PYTHON, SYSTEM_PYTHON))
    return Isolated(lambda: recipe, options.limits, context.clock, name=name)
