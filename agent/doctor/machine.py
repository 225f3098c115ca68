"""The device as its files and programs tell of it, below a root: `/`, or a tree that a test has drawn up. No state."""

import contextlib
import os
import platform
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROGRAMS: Final = ("usr/bin", "usr/sbin", "bin", "sbin", "opt/vc/bin")
_ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
_ANSWER_S: Final = 5.0
_END_S: Final = 0.5
_READ_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The Python that runs the agent."""

    version: tuple[int, int, int]
    bits: int
    """Of a pointer."""
    kernel: str
    """The kernel's architecture, which may be of 64 bits where the interpreter is of 32."""
    libc: str
    """Version of glibc; empty: it is another C library."""

    @classmethod
    def own(cls) -> "Interpreter":
        """This one."""
        name, libc = platform.libc_ver()
        bits = struct.calcsize("P") * 8
        return cls(sys.version_info[:3], bits, platform.machine(), libc if name == "glibc" else "")


class Machine:
    """Files and programs. Any thread."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        """Where `name`, which is absolute, is below the root."""
        return self.root / name.lstrip("/")

    def read(self, name: str | Path) -> str:
        """The text of a small file without blanks and NULs around it; empty where it cannot be read."""
        try:
            with self.path(str(name)).open("rb") as file:
                said = file.read(_READ_BYTES)
        except (OSError, ValueError):
            return ""
        return said.decode("utf-8", "replace").strip(" \t\r\n\0")

    def number(self, name: str | Path) -> int | None:
        """The whole number in a file; None: there is none."""
        try:
            return int(self.read(name))
        except ValueError:
            return None

    def find(self, pattern: str) -> list[str]:
        """The names below the root that a pattern matches, in order."""
        with contextlib.suppress(OSError):
            return [f"/{path.relative_to(self.root)}" for path in sorted(self.root.glob(pattern.lstrip("/")))]
        return []

    def ask(self, program: str, *arguments: str, limit_s: float = _ANSWER_S) -> str | None:
        """What a program prints; None: it is not here, it fails, or it takes longer than `limit_s`."""
        places = (self.path(f"{folder}/{program}") for folder in _PROGRAMS)
        file = next((place for place in places if os.access(place, os.X_OK)), None)
        return None if file is None else answer([str(file), *arguments], limit_s)


def answer(command: list[str], limit_s: float, *, any_code: bool = False) -> str | None:
    """What a command prints; None: it takes longer than `limit_s`, or it fails, unless `any_code`.

    One that hangs in a driver is left behind: subprocess.run would kill it and then wait for its end, which does not
    come while a disk does not answer.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - programs of the system, and our own
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_ENVIRONMENT
        )
    except OSError:
        return None
    try:
        said, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        _leave(process)
        return None
    return said.decode("utf-8", "replace").strip() if any_code or process.returncode == 0 else None


def _leave(process: subprocess.Popen[bytes]) -> None:
    """End it; one that does not end at once is not waited for."""
    process.kill()
    if process.stdout is not None:
        process.stdout.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_S)
