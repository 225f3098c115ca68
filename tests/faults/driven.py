"""Starts and kills the driver, process after process over one state folder, and reads what they and the sinks wrote."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from faults.driver import EXIT_FATAL, Job
from faults.oracle import Ledger, Receipt, Verdict, checksum, judge
from faults.shim import Plan

_DRIVER = Path(__file__).with_name("driver.py")


class Drivers:
    """One program that makes the processes."""

    def __init__(self, library: Path | None) -> None:
        preload = {} if library is None else {"LD_PRELOAD": str(library)}
        self._lock = threading.Lock()
        self._program = subprocess.Popen(
            [sys.executable, _DRIVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **preload},
        )

    def _ask(self, line: str) -> dict[str, int]:
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        with self._lock:
            self._program.stdin.write(line + "\n")
            self._program.stdin.flush()
            answer: dict[str, int] = json.loads(self._program.stdout.readline())
        return answer

    def start(self, job: Job) -> "Running":
        """A process that does `job`."""
        return Running(self._ask(job.line())["pid"], self)

    def wait(self, pid: int) -> int:
        """The exit code, or minus the signal."""
        return self._ask(json.dumps({"wait": pid}))["status"]

    def close(self) -> None:
        """End it, and with it all that it made."""
        self._program.kill()
        self._program.wait()
        for pipe in (self._program.stdin, self._program.stdout):
            assert pipe is not None
            pipe.close()


class Running:
    """One process under fault."""

    def __init__(self, pid: int, drivers: Drivers) -> None:
        self._pid = pid
        self._drivers = drivers
        self._descriptor = os.pidfd_open(pid)

    def ended_within(self, limit_s: float) -> bool:
        """Whether it ends by itself."""
        return bool(select.select([self._descriptor], [], [], limit_s)[0])

    def end(self, limit_s: float) -> int:
        """Its exit code; killed when it takes longer than `limit_s`."""
        if not self.ended_within(limit_s):
            return self.kill()
        return self._reap()

    def kill(self) -> int:
        """SIGKILL, now."""
        os.kill(self._pid, signal.SIGKILL)
        return self._reap()

    def _reap(self) -> int:
        os.close(self._descriptor)
        return self._drivers.wait(self._pid)


@contextmanager
def drivers(library: Path | None) -> Iterator[Drivers]:
    """With the library in them, or None."""
    them = Drivers(library)
    try:
        yield them
    finally:
        them.close()


class Scene:
    """One state folder, one receiver that appends lines, and the processes that come one after the other."""

    def __init__(self, folder: Path, them: Drivers, **job: Any) -> None:
        self.folder = folder / "outside"
        self.state = folder / "state"
        self.folder.mkdir(parents=True)
        self.state.mkdir(exist_ok=True)
        self.lift, self.hit = self.folder / "lift", self.folder / "hit"
        self.received = self.folder / "received.jsonl"
        sinks = [{"type": "jsonl", "path": str(self.received)}]
        self._job = Job(0, str(self.folder), str(self.state), **{"sinks": sinks, "count": 0, **job})
        self._drivers = them
        self.deaths: list[float | None] = []
        self.codes: list[int] = []
        self._ends: list[int] = []
        """How many lines the receiver had when the nth process was dead."""

    @property
    def interval_s(self) -> float:
        """The commit interval, in the machine's seconds."""
        return self._job.commit_interval_s / self._job.speed

    def plan(self, **more: Any) -> dict[str, str]:
        """For the disk calls below the state folder."""
        return Plan(self.state, **more).environment()

    def start(self, **job: Any) -> Running:
        """The next process."""
        self.switch("saved", on=False)
        return self._drivers.start(replace(self._job, run=len(self.codes), **job))

    def note_end(self, code: int) -> int:
        """The process is dead: killed, or ended by itself."""
        self.codes.append(code)
        self.deaths.append(time.monotonic() if code < 0 else None)
        self._ends.append(len(self._lines()))
        return code

    def switch(self, trouble: str, *, on: bool) -> None:
        """What the driver looks for: see Job. `lift`: the disk is well."""
        file = self.folder / trouble
        if on:
            file.touch()
        else:
            file.unlink(missing_ok=True)

    def wait_saved(self, process: Running, *, limit_s: float = 20.0) -> None:
        """Until all that waits is on disk, as the process says; one that never says so is dead or does not commit."""
        until_s = time.monotonic() + limit_s
        while not (self.folder / "saved").exists() and time.monotonic() < until_s and not process.ended_within(0.01):
            pass

    def quiet(self, *, fresh: int = 1, limit_s: float = 20.0, **job: Any) -> int:
        """A process without faults that has to deliver everything, and something fresh."""
        for trouble in ("away", "stuck-before", "stuck-after"):
            self.switch(trouble, on=False)
        return self.note_end(self.start(count=fresh, limit_s=limit_s, **job).end(limit_s + 10))

    def _lines(self) -> list[bytes]:
        return self.received.read_bytes().splitlines() if self.received.exists() else []

    def receipts(self) -> list[Receipt]:
        """What the file holds, each with the process that wrote it."""
        found, session = [], 0
        for number, line in enumerate(self._lines()):
            while session < len(self._ends) - 1 and number >= self._ends[session]:
                session += 1
            found.append(Receipt(_id(line), checksum(line), session))
        return found

    def verdict(self, *, window_s: float = 0.0) -> Verdict:
        """Over all processes so far."""
        return judge(
            Ledger.read(self.folder / "ledger"),
            self.receipts(),
            deaths=self.deaths,
            window_s=window_s,
            ended_well=self.ended_well(),
        )

    def ended_well(self) -> set[int]:
        """The sessions that did not break: here a process has one."""
        return {run for run, code in enumerate(self.codes) if code == 0}

    def words(self) -> str:
        """What the processes have said."""
        return (self.folder / "words").read_text()

    def faults(self, *, window_s: float = 0.0, order: bool = True) -> list[str]:
        """What the verdict finds, and processes that failed or never finished."""
        bad = [f"process {run} ended with {code}" for run, code in enumerate(self.codes) if code > 0]
        failed = [line for line in self.words().splitlines() if "fault in the agent" in line]
        return bad + failed[:1] + self.verdict(window_s=window_s).faults(order=order)


def _id(line: bytes) -> str:
    try:
        return str(json.loads(line)["id"])
    except (ValueError, LookupError, TypeError):
        return f"unreadable {line[:40]!r}"


__all__ = ["EXIT_FATAL", "Drivers", "Running", "Scene", "drivers"]
