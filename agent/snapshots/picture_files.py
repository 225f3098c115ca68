"""Files as the album needs them: found, written whole or not at all, weighed as they lie on the disk. No state."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agent.folder import write_whole
from agent.snapshots import caption

_BLOCK_BYTES: Final = 4096
"""What a file takes is a multiple of this on most filesystems."""


def find(folder: Path) -> Iterator[Path]:
    """All files in the folders inside `folder`; no link is followed. Raises OSError."""
    with os.scandir(folder) as cameras:
        folders = [Path(camera.path) for camera in cameras if camera.is_dir(follow_symlinks=False)]
    for each in folders:
        with os.scandir(each) as files:
            yield from (Path(file.path) for file in files if file.is_file(follow_symlinks=False))


def write(path: Path, content: bytes) -> int:
    """Write beside, sync, rename; the bytes that the file takes on the disk. Raises OSError."""
    write_whole(path, content, beside=path.with_name(path.name + caption.BESIDE))
    return size_of(path)


def size_of(path: Path) -> int:
    """Bytes that the file takes on the disk; 0 when it is gone. Raises OSError."""
    try:
        found = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return 0
    return max(found.st_size, found.st_blocks * 512)  # stat(2) counts blocks of 512 bytes


def foreseen(size_bytes: int) -> int:
    """Bytes that so many will take on the disk."""
    return -(-size_bytes // _BLOCK_BYTES) * _BLOCK_BYTES


def place_of(folder: Path) -> tuple[int, int]:
    """Which folder it is: another one when it was made anew, or another disk is mounted there. Raises OSError."""
    found = folder.stat()
    return found.st_dev, found.st_ino
