"""What is said of one camera: a summary, tables and sentences. No state."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from agent import words
from agent.explain import episodes, figures
from agent.explain.figures import Rows
from agent.explain.meanings import meaning_of, sentence
from agent.flow import Hedge
from agent.history import HEDGES, CameraHistory, Columns, Floats

COLUMNS = 100
P_EDGES = (0.0, 0.4, 0.6, 0.8, 0.9, 1.0)
SIZE_EDGES_KB = (0.0, 30.0, 64.0, 127.0, math.inf)
"""Half-way, as factors go, between 20, 45, 90 and 180 kB."""
_INDENT = 4
_NAME_WIDTH = 18
"""The longest reason and two blanks."""


def explanation(camera: CameraHistory, reasons: Sequence[str]) -> str:
    """All that is said of one camera, lines of about 100 columns."""
    frames, corrections = camera.frames, camera.corrections
    if not len(frames):
        return f"{camera.name}   no frame, {words.plural(len(corrections), 'correction')} of earlier ones"
    sections = (
        _summary(camera, reasons),
        _section("Why frames went where they went", _reason_table(frames, reasons)),
        _section("In words", _words(frames, reasons)),
        _section("Requests that were answered: expected and actual, medians", _parts(frames, corrections)),
        _section("Pictures sent", _sizes(frames)),
        _section("What became of the device's run for frames that were sent", _hedges(frames)),
        _section("Was p right? Frames sent, by the chance p that the cloud would be in time", _calibration(frames)),
        _section("Budget", _budget(frames)),
        _section("Cloud and device in turn", episodes.lines(frames, reasons, COLUMNS - _INDENT)),
    )
    return "\n".join(line.rstrip() for section in sections for line in section)


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"  {title}", *(" " * _INDENT + line for line in lines)] if lines else []


def _summary(camera: CameraHistory, reasons: Sequence[str]) -> list[str]:
    frames, corrected = camera.frames, _corrected(camera.corrections)
    begin_s, end_s, pauses = float(frames.at_s[0]), float(frames.at_s[-1]), int(frames.span[-1] - frames.span[0])
    paused = f", with {words.plural(pauses, 'restart')} or long pause{'s' * (pauses > 1)}" if pauses else ""
    late = int(np.count_nonzero(frames.late))
    by_cloud = frames.from_cloud | frames.cloud_in_time
    lines = [
        f"{camera.name}   {figures.period(begin_s, end_s)}, {figures.length(end_s - begin_s)}{paused}",
        (
            f"  {words.plural(len(frames), 'frame')}: {figures.share(by_cloud)} answered by the cloud, "
            f"{figures.share(~frames.late)} in time{f' ({late} late)' if late else ''}, {corrected}"
        ),
    ]
    lines += _stayed(frames.where(~by_cloud), reasons)
    if not camera.clock_set:
        lines.append("  The machine's clock was not known to be right: times of day may be wrong, lengths are not")
    return lines


def _corrected(corrections: Columns) -> str:
    """How many of the device's answers the cloud's replaced, and when."""
    late = int(np.count_nonzero(corrections.late))
    return (
        f"{len(corrections) - late} corrected by the cloud in time and {late} late"
        if len(corrections)
        else "none corrected"
    )


def _stayed(frames: Columns, reasons: Sequence[str]) -> list[str]:
    """What the device answered, and mostly why."""
    code, rows = next(_split(frames), (0, None))
    if rows is None:
        return []
    most, name = int(np.count_nonzero(rows)), reasons[code]
    with_the_reason = f"the most common reason ({most}) was"
    if 2 * most > len(frames):
        with_the_reason = f"{'all' if most == len(frames) else f'most of them ({most})'} with the reason"
    said = f"The device answered {len(frames)}, {with_the_reason} {name}: {meaning_of(name).short}"
    return textwrap.wrap(said, COLUMNS, initial_indent="  ", subsequent_indent="  ")


def _reason_table(frames: Columns, reasons: Sequence[str]) -> list[str]:
    head = ("reason", "frames", "share", "decided", "by the cloud", "median ms", "p / threshold")
    return _table(head, [_reason_row(reasons[code], frames.where(rows), len(frames)) for code, rows in _split(frames)])


def _reason_row(name: str, frames: Columns, of: int) -> tuple[str, ...]:
    decided = "cloud" if frames.sent.all() else "both" if frames.sent.any() else "device"
    chance = f"{figures.number(figures.median(frames.p), 2)} / {figures.number(figures.median(frames.threshold), 2)}"
    took = figures.number(figures.median(frames.took_ms), 0)
    return (
        name,
        str(len(frames)),
        figures.percent(len(frames) / of),
        decided,
        figures.share(frames.from_cloud | frames.cloud_in_time),
        took,
        chance,
    )


def _split(frames: Columns) -> Iterator[tuple[int, Rows]]:
    """Each reason's code and rows, the most frequent first."""
    codes, counts = np.unique(frames.reason, return_counts=True)
    for code in codes[np.argsort(-counts, kind="stable")].tolist():
        yield code, frames.reason == code


