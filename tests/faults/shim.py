"""diskfault.so: compiled from diskfault.c, put into programs, and told its plan by the environment. See diskfault.c."""

import ctypes
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SOURCE = Path(__file__).with_name("diskfault.c")
MISSING = shutil.which("gcc") is None
REASON = "not installed: gcc (Debian: apt install gcc libc6-dev)"
_NAMES = ("DIR", "AT", "ACT", "ONLY", "ERRNO", "SHORT", "LIFT", "HIT", "LOG")


def compiled(folder: Path) -> Path:
    """Make the library in `folder`."""
    made = folder / "diskfault.so"
    command = ["gcc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", made, _SOURCE, "-ldl", "-lpthread"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return made


@dataclass(frozen=True)
class Plan:
    """What becomes of the disk calls below `folder`."""

    folder: Path
    at: int = 0
    act: str = ""
    """`once`, `stay` or `kill`; empty: nothing fails."""
    only: str = ""
    """Calls that count: those with this in their name."""
    error: int = 0
    halves: bool = False
    lift: Path | None = None
    hit: Path | None = None
    log: Path | None = None
    wall: Path | None = None

    def environment(self) -> dict[str, str]:
        """The plan, as diskfault.c reads it."""
        when = (self.folder, self.at, self.act, self.only)
        values = (*when, self.error, int(self.halves), self.lift, self.hit, self.log)
        plan = {f"DISKFAULT_{name}": str(value or "") for name, value in zip(_NAMES, values, strict=True)}
        return {**plan, "WALLSHIFT": str(self.wall or "")}


def arm(plan: dict[str, str]) -> None:
    """In a process that was started with the library: from now on this plan holds, and calls count from zero."""
    os.environ.update(plan)
    ctypes.CDLL(None).diskfault_arm()


def mark(text: str) -> None:
    """Write a word into the record of the disk calls, where the library is there and records."""
    library = ctypes.CDLL(None)
    if hasattr(library, "diskfault_mark"):
        library.diskfault_mark(text.encode())
