"""The signals that the agent heeds, from its first moment on. The standard library alone. Main thread."""

import os
import signal
from collections.abc import Callable
from types import FrameType


def outlive_hang_ups() -> None:
    """SIGHUP before `heed`: the file is not read yet, so that there is nothing to be read again.

    Where the terminal that the agent was started from is gone it is the end, as it is by default.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # by nohup
        return
    from_terminal = _has_terminal()

    def hang_up(number: int, _: FrameType | None) -> None:
        if from_terminal and not _has_terminal():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    signal.signal(signal.SIGHUP, hang_up)


def heed(stop: Callable[[], None], reload: Callable[[], None]) -> None:
    """SIGINT and SIGTERM stop. SIGHUP reloads, but where the agent's terminal is gone: that is an end, too.

    Args:
        stop: called in the signal handler, and so is
        reload: neither may take a lock.
    """
    from_terminal = _has_terminal() and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN

    def hang_up(*_: object) -> None:
        if from_terminal and not _has_terminal():
            stop()
        else:
            reload()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop())
    signal.signal(signal.SIGHUP, hang_up)


def _has_terminal() -> bool:
    """Whether this process belongs to a terminal that is still there: a window, a connection."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
