"""What a medium holds after a power cut, rebuilt from the record that diskfault.c made of a program's disk calls.

The model, no kinder than a local Linux filesystem with ordered metadata (ext4's default):

- What a file was given (writes, truncations) is certain once an fsync or fdatasync of it has returned that began later.
- Names (created, renamed, unlinked) form one journal, of which a beginning survives. It is certain up to an entry once
  the folder was synced, or the file was synced to which the entry gave its name.
- What is not certain survives as `Survival` draws it: nothing, all, a beginning that is torn, or any subset, whole
  sectors of 512 bytes each for itself. A hole that a lost write leaves is zeros.
- A file that was unlinked, and whose unlinking did not survive, is there again.

SQLite's -shm is left out: it is written through a mapping, and made anew by the first process that opens the file.
"""

import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

_HEAD = struct.Struct("<IIQqq")
_SECTOR_BYTES = 512


@dataclass(frozen=True)
class Record:
    """One disk call, or a mark of the program's own."""

    op: str
    """O opened, D opened a folder, W wrote, T truncated, F synced, R renamed, U unlinked, M mark."""
    inode: int
    at: int
    """W: offset; T: size; F: records before it began; O: 1 when the file was made."""
    time_s: float
    data: bytes
    life: int = 0
    """Of which process."""

    @property
    def text(self) -> str:
        """Paths and marks."""
        return self.data.decode()


def read_records(logs: Sequence[Path]) -> list[Record]:
    """What processes recorded, one after the other, each in a log of its own."""
    found: list[Record] = []
    for life, log in enumerate(logs):
        before = len(found)
        found += [replace(each, life=life, at=each.at + before * (each.op == "F")) for each in _records(log)]
    return found


def _records(log: Path) -> list[Record]:
    """Those in `log`; a last one that a kill cut short is left out."""
    data, at, found = log.read_bytes(), 0, []
    while at + _HEAD.size <= len(data):
        op, size, inode, where, time_ns = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if at + size > len(data):
            break
        found.append(Record(chr(op), inode, where, time_ns / 1e9, data[at : at + size]))
        at += size
    return found


@dataclass(frozen=True)
class _Change:
    """A write, or a truncation to `at` where `data` is None."""

    number: int
    at: int
    data: bytes | None

    def apply(self, content: bytearray) -> None:
        if self.data is None:
            del content[self.at :]
            content.extend(bytes(self.at - len(content)))
            return
        content.extend(bytes(max(0, self.at - len(content))))
        content[self.at : self.at + len(self.data)] = self.data

    def sectors(self) -> Iterator["_Change"]:
        """The parts of it that a medium writes each for itself."""
        data, done = self.data or b"", 0
        while done < len(data):
            size = _SECTOR_BYTES - (self.at + done) % _SECTOR_BYTES
            yield _Change(self.number, self.at + done, data[done : done + size])
            done += size


@dataclass
class _File:
    certain: bytearray = field(default_factory=bytearray)
    pending: list[_Change] = field(default_factory=list)

    def sync(self, before: int) -> None:
        for change in self.pending:
            if change.number < before:
                change.apply(self.certain)
        self.pending = [change for change in self.pending if change.number >= before]


@dataclass(frozen=True)
class _Entry:
    """A change to the names: `file` gets the name `new` (None: none) and loses `old`."""

    number: int
    file: "_File"
    old: str | None
    new: str | None

    def apply(self, names: dict[str, "_File"]) -> None:
        if self.old is not None:
            names.pop(self.old, None)
        if self.new is not None:
            names[self.new] = self.file


@dataclass(frozen=True)
class Survival:
    """What survives of that which was not certain."""

    how: str
    """`none`, `all`, `torn` (a beginning, its last write in part) or `some` (any sectors, any beginning of names)."""
    seed: int = 0

    def changes(self, pending: list[_Change], draw: random.Random) -> list[_Change]:
        """Those that reached the medium, in order."""
        if self.how in ("none", "all"):
            return pending if self.how == "all" else []
        if self.how == "some":
            return [part for change in pending for part in _parts(change) if draw.random() < 0.5]
        count = draw.randint(0, len(pending))
        torn = list(_parts(pending[count])) if count < len(pending) else []
        return pending[:count] + torn[: draw.randint(0, len(torn))]

    def names(self, pending: list[_Entry], draw: random.Random) -> list[_Entry]:
        """Those that reached the journal."""
        return pending[: {"none": 0, "all": len(pending)}.get(self.how, draw.randint(0, len(pending)))]


def _parts(change: _Change) -> list[_Change]:
    return [change] if change.data is None else list(change.sectors())


class Medium:
    """The files below one folder, empty at first; records are applied in order, and a cut may come after any."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._count = 0
        self._by_inode: dict[int, _File] = {}
        self._now: dict[str, _File] = {}
        self._certain: dict[str, _File] = {}
        self._journal: list[_Entry] = []

    def apply(self, record: Record) -> None:
        """One more disk call."""
        getattr(self, f"_apply_{record.op.lower()}")(record)
        self._count += 1

    def _apply_o(self, record: Record) -> None:
        if record.inode in self._by_inode and not record.at:
            return
        if not record.at:
            raise ValueError(f"{record.text} was there before the record began")
        self._by_inode[record.inode] = file = _File()
        self._enter(_Entry(self._count, file, None, record.text))

    def _apply_d(self, record: Record) -> None:
        """A folder was opened, to be synced."""

    def _enter(self, entry: _Entry) -> None:
        self._journal.append(entry)
        entry.apply(self._now)

    def _apply_w(self, record: Record) -> None:
        self._by_inode[record.inode].pending.append(_Change(self._count, record.at, record.data))

    def _apply_t(self, record: Record) -> None:
        self._by_inode[record.inode].pending.append(_Change(self._count, record.at, None))

    def _apply_f(self, record: Record) -> None:
        file = self._by_inode.get(record.inode)
        if file is None:  # a folder
            self._make_names_certain(record.at)
            return
        file.sync(record.at)
        named = [
            entry.number for entry in self._journal if entry.file is file and entry.new and entry.number < record.at
        ]
        self._make_names_certain(named[-1] + 1 if named else 0)

    def _make_names_certain(self, before: int) -> None:
        for entry in self._journal:
            if entry.number < before:
                entry.apply(self._certain)
        self._journal = [entry for entry in self._journal if entry.number >= before]

    def _apply_r(self, record: Record) -> None:
        old, new = record.text.split("\n")
        self._enter(_Entry(self._count, self._now[old], old, new))

    def _apply_u(self, record: Record) -> None:
        if record.text in self._now:
            self._enter(_Entry(self._count, self._now[record.text], record.text, None))

    def _apply_m(self, record: Record) -> None:
        """Marks are the program's own."""

    def rebuild(self, target: Path, survival: Survival) -> None:
        """Write what the medium would hold after a cut now into the folder `target`."""
        draw = random.Random(f"{survival.seed}/{self._count}")  # noqa: S311 - not a secret
        names = dict(self._certain)
        for entry in survival.names(self._journal, draw):
            entry.apply(names)
        for path, file in sorted(names.items()):
            if not path.endswith("-shm"):
                content = bytearray(file.certain)
                for change in survival.changes(file.pending, draw):
                    change.apply(content)
                made = target / Path(path).relative_to(self._folder)
                made.parent.mkdir(parents=True, exist_ok=True)
                made.write_bytes(content)
