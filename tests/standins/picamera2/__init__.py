"""Stands in for picamera2 where there is no Raspberry Pi: those calls of its manual that a reader makes.

Pictures count up: the n-th is all of value n. A buffer that is not given back is missed, as with the real one.
"""

import os
import time
from typing import Any

import numpy as np

_BUFFERS = 4


class CompletedRequest:
    """One buffer of the camera."""

    def __init__(self, camera: "Picamera2", number: int) -> None:
        self._camera = camera
        self._number = number

    def make_array(self, name: str) -> Any:
        assert name == "main"
        width, height = self._camera.configuration["main"]["size"]
        return np.full((height, width, 3), self._number % 250, np.uint8)

    def release(self) -> None:
        self._camera.lent -= 1


class Picamera2:
    """A camera that is there, or is held by another program."""

    @staticmethod
    def global_camera_info() -> list[dict[str, Any]]:
        names = os.environ.get("STANDIN_CAMERAS", "imx708").split()
        return [{"Model": name, "Num": number} for number, name in enumerate(names)]

    def __init__(self, camera_num: int = 0) -> None:
        if os.environ.get("STANDIN_BUSY"):
            raise RuntimeError("Camera __init__ sequence did not complete.")
        self.camera_num = camera_num
        self.configuration: dict[str, Any] = {}
        self.lent = self._given = 0
        self._running = False

    def create_video_configuration(
        self, main: dict[str, Any], *, controls: dict[str, Any], buffer_count: int
    ) -> dict[str, Any]:
        assert main["format"] == "RGB888", "the only one whose bytes are B, G, R"
        return {"main": main, "controls": controls, "buffer_count": buffer_count}

    def configure(self, configuration: dict[str, Any]) -> None:
        low_us, high_us = configuration["controls"]["FrameDurationLimits"]
        assert low_us == high_us
        self.configuration = configuration

    def start(self) -> None:
        assert self.configuration
        self._running = True

    def capture_request(self) -> CompletedRequest:
        assert self._running
        assert self.lent < _BUFFERS - 1, "the camera has no buffer left"
        time.sleep(self.configuration["controls"]["FrameDurationLimits"][0] / 1e6)
        self.lent += 1
        self._given += 1
        return CompletedRequest(self, self._given)

    def stop(self) -> None:
        assert self.lent == 0, "a buffer was not given back"
        self._running = False

    def close(self) -> None:
        assert not self._running
        print("closed in good order", flush=True)
