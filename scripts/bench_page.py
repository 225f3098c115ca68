"""What do people who look at the page cost the frames?

One agent runs all the time: a camera of 1280x720 and the shipped model on one thread. Four viewers come and go in turns
of a few seconds: three who take live pictures as fast as they come, one who asks for them and takes nothing, and beside
them one page that listens to what happens. Results a second with them and without them are compared turn by turn, so
that whatever else the machine does meets both alike. They run in a process of their own, on this machine all the same.

page_cpu is the share of one core that the page's own thread takes, which other work on the machine hardly changes.
With --fps 0 the camera gives frames as fast as the agent takes them, and every cycle that the page takes is missed.
"""

import argparse
import contextlib
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from agent import app, config, document  # noqa: E402 - the checkout goes first on the path
from agent.demo import free_port  # noqa: E402
from agent.flow import Fate  # noqa: E402
from agent.service import Service  # noqa: E402

AGENT = """
agent: bench
cameras: [{{name: scene, source: {{type: synthetic, width: 1280, height: 720, fps: {fps}}}}}]
engines: {{local: {{type: tflite, model: shapes, threads: 1}}}}
sinks: [{{type: jsonl, path: {folder}/results.jsonl, append: false}}]
page: {{port: {port}}}
log: {{level: error}}
"""
FLAT_OUT_FPS = 240
SETTLE_S = 0.7
"""After viewers came or went; not counted."""
VIEWERS, DRAWS = 3, 10_000


def watch(port: int, path: str, over: threading.Event, *, takes: bool) -> None:
    """Somebody who looks until it is over."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as viewer:
        viewer.settimeout(0.2)
        viewer.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        while not over.is_set():
            if not takes:
                over.wait()
            with contextlib.suppress(TimeoutError):
                viewer.recv(1 << 16)


def audience(port: int) -> None:
    """The viewers' process: they come and go as the lines of standard input say."""
    over, threads = threading.Event(), list[threading.Thread]()
    for line in sys.stdin:
        over.set()
        for thread in threads:
            thread.join()
        threads.clear()
        if line.strip() == "come":
            over = threading.Event()
            live = "/live/scene.mjpeg"
            seats = [(live, True)] * VIEWERS + [(live, False), ("/events", True)]
            threads += [
                threading.Thread(target=watch, args=(port, path, over), kwargs={"takes": takes})
                for path, takes in seats
            ]
            for thread in threads:
                thread.start()


@contextlib.contextmanager
def running(folder: Path, port: int, fps: float) -> Iterator[app.Agent]:
    text = AGENT.format(fps=fps or FLAT_OUT_FPS, port=port, folder=folder)
    settings = config.validate(document.parse(text, name="bench"))
    service = Service(settings, partial(app.build, base_dir=folder, state_dir=folder))
    agent, thread = service.agent, threading.Thread(target=service.run)
    thread.start()
    try:
        while (newest := agent.pipelines[0].telemetry.status().newest) is None or newest.seq < 0:
            time.sleep(0.1)
        time.sleep(2)
        yield agent
    finally:
        agent.stop.ask()
        thread.join()


@dataclass(frozen=True, slots=True)
class Turn:
    """What a turn has shown."""

    fps: float
    """Results a second, from one result to another, for at a camera's pace one more or less says nothing."""
    page_share: float
    """CPU seconds a second of the page's thread."""


def turn_of(agent: app.Agent, turn_s: float) -> Turn:
    """The agent, for so long."""
    time.sleep(SETTLE_S)
    page = next(thread.native_id for thread in threading.enumerate() if thread.name == "page")
    count, at_s, cpu_s = moment(agent, page)
    time.sleep(turn_s)
    more, later_s, more_cpu_s = moment(agent, page)
    return Turn((more - count) / (later_s - at_s), (more_cpu_s - cpu_s) / turn_s)


def moment(agent: app.Agent, thread: int | None) -> tuple[int, float, float]:
    """Results so far, when the last one came, and the CPU seconds of a thread."""
    status = agent.pipelines[0].telemetry.status()
    fields = Path(f"/proc/self/task/{thread}/stat").read_text().rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return status.fates[Fate.DONE], status.newest.answered_s if status.newest else 0.0, cpu_s


def interval(ratios: list[float]) -> tuple[float, float]:
    """Where 95 % of the means of samples drawn from `ratios` lie."""
    draw = random.Random(1)
    means = sorted(statistics.fmean(draw.choices(ratios, k=len(ratios))) for _ in range(DRAWS))
    return means[DRAWS // 40], means[-DRAWS // 40]


def measure(fps: float, *, turns: int, turn_s: float) -> dict[str, object]:
    port = free_port()
    command = [sys.executable, __file__, "--audience", str(port)]
    with (
        tempfile.TemporaryDirectory() as name,
        running(Path(name), port, fps) as agent,
        subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as viewers,
    ):
        assert viewers.stdin is not None  # noqa: S101 - for the type checker: it was asked for
        found: dict[str, list[Turn]] = {"come": [], "go": []}
        for turn in range(turns):
            for what in ("come", "go") if turn % 2 else ("go", "come"):
                print(what, file=viewers.stdin, flush=True)
                found[what].append(turn_of(agent, turn_s))
        print("go", file=viewers.stdin, flush=True)
        viewers.stdin.close()
    ratios = [come.fps / go.fps for come, go in zip(found["come"], found["go"], strict=True)]
    return {
        "camera_fps": fps or "flat out",
        "without_fps": round(statistics.fmean(turn.fps for turn in found["go"]), 2),
        "with_fps": round(statistics.fmean(turn.fps for turn in found["come"]), 2),
        "ratio": round(statistics.fmean(ratios), 4),
        "ratio_95": [round(each, 4) for each in interval(ratios)],
        "page_cpu_without": round(statistics.fmean(turn.page_share for turn in found["go"]), 4),
        "page_cpu_with": round(statistics.fmean(turn.page_share for turn in found["come"]), 4),
        "load": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fps", type=float, nargs="+", default=[10.0, 30.0, 0.0], help="of the camera; 0: flat out")
    parser.add_argument("--turns", type=int, default=12, help="with viewers, and as many without (default %(default)s)")
    parser.add_argument("--turn-s", type=float, default=3.0, help="seconds of a turn (default %(default)s)")
    parser.add_argument("--audience", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.audience:
        audience(options.audience)
        return
    for fps in options.fps:
        print(json.dumps(measure(fps, turns=options.turns, turn_s=options.turn_s)), flush=True)


if __name__ == "__main__":
    main()
