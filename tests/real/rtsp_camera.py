"""A real RTSP camera on loopback for tests: it can freeze, die, come back, and change its size in mid-stream.

A process of its own (tests/real/rtsp_server.py), of GStreamer, run by the system's Python. Needs Debian's packages
gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly.
"""

import os
import signal
import subprocess
from pathlib import Path
from types import TracebackType

import numpy as np
import pytest
from numpy.typing import NDArray
from real.broker import free_port

_SERVER = Path(__file__).with_name("rtsp_server.py")
_PYTHON = "/usr/bin/python3"
_ELEMENTS = "appsrc videoconvert x264enc x265enc rtph264pay jpegenc openjpegenc rtpbin"
_PROBE = f"""
import gi
gi.require_version("Gst", "1.0"); gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
raise SystemExit(any(Gst.ElementFactory.find(name) is None for name in "{_ELEMENTS}".split()))
"""
_CODE_BITS = 32
_CODE_ROWS = slice(8, 24)
"""Of the 32 rows of a bar code, those that no block of a codec shares with what lies below."""


def _served() -> bool:
    if not os.access(_PYTHON, os.X_OK):
        return False
    return subprocess.run([_PYTHON, "-c", _PROBE], capture_output=True, check=False).returncode == 0


needs_rtsp = pytest.mark.skipif(
    not _served(),
    reason="not installed: GStreamer's RTSP server (Debian: apt install gir1.2-gst-rtsp-server-1.0 python3-gi "
    "gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly)",
)


class RtspCamera:
    """One camera at `url` from `start` to `stop`, or within a `with` block."""

    def __init__(
        self,
        width: int = 640,
        height: int = 480,
        *,
        fps: int = 15,
        frame_every_s: float | None = None,
        codec: str = "h264",
        audio: bool = False,
        user: str | None = None,
        password: str = "",
        digest: bool = False,
        loss: float = 0.0,
        resized: tuple[int, int] = (320, 240),
        kbps: int = 1500,
        key_every_s: float = 1.0,
    ) -> None:
        """The camera is off yet.

        Args:
            width: pixels, a multiple of 32 (the bar code).
            height: pixels.
            fps: frames per second, as the stream states them.
            frame_every_s: one frame every so many seconds, whatever `fps` states.
            codec: h264, h265, mjpeg, other (one that FFmpeg does not know) or none (audio alone).
            audio: sound beside the picture.
            user: who is let in; None: everybody.
            password: of `user`.
            digest: digest instead of basic authentication.
            loss: share of packets that are lost.
            resized: width and height after `resize`, and back after another.
            kbps: bit rate of h264 and h265.
            key_every_s: seconds between key frames.
        """
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._arguments = [
            f"--size={width}x{height}",
            f"--other-size={resized[0]}x{resized[1]}",
            f"--fps={fps}",
            f"--codec={codec}",
            f"--loss={loss}",
            f"--kbps={kbps}",
            f"--key-every-s={key_every_s}",
        ]
        if frame_every_s is not None:
            self._arguments.append(f"--frame-every-s={frame_every_s}")
        if user is not None:
            self._arguments += [f"--user={user}", f"--password={password}"]
        self._arguments += ["--audio"] * audio + ["--digest"] * digest

    @property
    def url(self) -> str:
        """Where it is, without user and password; the same after a restart."""
        return f"rtsp://127.0.0.1:{self.port}/cam"

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process is not None, "it is off"
        return self._process.pid

    def start(self) -> "RtspCamera":
        """Switch it on; it listens when this returns."""
        assert self._process is None, "it is on"
        command = [_PYTHON, str(_SERVER), str(self.port), *self._arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self._process.stdout is not None
        with self._process.stdout as said:
            assert said.readline() == b"ready\n", "the camera did not start"
        return self

    def freeze(self) -> None:
        """It hangs: it keeps its connections and says nothing any more."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """As if the power were cut, but for the kernel, which resets its connections and answers to new ones."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    stop = kill

    def restart(self) -> None:
        """Power it on again, or off and on."""
        self.kill()
        self.start()

    def resize(self) -> None:
        """Switch to the other size in mid-stream, from the next frame on."""
        os.kill(self.pid, signal.SIGUSR1)

    def __enter__(self) -> "RtspCamera":  # noqa: PYI034 - typing.Self needs Python 3.11
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def read_timecode_ms(pixels: NDArray[np.uint8]) -> int:
    """When a frame was made: CLOCK_MONOTONIC in ms, modulo 2**32. `pixels`: (height, width, 3) of an unscaled frame."""
    cell = pixels.shape[1] // _CODE_BITS
    middle = slice(cell // 4, max(cell // 4 + 1, cell - cell // 4))
    rows = pixels[_CODE_ROWS, : cell * _CODE_BITS].mean(axis=(0, 2)).reshape(_CODE_BITS, cell)[:, middle].mean(axis=1)
    return int("".join("1" if value > 127 else "0" for value in rows), 2)
