"""What is left of whom: processes, threads, descriptors and shared memory, as /proc has them."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

_SHARED = Path("/dev/shm")  # noqa: S108 - looked at only
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def children(pid: int) -> set[int]:
    """The processes whose parent is `pid`, those that have died but were not waited for among them."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (fields := _stat(folder)) and int(fields[1]) == pid:
            found.add(int(folder.name))
    return found


def alive(pid: int) -> bool:
    """Whether it is a process that has not died."""
    fields = _stat(Path(f"/proc/{pid}"))
    return bool(fields) and fields[0] not in "ZX"


def session(pid: int) -> set[int]:
    """The processes of the session that `pid` leads or led, those that have died aside."""
    members = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (fields := _stat(folder)) and int(fields[3]) == pid and fields[0] not in "ZX":
            members.add(int(folder.name))
    return members


def _stat(folder: Path) -> list[str]:
    """State, parent, group, session, ...; see proc(5). Empty: it is gone."""
    try:
        return (folder / "stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return []


def told(pid: int) -> str:
    """What everybody, or its own user, can read of a process: its command line and environment."""
    return "".join(Path(f"/proc/{pid}/{name}").read_text(errors="replace") for name in ("cmdline", "environ"))


def links(pid: int) -> list[str]:
    """What each open descriptor of `pid` leads to."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # the one that the listing itself uses
            found.append(str(link.readlink()))
    return sorted(found)


def of_folder(folder: Path) -> set[int]:
    """The processes that were started with `folder` in their environment, those that have died aside."""
    wanted, found = f"{folder}/".encode(), set()
    for place in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if place.name.isdigit() and wanted in (place / "environ").read_bytes() and alive(int(place.name)):
                found.add(int(place.name))
    return found - {os.getpid()}


def resident_bytes(pid: int) -> int:
    """Memory in use."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


def cpu_s(pid: int) -> float:
    """Processor time so far, its own."""
    fields = _stat(Path(f"/proc/{pid}"))
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Holdings:
    """What a process holds."""

    descriptors: int
    threads: int
    children: int
    shared_files: int
    """In /dev/shm, by whomever."""
    memory_maps: int
    """Of nameless memory."""

    @classmethod
    def of(cls, pid: int) -> "Holdings":
        """As of now."""
        return cls(
            len(links(pid)),
            len(list(Path(f"/proc/{pid}/task").iterdir())),
            len(children(pid)),
            len(list(_SHARED.iterdir())) if _SHARED.is_dir() else 0,
            Path(f"/proc/{pid}/maps").read_text().count("/memfd:vedette-picture"),
        )
