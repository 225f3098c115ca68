"""Folders and files that outlast a power cut: a new name is on the medium only when its folder is. No state."""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Put the names in `folder` on the medium. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Make `folder`, and those above it that are missing, on the medium. Raises OSError.

    `mode` is for the last of them, as with Path.mkdir. What was there already is not synced: it may be the system's.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(mode, parents=True, exist_ok=True)
    for each in reversed(missing):
        sync_folder(each.parent)


def write_whole(path: Path, content: bytes, *, beside: Path, mode: int = 0o666) -> None:
    """Write the file whole or not at all: beside, synced, then renamed. Its folder is not synced. Raises OSError."""
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)
