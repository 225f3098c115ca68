"""A camera on a CSI connector through GStreamer: nvarguscamerasrc on a Jetson, libcamerasrc elsewhere.

Where the agent's own OpenCV has no GStreamer, as the one from PyPI, the system's Python reads the camera. Its authors
never ran it on a camera; see docs/cameras.md. Read in a child process, whose owner is the camera's thread; see
agent/isolation. Try it: `vedette check --probe`.
"""

from fractions import Fraction
from typing import Any, Literal

from pydantic import Field

from agent.isolation.isolated import Isolated
from agent.isolation.reader import OWN_PYTHON, SYSTEM_PYTHON, Recipe
from agent.ports import Context, Source
from agent.sources._live_options import LiveOptions

_READER = "agent.sources._gstreamer_reader"
_SINK = "video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
"""The newest picture, at once."""
_CURES = {
    "argus": "GStreamer has no nvarguscamerasrc; it comes with JetPack: sudo apt install nvidia-l4t-gstreamer",
    "libcamera": "GStreamer has no libcamerasrc; install it: sudo apt install gstreamer1.0-libcamera",
    "auto": "GStreamer has neither nvarguscamerasrc nor libcamerasrc; install the one of this machine: on a Jetson "
    "sudo apt install nvidia-l4t-gstreamer, elsewhere sudo apt install gstreamer1.0-libcamera",
}


class Options(LiveOptions):
    """A camera on a CSI connector."""

    type: Literal["csi"] = Field(description="a camera on a CSI connector, through GStreamer")
    api: Literal["auto", "argus", "libcamera"] = Field(
        "auto", description="argus: a Jetson's; libcamera: a Raspberry Pi's, and others'; auto: the one that is there"
    )
    sensor: int = Field(0, ge=0, le=15, description="argus: which of the cameras, from 0 on")
    camera: str | None = Field(
        None,
        pattern=r"^[\w/@:.,+-]+$",
        description="libcamera: the camera's id, as `cam --list` shows it; left out: the first",
    )
    width: int = Field(1280, ge=16, le=8192, description="pixels across")
    height: int = Field(720, ge=16, le=8192, description="pixels down")
    fps: float = Field(30.0, gt=0, le=240, description="frames per second that the sensor is asked for")


def pipelines(options: Options) -> list[dict[str, Any]]:
    """What the child may start, the best first: the elements that must be there, and the pipeline."""
    makers = {"argus": _argus, "libcamera": _libcamera}
    return [make(options) for api, make in makers.items() if options.api in (api, "auto")]


def _argus(options: Options) -> dict[str, Any]:
    caps = f"video/x-raw(memory:NVMM),{_size(options)}"
    return {
        "elements": ["nvarguscamerasrc", "nvvidconv"],
        "pipeline": f"nvarguscamerasrc sensor-id={options.sensor} ! {caps} ! nvvidconv ! video/x-raw,format=BGRx ! "
        f"videoconvert ! {_SINK}",
    }


def _libcamera(options: Options) -> dict[str, Any]:
    name = f' camera-name="{options.camera}"' if options.camera else ""
    return {
        "elements": ["libcamerasrc", "videoconvert"],
        "pipeline": f"libcamerasrc{name} ! video/x-raw,{_size(options)} ! videoconvert ! {_SINK}",
    }


def _size(options: Options) -> str:
    rate = Fraction(options.fps).limit_denominator(1001)
    return f"width={options.width},height={options.height},framerate={rate.numerator}/{rate.denominator}"


def build(options: Options, context: Context) -> Source:
    """The plugin's entry."""
    name = f"csi camera {options.camera or options.sensor}"
    settings = {"name": name, "pipelines": pipelines(options), "cure": _CURES[options.api]}
    recipe = Recipe(_READER, name, settings, (OWN_PYTHON, SYSTEM_PYTHON))
    return Isolated(lambda: recipe, options.limits, context.clock, name=name)
