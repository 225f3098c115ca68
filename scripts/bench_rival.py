"""The whole local path beside Ultralytics' `predict(stream=True)`: the same model and video, one after the other.

Ultralytics is under AGPL-3.0. It is no part of the agent and never in its environment: it gets one of its own, and runs
as another program (bench_ultralytics.py).
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench_row import Row

REPOSITORY = Path(__file__).resolve().parents[1]
PINNED = ("torch==2.14.1", "torchvision==0.29.1", "ultralytics==8.4.190", "ai-edge-litert==2.3.0")
PATIENCE_S = 300.0


@dataclass(frozen=True)
class Job:
    """What both are given."""

    model: Path
    video: Path
    frames: int
    runs: int


@dataclass(frozen=True)
class Run:
    """One run of one program, from its start."""

    first_s: float
    """Until its first result."""
    fps: float
    """From the first result to the last."""
    peak_mb: float
    threads: int | None = None


def environment(folder: Path) -> Path:
    """The Python of the environment in `folder`, which is made where it is not there yet."""
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"making {folder} for Ultralytics: a download of some gigabytes", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    have = subprocess.run([str(python), "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
    missing = [pin for pin in PINNED if pin not in have.split()]
    if missing:
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PINNED], check=True)
    return python


def rows(job: Job, python: Path) -> Iterator[Row]:
    """All in turn, so that a slow minute of the machine touches all; medians of each round's ratio."""
    rounds = list[tuple[Run, ...]]()
    with tempfile.TemporaryDirectory() as state:  # as on a device: what the first start learns of the model stays
        vedette(job, None, state)
        for _ in range(job.runs):
            rival = ultralytics(job, python)
            each = vedette(job, None, state), vedette(job, rival.threads, state), plain_loop(job, rival.threads)
            rounds.append((rival, *each, _first_start(job)))
    theirs, ours, same, loop, new = (list(runs) for runs in zip(*rounds, strict=True))
    count = f"{theirs[0].threads} thread" + ("" if theirs[0].threads == 1 else "s")
    yield _ratio("frame rate / Ultralytics', defaults", _Bar("fps", 1.6), ours, theirs)
    yield _ratio("peak memory / Ultralytics', defaults", _Bar("peak_mb", 0.5), ours, theirs)
    yield _ratio("time to the first result / Ultralytics', defaults", _Bar("first_s", 0.7), ours, theirs)
    yield _ratio("the same at the model's very first start here", _Bar("first_s", 0.7), new, theirs)
    yield _ratio(f"frame rate / Ultralytics', {count} each", _Bar("fps", 1.0), same, theirs)
    yield _ratio(f"plain loop / Ultralytics', {count} each", _Bar("fps", 1.0), loop, theirs)


def _first_start(job: Job) -> Run:
    """On a device that has never seen this model."""
    with tempfile.TemporaryDirectory() as state:
        return vedette(job, None, state)


@dataclass(frozen=True)
class _Bar:
    """What a ratio of one of a Run's figures must be."""

    figure: str
    value: float


_UNITS = {"fps": "frames/s", "peak_mb": "MB", "first_s": "s"}


def _ratio(what: str, bar: _Bar, ours: list[Run], theirs: list[Run]) -> Row:
    """The median of the runs' ratios; of a rate at least the bar, of anything else at most."""
    pairs = [(getattr(one, bar.figure), getattr(other, bar.figure)) for one, other in zip(ours, theirs, strict=True)]
    ratios = [one / other for one, other in pairs]
    middles = (statistics.median(values) for values in zip(*pairs, strict=True))
    told = " / ".join(f"{middle:.2f}" for middle in middles)
    detail = f"{told} {_UNITS[bar.figure]}, {len(pairs)} runs, ratio {min(ratios):.2f} to {max(ratios):.2f}"
    return Row(what, statistics.median(ratios), bar.value, "x", detail, least=bar.figure == "fps")


def ultralytics(job: Job, python: Path) -> Run:
    driver = REPOSITORY / "scripts" / "bench_ultralytics.py"
    with tempfile.TemporaryDirectory() as folder:
        quiet = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_CONFIG_DIR": folder}
        command = [str(python), str(driver), str(job.model), str(job.video), str(job.frames)]
        return _told(command, folder, quiet)


def plain_loop(job: Job, threads: int | None) -> Run:
    """The same engine without the agent around it: read, infer, read."""
    with tempfile.TemporaryDirectory() as folder:
        loop = REPOSITORY / "scripts" / "bench_loop.py"
        command = [sys.executable, str(loop), str(job.model), str(job.video), str(job.frames), str(threads)]
        return _told(command, folder, {})


def _told(command: list[str], folder: str, extra: dict[str, str]) -> Run:
    """What a program says of itself in its last line."""
    begun_s = time.monotonic()
    env = {**os.environ, **extra}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    if done.returncode:
        raise SystemExit(f"{command[1]} failed; the end of what it said:\n{done.stderr[-2000:]}")
    told = json.loads(done.stdout.splitlines()[-1])
    fps = (told["frames"] - 1) / (told["last_s"] - told["first_s"])
    return Run(told["first_s"] - begun_s, fps, told["peak_kib"] * 1024 / 1e6, told["threads"])


def vedette(job: Job, threads: int | None, state: str) -> Run:
    """`vedette run` until it has written so many results."""
    with tempfile.TemporaryDirectory() as folder:
        results, settings = Path(folder) / "results.jsonl", Path(folder) / "vedette.yaml"
        settings.write_text(_configuration(job, results, threads), encoding="utf-8")
        env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "XDG_STATE_HOME": state}
        begun_s = time.monotonic()
        command = [sys.executable, "-m", "agent", "run", str(settings)]
        process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            first_s, peak_kib = _watched(process, results, job.frames)
        finally:
            process.terminate()
            process.wait(20)
        answered_s = [_answered_s(line) for line in results.read_text(encoding="utf-8").splitlines()[: job.frames]]
    fps = (len(answered_s) - 1) / (answered_s[-1] - answered_s[0])
    return Run(first_s - begun_s, fps, peak_kib * 1024 / 1e6, threads)


def _configuration(job: Job, results: Path, threads: int | None) -> str:
    chosen = "" if threads is None else f", threads: {threads}"
    return (
        f"cameras: [{{name: cam, source: {{type: video_file, path: {json.dumps(str(job.video))}, loop: true}}}}]\n"
        f"engines: {{local: {{type: tflite, model: {json.dumps(str(job.model))}{chosen}}}}}\n"
        "routing: {deadline_ms: 5000}\n"
        f"sinks: [{{type: jsonl, path: {json.dumps(str(results))}}}]\n"
    )


def _watched(process: "subprocess.Popen[bytes]", results: Path, frames: int) -> tuple[float, int]:
    """When the first whole line was there, monotonic, and the most memory until there were `frames` of them, KiB."""
    first_s, give_up_s = None, time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_s:
        lines = results.read_bytes().count(b"\n") if results.exists() else 0
        if lines and first_s is None:
            first_s = time.monotonic()
        if process.poll() is not None:
            raise SystemExit("the agent ended before its results were there; run it by hand to see why")
        if lines >= frames and first_s is not None:
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
            return first_s, next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        time.sleep(0.002 if first_s is None else 0.1)
    raise SystemExit(f"the agent has not written {frames} results within {PATIENCE_S:g} s")


def _answered_s(line: str) -> float:
    record = json.loads(line)
    return float(record["captured_monotonic_s"] + record["latency_ms"]["total"] / 1000)
