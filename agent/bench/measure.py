"""Measures each subject in a process of its own, so that memory, threads and caches are its own alone. Main thread."""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, Final, TypeAlias

from agent.bench.sample import About, Sample, Tally
from agent.bench.subject import Subject
from agent.clock import Clock
from agent.flow import Route

SILENCE_S: Final = 180.0
"""A process that tells nothing for so long is killed. A large model on a slow device takes a minute to load."""
_LAST_WORDS: Final = 300
_TELL_EVERY_S: Final = 5.0
Say: TypeAlias = Callable[[str], None]


def measure(subjects: Sequence[Subject], runs: int, say: Say, clock: Clock) -> list[Tally]:
    """All subjects in turn, `runs` times, so that a slow minute of the machine touches all; the hosted API once.

    Args:
        subjects: what to measure.
        runs: of each engine on this device.
        say: told how far it is.
        clock: says when it was told last.
    """
    tallies = [Tally(trouble=subject.trouble) for subject in subjects]
    for number in range(1, runs + 1):
        for subject, tally in zip(subjects, tallies, strict=True):
            if tally.trouble or (number > 1 and subject.route is Route.CLOUD):
                continue
            say(f"run {number} of {runs}: {subject.title_with_threads}")
            _run(subject, tally, _now_and_then(say, clock))
    return tallies


def _now_and_then(say: Say, clock: Clock) -> Say:
    """Of what takes long and tells so in every step of it."""
    said_s = clock.now()

    def tell(words: str) -> None:
        nonlocal said_s
        if clock.now() - said_s >= _TELL_EVERY_S:
            said_s = clock.now()
            say(words)

    return tell


def _run(subject: Subject, tally: Tally, say: Say) -> None:
    """One process from its start to its end; whatever becomes of it is in the tally."""
    command = [sys.executable, "-m", "agent.bench.worker", json.dumps(subject.as_json())]
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(  # noqa: S603 - ourselves
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            cwd="/",  # not the user's folder, where modules of theirs might go by our names
        ) as process,
    ):
        try:
            for told in _told(process):
                _note(told, tally, say)
        except TimeoutError:
            tally.trouble = f"its process did nothing for {SILENCE_S:g} s, and was killed"
        finally:
            if tally.trouble or sys.exc_info()[0] is not None:
                process.kill()
        code = process.wait()
        tally.runs += 1
        if code and not tally.trouble:
            tally.trouble = _end_of(code, said)


def _told(process: "subprocess.Popen[bytes]") -> Iterator[dict[str, Any]]:
    """What the process tells, until it ends. Raises TimeoutError."""
    assert process.stdout is not None  # noqa: S101 - for the type checker: it was asked for
    descriptor, rest = process.stdout.fileno(), b""
    while True:
        if not select.select([descriptor], [], [], SILENCE_S)[0]:
            raise TimeoutError
        data = os.read(descriptor, 65_536)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        yield from (json.loads(line) for line in lines)


def _note(told: dict[str, Any], tally: Tally, say: Say) -> None:
    if told.get("words"):
        say(f"  {told['words']}")
    elif "about" in told:
        tally.about = About(**told["about"])
    elif "sample" in told:
        tally.samples.append(Sample(**told["sample"]))
    elif "failed" in told:
        tally.failures[told["failed"]] += 1
    elif "trouble" in told:
        tally.trouble = told["trouble"]
    elif "peak_mb" in told:
        tally.peak_mb.append(told["peak_mb"])


def _end_of(code: int, said: IO[bytes]) -> str:
    """Why a process has ended that should not have."""
    if code == -signal.SIGKILL:
        return "its process was killed, perhaps because memory was short"
    if code < 0:
        return f"its process crashed ({signal.Signals(-code).name}): the runtime cannot bear this model on this device"
    said.seek(0)
    last = said.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
    return f"its process failed: {last[-_LAST_WORDS:] or 'without a word'}"
