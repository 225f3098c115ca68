"""Whether the agent may open its devices, and nobody else may read its secrets. No state."""

import os
import stat
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.check import Finding
from agent.doctor.finding import doubt, fault, fine
from agent.doctor.machine import Machine

PART: Final = "permissions"
CREDENTIALS: Final = "/etc/vedette/credentials"
CONFIG: Final = "/etc/vedette/vedette.yaml"
_CAMERAS: Final = ("/dev/video*", "/dev/media*", "/dev/dma_heap/*")
_GPU: Final = ("/dev/nvhost*", "/dev/nvmap", "/dev/nvidia*", "/dev/dri/renderD*")
_OTHERS: Final = stat.S_IROTH
_NOT_MINE: Final = stat.S_IRWXG | stat.S_IRWXO
_BOTH: Final = 0o6
"""To read and to write."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who uses the devices."""

    name: str
    """For people: "the service", or a user."""
    groups: frozenset[str]
    """By name."""
    is_root: bool = False
    is_service: bool = False
    """Its groups are then those of its unit."""


def service(groups: str) -> Actor:
    """The unit's user, which exists only while it runs; `groups`: SupplementaryGroups=."""
    return Actor("the service", frozenset(groups.split()), is_service=True)


def myself(machine: Machine) -> Actor:
    """Who runs this program."""
    names = _group_names(machine)
    groups = frozenset(names.get(number, str(number)) for number in (*os.getgroups(), os.getegid()))
    return Actor("you", groups, is_root=os.geteuid() == 0)


def of_devices(machine: Machine, actor: Actor, *, cameras: bool, gpu: bool) -> Iterator[Finding]:
    """Whether `actor` may open what cameras of this machine, and its GPU, are made of."""
    patterns = (*(_CAMERAS if cameras else ()), *(_GPU if gpu else ()))
    nodes = [name for pattern in patterns for name in machine.find(pattern)]
    if cameras and not machine.find(_CAMERAS[0]):
        yield doubt(
            PART, "there is no /dev/video*: is the camera plugged in (lsusb), or its ribbon seated and enabled?"
        )
    closed = _closed(machine, actor, nodes)
    for group, names in closed.items():
        shown = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")  # noqa: PLR2004 - a line's worth
        yield fault(PART, f"{actor.name} may not open {shown}; {_cure(actor, group)}")
    if nodes and not closed:
        yield fine(PART, f"{actor.name} may open the {len(nodes)} device files of cameras and GPU")


def _closed(machine: Machine, actor: Actor, nodes: Iterable[str]) -> dict[str, list[str]]:
    """The nodes that `actor` may not open, by their group."""
    names, closed = _group_names(machine), dict[str, list[str]]()
    for node in nodes:
        try:
            about = machine.path(node).stat()
        except OSError:
            continue
        group = names.get(about.st_gid, str(about.st_gid))
        if actor.is_root or about.st_mode & _BOTH == _BOTH:
            continue
        if group not in actor.groups or about.st_mode >> 3 & _BOTH != _BOTH:
            closed.setdefault(group, []).append(node)
    return closed


def _cure(actor: Actor, group: str) -> str:
    if actor.is_service:
        return f"sudo systemctl edit vedette, and write [Service] and SupplementaryGroups={group} into it"
    return f"sudo usermod -a -G {group} $USER, then log in again"


def _group_names(machine: Machine) -> dict[int, str]:
    """group(5): NAME:x:NUMBER:members."""
    rows = (row.split(":") for row in machine.read("/etc/group").splitlines())
    return {int(row[2]): row[0] for row in rows if len(row) > 3 and row[2].isdigit()}  # noqa: PLR2004 - its fields


def of_files(machine: Machine, secrets: Collection[Path], *, is_service: bool) -> Iterator[Finding]:
    """Configuration and secrets: those that the service reads, and others that the configuration names."""
    told = list(_of_files(machine, secrets, is_service=is_service))
    yield from told
    if not told and (secrets or machine.path(CONFIG).is_file()):
        yield fine(PART, "configuration and secrets may be read by those alone who need them")


def _of_files(machine: Machine, secrets: Collection[Path], *, is_service: bool) -> Iterator[Finding]:
    folder = machine.path(CREDENTIALS)
    if (mode := _mode(folder)) is not None and mode & _NOT_MINE:
        yield doubt(PART, f"{CREDENTIALS} is open to other users: sudo chmod 0700 {CREDENTIALS}")
    for name in machine.find(f"{CREDENTIALS}/*"):
        yield from _of_secret(name, _mode(machine.path(name)))
    for secret in secrets:
        yield from _of_secret(str(secret), _mode(secret), is_service=is_service)
    yield from _of_config(machine, is_service=is_service)


def _of_secret(name: str, mode: int | None, *, is_service: bool = False) -> Iterator[Finding]:
    if mode is None:
        return
    if mode & _NOT_MINE:
        yield doubt(PART, f"{name} holds a secret, and other users may read it: sudo chmod 0600 {name}")
    elif is_service:
        yield fault(
            PART,
            f"{name} may be read by its owner alone, and the service has a user of its own: put the secret into "
            f"{CREDENTIALS}, and write {{credential: NAME}} in its place",
        )


def _of_config(machine: Machine, *, is_service: bool) -> Iterator[Finding]:
    mode = _mode(machine.path(CONFIG))
    if mode is None:
        return
    if is_service and not (mode & _OTHERS and (_mode(machine.path(CONFIG).parent) or 0) & stat.S_IXOTH):
        yield fault(
            PART,
            f"the service may not read {CONFIG}: sudo chmod 0644 {CONFIG}, and 0755 for its folder; it holds no secret",
        )
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield doubt(PART, f"others than root may change {CONFIG}: sudo chmod 0644 {CONFIG}")


def _mode(path: Path) -> int | None:
    """Permission bits; None: it is not there, or in a folder that we may not look into."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None
