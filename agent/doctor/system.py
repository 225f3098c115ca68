"""The board, the system on it and the Python in it: whether the agent has builds for them. No state."""

import re
from collections.abc import Iterator
from typing import Final

from agent.check import Finding
from agent.doctor.finding import doubt, fault, fine
from agent.doctor.machine import Interpreter, Machine

PART: Final = "system"
KNOWN: Final = {"debian": ("12", "13"), "raspbian": ("12", "13"), "ubuntu": ("22.04", "24.04")}
"""Versions by the ID of os-release(5): Raspberry Pi OS is Debian's, JetPack 6 and 7 are Ubuntu's."""
_LEAST_L4T: Final = 36
"""Jetson Linux of JetPack 6; 38 is JetPack 7's. JetPack 5 has Python 3.8."""
_LEAST_LIBC: Final = (2, 28)
"""What the wheels of numpy, OpenCV and LiteRT were built for (manylinux_2_28)."""


def board(machine: Machine) -> str:
    """What the maker calls the board; empty on machines without a device tree."""
    return machine.read("/proc/device-tree/model") or machine.read("/sys/class/dmi/id/product_name")


def l4t(machine: Machine) -> int | None:
    """The major version of Jetson Linux; None: it is no Jetson."""
    release = re.search(r"R(\d+)", machine.read("/etc/nv_tegra_release"))
    return int(release[1]) if release else None


def findings(machine: Machine, python: Interpreter) -> Iterator[Finding]:
    """One line that names all of it, and one for each thing that does not fit."""
    release = _os_release(machine)
    version = ".".join(map(str, python.version))
    parts = [board(machine), release.get("PRETTY_NAME", ""), python.kernel, f"Python {version}"]
    yield fine(PART, ", ".join(part for part in parts if part))
    yield from _misfits(machine, python)
    system, number = release.get("ID", ""), release.get("VERSION_ID", "")
    if number not in KNOWN.get(system, ()):
        name = f"{system} {number}".strip() or "this system"
        yield doubt(
            PART, f"{name} is not one that it was made for (Debian 12 and 13, Ubuntu 22.04 and 24.04); it may work"
        )


def _misfits(machine: Machine, python: Interpreter) -> Iterator[Finding]:
    if python.bits < 64:  # noqa: PLR2004 - bits of a pointer
        yield fault(
            PART,
            f"Python has {python.bits} bits here (the kernel is {python.kernel}), for which no model runtime is built: "
            "install the 64-bit edition of the system",
        )
    jetson = l4t(machine)
    if jetson is not None and jetson < _LEAST_L4T:
        yield fault(PART, f"Jetson Linux R{jetson} is too old: its Python has no builds; install JetPack 6 or 7")
    if not python.libc:
        yield doubt(PART, "the C library is not glibc, for which the model runtimes are built; use Debian or Ubuntu")
    elif tuple(int(number) for number in python.libc.split(".")[:2]) < _LEAST_LIBC:
        yield fault(
            PART, f"glibc {python.libc} is too old for the model runtimes (2.28 is needed); install a newer system"
        )


def _os_release(machine: Machine) -> dict[str, str]:
    """os-release(5): NAME=value, or NAME="value"."""
    rows = (row.partition("=") for row in machine.read("/etc/os-release").splitlines())
    return {name.strip(): value.strip().strip("\"'") for name, _, value in rows}
