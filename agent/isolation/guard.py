"""What holds for a reader's process from its first moment, before it loads anything that takes time. No state.

It imports nothing but the standard library, and little of that.
"""

import contextlib
import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_FIRST_TO_GO = "700"
"""Of 1000: when memory runs out, the kernel takes the reader before the agent."""


def guard(agent: int) -> None:
    """Never outlive the camera thread of the process `agent`, and never leave a core with pictures in it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != agent:  # it died before the kernel knew of the wish
        sys.exit("the agent is gone")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # a sandbox without /proc: the kernel decides by size
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO, encoding="ascii")
