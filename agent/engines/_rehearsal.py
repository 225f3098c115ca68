"""A model file that is new to this device is tried in a process of its own first: does it load, and run, and how fast?

A file that was cut short or tampered with can crash the runtime's native code, and the agent with it. What the trial
found out, the number of threads that suits the model here, is kept by the file's hash, so that it is paid for once.
Used by the one thread of the local lane, while it opens the engine; `main` is the other process.
"""

import hashlib
import importlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from agent.clock import Clock, SystemClock
from agent.engines import _child, _threads
from agent.engines._input import InputWriter
from agent.errors import EngineBroken
from agent.package import Input, ModelPackage
from agent.ports import Context

_LONGEST_S: Final = 180.0
"""The largest YOLOv8 on the slowest board takes some 10 s a run."""
_LEAST_MEMORY_BYTES: Final = 1_000_000_000
_MEMORY_FACTOR: Final = 12
"""Weights are unpacked and packed anew, and every layer has its result."""
_SLOW_RUN_S: Final = 1.0
_TIMED_RUNS: Final = 3
_PIECE_BYTES: Final = 1 << 20


def threads(found: ModelPackage, runtime: str, version: str, context: Context) -> int:
    """How many threads the model is best run with here. Raises EngineBroken: it cannot be run at all.

    Args:
        found: the model.
        runtime: the plugin's name.
        version: of its library; another has to be tried anew.
        context: whose state folder remembers it; a trial leaves it as it is.
    """
    name = f"{runtime} {version} {_hash(found.file)} {len(_threads.candidates())}"
    known = _threads.known(context.state_dir, name)
    if known or (known is not None and _threads.busy()):
        return known or _threads.candidates()[-1]
    learnt = _tried(found, runtime, context)
    if not context.trial:
        _threads.keep(context.state_dir, name, learnt)
    return learnt or _threads.candidates()[-1]


def _hash(file: Path) -> str:
    digest = hashlib.sha256()
    try:
        with file.open("rb") as opened:
            while piece := opened.read(_PIECE_BYTES):
                digest.update(piece)
    except OSError as error:
        raise EngineBroken(f"{file}: cannot be read: {error.strerror}") from error
    return digest.hexdigest()[:32]


def _tried(found: ModelPackage, runtime: str, context: Context) -> int:
    size = None if found.input is None else (found.input.width, found.input.height)
    task = {"runtime": runtime, "file": str(found.file.absolute()), "size": size}
    memory_bytes = max(_LEAST_MEMORY_BYTES, _MEMORY_FACTOR * found.file.stat().st_size)
    limits = _child.Limits(_LONGEST_S, memory_bytes)
    try:
        count = _child.run(__name__, task, doing=f"trying {found.name}", limits=limits, context=context)
    except EngineBroken as error:
        if str(error).startswith(f"{found.file}"):
            raise
        raise EngineBroken(f"{found.file}: {error}; it is damaged, or not made for this runtime") from error
    return int(count)


def main(task: Mapping[str, Any]) -> int:
    """In the other process: run the model with each number of threads; the best one. Raises EngineBroken.

    UNMEASURED where others want the cores: it runs, and that is all that can be learnt now.
    """
    clock = SystemClock()
    size = task["size"]
    file = Path(task["file"])
    found = ModelPackage(file.stem, "", file, (), input=None if size is None else Input(*size))
    load = importlib.import_module(f"agent.engines.{task['runtime']}").load
    context = Context("trial", clock, file.parent, file.parent, trial=True)

    @cache
    def run_s(count: int) -> float:
        _child.say({"doing": f"{count} threads"})
        return _run_s(load, found, count, context)

    counts = _threads.candidates()
    busy = _threads.busy()
    if run_s(counts[-1]) > _SLOW_RUN_S:
        return counts[-1]  # so slow a model wants all that there is
    return _threads.UNMEASURED if busy else _threads.fastest(counts, run_s)


def _run_s(load: Any, found: ModelPackage, count: int, context: Context) -> float:  # noqa: ANN401 - see _local.Load
    """What the quickest of a few runs takes."""
    runtime = load(found, count, context)
    try:
        writer = InputWriter(runtime, found.input, found.file)
        writer.write_grey()
        first_s = _taken_s(runtime.run, context.clock)
        if first_s > _SLOW_RUN_S:
            return first_s
        return min(_taken_s(runtime.run, context.clock) for _ in range(_TIMED_RUNS))
    finally:
        runtime.close()


def _taken_s(run: Any, clock: Clock) -> float:  # noqa: ANN401 - whatever it gives
    begun_s = clock.now()
    run()
    return clock.now() - begun_s
