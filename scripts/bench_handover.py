"""The whole agent beside a sink that is well and sinks that die: until when has a frame been handed to every outbox?

`conditions` runs the agent in short blocks, the conditions in turn; a block is this file run as a program, which builds
the agent as `vedette run` does and takes the time at the end of a result's publication, behind the last `put`. A broker
is well at the beginning of each block, and dies just before the frames that count.
"""

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

from real.broker import Broker  # noqa: E402 - the checkout goes first on the path

from agent import app, config, pipeline, pipelines  # noqa: E402
from agent.flow import Frame, Result  # noqa: E402
from agent.service import Service  # noqa: E402

AGENT = """
agent: bench
cameras:
  - name: scene
    source: {{type: synthetic, fps: {fps}}}
engines:
  local: {{type: tflite, model: shapes, threads: 1}}
sinks:
  - {{type: jsonl, path: results.jsonl, append: false}}
  - {{type: mqtt, host: localhost, port: {port}, outbox: {{keep_free_mb: 0}}}}
log: {{level: error}}
"""
WELL, REFUSED, SILENT, ILL = "well", "refused", "silent", "ill disk"
CONDITIONS = (WELL, REFUSED, SILENT, ILL)
"""The broker is there; ended; suspended with SIGSTOP; ended, and the outbox's filesystem has no room for it."""
WARM_S, SETTLE_S, REST_S = 1.0, 0.5, 0.5
"""Before the broker dies; from then to the first frame that counts; after the last one."""
_START_LIMIT_S = 30.0


@dataclass
class Sample:
    """What the blocks of one condition have shown."""

    latencies_ms: list[float] = field(default_factory=list)
    """Of each frame, from capture until the last outbox has it."""
    handover_ms: list[float] = field(default_factory=list)
    """Of each frame, the publication alone."""

    @property
    def p99_ms(self) -> float:
        return p99(self.latencies_ms)


def p99(values: list[float]) -> float:
    """Infinite where there are too few to tell."""
    return statistics.quantiles(values, n=100)[98] if len(values) >= 100 else float("inf")  # noqa: PLR2004


# The parent


def conditions(folder: Path, *, rounds: int, block_s: float, fps: float) -> dict[str, Sample]:
    """Every condition once in each round; each round begins with another one."""
    samples = {name: Sample() for name in CONDITIONS}
    for number in range(rounds):
        first = number % len(CONDITIONS)
        for name in (*CONDITIONS[first:], *CONDITIONS[:first]):
            with tempfolder(folder / f"{number}-{name.replace(' ', '-')}") as here:
                _block(here, name, samples[name], block_s=block_s, fps=fps)
    return samples


@contextlib.contextmanager
def tempfolder(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _block(folder: Path, name: str, sample: Sample, *, block_s: float, fps: float) -> None:
    server = Broker(folder / "broker").start()
    kill = {WELL: lambda: None, REFUSED: server.kill, SILENT: server.suspend, ILL: server.kill}[name]
    (folder / "agent.yaml").write_text(AGENT.format(fps=fps, port=server.port))
    outboxes = folder / "state" / "outbox" / "bench"
    outboxes.mkdir(parents=True)
    try:
        with no_room(outboxes) if name is ILL else contextlib.nullcontext():
            said = _run(folder, block_s, kill)
    finally:
        server.kill()
    sample.latencies_ms += said["latencies_ms"]
    sample.handover_ms += said["handover_ms"]
    _must_be(name, said, due=block_s * fps, on_disk=(outboxes / "mqtt-1.db").is_file())


def _must_be(name: str, said: dict[str, list[float]], *, due: float, on_disk: bool) -> None:
    """Whether the block was what its name says. Where frames are missing the rows will tell."""
    waiting, count = said["waiting"][0], len(said["latencies_ms"])
    as_named = (waiting < count / 2) == (name is WELL) and on_disk == (name in {REFUSED, SILENT})
    if count > 0.9 * due and not as_named:
        raise SystemExit(f"not {name}: {waiting:.0f} results wait after {count} frames, a file on disk: {on_disk}")


@contextlib.contextmanager
def no_room(folder: Path) -> Iterator[None]:
    """A full filesystem in memory there; without the right to mount one, a folder in the place of the file."""
    mount = shutil.which("mount") or "mount"
    command = [mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        (folder / "mqtt-1.db").mkdir()
        yield
        return
    try:
        with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass
        yield
    finally:
        subprocess.run([shutil.which("umount") or "umount", "--lazy", str(folder)], check=True)


def _run(folder: Path, block_s: float, kill: Callable[[], None]) -> dict[str, list[float]]:
    """One block; `kill` is called when it is warm."""
    command = [sys.executable, __file__, str(folder), str(block_s)]
    with (
        (folder / "said").open("wb") as said,
        subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=said) as process,
    ):
        assert process.stdout is not None  # noqa: S101 - for the type checker: it was asked for
        limit = threading.Timer(_START_LIMIT_S + 10 * block_s, process.kill)
        limit.start()
        try:
            if process.stdout.readline() == b"warm\n":
                kill()
            text = process.stdout.read()
        finally:
            limit.cancel()
            process.kill()
    if not text:
        raise SystemExit(f"the agent ended early: {(folder / 'said').read_text()[-2000:]}")
    found: dict[str, list[float]] = json.loads(text)
    return found


# The child


class Timed(pipeline.Pipeline):
    """Notes when each result that is published was captured, and when its publication began and ended."""

    published_s: list[tuple[float, float, float]] = []  # noqa: RUF012 - of the one camera

    def _publish(self, result: Result, frame: Frame | None) -> None:
        begun_s = self._clock.now()
        super()._publish(result, frame)
        if result.answer is not None:
            self.published_s.append((result.captured_s, begun_s, self._clock.now()))


class Block:
    """Tells the parent when the agent is warm, and what was measured when it is over; then the process is gone."""

    def __init__(self, block_s: float) -> None:
        self._block_s = block_s
        self._start_s: float | None = None

    def tick(self, agent: app.Agent) -> str:
        now_s, published_s = agent.clock.now(), Timed.published_s
        if self._start_s is None:
            if published_s and now_s >= published_s[0][0] + WARM_S:
                print("warm", flush=True)
                self._start_s = now_s + SETTLE_S
        elif now_s >= self._start_s + self._block_s + REST_S:
            counted = [each for each in published_s if 0 <= each[0] - self._start_s < self._block_s]
            found = {
                "latencies_ms": [1000 * (end_s - captured_s) for captured_s, _, end_s in counted],
                "handover_ms": [1000 * (end_s - begun_s) for _, begun_s, end_s in counted],
                "waiting": [agent.couriers[-1].outbox.status().waiting],
            }
            print(json.dumps(found), flush=True)
            os._exit(0)  # a silent broker is not worth waiting for
        return ""


def main() -> None:
    folder, block_s = Path(sys.argv[1]), float(sys.argv[2])
    pipelines.Pipeline = Timed  # type: ignore[misc]
    make = partial(app.build, base_dir=folder, state_dir=folder / "state")
    Service(config.load(folder / "agent.yaml"), make, Block(block_s).tick).run()


if __name__ == "__main__":
    main()
