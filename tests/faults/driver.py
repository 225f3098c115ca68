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
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from math import inf
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
from agent.outbox import Outbox  # noqa: E402
from agent.ports import Context, Sink  # noqa: E402
from agent.room import Limits, WhenFull  # noqa: E402
from agent.states import States  # noqa: E402
from agent.store import Store  # noqa: E402
from agent.supervisor import Supervisor  # noqa: E402

_log = logging.getLogger(__name__)
EXIT_FATAL, EXIT_UNDELIVERED = 70, 75
_BEGAN_S = time.monotonic() - 1000.0
"""The boot, for clocks that go faster: however long the machine has been up, ages stay below the limits."""
_CALM = 4
"""Looks, one after the other, at which all was on disk: counters follow a commit."""
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
    takes a batch and says nothing, before it has passed it on or after; while there is `picky`, it does not take all of
    it; `enough` ends the production after one more.
    `saved` comes when production is over and all that waits is on disk, as the outbox has it.
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
    max_bytes: float = inf
    keep_free_bytes: float = 0.0
    when_full: str = "drop_oldest"
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
        return (time.monotonic() - _BEGAN_S) * self._speed

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
        self._picky, self._kept = folder / "picky", set[str]()
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
        outcomes = self._send_some(batch) if self._picky.exists() else self._sink.send(batch)
        for delivery in batch:
            shim.mark(f"got {delivery.id}")
        self._wait_while(self._after)
        return outcomes

    def _send_some(self, batch: Sequence[Delivery]) -> Sequence[Outcome]:
        """Each seventh is refused for good, and each seventh kept for later once."""
        found = dict.fromkeys((each.id for each in batch), Outcome.REJECTED)
        for each in batch:
            kind = int(each.id.split("/")[3]) % 7
            if kind == 1 and each.id not in self._kept:
                self._kept.add(each.id)
                found[each.id] = Outcome.KEPT
            elif kind:
                found[each.id] = Outcome.ACCEPTED
            else:
                self._book.write("refused", each.id)
        taken = [each for each in batch if found[each.id] is Outcome.ACCEPTED]
        found.update(zip((each.id for each in taken), self._sink.send(taken), strict=True))
        return list(found.values())

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
        self._latest_s = 0.0

    def run(self, pulse: Pulse) -> None:
        begun_s = time.monotonic()
        for number in range(self._job.count):
            if self._job.rate_hz:
                self._wait_until(begun_s + number / self._job.rate_hz, pulse.stopping)
            if pulse.stopping.is_set():
                return
            pulse.beat()
            enough = self._enough.exists()
            self._put(number)
            if enough:
                break
        self.done.set()

    def tell_dropped(self) -> None:
        """What the outboxes have counted as such so far."""
        self._book.write("dropped", self._job.run, sum(each.outbox.status().dropped for each in self._couriers))

    def _wait_until(self, due_s: float, stopping: threading.Event) -> None:
        """How late the machine lets a thread go on is written down when it is later than ever."""
        wait_s = due_s - time.monotonic()
        if wait_s > 0 and not stopping.wait(wait_s) and (late_s := time.monotonic() - due_s) > self._latest_s:
            self._latest_s = late_s
            self._book.write("late", late_s, self._job.run)

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


class WatchedOutbox(Outbox):
    """The real one; when its commits begin and end is written down."""

    def __init__(self, store: Store, limits: Limits, clock: ScaledClock, note: Callable[[str, float], None]) -> None:
        super().__init__(store, limits, clock)
        self._stored_in = store
        self._note = note

    def commit(self) -> None:
        self._note("begins", time.monotonic())
        super().commit()
        self._note("ends", time.monotonic())

    def saved(self) -> bool:
        """Whether all that waits is on disk."""
        return self._stored_in.size.count >= self.status().waiting


def outbox_of(job: Job, number: int, clock: ScaledClock, book: Book) -> Any:
    """The real one, unless a defect is to be found."""
    path = Path(job.state) / f"outbox-{number}.sqlite"
    if job.defect:
        return sample.SampleOutbox(path, job.commit_interval_s, clock, job.defect)
    limits = Limits(
        commit_interval_s=job.commit_interval_s,
        max_bytes=job.max_bytes,
        max_age_s=job.max_age_s,
        when_full=WhenFull(job.when_full),
        keep_free_bytes=job.keep_free_bytes,
    )

    def note(word: str, now_s: float) -> None:
        book.write("commit", word, now_s, job.run)

    return WatchedOutbox(Store(path, clock, job.boot), limits, clock, note)


def work(job: Job) -> int:
    """Do the job; the exit code."""
    folder, clock = Path(job.folder), ScaledClock(job.speed, synchronized=job.synchronized)
    book = Book(folder)
    outboxes = [outbox_of(job, number, clock, book) for number in range(len(job.sinks))]
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
        Stage("outboxes", _loops(outboxes), 10.0 * job.speed),
        Stage("sinks", tuple(Loop(f"sink-{each.name}", each.run) for each in couriers), 10.0 * job.speed),
        Stage("emit", (Loop("emit", producer.run),), 10.0 * job.speed),
    )
    supervisor = Supervisor(stages, clock)
    supervisor.start()
    return _watch(job, supervisor, producer, outboxes)


def _loops(outboxes: Sequence[Any]) -> tuple[Loop, ...]:
    """Those that commit, and those that verify what an earlier run has left."""
    commits = tuple(Loop(f"outbox-{n}", each.run) for n, each in enumerate(outboxes))
    return commits + tuple(Loop(f"verify-{n}", _once(each.verify), inf) for n, each in enumerate(outboxes))


def _once(act: Callable[[], None]) -> Callable[[Pulse], None]:
    """As the agent has it."""
    return lambda _: act()


def _watch(job: Job, supervisor: Supervisor, producer: Producer, outboxes: Sequence[Any]) -> int:
    until_s, saved, calm = time.monotonic() + job.limit_s, Path(job.folder) / "saved", 0
    while supervisor.fatal is None and time.monotonic() < until_s:
        calm = calm + 1 if producer.done.is_set() and all(outbox.saved() for outbox in outboxes) else 0
        if calm == _CALM:
            producer.tell_dropped()
            saved.touch()
        delivered = producer.done.is_set() and not any(outbox.status().waiting for outbox in outboxes)
        if delivered and job.ends:
            supervisor.stop()
            producer.tell_dropped()
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
