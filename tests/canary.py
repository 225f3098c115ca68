"""Secrets that give themselves away, and who looks for them over the whole test run.

A secret of a test is made by `secret`, so that it bears a mark at both ends, and half of it still does. Whatever the
tests write is searched for the mark: log lines as the agent would write them, files, what its page answers, command
lines and environments of processes. Files that hold a secret and nothing else are how it is handed over, and no trace.
"""

import gzip
import logging
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from agent import disguise, logs
from agent.options import Secret
from agent.page.gate import Gate

MARK: Final = "cAnArY9x"
_FORMS: Final = tuple(form.encode() for form in {MARK, *disguise.base64_parts(MARK.encode())})
"""Letters and digits are the same in URLs, JSON and Python, and not in base64."""
_ITS_OWN_TEST: Final = "test_options.py"
"""Of Secret itself, which shows one before it is known."""
_TOOLS: Final = (b"mosquitto", b"rtsp_server.py", b"openssl")
"""Of the tests, not of the agent."""
_SHOWN_BYTES: Final = 60
_LONGEST_HANDED_OVER: Final = 2000
_MOST_BYTES: Final = 64 * 1024 * 1024
"""Of a file; nothing that the agent writes in a test is larger."""


def secret(text: str = "") -> str:
    """A secret with `text` in it."""
    return f"{MARK}{text}{MARK}"


def hand_over(path: Path, text: str) -> None:
    """Write a file that may hold a secret beside other words, for what is to read it from there."""
    path.write_text(text, encoding="utf-8")
    _ON_DUTY[0].handed_over.add(path.resolve())


def traces(data: bytes) -> list[str]:
    """Where the mark shows, with what stands around it."""
    places = [match.start() for form in _FORMS for match in re.finditer(re.escape(form), data)]
    shown = (data[max(0, at - _SHOWN_BYTES) : at + _SHOWN_BYTES] for at in places)
    return [part.decode(errors="replace") for part in shown]


class Lookout:
    """Collects where a secret showed."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.handed_over: set[Path] = set()
        """Files that hold a secret, in whatever form."""

    def tell(self) -> None:
        """Fail where a secret showed since the last time."""
        found, self.found = self.found, []
        assert not found, "a secret shows:\n" + "\n".join(found)

    def look(self, where: str, data: bytes) -> None:
        """Search `data`."""
        if any(form in data for form in _FORMS):
            test = os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0]
            self.found += [f"{where}, in {test or 'no test'}: {trace!r}" for trace in traces(data)[:3]]

    def look_at_files(self, folder: Path) -> None:
        """Search every file below `folder`."""
        for path in folder.rglob("*"):
            with suppress(OSError):
                if path.is_file() and not path.is_symlink() and path.stat().st_size <= _MOST_BYTES:
                    self._look_at_file(path)

    def _look_at_file(self, path: Path) -> None:
        data = path.read_bytes()
        if path.resolve() in self.handed_over or _is_handed_over(data):
            return
        if data.startswith(b"\x1f\x8b"):
            with suppress(OSError, EOFError, zlib.error):  # one that a kill has cut short
                data = gzip.decompress(data)
        self.look(f"the file {path}", data)

    def look_at_process(self, pid: int) -> None:
        """Search the command lines of a process and of those that it has started, and what these were given to inherit.

        The environment of the first one is the test's: a secret may well be handed over there.
        """
        for number, each in enumerate(family(pid)):
            with suppress(OSError):
                command = Path(f"/proc/{each}/cmdline").read_bytes()
                self.look_at_command(command)
                if number or b"agent.isolation" in command or b"agent.engines" in command:
                    self.look(f"the environment of {command[:200]!r}", Path(f"/proc/{each}/environ").read_bytes())

    def look_at_command(self, command: bytes) -> None:
        """Search a command line, unless it is that of a tool which takes a password nowhere else."""
        if not any(tool in command for tool in _TOOLS):
            self.look(f"the command line of {command[:200]!r}", command)


def _is_handed_over(data: bytes) -> bool:
    text = data.strip()
    return text.startswith(MARK.encode()) and text.endswith(MARK.encode()) and len(text) <= _LONGEST_HANDED_OVER


def family(pid: int) -> list[int]:
    """A process and all that it has started, itself first."""
    found = [pid]
    for each in found:
        with suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


_ON_DUTY: list[Lookout] = []
"""One, while tests run: a hook of the interpreter can be set once, and never taken away."""


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    """When a process is started, and before one is told to end, as nearly all are that tests and the agent start."""
    if not _ON_DUTY:
        return
    if event in ("os.kill", "os.killpg"):
        _ON_DUTY[0].look_at_process(arguments[0])
    elif event == "subprocess.Popen" and isinstance(arguments[1], list | tuple):
        _ON_DUTY[0].look_at_command(b"\0".join(os.fsencode(part) for part in arguments[1]))


@contextmanager
def looking(folder: Path) -> Iterator[Lookout]:
    """Look out for secrets until the block ends, and at last in every file below `folder`."""
    lookout, records = Lookout(), logging.getLogRecordFactory()
    redacting = logs.RedactingFormatter()

    def record(*arguments: Any, **more: Any) -> logging.LogRecord:
        made = records(*arguments, **more)
        with suppress(TypeError, ValueError):  # a line whose arguments do not fit it, which logging tells of itself
            lookout.look("a log line", redacting.format(made).encode(errors="replace"))
        made.exc_text = None  # what formatting has left in it
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Gate, "__call__", _overheard(Gate.__call__, lookout))
        patch.setattr(Secret, "reveal", _marked(Secret.reveal, lookout))
        logging.setLogRecordFactory(record)
        if not _hooked:
            _hooked.append(sys.addaudithook(_on_event))
        _ON_DUTY.append(lookout)
        try:
            yield lookout
        finally:
            _ON_DUTY.clear()
            logging.setLogRecordFactory(records)
    lookout.look_at_files(folder)


_hooked: list[None] = []


def _overheard(call: Callable[..., Any], lookout: Lookout) -> Callable[..., Any]:
    """The page's gate, with somebody who listens to what goes out."""

    async def overheard(gate: Gate, scope: Any, receive: Any, send: Any) -> None:
        async def told(message: Any) -> None:
            head = b"\n".join(name + b": " + value for name, value in message.get("headers", ()))
            lookout.look(f"an answer of the page to {scope.get('path')}", head + b"\n\n" + message.get("body", b""))
            await send(message)

        await call(gate, scope, receive, told)

    return overheard


def _marked(reveal: Callable[..., str], lookout: Lookout) -> Callable[..., str]:
    """A secret without the mark could show, and nobody would see it."""

    def revealed(reference: Secret, base_dir: Path) -> str:
        value = reveal(reference, base_dir)
        if reference.file is not None:
            lookout.handed_over.add((base_dir / reference.file.expanduser()).resolve())
        test = os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0]
        if MARK not in value and _ITS_OWN_TEST not in test:
            lookout.found.append(f"the secret {reference} of {test} bears no mark; make it by canary.secret")
        return value

    return revealed


@pytest.fixture(scope="session", autouse=True)
def lookout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lookout]:
    """Looks out from the first test to the last, and at the end through all that was written."""
    with looking(tmp_path_factory.getbasetemp()) as lookout:
        yield lookout
    lookout.tell()


@pytest.fixture(autouse=True)
def no_secret_shows(lookout: Lookout) -> Iterator[None]:
    """A test by which a secret showed fails; what it made known is forgotten, lest it be struck out for the next."""
    known = set(logs._HIDDEN)
    yield
    logs._HIDDEN.intersection_update(known)
    lookout.tell()
