"""The shelf of installed model packages: NAME/VERSION/ with model.yaml and its files, and which version is in use.

Several processes use it at once. What changes it holds the shelf's lock for milliseconds; readers need none, for
every change is one rename. After a crash at any step the old or the new state is there; what a crash leaves over has
names that begin with a dot, and the next staging sweeps it away. No state in memory.

    NAME/VERSION/       a package: model.yaml and the files it names; never changed once it is there
    NAME/current        the version in use
    NAME/history.json   what became of versions
    .staged-KEY/        a package on its way in, locked by whoever fills it
    .lock
"""

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import Final

from agent import words
from agent.clock import Clock, SystemClock
from agent.errors import AgentError
from agent.folder import make_folder, sync_folder, write_whole

MODELS: Final = "models"
"""The folder of installed packages inside of the state folder."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_CURRENT: Final = "current"
_HISTORY: Final = "history.json"
_STAGED: Final = ".staged-"
_REMEMBERED: Final = 500
"""Events of one package; the oldest are forgotten."""


class Standing(str, Enum):
    """What became of a version."""

    INSTALLED = "installed"
    ON_TRIAL = "on trial"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Event:
    """What became of one version, and when."""

    version: str
    standing: Standing
    at: str
    """RFC 3339, by this device's wall clock."""
    reason: str = ""
    measurements: Mapping[str, float] = field(default_factory=dict)
    """By name with its unit, such as `p95_ms` or `agreement`."""


