"""A real small filesystem: full (a tmpfs and an ext4 image), and turned read-only by an error (ext4). Needs root.

Results go on while it is full or read-only, and wait in memory. Once there is space again all of it is committed: then
the process is killed, and the next one has to deliver. A filesystem that has turned read-only is not repaired under a
running process: there the process itself delivers what it has in memory, and the next one what lies on the disk.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from faults.driven import Scene
from faults.table import Row, World
from real.broker import wait_until

_PROGRAMS = ("mount", "umount", "losetup", "mkfs.ext4", "e2fsck")
_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
_SMALL_BYTES = 8_000_000
_SPEED = 10.0
MISSING = [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]


def reason() -> str:
    """Why it cannot be tried here; empty: it can."""
    if os.geteuid() != 0:
        return "mounting a small filesystem needs root"
    if MISSING:
        return f"not installed: {' '.join(MISSING)} (Debian: apt install mount e2fsprogs)"
    return _cannot_mount()


def _cannot_mount() -> str:
    trial = Path("/tmp") / f"vedette-mount-{os.getpid()}"  # noqa: S108 - empty, and removed at once
    trial.mkdir()
    try:
        _run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", trial)
        _run("umount", trial)
    except subprocess.CalledProcessError as error:
        return f"mounting is not allowed here: {error.stderr.decode().strip()}"
    finally:
        trial.rmdir()
    return ""


def _run(*command: str | Path, worst: int = 0) -> str:
    program = shutil.which(str(command[0]), path=_PATH)
    assert program is not None
    done = subprocess.run([program, *command[1:]], check=False, capture_output=True, timeout=30)
    if done.returncode > worst:
        done.check_returncode()
    return done.stdout.decode()


@contextlib.contextmanager
def _mounted(kind: str, target: Path, image: Path) -> Iterator[str]:
    """A filesystem of that kind at `target`; gives its block device's name, where it has one."""
    device = ""
    if kind == "tmpfs":
        _run("mount", "-t", "tmpfs", "-o", f"size={_SMALL_BYTES}", "tmpfs", target)
    else:
        with image.open("wb") as file:
            file.truncate(2 * _SMALL_BYTES)
        _run("mkfs.ext4", "-q", "-b", "4096", image)  # as every larger one has; see docs/faults.md
        device = _run("losetup", "--find", "--show", image).strip()
        _run("mount", "-o", "errors=remount-ro", device, target)
    try:
        yield Path(device).name
    finally:
        _run("umount", "-l", target)
        if device:
            _run("losetup", "-d", device)


def run(world: World, *, kinds: tuple[str, ...] = ("tmpfs", "ext4", "ext4 read-only")) -> Row:
    """Each kind once."""
    row = Row("small filesystem")
    why = reason()
    if why:
        row.notes.append(f"not tried: {why}")
        return row
    for kind in kinds:
        folder = world.subfolder(f"space-{kind.replace(' ', '-')}")
        (folder / "state").mkdir()
        with _mounted(kind.split()[0], folder / "state", folder / "image") as device:
            scene = Scene(folder, world.drivers, speed=_SPEED, rate_hz=400.0, defect=world.defect)
            if "read-only" in kind:
                _turn_read_only(scene, device)
            else:
                _fill_up(scene)
            scene.quiet(fresh=2)
            row.add(scene.verdict(), scene.faults(order=False), kind)
    return row


def _fill_up(scene: Scene) -> None:
    """Away, full, results go on, space again, all committed, killed."""
    scene.switch("away", on=True)
    process = scene.start(count=100_000, ends=False)
    process.ended_within(0.4)
    ballast = scene.state / "ballast"
    _fill(ballast)
    process.ended_within(0.8)
    assert "No space left" in scene.words() or "full" in scene.words(), scene.words()
    scene.switch("enough", on=True)
    ballast.unlink()
    scene.wait_saved(process)
    scene.note_end(process.kill())


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


def _turn_read_only(scene: Scene, device: str) -> None:
    """Away, an error of the filesystem, results go on, the sink comes back and gets them; killed, and repaired."""
    scene.switch("away", on=True)
    process = scene.start(count=100_000)
    process.ended_within(0.4)
    Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("1")
    process.ended_within(0.6)
    assert "cannot be used" in scene.words(), scene.words()
    scene.switch("enough", on=True)
    scene.switch("away", on=False)
    wait_until(lambda: scene.verdict().fresh, "what came while the disk was read-only")
    scene.note_end(process.kill())
    _run("umount", scene.state)
    _run("e2fsck", "-p", "-f", f"/dev/{device}", worst=1)  # 1: it found the error, and mended it
    _run("mount", f"/dev/{device}", scene.state)
