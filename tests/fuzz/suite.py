"""Feeds what reads other people's files and answers with damaged ones, each in reach of a process that may die of it.

    scripts/fuzz                          10,000 cases of each kind
    scripts/fuzz --only models --cases 500 --seed 7
    scripts/fuzz --only models --case 4711      that case alone, in this process, with its error in full

A case is good when it ends in an error in words, or in an answer. A damaged model file may crash the runtime's native
code: that is why the agent tries a new file in a process of its own, as is done here (a crash counts as caught). What
raises anything else, takes longer than its limit or more memory than 1 GB of its own is a fault.
"""

import argparse
import os
import random
import resource
import select
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

from fuzz.targets import ANSWERS, HEADERS, METADATA, Target, onnx_models, tflite_models  # noqa: E402 - the checkout goes first

MEMORY_BYTES = 1_000_000_000
CASE_S = 20.0
CASES_A_PROCESS = 250
"""A runtime that fails to load may keep what it took."""
MAY_CRASH = ("models", "onnx")
FAULT = "FAULT"


@dataclass
class Tally:
    """How the cases of one target ended."""

    ends: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    longest_s: float = 0.0
    most_bytes: int = 0


def drawn(target: Target, seed: int, number: int) -> random.Random:
    """What a case is made from: the same whenever it is run."""
    return random.Random(f"{seed} {target.name} {number}")  # noqa: S311 - no secret


def feed(target: Target, numbers: range, seed: int) -> Tally:
    """Every case of `numbers`, in processes that are replaced when they die."""
    tally, left = Tally(), list(numbers)
    while left:
        done = _one_process(target, left[:CASES_A_PROCESS], seed, tally)
        left = left[done:]
    return tally


def _one_process(target: Target, numbers: Sequence[int], seed: int, tally: Tally) -> int:
    """Cases in one child, until all are done or it dies; how many were begun."""
    heard, said = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(heard)
        _work(target, numbers, seed, said)
    os.close(said)
    try:
        return _follow(target, numbers, tally, child=child, heard=heard)
    finally:
        os.close(heard)


def _work(target: Target, numbers: Sequence[int], seed: int, said: int) -> None:
    """In the child: a line when a case ends. Never returns."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = _own_bytes() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    for number in numbers:
        try:
            end = target.run(drawn(target, seed, number))
        except MemoryError:
            end = "out of memory" if target.name in MAY_CRASH else f"{FAULT} out of memory"
        except BaseException as error:  # noqa: BLE001 - that is what is looked for
            where = traceback.extract_tb(error.__traceback__)[-1]
            end = f"{FAULT} {type(error).__name__}: {str(error)[:200]!r} at {Path(where.filename).name}:{where.lineno}"
        os.write(said, f"{end}\n".encode())
    os.write(said, f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}\n".encode())
    os._exit(0)


def _own_bytes() -> int:
    """What counts for RLIMIT_DATA so far."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData"))


def _follow(target: Target, numbers: Sequence[int], tally: Tally, *, child: int, heard: int) -> int:
    """In the parent: note each end; a child that dies, or is silent for too long, ends the case that it was at."""
    done = 0
    for line, taken_s in _lines(heard):
        if line is None:
            os.kill(child, signal.SIGKILL)
            break
        if line.startswith("peak "):
            tally.most_bytes = max(tally.most_bytes, int(line.split()[1]))
            continue
        done += 1
        tally.longest_s = max(tally.longest_s, taken_s)
        _note(tally, target, numbers[done - 1], line)
    _, status = os.waitpid(child, 0)
    if done < len(numbers):
        _note(tally, target, numbers[done], _death(target, status))
        done += 1
    return done


def _lines(heard: int) -> Iterator[tuple[str | None, float]]:
    """What the child says, and how long that took; None: nothing within CASE_S."""
    rest, begun_s = b"", time.monotonic()
    while True:
        if not select.select([heard], [], [], CASE_S)[0]:
            yield None, CASE_S
            return
        said = os.read(heard, 65_536)
        if not said:
            return
        *lines, rest = (rest + said).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace"), time.monotonic() - begun_s
            begun_s = time.monotonic()


def _death(target: Target, status: int) -> str:
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return f"{FAULT} no end within {CASE_S:g} s"
    how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}"
    return "crash caught" if target.name in MAY_CRASH else f"{FAULT} {how}"


def _note(tally: Tally, target: Target, number: int, end: str) -> None:
    if end.startswith(FAULT):
        tally.faults.append(f"{target.name} case {number}: {end}")
    tally.ends[FAULT if end.startswith(FAULT) else end] += 1


def targets(options: argparse.Namespace) -> list[Target]:
    models = [path for path in options.model if path.suffix == ".tflite"]
    graphs = [path for path in options.model if path.suffix == ".onnx"]
    made = [tflite_models(models), onnx_models(graphs), METADATA, HEADERS, ANSWERS]
    return [target for target in made if options.only in (None, target.name)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000, help="of each kind (default 10000)")
    parser.add_argument("--seed", type=int, default=1, help="cases are drawn from it (default 1)")
    parser.add_argument("--only", choices=("models", "onnx", "metadata", "headers", "answers"), help="this kind alone")
    parser.add_argument("--case", type=int, help="this case alone, in this process")
    parser.add_argument("--model", type=Path, action="append", default=[], help="a further .tflite or .onnx to damage")
    options = parser.parse_args()
    faults = 0
    for target in targets(options):
        if options.case is not None:
            print(target.name, target.run(drawn(target, options.seed, options.case)))
            continue
        begun_s = time.monotonic()
        tally = feed(target, range(options.cases), options.seed)
        faults += len(tally.faults)
        ends = ", ".join(f"{count} {end}" for end, count in tally.ends.most_common())
        print(
            f"{target.name}: {options.cases} cases in {time.monotonic() - begun_s:.0f} s: {ends}; longest "
            f"{tally.longest_s:.2f} s, most memory {tally.most_bytes / 1e6:.0f} MB",
            flush=True,
        )
        for fault in tally.faults[:20]:
            print("  ", fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
