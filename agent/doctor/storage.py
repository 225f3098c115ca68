"""The disks under the folders that the agent writes to: room, speed, kind and health. No state."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.check import Finding
from agent.doctor.finding import doubt, fault, fine
from agent.doctor.machine import Machine
from agent.doctor.medium import LIMIT_S, Speed

SLOW_COMMIT_MS: Final = 100.0
"""The median of a disk that holds up an outbox, which commits once a second."""
SLOW_WORST_MS: Final = 1000.0
SLOW_MB_S: Final = 2.0
LEAST_MB, LOW_MB = 50, 500
LOW_INODES: Final = 1000
_NETWORK: Final = ("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p")
_MEMORY: Final = ("tmpfs", "ramfs")
_WORN: Final = 0x09
"""JEDEC eMMC 5.0, DEVICE_LIFE_TIME_EST: 80 to 90 % of its life is used."""
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")
_CARD: Final = (
    "use a card of class A1 or A2, or a USB SSD, for its folder; a higher outbox.commit_interval_ms asks less of it"
)


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of proc(5)'s mountinfo."""

    point: str
    kind: str
    """Of the file system."""
    device: str
    number: str
    """MAJOR:MINOR."""
    read_only: bool


@dataclass(frozen=True, slots=True)
class Disk:
    """What is under one folder."""

    part: str
    """How findings call it."""
    place: Path
    """A folder that is there."""
    mount: Mount | None


def existing(folder: Path) -> Path:
    """`folder`, or the nearest above it that is there."""
    folder = Path(os.path.realpath(folder))
    while not folder.is_dir():
        folder = folder.parent
    return folder


def mount_of(machine: Machine, folder: Path) -> Mount | None:
    """The mount that `folder` lies on; None: /proc does not tell."""
    best: Mount | None = None
    for row in machine.read("/proc/self/mountinfo").splitlines():
        mount = _mount(row)
        if mount and folder.is_relative_to(mount.point) and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def _mount(row: str) -> Mount | None:
    left, dash, right = row.partition(" - ")
    fields, what = left.split(" "), right.split(" ")
    if not dash or len(fields) < 6 or len(what) < 3:  # noqa: PLR2004 - fields of mountinfo
        return None
    options = {*fields[5].split(","), *what[2].split(",")}
    return Mount(_plain(fields[4]), what[0], _plain(what[1]), fields[2], "ro" in options)


def _plain(text: str) -> str:
    """Blanks are written there as octal numbers."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), text)


def findings(machine: Machine, folders: Iterable[Path], measure: Callable[[Path], Speed | None]) -> Iterator[Finding]:
    """What is to be said of each disk under `folders`, once."""
    seen = set()
    for folder in folders:
        place = existing(folder)
        disk = Disk(f"disk of {folder}", place, mount_of(machine, place))
        if disk.mount is None or disk.mount.point not in seen:
            seen.add("" if disk.mount is None else disk.mount.point)
            yield from _of_disk(machine, disk, measure(place))


def _of_disk(machine: Machine, disk: Disk, speed: Speed | None) -> Iterator[Finding]:
    """`speed` was measured first: that has a limit of its own, and what follows has none where the disk hangs."""
    part, mount = disk.part, disk.mount
    if speed is None:
        yield fault(part, f"does not answer within {LIMIT_S:.0f} s; look at `dmesg`, and replace it or its cable")
        return
    if mount is not None and mount.read_only:
        yield fault(
            part,
            f"{mount.device} at {mount.point} is read-only, as the kernel leaves it after an error: look at `dmesg`, "
            "run fsck, and replace a card that does it again",
        )
        return
    yield from _room(part, disk.place)
    yield from _speed(part, mount, speed)
    if mount is not None:
        yield from _kind(part, mount)
        yield from _health(machine, part, mount)


def _room(part: str, place: Path) -> Iterator[Finding]:
    told = os.statvfs(place)
    free_mb = told.f_bavail * told.f_frsize / 1e6
    share = 100 * told.f_bavail / max(1, told.f_blocks)
    said = f"{free_mb:.0f} MB are free, {share:.0f} %"
    if free_mb < LEAST_MB:
        yield fault(part, f"{said}: results that no sink takes would be lost; free some space")
    elif free_mb < LOW_MB:
        yield doubt(part, f"{said}: few results can wait there; free some space, or set a lower outbox.max_mb")
    else:
        yield fine(part, said)
    if told.f_files and told.f_favail < LOW_INODES:
        yield fault(part, f"only {told.f_favail} more files fit (inodes); remove folders of many small files")


def _speed(part: str, mount: Mount | None, speed: Speed) -> Iterator[Finding]:
    if speed.error:
        yield fault(part, f"nothing can be written there: {speed.error}; look at its rights, and run this with sudo")
        return
    card = " (an SD card or eMMC)" if mount is not None and "mmcblk" in mount.device else ""
    said = (
        f"a small write is safe after {speed.commit_ms:.1f} ms (worst {speed.worst_ms:.0f}), a large file goes at "
        f"{speed.mb_s:.0f} MB/s{card}"
    )
    if speed.commit_ms > SLOW_COMMIT_MS or speed.worst_ms > SLOW_WORST_MS or speed.mb_s < SLOW_MB_S:
        yield doubt(part, f"slow: {said}; {_CARD}")
    else:
        yield fine(part, said)


def _kind(part: str, mount: Mount) -> Iterator[Finding]:
    if mount.kind in _MEMORY or (mount.kind == "overlay" and "overlayroot" in mount.device):
        yield doubt(
            part,
            f"{mount.point} is in memory ({mount.kind}): results that wait are gone after a reboot; keep them "
            "on a disk",
        )
    elif mount.kind in _NETWORK:
        yield doubt(
            part,
            f"{mount.point} is on the network ({mount.kind}), where outboxes are not safe, for SQLite's WAL needs a "
            "disk of this machine; keep them on one",
        )


def _health(machine: Machine, part: str, mount: Mount) -> Iterator[Finding]:
    name = mount.device.rpartition("/")[2]
    errors = machine.number(f"/sys/fs/ext4/{name}/errors_count")
    if errors:
        yield doubt(
            part, f"{mount.device} has had {errors} errors of its file system; save what is on it, and run fsck"
        )
    disk = name.partition("p")[0] if name.startswith("mmcblk") else name
    worn = [int(word, 16) for word in machine.read(f"/sys/block/{disk}/device/life_time").split() if _is_hex(word)]
    if worn and max(worn) >= _WORN:
        yield doubt(
            part, f"{disk} has used up most of its writes (life_time {max(worn):#04x} of 0x0a); replace it soon"
        )


def _is_hex(word: str) -> bool:
    return re.fullmatch(r"0x[0-9a-fA-F]{1,2}", word) is not None
