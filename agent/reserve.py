"""Space that is set aside while there is some, and given up when the disk is full: to delete takes space, too.

Its owner has the lock.
"""

import contextlib
import os
from pathlib import Path
from typing import Final

_SIZE_BYTES: Final = 1_000_000
"""More than the log of a database that has not been written into it yet."""


class Reserve:
    """One file of no meaning."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def make(self) -> bool:
        """Set the space aside, unless it is; whether it is now."""
        if self._path.exists():
            return True
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            os.posix_fallocate(file, 0, _SIZE_BYTES)
        except OSError:
            self.give_up()
            return False
        finally:
            os.close(file)
        return True

    def give_up(self) -> None:
        """From now on others have the space."""
        with contextlib.suppress(OSError):
            self._path.unlink()
