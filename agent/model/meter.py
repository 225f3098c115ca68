"""How what takes long comes along: a live line on a terminal; elsewhere a line now and then. Main thread."""

from typing import Final, TextIO

from agent import words
from agent.clock import Clock

_EVERY_S: Final = 0.2
_SELDOM_S: Final = 10.0
"""Between lines where nobody watches."""
_CLEAR: Final = "\r\x1b[2K"


class Meter:
    """Is told of every byte of a download, and of what else takes long."""

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock
        self._live = stream.isatty()
        self._name = ""
        self._done_bytes = self._begun_bytes = 0
        self._total_bytes: int | None = None
        self._begun_s = self._shown_s = float("-inf")
        self._said_s = clock.now()
        self._shows = False

    def say(self, words_: str) -> None:
        """Something is alive, and how it is."""
        now_s = self._clock.now()
        if self._live:
            self._show(words_)
        elif now_s - self._said_s >= _SELDOM_S:
            self._said_s = now_s
            self._write(f"{words_}\n")

    def begin(self, name: str, done_bytes: int, total_bytes: int | None) -> None:
        """A request for a file has its answer: so much of it is there, and so much it will be."""
        if name != self._name:
            self._name, self._begun_s, self._begun_bytes = name, self._clock.now(), done_bytes
            if not self._live:
                size = "" if total_bytes is None else f" ({words.size(total_bytes)})"
                self._write(f"fetching {name}{size}\n")
        self._done_bytes, self._total_bytes = done_bytes, total_bytes

    def add(self, size_bytes: int) -> None:
        """So many more have come."""
        self._done_bytes += size_bytes
        now_s = self._clock.now()
        if now_s - self._shown_s >= _EVERY_S:
            self._shown_s = now_s
            self.say(self._line(now_s))

    def end(self) -> None:
        """The live line goes, for something else is to be printed, or nothing more comes."""
        if self._shows:
            self._shows = False
            self._write(_CLEAR)

    def _show(self, line: str) -> None:
        self._shows = True
        self._write(f"{_CLEAR}{line}")

    def _line(self, now_s: float) -> str:
        rate = (self._done_bytes - self._begun_bytes) / max(now_s - self._begun_s, _EVERY_S)
        of = "" if self._total_bytes is None else f" of {words.size(self._total_bytes)}"
        return f"{self._name}: {words.size(self._done_bytes)}{of}, {words.size(max(0.0, rate))}/s"

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self._live = False
