"""A file that one process has to itself for as long as it lives. No state."""

import fcntl
import os
from pathlib import Path

from agent.errors import ConfigError


def lock(file: int, path: Path) -> None:
    """Take the open `file` of `path` for this process; it is given back when the file is closed.

    Raises:
        ConfigError: another process has it. The file is closed then.
        OSError: the filesystem has no locks.
    """
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(file)
        raise ConfigError(
            f"{path} is in use: another agent of this name runs here; stop it, or give each agent a name of its own"
        ) from error
