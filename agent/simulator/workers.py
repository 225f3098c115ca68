"""Processes that simulate, and end with the one that began them, however that ends. Main thread."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from types import FrameType

from agent.errors import AgentError

_DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of Linux's prctl(2)."""
_ENDING = (signal.SIGTERM, signal.SIGHUP)
_BY_SIGNAL = 128
"""A shell's exit code of what a signal ended: this and the signal's number."""


@contextlib.contextmanager
def pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of so many processes. When the block fails, or is interrupted, they end at once.

    Raises:
        AgentError: one of them was killed, perhaps because memory was short.
    """
    # Spawned: a fork would copy the threads' locks of numpy's libraries, not the threads.
    context = multiprocessing.get_context("spawn")
    before = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(os.getpid(),))
    try:
        with _interrupts_held():
            for _ in range(jobs):
                executor.submit(os.getpid)  # begins one process each
        yield executor
    except BrokenProcessPool as error:
        raise AgentError("a process of the simulation was killed, perhaps for want of memory; --jobs 1 or less") from (
            error
        )
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.kill()
        _free_feeder(executor)
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def _free_feeder(executor: ProcessPoolExecutor) -> None:
    """The thread that feeds the processes may wait for ever to write into a pipe that none of them reads any more.

    Newer Pythons see to it themselves (python/cpython#94777); 3.10 does not.
    """
    with contextlib.suppress(AttributeError, OSError):
        executor._call_queue._reader.close()  # type: ignore[attr-defined]  # noqa: SLF001 - there is no other way


@contextlib.contextmanager
def orderly() -> Iterator[None]:
    """Until the block ends, SIGTERM and SIGHUP are an exit that tidies up, as Ctrl-C is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _leave) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, _: FrameType | None) -> None:
    sys.exit(_BY_SIGNAL + number)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """What is begun meanwhile never sees Ctrl-C, not even before its first line: a blocked signal is inherited."""
    resource_tracker.ensure_running()  # or it would be begun below, and let them through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(parent: int) -> None:
    """In the new process: Ctrl-C is for the one that began it, whose end is its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # it ended before that
