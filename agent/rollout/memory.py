"""What memory the process uses and the device has left, by Linux. No state."""

import re
from contextlib import suppress
from pathlib import Path


def used_mb() -> float | None:
    """Resident memory of this process; None: the system does not tell."""
    return _megabytes(Path("/proc/self/status"), "VmRSS")


def available_mb() -> float | None:
    """What can be used without swapping; None: the system does not tell."""
    return _megabytes(Path("/proc/meminfo"), "MemAvailable")


def _megabytes(path: Path, key: str) -> float | None:
    with suppress(OSError):
        found = re.search(rf"^{key}:\s+(\d+) kB$", path.read_text(encoding="ascii"), re.MULTILINE)
        return None if found is None else int(found[1]) / 1000
    return None
