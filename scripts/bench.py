"""How fast the agent is on this machine, as a table.

    scripts/bench --model yolov8n_320_float32.tflite --video people.avi
    scripts/bench                      the shipped model and the drawn scene
    scripts/bench --model yolov8n_640_float32.tflite --video people.avi --ultralytics
                                       also beside Ultralytics, which gets an environment of its own (gigabytes)

Each figure is a median over runs or frames and stands beside its bar. Nothing else should run on the machine.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import bench_rival
from bench_row import Row

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from agent.admission import Admission  # noqa: E402 - the checkout goes first on the path
from agent.bench import machine  # noqa: E402
from agent.clock import SystemClock  # noqa: E402
from agent.engines import tflite  # noqa: E402
from agent.engines._local import Local  # noqa: E402
from agent.flow import Frame, Pixels, Route  # noqa: E402
from agent.handoff import Bell  # noqa: E402
from agent.imaging import open_video  # noqa: E402
from agent.lanes import Lane  # noqa: E402
from agent.loop import Pulse  # noqa: E402
from agent.outbox import Limits, Outbox  # noqa: E402
from agent.pipeline import Pipeline, Shared  # noqa: E402
from agent.ports import Context  # noqa: E402
from agent.record import Identity  # noqa: E402
from agent.router import Mode, Router  # noqa: E402
from agent.sources import synthetic  # noqa: E402

DEADLINE_S = 5.0
WARM_UP = 5


class Replay:
    """A source over frames that are in memory already."""

    live = True
    pace_fps = None

    def __init__(self, frames: list[Pixels]) -> None:
        self._frames = frames
        self._next = 0

    def open(self) -> None: ...

    def close(self) -> None: ...

    def read(self) -> Pixels:
        self._next += 1
        return self._frames[(self._next - 1) % len(self._frames)]


def engine_of(model: str, threads: int) -> Local:
    """Not opened yet."""
    context = Context("bench", SystemClock(), Path.cwd(), Path.cwd(), trial=True)
    return tflite.build(tflite.Options(type="tflite", model=model, threads=threads), context)


def local_path(options: argparse.Namespace, frames: list[Pixels]) -> Row:
    """Capture to answer through slot, router, lane thread and ticket, against the bare run of the same interpreter."""
    clock, bell = SystemClock(), Bell()
    engine = engine_of(options.model, options.threads)
    lane = Lane("local", engine, clock, on_room=bell.ring)
    outbox = Outbox(None, Limits(), clock)
    identity = Identity("bench", "boot")
    shared = Shared(clock, bell, {Route.LOCAL: lane}, [outbox], identity, DEADLINE_S, local=engine)
    pipeline = Pipeline("cam", Replay(frames), shared)
    admission = Admission([pipeline], Router(Mode.LOCAL_ONLY), shared)
    worker = threading.Thread(target=lane.run, args=(Pulse(clock),), daemon=True)
    worker.start()
    lane.opened.wait()
    pairs = list(alternate(pipeline, admission, engine, options.frames))
    lane.stop()
    worker.join()
    ratio = statistics.median(path_s / bare_s for path_s, bare_s in pairs)
    path_ms, bare_ms = (statistics.median(pair[i] for pair in pairs) * 1000 for i in (0, 1))
    return Row(
        "local path / bare interpreter", ratio, 1.15, "x", f"{path_ms:.2f} ms / {bare_ms:.2f} ms, {len(pairs)} pairs"
    )


def alternate(pipeline: Pipeline, admission: Admission, engine: Local, count: int) -> Iterator[tuple[float, float]]:
    """Path and bare run in turn, so that a slow moment of the machine touches both."""
    for number in range(count + WARM_UP):
        pipeline.capture_one()
        admission.step()
        while not pipeline.idle:
            pipeline.ordered.wait(time.monotonic(), 1.0)
            pipeline.emit_ready()
        newest = pipeline.telemetry.status().newest
        begun_s = time.perf_counter()
        engine._runtime.run()  # noqa: SLF001 - the bare run is what is compared with
        bare_s = time.perf_counter() - begun_s
        if number >= WARM_UP and newest is not None:
            yield newest.answered_s - newest.captured_s, bare_s


def share(model: Path, bar: float, frames: list[Pixels], options: argparse.Namespace) -> Row:
    """Pre- plus post-processing, as a share of the run between them."""
    engine, clock = engine_of(str(model.resolve()), options.threads), SystemClock()
    engine.open()
    shares = []
    for number in range(options.frames + WARM_UP):
        frame = Frame("bench", number, clock.now(), clock.wall(), False, frames[number % len(frames)])
        took = engine.infer(frame, clock.now() + DEADLINE_S).timings
        shares.append((100 * took.preprocess_s + 100 * took.postprocess_s) / took.inference_s)
    engine.close()
    kept = shares[WARM_UP:]
    return Row(f"pre and post / run, {model.stem}", statistics.median(kept), bar, "%", f"{len(kept)} frames")


def run_agent(
    options: argparse.Namespace, source: str, watch: Callable[[subprocess.Popen[bytes], Path], float], threads: int
) -> float:
    """Start `vedette run`, and give what `watch` makes of the process and its results file.

    All starts have one state folder, as on a device: what was learnt of the model at its first start stays.
    """
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.jsonl"
        settings = Path(folder) / "vedette.yaml"
        settings.write_text(
            f"cameras: [{{name: cam, source: {source}}}]\n"
            f"engines: {{local: {{type: tflite, model: {json.dumps(options.model)}, threads: {threads}}}}}\n"
            "routing: {deadline_ms: 5000}\n"
            f"sinks: [{{type: jsonl, path: {json.dumps(str(results))}}}]\n"
        )
        env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "XDG_STATE_HOME": options.state}
        command = [sys.executable, "-m", "agent", "run", str(settings)]
        process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return watch(process, results)
        finally:
            process.terminate()
            process.wait(20)


def first_result_s(process: subprocess.Popen[bytes], results: Path) -> float:
    """Seconds from the start of the process to the first whole line."""
    begun_s = time.perf_counter()
    while not (results.exists() and b"\n" in results.read_bytes()):
        if process.poll() is not None:
            raise SystemExit("the agent ended before its first result; run it by hand to see why")
        time.sleep(0.002)
    return time.perf_counter() - begun_s


def peak_mb(process: subprocess.Popen[bytes], _: Path) -> float:
    """The most memory that the agent has held in ten seconds, MB."""
    time.sleep(10)
    return machine.peak_mb(process.pid)


def median_age_ms(_: subprocess.Popen[bytes], results: Path) -> float:
    """Median age of the frames at the start of inference, without the first second."""
    time.sleep(8)
    lines = results.read_text().splitlines()[:-1]
    ages = [json.loads(line)["latency_ms"]["queue"] for line in lines]
    return statistics.median(ages[len(ages) // 8 :])


def load_frames(video: Path | None) -> list[Pixels]:
    """The first 100 frames."""
    if video is None:
        source = synthetic.build(synthetic.Options(type="synthetic"), Context("b", SystemClock(), Path(), Path()))
        source.open()
        return [source.read() for _ in range(100)]
    capture = open_video(video)
    return [pixels for _ in range(100) if (pixels := capture.read()) is not None]


def source_text(options: argparse.Namespace, fps: float | None) -> str:
    """The camera's YAML: at `fps`, or as fast as it goes."""
    if options.video is None:
        return f"{{type: synthetic, fps: {fps or 10}}}"
    pace = f", realtime: true, fps: {fps}" if fps else ""
    return f"{{type: video_file, path: {json.dumps(str(options.video.resolve()))}, loop: true{pace}}}"


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """Every figure, as soon as it is there."""
    yield local_path(options, load_frames(options.video))
    new, *firsts = [
        run_agent(options, source_text(options, 10), first_result_s, options.threads) for _ in range(options.runs + 1)
    ]
    detail = f"min {min(firsts):.2f}, max {max(firsts):.2f}, {len(firsts)} runs; the model's very first start {new:.2f}"
    yield Row("first result after the start", statistics.median(firsts), 1.5, "s", detail)
    memory_mb = run_agent(options, source_text(options, 10), peak_mb, options.threads)
    yield Row("peak memory, one camera at 10 fps, 10 s", memory_mb, 200, "MB", "1 run")
    period_ms = 1000 / options.fast_fps
    age = run_agent(options, source_text(options, options.fast_fps), median_age_ms, 1)
    detail = f"{age:.1f} ms at {options.fast_fps:g} fps, one inference thread, 8 s"
    yield Row("frame age at inference / frame period", age / period_ms, 1.2, "x", detail)
    for model, bar in ((options.share_640, 10.0), (options.share_320, 15.0)):
        if model is not None:
            yield share(model, bar, load_frames(options.video), options)
    if options.ultralytics is not None:
        job = bench_rival.Job(Path(options.model), options.video.resolve(), options.rival_frames, options.runs)
        yield from bench_rival.rows(job, bench_rival.environment(options.ultralytics))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", default="shapes", help="a .tflite file or a model package (default: the shipped one)")
    add("--video", type=Path, help="a video file (default: the drawn scene)")
    add("--threads", type=int, default=2, help="inference threads (default 2)")
    add("--frames", type=int, default=200, help="frames for the comparison of paths (default 200)")
    add("--runs", type=int, default=5, help="starts of the agent (default 5)")
    add("--fast-fps", type=float, default=60.0, help="a camera faster than the engine (default 60)")
    add(
        "--share-640",
        type=Path,
        metavar="MODEL",
        help="yolov8n, float32, 640 px: what its pre- and post-processing take",
    )
    add("--share-320", type=Path, metavar="MODEL", help="the same at 320 px")
    folder = "also measure Ultralytics on MODEL and the video, installed into this folder (default .venv-ultralytics)"
    place = REPOSITORY / ".venv-ultralytics"
    add("--ultralytics", type=Path, nargs="?", const=place, metavar="FOLDER", help=folder)
    add("--rival-frames", type=int, default=150, help="frames for that comparison (default 150)")
    options = parser.parse_args()
    if options.ultralytics is not None and (options.video is None or not Path(options.model).is_file()):
        parser.error("--ultralytics compares both on one file and one video: give --model FILE.tflite and --video FILE")
    return options


def main() -> None:
    """Print the table."""
    options = parsed()
    if Path(options.model).exists():
        options.model = str(Path(options.model).resolve())
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "",
    )
    print(
        f"{platform.machine()} {cpu}, {os.cpu_count()} cores, Python {platform.python_version()}, model {options.model}"
    )
    missed = 0
    with tempfile.TemporaryDirectory() as options.state:
        for row in rows(options):
            print(row, flush=True)
            missed += not row.fine
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
