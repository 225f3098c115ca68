"""Whether a disk has room for a model, and still for the agent. No state."""

import shutil
from pathlib import Path
from typing import Final

from agent import words
from agent.errors import AgentError

_RESERVE_BYTES: Final = 100_000_000
"""Left free on the disk: an agent may run there."""


def ensure(folder: Path, name: str, size_bytes: int) -> None:
    """Raises AgentError: so much more of `name` leaves too little room where `folder` is."""
    free_bytes = shutil.disk_usage(folder).free
    if size_bytes + _RESERVE_BYTES > free_bytes:
        raise AgentError(
            f"{name}: {words.size(size_bytes)} are to come, and {folder} has {words.size(free_bytes)} free, "
            f"of which {words.size(_RESERVE_BYTES)} are left for the agent; make room"
        )
