"""What a process and its children hold at a moment, as the kernel has it. No state."""

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_KB = 1024
_POOLED = "to the hosted API"


@dataclass(frozen=True, slots=True)
class Holding:
    """Of the agent, and of all that it has started."""

    rss_mb: float
    """Pages of the agent that are in memory; MB is 2**20 bytes here."""
    anonymous_mb: float
    """Of those, what no file lies behind: heaps and stacks. Code that is read in for the first time is not in it."""
    children_mb: float
    """Proportional share of the children (PSS), which changes as well when others that have the same libraries end."""
    children_anonymous_mb: float
    """Of the children, what no file lies behind."""
    cpu_s: float
    """Processor time of the agent and its children."""
    files: int
    """Descriptors of the agent, but those below: an outbox opens its database when something waits for the first time.

    A database's second connection counts, by its -wal file. SQLite closes the descriptor of the database itself only
    when no connection of the process has a lock on it any more (sqlite.org/howtocorrupt.html, 2.2).
    """
    pooled: int
    """Connections to the hosted API, which are kept for later: as many as requests were under way at once."""
    threads: int
    children: int
    child_files: int
    child_threads: int
    kinds: dict[str, int] = field(default_factory=dict)
    """The agent's descriptors by what they are: sockets, pipes, files by name."""


def holding(pid: int, *, api_port: int) -> Holding:
    """Now. Raises OSError when the process has gone; children may come and go meanwhile."""
    own, kinds = _rollup(pid), _kinds(pid, _sockets_to(pid, api_port))
    below = list(_below(pid))
    shares, anonymous, files, threads, cpu_s = 0.0, 0.0, 0, 0, _cpu_s(pid)
    for child in below:
        with contextlib.suppress(OSError):
            of_child = _rollup(child)
            shares += of_child["Pss"] / _KB
            anonymous += of_child["Anonymous"] / _KB
            files += _count(child, "fd")
            threads += _count(child, "task")
            cpu_s += _cpu_s(child)
    return Holding(
        rss_mb=own["Rss"] / _KB,
        anonymous_mb=own["Anonymous"] / _KB,
        children_mb=shares,
        children_anonymous_mb=anonymous,
        cpu_s=cpu_s,
        files=sum(_counted(name, count) for name, count in kinds.items()),
        pooled=kinds.get(_POOLED, 0),
        threads=_count(pid, "task"),
        children=len(below),
        child_files=files,
        child_threads=threads,
        kinds=kinds,
    )


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for that signal."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt:"))
    return bool(int(line.split()[1], 16) >> (number - 1) & 1)


def _rollup(pid: int) -> dict[str, int]:
    """Counted page by page, in kB. /proc/PID/status is not: its counters lag by up to a few hundred kB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(rest.split()[0]) for name, rest in (line.split(":", 1) for line in lines)}


def _count(pid: int, what: str) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/{what}").iterdir())


def _kinds(pid: int, pooled: set[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(descriptor.readlink())
            name = _POOLED if target in pooled else target.partition(":[")[0]
            found[name] = found.get(name, 0) + 1
    return found


def _sockets_to(pid: int, port: int) -> set[str]:
    """Connections over IPv4 to that port, by the names that descriptors have (proc(5), /proc/net/tcp)."""
    rows = (line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:])
    return {f"socket:[{row[9]}]" for row in rows if row[2].endswith(f":{port:04X}")}


def _counted(name: str, count: int) -> int:
    if name.endswith("-wal"):
        return count - 1
    return 0 if name == _POOLED or name.endswith((".db", "-shm")) else count


def _stat(pid: int) -> list[str]:
    """The fields after the name, which may hold blanks and brackets: state, parent, ... (proc(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _cpu_s(pid: int) -> float:
    """With what its children took that have ended."""
    return sum(map(int, _stat(pid)[11:15])) / _TICKS_PER_S


def _below(pid: int) -> Iterator[int]:
    """Children, and theirs."""
    parents: dict[int, list[int]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents.setdefault(int(_stat(int(process.name))[1]), []).append(int(process.name))
    waiting = list(parents.get(pid, ()))
    while waiting:
        child = waiting.pop()
        yield child
        waiting += parents.get(child, ())


def size_bytes(folder: Path, pattern: str = "*") -> int:
    """What files take on their disk, those below included; files may come and go meanwhile."""
    total = 0
    for path in folder.rglob(pattern):
        with contextlib.suppress(OSError):
            total += path.lstat().st_blocks * 512
    return total
