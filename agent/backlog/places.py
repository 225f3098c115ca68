"""Which outboxes there are under a state folder, and who uses them. No state."""

import difflib
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.database import damaged_files
from agent.errors import AgentError

SERVICE_STATE: Final = Path("/var/lib/vedette")
"""Where the systemd unit has its state."""
_FLOCK: Final = "hhqqi"
"""struct flock of fcntl(2), with 64-bit offsets as Python is built: type, whence, start, length, process."""


@dataclass(frozen=True, slots=True)
class Place:
    """The outbox of one sink."""

    agent: str
    sink: str
    path: Path
    """The database, which is there only once something had to wait."""

    @property
    def name(self) -> str:
        """AGENT/SINK."""
        return f"{self.agent}/{self.sink}"

    @property
    def lock(self) -> Path:
        """What an agent holds while it runs."""
        return self.path.with_suffix(".lock")

    @property
    def damaged(self) -> list[Path]:
        """Damaged files that were moved aside, the oldest first."""
        return sorted(damaged_files(self.path), key=lambda path: int(path.name.rpartition("-")[2]))

    def __str__(self) -> str:
        return self.name


def state_folder(given: Path | None, own: Path) -> Path:
    """The state folder to look into: as `given`, else the user's `own` or, where that has no outboxes, the service's.

    Raises AgentError: the service's may not be looked into.
    """
    if given is not None:
        return given
    if (own / "outbox").is_dir():
        return own
    try:
        (SERVICE_STATE / "outbox").stat()
    except PermissionError as error:
        raise AgentError(
            f"{SERVICE_STATE} may be read by root alone: use sudo, or name a folder with --state"
        ) from error
    except OSError:
        return own
    return SERVICE_STATE


def find(state: Path) -> list[Place]:
    """Every outbox under the state folder, by name. Raises AgentError: it cannot be read."""
    home = state / "outbox"
    try:
        folders = sorted(each for each in home.iterdir() if each.is_dir())
        return [Place(folder.name, sink, folder / f"{sink}.db") for folder in folders for sink in _sinks(folder)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise AgentError(
            f"{error.filename or home} cannot be read: {error.strerror}; run this as the agent's user or with sudo"
        ) from error


def _sinks(folder: Path) -> list[str]:
    names = [path.name for path in folder.iterdir()]
    return sorted({name.rpartition(".")[0] for name in names if name.endswith((".db", ".lock"))} | _of_damaged(names))


def _of_damaged(names: list[str]) -> set[str]:
    """Sinks of which only a damaged file is left."""
    parts = [name.rpartition(".db.damaged-") for name in names]
    return {sink for sink, _, number in parts if sink and number.isdigit()}


def chosen(state: Path, name: str) -> Place:
    """The outbox that `name` means, as SINK or AGENT/SINK. Raises AgentError: there is none, or several."""
    known = find(state)
    found = [place for place in known if name in (place.name, place.sink)]
    if len(found) == 1:
        return found[0]
    if found:
        raise AgentError(f"{name}: several agents have such a sink here; say which: {_listed(found)}")
    if not known:
        raise AgentError(f"{name}: there are no outboxes in {state}; name the state folder of the agent with --state")
    near = difflib.get_close_matches(name, [each for place in known for each in (place.sink, place.name)], n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    raise AgentError(f"{name}: there is no such outbox in {state}, but {_listed(known)}{meant}")


def _listed(found: list[Place]) -> str:
    names = [place.name for place in found[:10]]
    return ", ".join(names) + (" and more" if len(found) > len(names) else "")


def in_use(place: Place) -> bool:
    """Whether an agent runs on it. Asking takes no lock, which would make an agent that starts just then give up."""
    try:
        file = os.open(place.lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        told: int = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))[0]
    except OSError:
        return False
    else:
        return told != fcntl.F_UNLCK
    finally:
        os.close(file)


@contextmanager
def changing(place: Place) -> Iterator[None]:
    """Only one `vedette outbox` at a time changes an outbox.

    The lock is flock(2)'s on the agent's own file, which does not meet the agent's, of fcntl(2).

    Raises AgentError: another one is at work, or the folder may not be written to.
    """
    file = _opened(place.lock)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise AgentError(f"{place}: another `vedette outbox` changes it now; wait until that is done") from error
    finally:
        os.close(file)


def make(place: Place) -> None:
    """Make the file where there is none yet, empty. Raises AgentError."""
    if not place.path.exists():
        os.close(_opened(place.path))


def _opened(path: Path) -> int:
    """Open a file for writing; a new one belongs to the owner of the folder, whoever runs this: the agent needs it."""
    try:
        there = path.exists()
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not there and os.geteuid() == 0:
            owner = path.parent.stat()
            os.fchown(file, owner.st_uid, owner.st_gid)
    except OSError as error:
        raise AgentError(
            f"{path} cannot be written: {error.strerror}; run this as the agent's user or with sudo"
        ) from error
    return file
