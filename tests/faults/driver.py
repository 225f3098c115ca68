"""The program under fault: the agent's real outbox, courier, supervisor and sinks, fed with results at a given rate.

`python driver.py` reads jobs from standard input, a line of JSON each, and makes a process by fork for each of them, so
that hundreds of them cost no imports. It answers with a line of JSON. `{"job": ...}` starts one, `{"wait": PID}` waits.
"""

import ctypes
import importlib
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

from faults import sample, shim  # noqa: E402 - the checkout goes first on the path
from faults.oracle import checksum  # noqa: E402

from agent.clock import SystemClock  # noqa: E402
from agent.courier import Courier  # noqa: E402
from agent.errors import SinkUnavailable  # noqa: E402
from agent.flow import Delivery, Kind, Outcome  # noqa: E402
from agent.loop import Loop, Pulse, Stage  # noqa: E402
from agent.outbox import Limits, Outbox  # noqa: E402
from agent.ports import Context, Sink  # noqa: E402
from agent.states import States  # noqa: E402
from agent.store import Store  # noqa: E402
from agent.supervisor import Supervisor  # noqa: E402

_log = logging.getLogger(__name__)
EXIT_FATAL, EXIT_UNDELIVERED = 70, 75
_DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of prctl(2)."""
_BOX = {"x": 320.5, "y": 201.0, "width": 64.0, "height": 128.0, "confidence": 0.87, "class": "person", "class_id": 0}


@dataclass(frozen=True)
class Job:
    """What one process does."""

    run: int
    folder: str
    """Where the ledger, the program's words and what the sinks write are; no fault touches it.

    While there is a file `away` in it, no sink can be reached; while there is `stuck-before` or `stuck-after`, a sink
    takes a batch and says nothing, before it has passed it on or after; `enough` ends the production after one more.
    """
    state: str
    """Where the outboxes are."""
    sinks: list[dict[str, Any]]
    count: int
    rate_hz: float = 0.0
    """0: as fast as can be."""
    cameras: int = 2
    commit_interval_s: float = 1.0
    speed: float = 1.0
    """How much faster than the machine's the clock of outbox and supervisor goes."""
    ends: bool = True
    """When all is delivered; else it runs on until it is killed."""
    limit_s: float = 20.0
    boot: str = "boot"
    synchronized: bool = True
    """Whether the wall clock is said to be right."""
    max_age_s: float = 7 * 86400.0
    defect: str = ""
    """Of the sample outbox, which then stands in for the real one."""
    plan: dict[str, str] = field(default_factory=dict)

    def line(self) -> str:
        """As `serve` reads it."""
        return json.dumps({"job": asdict(self)})


class ScaledClock(SystemClock):
    """The machine's clock, so many times as fast."""

    def __init__(self, speed: float, *, synchronized: bool) -> None:
        super().__init__()
        self._speed = speed
        self._is_synchronized = synchronized

    def synchronized(self) -> bool:
        return self._is_synchronized

    def now(self) -> float:
        return time.monotonic() * self._speed

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        return super().wait(event, timeout_s / self._speed)


