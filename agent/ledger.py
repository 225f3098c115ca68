"""One small record on disk that survives a kill at any moment: two slots, written in turn, each with its checksum.

A write that a kill cuts short spoils the slot it was meant for, and the other still holds the record before it. What is
written survives the process at once; a power cut may forget what the kernel had not written yet, a matter of seconds:
to wait for the disk would hold up frames. The file never grows, so a full disk does not stop it. Any one thread at a
time; its owner has the lock.
"""

import json
import logging
import os
import zlib
from pathlib import Path
from typing import Any

from agent import claim, logs
from agent.folder import make_folder

_log = logging.getLogger(__name__)
_SLOT_BYTES = 4096
"""A page, which the kernel takes as a whole."""


class Ledger:
    """The record in the file `path`; kept in memory alone, with a warning, where that cannot be written.

    Raises ConfigError when another process has the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number = 0
        self._file: int | None = None
        self.record: dict[str, Any] | None = None
        """As it was last written, by this run or an earlier one; None: never."""
        try:
            make_folder(path.parent)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            claim.lock(self._file, path)  # two that write would each forget what the other wrote
            self._load(os.pread(self._file, 2 * _SLOT_BYTES, 0))
        except OSError as error:
            self._give_up(error)

    def _load(self, data: bytes) -> None:
        """The newer of the slots that are whole."""
        slots = [_parsed(data[at : at + _SLOT_BYTES]) for at in (0, _SLOT_BYTES)]
        for number, record in (slot for slot in slots if slot is not None):
            if number > self._number:
                self._number, self.record = number, record
        if self.record is None and data.strip(b"\0 \n"):
            _log.warning("%s is damaged; begun anew", self._path)

    def write(self, record: dict[str, Any]) -> None:
        """Put `record` in the place of the one before the last. Raises ValueError when it does not fit."""
        self.record, self._number = record, self._number + 1
        body = json.dumps([self._number, record], separators=(",", ":")).encode()
        slot = f"{zlib.crc32(body):08x} ".encode() + body
        if len(slot) >= _SLOT_BYTES:
            raise ValueError(f"the record has {len(slot)} bytes; {_SLOT_BYTES - 1} is the most")
        if self._file is not None:
            try:
                os.pwrite(self._file, slot.ljust(_SLOT_BYTES - 1) + b"\n", self._number % 2 * _SLOT_BYTES)
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        _log.warning(
            "what is spent cannot be remembered over a restart %s",
            logs.fields(path=self._path, error=error.strerror or error),
        )
        self.close()

    def close(self) -> None:
        """Let go of the file, after the disk has it."""
        if self._file is not None:
            file, self._file = self._file, None
            try:
                os.fsync(file)
            except OSError as error:
                _log.warning("%s may not be on the disk: %s", self._path, error.strerror)
            finally:
                os.close(file)

    def __repr__(self) -> str:
        return f"<Ledger {self._path} record {self._number}>"


def _parsed(slot: bytes) -> tuple[int, dict[str, Any]] | None:
    """A slot's number and record; None when it is empty or torn."""
    checksum, _, body = slot.rstrip().partition(b" ")
    try:
        if int(checksum, 16) != zlib.crc32(body):
            return None
        number, record = json.loads(body)
    except (ValueError, TypeError):
        return None
    return (number, record) if isinstance(number, int) and isinstance(record, dict) else None
