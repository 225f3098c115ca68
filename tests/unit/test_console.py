"""The live line on a real pseudo-terminal, as a person would see it."""

import errno
import fcntl
import io
import logging
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import FakeClock, InstantCloud, an_uplink

from agent import console, logs
from agent.backfill.keep import Loss, Step
from agent.backfill.sender import BackfillStatus
from agent.console import Terminal
from agent.flow import Route
from agent.telemetry import CameraStatus

REPOSITORY = Path(__file__).resolve().parents[2]
LONG = "scene: cloud p_ok             120 ms | link: 90 ms | " + "counts " * 20


class Window:
    """The far side of a terminal: what has been written, and what a person sees of it."""

    def __init__(self, columns: int) -> None:
        self.far, near = pty.openpty()
        self.stream = os.fdopen(near, "w", encoding="utf-8", buffering=1)
        self.resize(columns)

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self.stream.fileno(), termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def rows(self, columns: int) -> list[str]:
        """The rows on the screen: long text wraps, a carriage return begins the row anew, \\x1b[2K clears that row."""
        rows, column = [""], 0
        for piece in re.findall(r"\x1b\[2K|\r|\n|[^\x1b\r\n]", self._written()):
            if piece == "\x1b[2K":
                rows[-1] = ""
            elif piece == "\r":
                column = 0
            elif piece == "\n":
                rows, column = [*rows, ""], 0
            else:
                if column == columns:
                    rows, column = [*rows, ""], 0
                rows[-1] = rows[-1][:column].ljust(column) + piece + rows[-1][column + 1 :]
                column += 1
        return rows

    def _written(self) -> str:
        """Everything up to a mark that goes through the same terminal after it."""
        mark, text = "\x05", ""
        self.stream.write(mark)
        self.stream.flush()
        while mark not in text:
            text += os.read(self.far, 65536).decode()
        return text.replace(mark, "")

    def die(self) -> None:
        os.close(self.far)
        self.far = -1

    def close(self) -> None:
        if self.far >= 0:
            self.die()
        self.stream.close()


@pytest.fixture
def window() -> Iterator[Window]:
    opened = Window(80)
    yield opened
    opened.close()


@pytest.fixture
def as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_a_long_line_is_cut_to_one_row_and_replaced_in_its_place(window: Window) -> None:
    terminal = Terminal(window.stream)
    for number in range(5):
        terminal.show(f"{number} {LONG}")
    assert window.rows(80) == [f"4 {LONG}"[:79]]


def test_a_shorter_line_leaves_nothing_of_the_longer_one(window: Window) -> None:
    terminal = Terminal(window.stream)
    terminal.show(LONG)
    terminal.show("short")
    assert window.rows(80) == ["short"]


@pytest.mark.usefixtures("as_it_was")
def test_log_lines_go_above_the_live_line(window: Window) -> None:
    terminal = Terminal(window.stream)
    logs.setup(terminal, level="info", with_time=False)
    log = logging.getLogger("agent.tester")
    log.info("before")
    terminal.show(LONG)
    log.info("first")
    terminal.show(f"2 {LONG}")
    log.info("second of\ntwo rows")
    terminal.end()
    log.info("after")
    said = [f"INFO    agent.tester: {text}" for text in ("before", "first", "second of", "after")]
    assert window.rows(80) == [*said[:3], "two rows", f"2 {LONG}"[:79], said[3], ""]


def test_the_line_follows_the_width_of_the_window(window: Window) -> None:
    terminal = Terminal(window.stream)
    terminal.show(LONG)
    window.resize(120)
    terminal.show(LONG)
    assert window.rows(120) == [LONG[:119]]
    window.resize(30)
    terminal.write("log\n")
    assert window.rows(30)[-2:] == ["log", LONG[:29]]


@pytest.mark.parametrize("columns", [1, 2])
def test_the_narrowest_window_does_no_harm(window: Window, columns: int) -> None:
    window.resize(columns)
    terminal = Terminal(window.stream)
    terminal.show(LONG)
    terminal.show(LONG)
    assert window.rows(columns) == [LONG[: columns - 1]]


