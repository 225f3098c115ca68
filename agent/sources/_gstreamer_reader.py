"""A GStreamer pipeline, read through an OpenCV that has GStreamer. Runs in the child, maybe by the system's Python."""

import subprocess
from collections.abc import Iterable
from typing import Any, Final

from agent import imaging
from agent.errors import ConfigError, LibraryMissing, SourceLost
from agent.sources._video_reader import VideoReader

_INSPECT_S: Final = 20.0
"""The first call after a boot makes GStreamer's registry."""


def open_reader(settings: dict[str, Any]) -> VideoReader:
    """Start the first pipeline whose elements are all there.

    `settings`: name; pipelines, the best first, each with `elements` and `pipeline`; cure, a sentence.

    Raises:
        LibraryMissing: this Python's OpenCV has no GStreamer.
        ConfigError: an element is not installed.
        SourceLost: the pipeline does not start.
    """
    name = settings["name"]
    if not imaging.has_gstreamer():
        raise LibraryMissing(
            f"{name}: there is no OpenCV with GStreamer (PyPI's has none); install the system's: "
            "sudo apt install python3-opencv gstreamer1.0-tools"
        )
    for choice in settings["pipelines"]:
        if _all_there(choice["elements"]):
            return VideoReader(
                imaging.open_pipeline(choice["pipeline"], name=name),
                lost=f"{name}: the pipeline has ended; look at the camera's cable, and at dmesg",
                unreadable=f"{name} gave a picture that is none",
            )
    raise ConfigError(f"{name}: {settings['cure']}")


def _all_there(elements: Iterable[str]) -> bool:
    """Whether GStreamer has them. A pipeline with an element that is absent hangs while it is opened."""
    command = ["gst-inspect-1.0", "--exists"]
    try:
        return all(
            subprocess.run([*command, name], capture_output=True, timeout=_INSPECT_S, check=False).returncode == 0  # noqa: S603 - names of our own
            for name in elements
        )
    except FileNotFoundError as error:
        raise ConfigError("gst-inspect-1.0 is not there; install it: sudo apt install gstreamer1.0-tools") from error
    except subprocess.TimeoutExpired as error:
        raise SourceLost("gst-inspect-1.0 does not answer; is this machine overloaded?") from error
