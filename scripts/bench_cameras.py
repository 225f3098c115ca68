"""What it costs to read a camera in a process of its own: processor time for each frame, and latency, as a table.

    scripts/bench-cameras [--runs N] [--seconds S]

Cost: pictures of 1920x1080 at 30 fps that cost nothing to make, read by a bare reader in this process, and then through
a child. The difference is what crossing takes, in child and agent together.
Latency: a real RTSP camera, H.264, whose frames carry the time. One bare reader and one whole agent look at the same
stream at the same time; from a frame's making to the reader's picture, and to the agent's decision.
Nothing else should run on the machine.
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
READERS = REPOSITORY / "tests" / "cameras"
sys.path[:0] = [str(REPOSITORY), str(READERS), str(READERS.parent), str(READERS.parent / "real")]
os.environ["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), str(READERS)])

from cameras import survey, timecode  # noqa: E402 - the checkout goes first on the path
from cameras.trial import Trial  # noqa: E402
from real.rtsp_camera import RtspCamera  # noqa: E402
from scripted_reader import open_reader  # noqa: E402

from agent.clock import SystemClock  # noqa: E402
from agent.isolation.isolated import Isolated  # noqa: E402
from agent.isolation.reader import Limits, Recipe  # noqa: E402
from agent.ports import Context  # noqa: E402
from agent.sources import _stream_reader, rtsp  # noqa: E402

WIDTH, HEIGHT, FPS = 1920, 1080, 30
STREAM_FPS = 15
SETTINGS: dict[str, Any] = {"script": "/nonexistent", "fps": FPS, "width": WIDTH, "height": HEIGHT}


def bare_ms(seconds: float) -> float:
    """Processor time for a frame, read here."""
    reader = open_reader(SETTINGS)

    def read() -> object:
        reader.grab()
        return reader.picture()

    return _cost_ms(read, seconds, lambda: 0.0)


def crossed_ms(seconds: float) -> tuple[float, float]:
    """Processor time for a frame through a child: in both, and in this process alone."""
    recipe = Recipe("scripted_reader", "bench", SETTINGS)
    source = Isolated(lambda: recipe, Limits(frozen_s=60.0), SystemClock(), name="bench")
    source.open()
    try:
        while source.read() is None:
            pass
        child = next(iter(survey.children(os.getpid())))
        both, own = (time.process_time() + survey.cpu_s(child), time.process_time())
        until_s, frames = time.monotonic() + seconds, 0
        while time.monotonic() < until_s:
            frames += source.read() is not None
        taken_s, own_s = time.process_time() + survey.cpu_s(child) - both, time.process_time() - own
    finally:
        source.close()
    return taken_s / frames * 1000, own_s / frames * 1000


def _cost_ms(read: Callable[[], object], seconds: float, elsewhere_s: Callable[[], float]) -> float:
    begun_s = time.process_time() + elsewhere_s()
    until_s, frames = time.monotonic() + seconds, 0
    while time.monotonic() < until_s:
        frames += read() is not None
    return (time.process_time() + elsewhere_s() - begun_s) / frames * 1000


def latencies_ms(seconds: float) -> tuple[float, float]:
    """Medians of a bare reader and of an agent, on one stream at one time."""
    with (
        tempfile.TemporaryDirectory() as folder,
        RtspCamera(640, 480, fps=STREAM_FPS) as camera,
        Trial(Path(folder) / "agent", {"door": {"type": "rtsp", "url": camera.url}}) as trial,
    ):
        trial.await_frame(time.monotonic(), limit_s=20)
        bare = _watched(camera, seconds)
        begun_s = time.monotonic() - seconds + 1.0
        whole = [(seen.decided_s - seen.made_s) * 1000 for seen in trial.frames() if seen.made_s > begun_s]
    return statistics.median(bare), statistics.median(whole)


def _watched(camera: RtspCamera, seconds: float) -> list[float]:
    options = rtsp.Options(type="rtsp", url=camera.url)
    source: Any = rtsp.build(options, Context("bench", SystemClock(), Path.cwd(), Path.cwd()))
    reader = _stream_reader.open_reader(dict(source._cook().settings))  # noqa: SLF001 - as the child gets them
    found, begun_s = [], time.monotonic()
    while time.monotonic() - begun_s < seconds:
        reader.grab()
        pixels = reader.picture()
        now_s = time.monotonic()
        if now_s - begun_s > 1.0:  # what a stream's beginning holds is older
            found.append(now_s * 1000 % 2**32 - timecode.read_ms(pixels))
    reader.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="of each (default: 5)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run (default: 10)")
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; {options.runs} runs")
    print("     processor time for a frame                     latency, median")
    print("run      bare  crossed  (agent) crossing              bare    agent     more")
    rows = []
    for run in range(1, options.runs + 1):
        bare, (both, own) = bare_ms(options.seconds), crossed_ms(options.seconds)
        reader, whole = latencies_ms(options.seconds)
        rows.append((both - bare, whole - reader))
        print(
            f"{run:3}  {bare:5.2f} ms {both:5.2f} ms ({own:4.2f}) {both - bare:7.2f} ms          "
            f"{reader:5.1f} ms {whole:5.1f} ms {whole - reader:5.1f} ms",
            flush=True,
        )
    crossing, more = (statistics.median(column) for column in zip(*rows, strict=True))
    period_ms = 1000 / STREAM_FPS
    print(f"crossing at {WIDTH}x{HEIGHT}: {crossing:.2f} ms of processor time for a frame (limit 3)")
    print(f"latency: {more:.1f} ms more than a bare reader, {more / period_ms:.2f} frame periods (limit 1.5)")


if __name__ == "__main__":
    main()