def test_a_terminal_that_does_not_know_its_width_has_that_of_the_environment(
    window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    window.resize(0)
    monkeypatch.setenv("COLUMNS", "40")
    Terminal(window.stream).show(LONG)
    assert window.rows(80) == [LONG[:39]]


def test_lines_of_several_threads_stay_whole(window: Window) -> None:
    terminal = Terminal(window.stream)
    threads = [
        threading.Thread(target=lambda n=n: [terminal.write(f"{n} {'x' * 50}\n") for _ in range(10)]) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for _ in range(10):
        terminal.show(LONG)
    for thread in threads:
        thread.join()
    *lines, live = window.rows(80)
    assert live == LONG[:79]
    assert sorted(lines) == sorted(f"{n} {'x' * 50}" for n in range(4) for _ in range(10))


def test_a_file_gets_ordinary_output_and_no_live_line(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w", encoding="utf-8") as stream:
        terminal = Terminal(stream)
        terminal.show(LONG)
        terminal.write("a line\n")
        terminal.end()
        assert not terminal.live
    assert (tmp_path / "log").read_text(encoding="utf-8") == "a line\n"


def test_corrections_are_counted_beside_the_routes() -> None:
    counts = CameraStatus(
        online=True,
        captured=12,
        fates={},
        unreadable=0,
        held={},
        corrections=9,
        routes={Route.LOCAL: 12},
        decisions={},
        late=2,
        newest=None,
        recent_ms=None,
        rate_fps=None,
        openings=1,
        ages={},
        runs={},
        parts={},
    )
    assert console._counts(counts) == "local 12 cloud 0 corrected 9 late 2"


def test_the_second_look_is_counted_with_what_became_of_the_frames() -> None:
    idle = BackfillStatus(kept=0, waiting=0, sent=0, done={Step.ASK: 0}, dropped={})
    assert console._backfill(idle) == "back-fill: kept 0 waiting 0"
    busy = BackfillStatus(
        kept=40, waiting=7, sent=35, done={Step.ASK: 30, Step.GIVE: 4}, dropped={Loss.OLD: 2, Loss.FAILED: 1}
    )
    assert console._backfill(busy) == (
        "back-fill: kept 40 waiting 7 sent 35 corrected 30 given 4 dropped (old) 2 dropped (failed) 1"
    )


# Streams that lead nowhere


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_no_file_gets_the_number_of_a_stream_that_was_closed(closed: str, tmp_path: Path) -> None:
    script = (
        "import os, sys; from agent import console; console.ensure_streams()\n"
        f"file = open({str(tmp_path / 'file')!r}, 'w'); print('to nobody', file=sys.stderr, flush=True)\n"
        "os.write(2, b'nor to the file'); console.Terminal(sys.stderr).write('nor this'); console.say('x')\n"
        "file.write(str(file.fileno() > 2)); file.close()"
    )
    command = ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, script]
    assert subprocess.run(command, cwd=REPOSITORY, timeout=30, check=False).returncode == 0
    assert (tmp_path / "file").read_text() == "True"


# A terminal that dies


def test_a_terminal_that_dies_makes_it_silent_and_nothing_else(window: Window) -> None:
    terminal = Terminal(window.stream)
    terminal.show("alive")
    window.die()
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        os.write(window.stream.fileno(), b"the terminal is gone indeed")
    terminal.show("nobody sees this")
    assert not terminal.live
    terminal.write("nor this\n")
    terminal.flush()
    terminal.end()


def test_a_reader_that_goes_makes_it_silent_and_nothing_else() -> None:
    far, near = os.pipe()
    with os.fdopen(near, "w", encoding="utf-8") as stream:
        terminal = Terminal(stream)
        os.close(far)
        terminal.write("a line\n")
        terminal.write("another\n")


def test_a_write_that_fails_for_now_costs_that_text_only() -> None:
    class FullForNow(io.StringIO):
        full = True

        def write(self, text: str) -> int:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(text)

    stream = FullForNow()
    terminal = Terminal(stream)
    terminal.write("lost\n")
    stream.full = False
    terminal.write("seen\n")
    assert stream.getvalue() == "seen\n"


def test_a_program_whose_terminal_died_ends_as_if_nothing_had_been() -> None:
    window = Window(80)
    program = (
        "import sys; from agent.console import Terminal; terminal = Terminal(sys.stderr); terminal.show('here')\n"
        "print('shown', flush=True); sys.stdin.readline()\n"
        "terminal.write('x' * 20000 + '\\n'); terminal.show('gone'); print('lost', file=sys.stderr); sys.exit(3)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=window.stream,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "shown\n"
        window.close()
        process.communicate("\n", timeout=30)
    assert process.returncode == 3


def test_a_link_that_was_measured_and_never_answered_says_so_and_not_for_how_long() -> None:
    clock = FakeClock()
    uplink = an_uplink(InstantCloud(clock), clock)
    assert console._link(uplink, clock.now()) == "link: no answer yet"
    uplink.link.note_sent(("cam", 1), size_bytes=20_000, now_s=clock.now(), due_s=clock.now() + 0.5)
    clock.advance(1.0)
    line = console._link(uplink, clock.now())
    assert line.endswith("no answer yet")
    assert "inf" not in line
