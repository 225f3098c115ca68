"""Files that a person names: what is none is refused before it is read, for a pipe or a device has no end. No state."""

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from agent import words
from agent.errors import AgentError

_KINDS: Final[tuple[tuple[Callable[[int], bool], str], ...]] = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)


def ensure_regular(path: Path, called: str | None = None) -> None:
    """Raises AgentError: `path`, which errors call `called`, is not there, or is no file that ends."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        why = words.reason(error) if isinstance(error, OSError) else str(error)
        raise AgentError(f"{called or path}: cannot be read: {why}") from error
    if not stat.S_ISREG(mode):
        kind = next((name for matches, name in _KINDS if matches(mode)), "a device")
        raise AgentError(f"{called or path}: is {kind}; name a file")
