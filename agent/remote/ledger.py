"""Which commands have come already, over restarts: none is carried out twice. Owner: the remote thread.

A command is known by its id and by a digest of its text. The newest 2000 are remembered, which is more than can come
while a signed one is still fresh: `remote_options` holds rate and window to that, and `freshness` ends a session in
time. The file has a line for each, on the medium before the command begins. Where the disk fails, memory alone
remembers, and the log says so.
"""

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from agent import logs
from agent.clock import Clock
from agent.folder import make_folder, sync_folder, write_whole
from agent.remote.order import Answer

REMEMBERED: Final = 2000
_MOST_LINES: Final = 2 * REMEMBERED
_ANSWERS: Final = 100
"""Answers that are kept to be given again; those of older commands say only that they were."""
_LARGEST_BYTES: Final = 32_768
"""Of such an answer, with where it goes: a hundred take 3 MB at most. A larger one, such as a picture, is not kept."""
_NOT_KEPT: Final = "what it said is too large to be kept and said again; send the command with another id"
_log = logging.getLogger(__name__)


class Ledger:
    """Ids of commands, and what was answered."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._digests: dict[str, str] = {}
        self._answers: dict[str, Answer] = {}
        self._lines = 0
        self._damper = logs.Damper(_log.warning, clock.now)
        self._read()

    def digest(self, name: str) -> str | None:
        """Of the command with this id; None: none has come."""
        return self._digests.get(name)

    def answer(self, name: str) -> Answer | None:
        """The newest answer to it, if that is still remembered."""
        return self._answers.get(name)

    def enter(self, name: str, digest: str) -> None:
        """This command is begun. It is on the medium afterwards, if that takes it."""
        self._digests[name] = digest
        while len(self._digests) > REMEMBERED:
            del self._digests[next(iter(self._digests))]
        try:
            if self._lines >= _MOST_LINES:
                self._rewrite()
            else:
                self._append(name, digest)
        except OSError as error:
            self._damper.note(
                "disk",
                f"{self._path} cannot be written: {error.strerror}; a command that comes again after a restart "
                "is carried out again, until there is room",
            )

    def note(self, answer: Answer) -> None:
        """What was answered to a command that was entered."""
        if answer.id is None:
            return
        self._answers.pop(answer.id, None)
        kept = replace(answer, result={}, reason=_NOT_KEPT) if _size_bytes(answer) > _LARGEST_BYTES else answer
        if _size_bytes(kept) <= _LARGEST_BYTES:
            self._answers[answer.id] = kept
        while len(self._answers) > _ANSWERS:
            del self._answers[next(iter(self._answers))]

    def _read(self) -> None:
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return
        self._lines = len(lines)
        self._digests = dict(list(_entries(lines))[-REMEMBERED:])

    def _append(self, name: str, digest: str) -> None:
        make_folder(self._path.parent, 0o700)
        fresh = not self._path.exists()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, b"\n" * (self._lines > 0) + _line(name, digest))  # a torn line before it ends here
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._lines += 1
        if fresh:
            sync_folder(self._path.parent)

    def _rewrite(self) -> None:
        content = b"\n".join(_line(name, digest) for name, digest in self._digests.items())
        write_whole(self._path, content, beside=self._path.with_suffix(".new"), mode=0o600)
        self._lines = len(self._digests)


def _size_bytes(answer: Answer) -> int:
    return len(answer.body("")) + len(answer.to.topic.encode()) + len(answer.to.correlation)


def _line(name: str, digest: str) -> bytes:
    return json.dumps([name, digest]).encode()


def _entries(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Those that are whole: a power cut may have torn the last."""
    for line in lines:
        try:
            name, digest = json.loads(line)
        except (ValueError, TypeError):
            continue
        yield str(name), str(digest)
