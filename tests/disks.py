"""Disks that are full or small, by the kernel's own means."""

import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def room_for(size_bytes: int) -> Iterator[None]:
    """A file cannot grow beyond this: the kernel writes what fits and then says EFBIG, as it says ENOSPC."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """A file system in memory; let go of lazily, since a failed test may still hold a file on it."""
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
    if mount is None or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("a file system of its own needs the right to mount one (root)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
