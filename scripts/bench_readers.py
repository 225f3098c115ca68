"""PyAV and OpenCV as readers of one RTSP stream, each in a process of its own: a table.

    scripts/bench-readers [--runs N] [--frames N]

Frames carry the time at which they were made. The readers take turns, each at a camera of its own that has just
started, so that neither waits for the next key frame. Then the camera is killed, freezes, and refuses a password.
"""

import argparse
import json
import math
import os
import platform
import resource
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests"), str(REPOSITORY / "tests" / "real")]

from real.rtsp_camera import RtspCamera, read_timecode_ms  # noqa: E402 - the checkout goes first on the path

from agent.flow import Pixels  # noqa: E402
from agent.sources.rtsp import AT_ONCE  # noqa: E402

LIMIT_S = 3
PATIENCE_S = 20.0
READERS = ("av", "opencv")
OPTIONS = {"rtsp_transport": "tcp", "allowed_media_types": "video", **AT_ONCE}


def open_av(url: str) -> Callable[[], Pixels]:
    """Through the agent's own reader, bare."""
    from agent.sources import _stream_reader

    reader = _stream_reader.open_reader({"url": url, "name": "camera", "options": OPTIONS})

    def read() -> Pixels:
        reader.grab()
        return reader.picture()

    return read


def open_opencv(url: str) -> Callable[[], Pixels]:
    """With the same options, and its limits set."""
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "|".join(
        f"{key};{value}" for key, value in {**OPTIONS, "flags": "low_delay"}.items()
    )
    os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"
    import cv2

    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, LIMIT_S * 1000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, LIMIT_S * 1000]
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, limits)
    if not capture.isOpened():
        raise OSError("not opened")

    def read() -> Pixels:
        done, pixels = capture.read()
        if not done:
            raise OSError("no picture")
        return pixels

    return read


def watch(which: str, url: str, frames: int) -> None:
    """The child: read until there is nothing more, and print what was seen as JSON lines."""
    began_s = time.monotonic()
    try:
        read = {"av": open_av, "opencv": open_opencv}[which](url)
        ages_ms = [_age_ms(read())]
        first_s, before_s = time.monotonic() - began_s, time.process_time()
        ages_ms += [_age_ms(read()) for _ in range(frames)]
        spent_ms = (time.process_time() - before_s) / frames * 1000
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        seen = {"first_s": first_s, "ages_ms": ages_ms, "cpu_ms": spent_ms, "peak_mb": peak_mb}
        print(json.dumps(seen), flush=True)
        while True:
            began_s = time.monotonic()
            read()
    except Exception as error:  # noqa: BLE001 - whatever the library raises is its answer
        print(json.dumps({"after_s": time.monotonic() - began_s, "said": f"{type(error).__name__}: {error}"}))


def _age_ms(pixels: Pixels) -> int:
    return (int(time.monotonic() * 1000) - read_timecode_ms(pixels)) % 2**32


class Watcher:
    """One reader's process."""

    def __init__(self, which: str, url: str, frames: int) -> None:
        command = [sys.executable, __file__, "--watch", which, url, "--frames", str(frames)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def line(self) -> dict[str, Any]:
        """What it says next; nothing within PATIENCE_S: that."""
        stream = self._process.stdout
        if stream is None or not select.select([stream], [], [], PATIENCE_S)[0]:
            return {"after_s": math.inf, "said": "nothing"}
        said: dict[str, Any] = json.loads(stream.readline())
        return said

    def end(self) -> None:
        """Whatever it does."""
        self._process.kill()
        self._process.communicate()


def measured(frames: int, ill: Callable[[RtspCamera], None]) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """What each reader saw, and what it said when the camera fell ill: in turns, each at its own camera."""
    return {which: _measured(which, frames, ill) for which in READERS}


def _measured(which: str, frames: int, ill: Callable[[RtspCamera], None]) -> tuple[dict[str, Any], dict[str, Any]]:
    with RtspCamera() as camera:
        watcher = Watcher(which, camera.url, frames)
        seen = watcher.line()
        ill(camera)
        said = watcher.line()
        watcher.end()
        return seen, said


def refused() -> dict[str, str]:
    """What each reader says to a wrong password."""
    with RtspCamera(user="viewer", password="right") as camera:  # noqa: S106 - the camera is our own
        url = camera.url.replace("//", "//viewer:wrong@")
        found = {}
        for which in READERS:
            watcher = Watcher(which, url, 1)
            found[which] = str(watcher.line()["said"])
            watcher.end()
        return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="openings of each reader")
    parser.add_argument("--frames", type=int, default=100, help="frames read in each")
    parser.add_argument("--watch", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.watch:
        watch(*chosen.watch, chosen.frames)
        return
    killed = [measured(chosen.frames, RtspCamera.kill) for _ in range(chosen.runs)]
    frozen = measured(chosen.frames, RtspCamera.freeze)
    passwords = refused()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; {chosen.runs} runs\n")
    print(f"| 640x480 H.264, 15 fps, TCP | {' | '.join(READERS)} |\n|---|---|---|")

    def row(what: str, cell: Callable[[str], str]) -> None:
        print(f"| {what} | {' | '.join(cell(which) for which in READERS)} |")

    def middle(which: str, key: str) -> float:
        return statistics.median(run[which][0][key] for run in killed)

    row("first picture, imports included, s", lambda which: f"{middle(which, 'first_s'):.2f}")
    row("its age, and the oldest of the next 15, ms", lambda which: _early(killed, which))
    row("age after that, median and p95, ms", lambda which: _late(killed, which))
    row("processor time for a picture, ms", lambda which: f"{middle(which, 'cpu_ms'):.1f}")
    row("peak memory, MB", lambda which: f"{middle(which, 'peak_mb'):.0f}")
    row("killed: noticed after, s", lambda which: f"{max(run[which][1]['after_s'] for run in killed):.2f}")
    row(f"frozen: noticed after, s (limit {LIMIT_S}; av has none)", lambda which: f"{frozen[which][1]['after_s']:.1f}")
    row("wrong password", lambda which: passwords[which])


def _early(runs: list[Any], which: str) -> str:
    first = statistics.median(run[which][0]["ages_ms"][0] for run in runs)
    return f"{first:.0f}, {max(max(run[which][0]['ages_ms'][1:16]) for run in runs)}"


def _late(runs: list[Any], which: str) -> str:
    ages = sorted(age for run in runs for age in run[which][0]["ages_ms"][16:])
    return f"{statistics.median(ages):.0f}, {ages[int(0.95 * len(ages))]}"


if __name__ == "__main__":
    main()