class Shelf:
    """Installed packages in one folder, which need not be there yet. Any thread, any process."""

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        """`clock`: the machine's, unless a test brings its own; it only dates events."""
        self.folder = folder
        self._clock = clock or SystemClock()

    def names(self) -> list[str]:
        """Every installed package."""
        return sorted(name for name in _folders(self.folder) if _NAME.fullmatch(name) and self.versions(name))

    def versions(self, name: str) -> list[str]:
        """The installed versions of `name`, the oldest first: 2 before 10."""
        found = [each for each in _folders(self.folder / name) if _VERSION.fullmatch(each)] if is_name(name) else []
        return sorted((each for each in found if (self.path(name, each) / "model.yaml").is_file()), key=_natural)

    def current(self, name: str) -> str | None:
        """The version of `name` in use; None: it is not installed."""
        if not (there := self.versions(name)):
            return None
        try:
            said = (self.folder / name / _CURRENT).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            said = ""
        return said if said in there else there[0]

    def path(self, name: str, version: str) -> Path:
        """The folder of one version, whether it is there or not."""
        return self.folder / name / version

    def history(self, name: str) -> list[Event]:
        """What became of the versions of `name`, the oldest event first; removed versions stay in it."""
        try:
            told = json.loads((self.folder / name / _HISTORY).read_text(encoding="utf-8"))
            return [Event(**{**each, "standing": Standing(each["standing"])}) for each in told["events"]]
        except (OSError, ValueError, TypeError, KeyError):
            return []

    def standing(self, name: str, version: str) -> Event | None:
        """The newest event of one version; None: nothing is known of it."""
        return next((event for event in reversed(self.history(name)) if event.version == version), None)

    @contextlib.contextmanager
    def stage(self, key: str | None = None) -> Iterator[Path]:
        """A folder to fill with a package, for `install`; nobody else touches it meanwhile.

        Args:
            key: letters and digits under which it is found again after a crash or an error, as a download needs it,
                until something else is staged; None: it is gone at the end of the block unless it was installed.

        Raises:
            AgentError: the shelf cannot be written to, or another process stages under the same key.
        """
        with self._changing():
            folder = self.folder / f"{_STAGED}{key or secrets.token_hex(8)}"
            self._sweep(folder)
            folder.mkdir(mode=0o755, exist_ok=True)
            held = _held(folder)
        if held is None:
            raise AgentError("the same model is being fetched by another `vedette model` now; wait until it is done")
        try:
            yield folder
        finally:
            os.close(held)
            if key is None:
                shutil.rmtree(folder, ignore_errors=True)

    def install(self, staged: Path, name: str, version: str = "") -> str:
        """Put the package in `staged` on the shelf, whole or not at all; the version it got.

        It becomes the current version only where it is the first.

        Args:
            staged: what `stage` gave, filled.
            name: letters, digits, - and _.
            version: "": the next whole number.

        Raises:
            AgentError: a wrong name, or there is such a version, or the shelf cannot be written to.
        """
        _check(name, version)
        with self._changing():
            self._settle(staged)
            home = self._home(name)
            version = version or self._next(name)
            if self.path(name, version).exists():
                raise AgentError(f"{name}@{version} is installed already; remove it first, or choose another --name")
            before = self.current(name)
            if before is not None:
                self._write(home / _CURRENT, before)
            staged.rename(self.path(name, version))
            sync_folder(home)
            if before is None:
                self._write(home / _CURRENT, version)
            self._append(name, Event(version, Standing.INSTALLED, self._now()))
        return version

    def make_current(self, name: str, version: str) -> None:
        """From now on `version` is in use. Raises AgentError: it is not installed, or cannot be written."""
        if version not in self.versions(name):
            raise AgentError(self.unknown(name, version))
        with self._changing():
            self._write(self._home(name) / _CURRENT, version)

    def note(
        self,
        name: str,
        version: str,
        standing: Standing,
        *,
        reason: str = "",
        measurements: Mapping[str, float] | None = None,
    ) -> None:
        """Write into the history what became of a version. Raises AgentError."""
        _check(name, version)
        with self._changing():
            self._home(name)
            self._append(name, Event(version, standing, self._now(), reason, dict(measurements or {})))

    def remove(self, name: str, version: str | None = None, *, although_current: bool = False) -> None:
        """Take a version off the shelf, or with None the whole package and its history.

        Args:
            name: the package.
            version: one of its versions; None: all of them.
            although_current: let go of the version in use as well; the newest of the others is used then.

        Raises:
            AgentError: it is not there, or is in use, or cannot be removed.
        """
        there = self.versions(name)
        if not there or (version is not None and version not in there):
            raise AgentError(self.unknown(name, version))
        if version is None or there == [version]:
            self._take_away(self.folder / name)
            return
        if version == self.current(name):
            if not although_current:
                raise AgentError(
                    f"{name}@{version} is in use; let another version be used first: vedette model use {name}@VERSION, "
                    f"or remove all of it: vedette model remove {name}"
                )
            self.make_current(name, [each for each in there if each != version][-1])
        self._take_away(self.path(name, version))

    def unknown(self, name: str, version: str | None) -> str:
        """Why there is no such version, for people."""
        there = self.versions(name)
        if not there:
            return f"no package {name} is installed in {self.folder}; there is: {', '.join(self.names()) or 'none'}"
        return f"{name} has no version {version}; it has {', '.join(there)}, of which {self.current(name)} is in use"

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """One at a time changes the shelf. Raises AgentError: it cannot be written to."""
        try:
            self._make(self.folder)
            lock = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            try:
                self._give(self.folder / ".lock", 0o644)
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
            finally:
                os.close(lock)
        except OSError as error:
            otherwise = "run this as the agent's user or with sudo"
            raise AgentError(words.unwritable(error.filename or self.folder, error, otherwise=otherwise)) from error

    def _make(self, folder: Path) -> None:
        """A folder that belongs to whom the one above it belongs to."""
        if not folder.is_dir():
            above = next(each for each in folder.parents if each.is_dir())
            make_folder(folder, 0o755)
            while folder != above:
                self._give(folder, 0o755, like=above)
                folder = folder.parent

    def _home(self, name: str) -> Path:
        self._make(self.folder / name)
        return self.folder / name

    def _give(self, path: Path, mode: int, *, like: Path | None = None) -> None:
        """What root makes belongs to the shelf's owner: under systemd the agent runs as a user of its own."""
        if os.geteuid() == 0 and not path.is_symlink():
            owner = (like or self.folder).stat()
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
            path.chmod(mode)

    def _settle(self, staged: Path) -> None:
        """Everything in `staged` on the medium, to be read by the agent."""
        for path in staged.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
            self._give(path, 0o644)
        sync_folder(staged)
        self._give(staged, 0o755)

    def _write(self, path: Path, text: str) -> None:
        beside = path.with_name(f".{path.name}.part")
        beside.touch(0o644)
        self._give(beside, 0o644)
        write_whole(path, f"{text}\n".encode(), beside=beside)
        sync_folder(path.parent)

    def _append(self, name: str, event: Event) -> None:
        events = [asdict(each) for each in [*self.history(name), event][-_REMEMBERED:]]
        self._write(self.folder / name / _HISTORY, json.dumps({"events": events}, indent=1))

    def _next(self, name: str) -> str:
        """The next whole number: never one that was used before."""
        used = {*self.versions(name), *(event.version for event in self.history(name))}
        return str(max((int(each) for each in used if each.isdecimal()), default=0) + 1)

    def _now(self) -> str:
        moment = datetime.fromtimestamp(self._clock.wall(), tz=timezone.utc)
        return moment.isoformat(timespec="seconds").replace("+00:00", "Z")

    def _take_away(self, folder: Path) -> None:
        """Out of sight at once, then off the disk."""
        with self._changing():
            doomed = self.folder / f"{_STAGED}{secrets.token_hex(8)}"
            folder.rename(doomed)
            sync_folder(folder.parent)
            shutil.rmtree(doomed)

    def _sweep(self, but: Path) -> None:
        """What a crash left over, and downloads that were not gone on with."""
        for folder in self.folder.glob(f"{_STAGED}*"):
            with contextlib.suppress(OSError):
                held = None if folder == but else _held(folder)
                if held is not None:
                    shutil.rmtree(folder, ignore_errors=True)
                    os.close(held)


def is_name(text: str) -> bool:
    """Whether a package can be called so."""
    return _NAME.fullmatch(text) is not None


def _check(name: str, version: str) -> None:
    if not is_name(name):
        raise AgentError(
            f"{name!r} can be no package's name: letters, digits, - and _, at most 63; give --name another"
        )
    if version in (_CURRENT, _HISTORY) or (version and _VERSION.fullmatch(version) is None):
        raise AgentError(f"{version!r} can be no version: letters, digits, dots, - and _, at most 63")


def _folders(folder: Path) -> list[str]:
    try:
        return [each.name for each in folder.iterdir() if each.is_dir()]
    except OSError:
        return []


def _held(folder: Path) -> int | None:
    """The folder, open and locked for this process; None: another one has it."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


def _natural(version: str) -> tuple[tuple[bool, int, str], ...]:
    """Numbers in it as numbers."""
    parts = re.split(r"(\d+)", version)
    return tuple((not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts if part)
