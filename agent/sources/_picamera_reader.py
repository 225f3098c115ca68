"""A Raspberry Pi camera, read with picamera2. Runs in the child, under the system's Python maybe.

picamera2 comes from the system. It is imported when the camera is opened, and only here.
"""

import contextlib
import importlib
from typing import Any, Final, cast

from agent.errors import FrameUnreadable, LibraryMissing, SourceBroken, SourceLost
from agent.flow import Pixels

_BUFFERS: Final = 4
"""One that is held here, one being filled, and two for when this process waits its turn."""


class PicameraReader:
    """One running camera. A request is held from its grab to the next: that is a buffer of the camera."""

    def __init__(self, camera: Any, name: str) -> None:  # noqa: ANN401 - a system library without types
        self._camera = camera
        self._name = name
        self._request: Any = None

    def grab(self) -> None:
        """See Reader. Raises SourceLost."""
        self._release()
        try:
            self._request = self._camera.capture_request()
        except (RuntimeError, OSError) as error:
            raise SourceLost(f"{self._name} failed ({error}); look at its cable, and at dmesg") from error

    def picture(self) -> Pixels:
        """See Reader. Raises FrameUnreadable."""
        if self._request is None:
            raise FrameUnreadable(f"{self._name} gave no picture yet")
        return cast("Pixels", self._request.make_array("main"))

    def _release(self) -> None:
        if self._request is not None:
            self._request.release()
            self._request = None

    def close(self) -> None:
        """Stop the sensor and give it back."""
        with contextlib.suppress(RuntimeError, OSError):  # a camera that is gone cannot be stopped
            self._release()
            self._camera.stop()
            self._camera.close()


def open_reader(settings: dict[str, Any]) -> PicameraReader:
    """Start the camera. `settings`: camera, width, height, fps, controls.

    Raises:
        LibraryMissing: picamera2 is not there.
        SourceBroken: no such camera.
        SourceLost: another program has it.
    """
    number, name = settings["camera"], f"picamera {settings['camera']}"
    library = _library(name)
    there = len(library.global_camera_info())
    if number >= there:
        advice = "check the cable, and rpicam-hello --list-cameras"
        raise SourceBroken(f"{name}: {there or 'no'} camera{'s are' if there != 1 else ' is'} there; {advice}")
    period_us = round(1e6 / settings["fps"])
    try:
        camera = library(number)
        camera.configure(
            camera.create_video_configuration(
                # libcamera names formats by the order in a word: its RGB888 lies in memory as B, G, R.
                main={"size": (settings["width"], settings["height"]), "format": "RGB888"},
                controls={"FrameDurationLimits": (period_us, period_us), **settings["controls"]},
                buffer_count=_BUFFERS,
            )
        )
        camera.start()
    except (RuntimeError, IndexError, OSError) as error:
        raise SourceLost(f"{name} cannot be opened ({error}); does another program use it?") from error
    return PicameraReader(camera, name)


def _library(name: str) -> Any:  # noqa: ANN401 - a system library without types
    try:
        return importlib.import_module("picamera2").Picamera2
    except (ImportError, ValueError) as error:  # ValueError: a part of it was built for another numpy
        raise LibraryMissing(
            f"{name}: picamera2 is not there; install it: sudo apt install python3-picamera2 ({error})"
        ) from error