class Book:
    """Writes the ledger: each line in one write, which outlives the process."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / "ledger", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def write(self, *words: object) -> None:
        os.write(self._file, (" ".join(map(str, words)) + "\n").encode())


class WatchedSink:
    """A real sink, whose tries to connect are counted, and which can be made unreachable, or fall silent."""

    def __init__(self, sink: Sink, book: Book, folder: Path) -> None:
        self._sink = sink
        self._book = book
        self._away, self._before, self._after = (folder / name for name in ("away", "stuck-before", "stuck-after"))

    def open(self) -> None:
        self._book.write("open", time.monotonic())
        self._refuse_when_away()
        self._sink.open()

    def _refuse_when_away(self) -> None:
        if self._away.exists():
            raise SinkUnavailable("the sink is away")

    @staticmethod
    def _wait_while(stuck: Path) -> None:
        while stuck.exists():
            time.sleep(0.005)

    def send(self, batch: Sequence[Delivery]) -> Sequence[Outcome]:
        self._refuse_when_away()
        self._wait_while(self._before)
        outcomes = self._sink.send(batch)
        for delivery in batch:
            shim.mark(f"got {delivery.id}")
        self._wait_while(self._after)
        return outcomes

    def close(self) -> None:
        self._sink.close()


def body_of(name: str, number: int) -> bytes:
    """A result as the agent has it, of the usual size, with something of its own in it."""
    boxes = [{**_BOX, "x": 100.5 + (number * 37 + each * 91) % 500} for each in range(4)]
    return json.dumps({"schema": "vedette.result/1", "id": name, "seq": number, "predictions": boxes}).encode()


class Producer:
    """Hands results to every courier, and writes down what was accepted."""

    def __init__(self, job: Job, couriers: Sequence[Courier], book: Book) -> None:
        self.done = threading.Event()
        self._job = job
        self._couriers = couriers
        self._book = book
        self._enough = Path(job.folder) / "enough"

    def run(self, pulse: Pulse) -> None:
        begun_s = time.monotonic()
        for number in range(self._job.count):
            if self._job.rate_hz:
                pulse.stopping.wait(max(0.0, begun_s + number / self._job.rate_hz - time.monotonic()))
            if pulse.stopping.is_set():
                return
            pulse.beat()
            enough = self._enough.exists()
            self._put(number)
            if enough:
                break
        self.done.set()

    def _put(self, number: int) -> None:
        camera = f"cam{number % self._job.cameras}"
        name = f"faults/{camera}/run{self._job.run}/{number}/0"
        body = body_of(name, number)
        self._book.write("intend", name, camera, checksum(body))
        shim.mark(f"intend {name}")
        for courier in self._couriers:
            courier.put(Delivery(name, camera, body))
        shim.mark(f"put {name}")
        self._book.write("accept", name, time.monotonic(), self._job.run)


def sink_of(options: dict[str, Any], folder: Path) -> Sink:
    """The real one."""
    plugin = importlib.import_module(f"agent.sinks.{options['type']}")
    context = Context("faults", SystemClock(), folder, folder)
    return cast("Sink", plugin.build(plugin.Options.model_validate(options), context))


def outbox_of(job: Job, number: int, clock: ScaledClock) -> Any:
    """The real one, unless a defect is to be found."""
    path = Path(job.state) / f"outbox-{number}.sqlite"
    if job.defect:
        return sample.SampleOutbox(path, job.commit_interval_s, clock, job.defect)
    limits = Limits(commit_interval_s=job.commit_interval_s, max_age_s=job.max_age_s)
    return Outbox(Store(path, clock, job.boot), limits, clock)


def work(job: Job) -> int:
    """Do the job; the exit code."""
    folder, clock = Path(job.folder), ScaledClock(job.speed, synchronized=job.synchronized)
    book = Book(folder)
    outboxes = [outbox_of(job, number, clock) for number in range(len(job.sinks))]
    couriers = [
        Courier(
            f"{options['type']}-{number}",
            WatchedSink(sink_of(options, folder), book, folder),
            outbox,
            kinds=frozenset({Kind.RESULT}),
            states=States(),
            clock=clock,
        )
        for number, (options, outbox) in enumerate(zip(job.sinks, outboxes, strict=True))
    ]
    producer = Producer(job, couriers, book)
    stages = (
        Stage("outboxes", tuple(Loop(f"outbox-{n}", each.run) for n, each in enumerate(outboxes)), 10.0 * job.speed),
        Stage("sinks", tuple(Loop(f"sink-{each.name}", each.run) for each in couriers), 10.0 * job.speed),
        Stage("emit", (Loop("emit", producer.run),), 10.0 * job.speed),
    )
    supervisor = Supervisor(stages, clock)
    supervisor.start()
    return _watch(job, supervisor, producer, outboxes)


def _watch(job: Job, supervisor: Supervisor, producer: Producer, outboxes: Sequence[Outbox]) -> int:
    until_s = time.monotonic() + job.limit_s
    while supervisor.fatal is None and time.monotonic() < until_s:
        delivered = producer.done.is_set() and not any(outbox.status().waiting for outbox in outboxes)
        if delivered and job.ends:
            supervisor.stop()
            return 0 if supervisor.fatal is None else EXIT_FATAL
        time.sleep(0.005)
    return EXIT_UNDELIVERED if supervisor.fatal is None else EXIT_FATAL


def child(job: Job) -> int:
    """One process's life, from its fork."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    words = os.open(Path(job.folder) / "words", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor in (1, 2):
        os.dup2(words, descriptor)
    logging.basicConfig(level=logging.INFO, force=True, format=f"{job.run} %(relativeCreated)d %(name)s %(message)s")
    if job.plan:
        shim.arm(job.plan)
    return work(job)


def _start(job: Job) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = child(job)
        except Exception:  # noqa: BLE001 - nothing may end a child unseen
            _log.exception("the driver failed; this is a fault in the agent, or in the suite")
        finally:
            os._exit(code)
    return pid


def serve() -> None:
    """Answer the test's requests until it goes away."""
    for name in ("agent.sinks.jsonl", "agent.sinks.mqtt", "paho.mqtt.client"):
        importlib.import_module(name)  # before the first fork, once for all
    for line in sys.stdin:
        request = json.loads(line)
        if "job" in request:
            answer = {"pid": _start(Job(**request["job"]))}
        else:
            answer = {"status": os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
