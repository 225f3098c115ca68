"""Links from files: CSV, mahimahi, or what a real run met. The content tells which it is. No state."""

import gzip
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent.errors import ConfigError
from agent.simulator import rerun
from agent.simulator.scenario import (
    BIN_S,
    BYTES_PER_MBIT,
    USUAL_RTT_S,
    Floats,
    Scenario,
    binned,
    even_rtt,
)

_PACKET_BYTES = 1500.0
"""What a line of a mahimahi trace lets through."""
_FORMATS = (
    "allowed: lines of seconds,Mbit/s; lines of milliseconds, each a packet of 1500 bytes (mahimahi); "
    "a results file of vedette"
)
_GZIP = b"\x1f\x8b"
_FIRST_BYTES = 4096
_LONGEST_S = 7 * 86_400.0
_FASTEST_MBIT_S = 100_000.0
_SECOND_S = 1.0


def read(path: Path, *, rtt_s: float | None = None) -> Scenario:
    """The link that a file describes.

    Args:
        path: the file.
        rtt_s: the median round trip; None: as measured where the file tells, else the usual one.

    Raises:
        ConfigError: it cannot be read, or holds no trace.
    """
    try:
        with path.open("rb") as file:
            begin = file.read(_FIRST_BYTES)
        if begin.startswith(_GZIP) or begin.lstrip().startswith(b"{"):
            return rerun.read(path, rtt_s=rtt_s)
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, gzip.BadGzipFile) as error:
        raise ConfigError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no trace; {_FORMATS}") from error
    lines = [_Line(path, number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    lines = [line for line in lines if not line.text.startswith("#")]
    if not lines:
        raise ConfigError(f"{path} is empty; {_FORMATS}")
    capacity = _of_csv(lines) if "," in lines[0].text else _of_packets(lines)
    return Scenario(path.name, capacity, even_rtt(1000 * (USUAL_RTT_S if rtt_s is None else rtt_s)))


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a text file."""

    path: Path
    number: int
    raw: str

    @property
    def text(self) -> str:
        return self.raw.strip()

    def wrong(self, what: str) -> ConfigError:
        return ConfigError(f"{self.path}, line {self.number}: {what}")


def _of_csv(lines: list[_Line]) -> Floats:
    """Each row's rate holds until the next; the last one's as long as the one before it."""
    rows = list(_rows(lines))
    begins_s = np.array([at_s for at_s, _ in rows])
    rates = np.array([mbit_s for _, mbit_s in rows]) * BYTES_PER_MBIT
    last_s = begins_s[-1] - begins_s[-2] if len(rows) > 1 else _SECOND_S
    edges_s = np.append(begins_s, begins_s[-1] + last_s) - begins_s[0]
    return binned(edges_s, rates)


def _rows(lines: list[_Line]) -> Iterator[tuple[float, float]]:
    before_s, first_s = -math.inf, None
    for place, line in enumerate(lines):
        cells = [cell.strip() for cell in line.text.split(",")]
        try:
            at_s, mbit_s = (float(cell) for cell in cells)
        except ValueError as error:
            if place == 0 and len(lines) > 1 and not any(_is_number(cell) for cell in cells):
                continue  # the head
            raise line.wrong(f"{line.text!r} is not seconds,Mbit/s, as in 12.5,3.4") from error
        first_s = at_s if first_s is None else first_s
        if not 0 <= mbit_s <= _FASTEST_MBIT_S:
            raise line.wrong(f"{mbit_s:g} Mbit/s; allowed: 0 to {_FASTEST_MBIT_S:g}")
        if not before_s < at_s < first_s + _LONGEST_S:
            raise line.wrong(f"the time {at_s:g} s should follow the line before, by a week at most")
        before_s = at_s
        yield at_s, mbit_s


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _of_packets(lines: list[_Line]) -> Floats:
    """The last line's time is the trace's length."""
    times_ms: list[int] = []
    for line in lines:
        if not (line.text.isascii() and line.text.isdigit()):
            if line is lines[0]:
                raise line.wrong(f"{line.text[:40]!r} begins no trace; {_FORMATS}")
            raise line.wrong(f"{line.text[:40]!r} is not a whole number of milliseconds")
        at_ms = int(line.text)
        if not (times_ms[-1] if times_ms else 0) <= at_ms < _LONGEST_S * 1000:
            raise line.wrong(f"the time {at_ms} ms should not be before the line before, nor after a week")
        times_ms.append(at_ms)
    bins = max(1, math.ceil(times_ms[-1] / 1000 / BIN_S))
    places = np.minimum(np.array(times_ms) // round(1000 * BIN_S), bins - 1)
    return np.asarray(np.bincount(places, minlength=bins) * _PACKET_BYTES, dtype=np.float64)
