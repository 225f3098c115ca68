"""How fast, how frugal and how quiet the outbox is on this machine, as a table.

    scripts/bench-outbox                          about six minutes
    scripts/bench-outbox --backlog 1000000        about half an hour

Results are those of the drawn scene, 1.4 kB each. The broker is a real Mosquitto with TLS, QoS 1. Nothing else should
run on the machine.
"""

import argparse
import contextlib
import json
import math
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

import bench_handover  # noqa: E402 - the checkout goes first on the path
from real.broker import Broker, free_port, make_certificates  # noqa: E402

from agent.clock import SystemClock  # noqa: E402
from agent.courier import IN_FLIGHT  # noqa: E402
from agent.flow import Delivery, Outcome  # noqa: E402
from agent.outbox import Limits, Outbox  # noqa: E402
from agent.ports import Context  # noqa: E402
from agent.sinks import mqtt  # noqa: E402
from agent.store import Store  # noqa: E402

CLOCK = SystemClock()
BLOCK_BYTES = 4096
"""What a filesystem writes at least where something is synced."""


@dataclass(frozen=True)
class Row:
    """One figure beside its bar, if it has one."""

    what: str
    measured: float
    bar: float | None
    unit: str
    detail: str
    least: bool = False

    def __str__(self) -> str:
        figure = f"{self.what:66} {self.measured:9.2f} {self.unit:4}"
        if self.bar is None:
            return f"{figure} {'':16} {self.detail}"
        held = self.measured >= self.bar if self.least else self.measured <= self.bar
        sign = ">=" if self.least else "<="
        verdict = "ok" if held else "MISSED"
        return f"{figure} {f'{sign} {self.bar:g}':8} {verdict:7} {self.detail}"


def main() -> int:
    options = _options()
    print(f"{platform.machine()}, {platform.python_version()}, {options.backlog} results of backlog")
    failed = False
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        for measure in (lambda: pace(Path(name)), lambda: frugality(Path(name)), lambda: backlog(Path(name), options)):
            for row in measure():
                print(row, flush=True)
                failed |= "MISSED" in str(row)
        for row in quiet(Path(name), options):
            print(row, flush=True)
            failed |= "MISSED" in str(row)
    return int(failed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backlog", type=int, default=100_000, metavar="N", help="results that wait; default 100000")
    parser.add_argument("--rounds", type=int, default=4, metavar="N", help="of the whole agent's blocks; default 4")
    parser.add_argument("--seconds", type=float, default=8, metavar="N", help="length of such a block; default 8")
    parser.add_argument("--fps", type=float, default=40, metavar="N", help="frames a second in it; default 40")
    parser.add_argument("--folder", type=Path, help="where to write, as on the medium to be measured; default: /tmp")
    return parser.parse_args()


def records(folder: Path) -> list[dict[str, object]]:
    """Real results, made by the agent itself."""
    (folder / "agent.yaml").write_text(bench_handover.AGENT.format(fps=20, port=free_port()))
    _vedette(folder, seconds=8)
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def _vedette(folder: Path, *, seconds: int) -> None:
    command = [sys.executable, "-m", "agent", "run", "agent.yaml", "--seconds", str(seconds)]
    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "XDG_STATE_HOME": str(folder / "state")}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)


def deliveries(folder: Path, count: int) -> Iterator[Delivery]:
    """So many of them, each with an id of its own."""
    samples = records(folder)
    for number in range(count):
        record = {**samples[number % len(samples)], "id": f"bench/scene/boot/{number}/0", "seq": number}
        yield Delivery(str(record["id"]), "scene", json.dumps(record, separators=(",", ":")).encode())


def an_outbox(path: Path) -> Outbox:
    made = Outbox(Store(path, CLOCK, "boot"), Limits(), CLOCK)
    made.claim()
    made.verify()
    return made


def fill(outbox: Outbox, batch: list[Delivery], *, per_commit: int) -> float:
    """Put all of it, committing after every so many; the seconds it took."""
    begun_s = time.monotonic()
    for number, delivery in enumerate(batch, start=1):
        outbox.put(delivery)
        if number % per_commit == 0:
            outbox.commit()
    outbox.commit()
    return time.monotonic() - begun_s


def drain(outbox: Outbox, send: Callable[[list[Delivery]], object], each: Callable[[], object] = lambda: None) -> int:
    """Deliver all; how many."""
    count = 0
    while batch := list(outbox.peek(IN_FLIGHT, 0)):
        send(batch)
        outbox.settle(batch, [Outcome.ACCEPTED] * len(batch))
        count += len(batch)
        each()
    return count


def pace(folder: Path) -> Iterator[Row]:
    """Into the outbox, a commit every 200 results as at 200 a second, three times."""
    batch = list(deliveries(folder, 20_000))
    rates = []
    for run in range(3):
        outbox = an_outbox(folder / f"pace-{run}.db")
        rates.append(len(batch) / fill(outbox, batch, per_commit=200))
        drain(outbox, lambda _: None)
        outbox.close()  # else SQLite writes on when the object is collected, and the next rows count it
    yield Row("results into the outbox", statistics.median(rates), 2000, "/s", "median of 3 runs", least=True)