def _words(frames: Columns, reasons: Sequence[str]) -> list[str]:
    lines = []
    for code, rows in _split(frames):
        head, said = f"{reasons[code]:<{_NAME_WIDTH}}", sentence(reasons[code], frames.where(rows))
        indent = " " * _NAME_WIDTH
        lines += textwrap.wrap(said, COLUMNS - _INDENT, initial_indent=head, subsequent_indent=indent)
    return lines


def _parts(frames: Columns, corrections: Columns) -> list[str]:
    """Of all answers of the cloud whose times are known, late ones included."""
    both = (frames.where(frames.from_cloud), corrections)
    columns = ("rtt_ms", "upload_ms", "server_ms", "connect_took_ms", "upload_took_ms", "server_took_ms")
    rtt, upload, server, connect, uploaded, served = (
        np.concatenate([getattr(part, column) for part in both]) for column in columns
    )
    rows = [
        _part("round trip and upload, ms", rtt + upload, uploaded),
        _part("the cloud's own time, ms", server, served),
        _part("both together, ms", rtt + upload + server, uploaded + served),
    ]
    opened = connect[connect > 0]
    if len(opened) and any(rows):
        rows.append(("opening a connection, ms", str(len(opened)), "0", figures.number(figures.median(opened), 0), "-"))
    return _table(("part", "requests", "expected", "actual", "typical error"), [row for row in rows if row])


def _part(name: str, expected: Floats, actual: Floats) -> tuple[str, ...]:
    known = np.isfinite(expected) & np.isfinite(actual)
    if not known.any():
        return ()
    values = (expected[known], actual[known], np.abs(actual - expected)[known])
    return name, str(np.count_nonzero(known)), *(figures.number(figures.median(value), 0) for value in values)


def _sizes(frames: Columns) -> list[str]:
    sent = frames.where(frames.sent & np.isfinite(frames.size_bytes))
    rows = []
    for low_kb, high_kb in pairwise(SIZE_EDGES_KB):
        some = sent.where((sent.size_bytes > low_kb * 1000) & (sent.size_bytes <= high_kb * 1000))
        if len(some):
            name = f"up to {high_kb:.0f} kB" if math.isfinite(high_kb) else f"above {low_kb:.0f} kB"
            kilobytes, quality = (
                figures.number(figures.median(some.size_bytes) / 1000, 1),
                figures.number(figures.median(some.quality), 0),
            )
            rows.append(
                (
                    name,
                    *figures.counted(len(some), len(sent)),
                    kilobytes,
                    quality,
                    figures.share(some.cloud_in_time),
                )
            )
    return _table(("size", "sent", "share", "median kB", "JPEG quality", "cloud in time"), rows)


_FATES = {
    Hedge.NONE: "none: none was promised",
    Hedge.NOW: "now: it began at once",
    Hedge.LATE: "late: it began shortly before the deadline",
    Hedge.SKIPPED: "skipped: the cloud answered first",
}


def _hedges(frames: Columns) -> list[str]:
    sent = frames.where(frames.sent & (frames.hedge >= 0))
    rows = []
    for hedge, fate in _FATES.items():
        some = sent.where(sent.hedge == HEDGES.index(hedge.value))
        if len(some):
            rows.append((fate, *figures.counted(len(some), len(sent)), figures.share(some.cloud_in_time)))
    return _table(("hedge", "frames", "share", "cloud in time"), rows)


def _calibration(frames: Columns) -> list[str]:
    sent = frames.where(frames.sent & np.isfinite(frames.p))
    rows = []
    for low, high in pairwise(P_EDGES):
        some = sent.where((sent.p >= low) & ((sent.p < high) | (high == P_EDGES[-1])))
        if len(some):
            mean_p = float(np.mean(some.p, dtype=np.float64))
            in_time = figures.share(some.cloud_in_time)
            rows.append((f"{low:.1f} to {high:.1f}", str(len(some)), figures.percent(mean_p), in_time))
    return _table(("p", "frames", "expected in time", "were in time"), rows)


def _budget(frames: Columns) -> list[str]:
    rows = []
    for name, left, price in (
        ("data, MB", frames.data_left_mb, frames.per_mb),
        ("credits", frames.credits_left, frames.per_call),
    ):
        known = left[np.isfinite(left)]
        if len(known):
            levels = (
                float(known[0]),
                float(np.min(known)),
                float(known[-1]),
                figures.median(price),
                figures.highest(price),
            )
            rows.append((name, *(figures.number(level, 3) for level in levels)))
    if not rows:
        return []
    sizes = frames.size_bytes[frames.sent & np.isfinite(frames.size_bytes)]
    used = float(np.sum(sizes, dtype=np.float64)) / 1e6
    head = ("could be spent", "at first", "at least", "at last", "median price", "highest price")
    sent = f"{words.plural(len(sizes), 'picture')} sent, {used:.1f} MB without what goes around them"
    return [*_table(head, rows), sent]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The first column to the left; nothing without rows."""
    return words.table(head, rows, left=(0,)) if rows else []
