"""How glibc shares out memory between threads, and gives back what is free. Main thread. No state."""

import ctypes
from typing import Final

_M_ARENA_MAX: Final = -8
"""A parameter of mallopt(3), of glibc alone."""
_ARENAS: Final = 2


def share() -> None:
    """Let all threads take memory from two arenas.

    glibc makes up to eight for each core, and what a thread frees stays in its arena for whoever uses that one. Frames
    are made by one thread and freed by another, so each arena came to hold room for the most that was ever under way
    in it. Python's own lock lets one thread at a time allocate in any case, and native code seldom does.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none, and no arenas
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Free pages go back to the kernel, wherever in the heap they lie: a few milliseconds, without Python's lock.

    glibc alone gives back no more than the heap's end. What an outage took for frames under way would stay for good.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