def frugality(folder: Path) -> Iterator[Row]:
    """Bytes of the filesystem's blocks, over the bytes of the records, for cameras of 10, 2 and 1 result a second."""
    for per_commit in (10, 2, 1):
        batch = list(deliveries(folder, 3000))
        size_bytes = sum(len(delivery.body) for delivery in batch)
        outbox = an_outbox(folder / f"frugal-{per_commit}.db")
        before = _written()
        fill(outbox, batch, per_commit=per_commit)
        drain(outbox, lambda _: None)
        outbox.close()
        calls, blocks = (after - start for after, start in zip(_written(), before, strict=True))
        detail = f"in and out; by write calls {calls / size_bytes:.2f} x"
        if per_commit == 1:
            alone = BLOCK_BYTES * len(batch) / size_bytes
            detail += f"; no bar: the one block that a sync takes at least is {alone:.1f} x such a record by itself"
        if not blocks:
            detail += "; the filesystem there counts no blocks, so name another with --folder"
        yield Row(
            f"bytes written per byte of record, in blocks, {per_commit} in a commit",
            blocks / size_bytes if blocks else math.inf,
            None if per_commit == 1 else 4,
            "x",
            detail,
        )


def _written() -> tuple[int, int]:
    """What this process has written so far: by its calls, and in blocks of the filesystem, without its journal."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["wchar"]), int(lines["write_bytes"])


def backlog(folder: Path, options: argparse.Namespace) -> Iterator[Row]:
    """Fill it, then deliver all to the broker, and look at the memory all the while."""
    outbox = an_outbox(folder / "backlog.db")
    for number, delivery in enumerate(deliveries(folder, options.backlog), start=1):
        outbox.put(delivery)
        if number % 2000 == 0:
            outbox.commit()
    outbox.commit()
    file_mb = (folder / "backlog.db").stat().st_size / 1e6
    with broker(folder / "broker") as sink:
        memory_mb: list[float] = []
        begun_s = time.monotonic()
        count = drain(outbox, lambda batch: _all_taken(sink.send(batch)), lambda: memory_mb.append(_memory_mb()))
        took_s = time.monotonic() - begun_s
    outbox.close()
    settled = memory_mb[len(memory_mb) // 50 :]
    yield Row(
        "results out to Mosquitto, QoS 1, TLS", count / took_s, 1000, "/s", f"{count} in {took_s:.0f} s", least=True
    )
    detail = f"from {min(settled):.1f} to {max(settled):.1f} MB; the file had {file_mb:.0f} MB"
    yield Row("memory while the backlog drains, highest less lowest", max(settled) - min(settled), 20, "MB", detail)


def _all_taken(outcomes: object) -> None:
    if set(outcomes) != {Outcome.ACCEPTED}:  # type: ignore[call-overload]
        raise SystemExit(f"the broker did not take all: {outcomes}")


def _memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[mqtt.Mqtt]:
    """A connected sink."""
    certificates = make_certificates(folder / "ca")
    server = Broker(folder, certificates=certificates).start()
    options = mqtt.Options.model_validate(
        {"type": "mqtt", "host": "localhost", "port": server.port, "tls": {"ca_file": str(certificates.ca)}}
    )
    sink = mqtt.Mqtt(options, Context("bench", CLOCK, folder, folder))
    sink.open()
    try:
        yield sink
    finally:
        sink.close()
        server.stop()


def quiet(folder: Path, options: argparse.Namespace) -> Iterator[Row]:
    """The whole agent beside a broker that is well and one that dies, in turn: does a frame notice?"""
    samples = bench_handover.conditions(folder, rounds=options.rounds, block_s=options.seconds, fps=options.fps)
    due = options.rounds * options.seconds * options.fps
    counts = {name: len(sample.latencies_ms) for name, sample in samples.items()}
    well = samples.pop(bench_handover.WELL)
    others = (due, counts[bench_handover.WELL] or math.inf)
    furthest = max(abs(count / other - 1) for count in counts.values() for other in others)
    detail = f"{due:.0f} due; " + ", ".join(f"{name} {count}" for name, count in counts.items())
    yield Row("frames handed over, furthest from those due or from the well sink's", 100 * furthest, 2, "%", detail)
    for name, sample in samples.items():
        detail = (
            f"{sample.p99_ms:.2f} ms against {well.p99_ms:.2f} ms; the hand-over alone "
            f"{bench_handover.p99(sample.handover_ms):.2f} ms against {bench_handover.p99(well.handover_ms):.2f} ms"
        )
        what = f"p99 of capture to the last outbox, {name} over well"
        yield Row(what, sample.p99_ms / well.p99_ms if counts[name] else math.inf, 1.05, "x", detail)


if __name__ == "__main__":
    sys.exit(main())
