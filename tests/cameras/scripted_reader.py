"""A reader for tests, run in the child: it gives pictures with a time code, and misbehaves when a file says how.

The file `script` is read before each picture. An empty or absent one: all is well. `WORD@open` holds at each opening.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from timecode import draw, now_ms

from agent.errors import FrameUnreadable, LibraryMissing, SourceBroken, SourceRefused
from agent.flow import Pixels

_BLOCKED = range(1, 65)


def _hang() -> None:
    """In native code that holds the interpreter, with every signal blocked: what a driver may do at its worst."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    ctypes.PyDLL(None).sleep(100_000)


def _crash() -> None:
    ctypes.string_at(0)


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _print() -> None:
    """Nothing but words, without end."""
    while True:
        os.write(2, b"W warning: the same again and again\n" * 100)


def _stubborn() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(100_000)


def _deaf() -> None:
    """Nothing that leads out stays open."""
    os.closerange(0, 64)
    time.sleep(100_000)


def _with_helper() -> None:
    """A program of its own, which ignores what a polite end is, and hangs too."""
    subprocess.Popen(["/bin/sh", "-c", "trap '' TERM HUP; sleep 1000"])
    _hang()


def _garbage() -> None:
    for words in _GARBAGE:
        os.write(int(sys.argv[-3]), words)
    time.sleep(100_000)


_GARBAGE = (
    b"W[1, 2]",
    b"W" + b"[" * 90_000,
    b"W5",
    b"W{",
    b"P\xff",
    b"P" + b"\xff" * 8,
    b"P\x00\x00\x40\x00\x00\x00\x40\x00",
    b'W{"error": "Cause", "text": 7}',
    b'W{"error": "SourceEnded"}',
    b"\x00" * 1000,
    b"",
)

_HABITS = {
    "hang": _hang,
    "crash": _crash,
    "stop": _stop,
    "print": _print,
    "stubborn": _stubborn,
    "deaf": _deaf,
    "helper": _with_helper,
    "garbage": _garbage,
}


class ScriptedReader:
    """See above."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._script = Path(settings["script"])
        self._period_s = 1 / settings["fps"]
        height, width = settings["height"], settings["width"]
        self._pixels = np.random.default_rng(1).integers(0, 255, (height, width, 3), dtype=np.uint8)
        self._due_s = time.monotonic()
        self._word = ""
        self._leak: list[bytes] = []

    def grab(self) -> None:
        self._due_s = max(self._due_s + self._period_s, time.monotonic() - self._period_s)
        time.sleep(max(0.0, self._due_s - time.monotonic()))
        self._word = word(self._script)
        if self._word in _HABITS:
            _HABITS[self._word]()
        if self._word == "confess":
            raise RuntimeError(f"the settings are {self._settings}, the password {self._settings['password']}")
        if self._word == "leak":
            self._leak.append(bytes(bytearray(os.urandom(1 << 20) * 20)))
        if self._word == "chatter" and threading.active_count() == 1:
            threading.Thread(target=_print, daemon=True).start()
        if self._word == "torn":
            raise FrameUnreadable("scripted: torn")
        if self._word != "still":
            draw(self._pixels, now_ms())

    def picture(self) -> Pixels:
        if self._word == "mute":  # dies between question and answer
            os._exit(3)
        return self._pixels

    def close(self) -> None: ...


def word(script: Path) -> str:
    try:
        return script.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def open_reader(settings: dict[str, Any]) -> ScriptedReader:
    habit = word(Path(settings["script"]))
    if habit == "refuse@open":
        raise SourceRefused("scripted: refused")
    if habit == "broken@open":
        raise SourceBroken("scripted: nothing that can be decoded")
    if habit == "import@open":
        raise ImportError("No module named 'av'")
    if habit == "library@open":
        raise LibraryMissing("scripted: no library")
    if habit.endswith("@open"):
        _HABITS[habit.removesuffix("@open")]()
    return ScriptedReader(settings)
