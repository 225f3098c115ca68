"""Whether there is memory for the model and the cameras. No state."""

import re
from collections.abc import Iterator
from typing import Final

from agent.check import Finding
from agent.doctor.finding import doubt, fault, fine
from agent.doctor.machine import Machine

PART: Final = "memory"
AGENT_MB: Final = 150
"""One camera and the on-device model: the README's figure, rounded up."""
CAMERA_MB: Final = 60
"""The process that reads a live camera."""


def findings(machine: Machine, cameras: int) -> Iterator[Finding]:
    """What is free, beside what `cameras` cameras and a model need."""
    rows = re.findall(r"^(\w+): +(\d+) kB", machine.read("/proc/meminfo"), re.MULTILINE)
    sizes = {name: int(kb) // 1024 for name, kb in rows}
    if "MemAvailable" not in sizes:
        yield doubt(PART, "this kernel does not tell how much is free (/proc/meminfo); look with `free -m`")
        return
    free_mb, need_mb = sizes["MemAvailable"], AGENT_MB + CAMERA_MB * cameras
    said = f"{free_mb} of {sizes['MemTotal']} MB are free"
    if free_mb < need_mb // 2:
        yield fault(PART, f"{said}, and the agent needs about {need_mb}; stop other programs, or use a smaller model")
    elif free_mb < need_mb:
        yield doubt(PART, f"{said}, and the agent needs about {need_mb}, unless it runs already; stop other programs")
    else:
        yield fine(PART, said)
    yield from _swap(sizes)
    killed = re.search(r"^oom_kill (\d+)", machine.read("/proc/vmstat"), re.MULTILINE)
    if killed and int(killed[1]):
        yield doubt(PART, f"the kernel has ended {killed[1]} processes for want of memory since the boot: see `dmesg`")


def _swap(sizes: dict[str, int]) -> Iterator[Finding]:
    total, left = sizes.get("SwapTotal", 0), sizes.get("SwapFree", 0)
    if total and left < total // 2:
        yield doubt(PART, f"{total - left} of {total} MB of swap are in use: slow, and an SD card wears; stop programs")
