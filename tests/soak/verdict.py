"""Bars over what was seen, each with what was measured and how it stands. No state."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from soak.gauge import Holding
from soak.timetable import Timetable
from soak.trend import Trend, trend

MOST_MB_PER_HOUR = 1.0
MOST_STATE_GROWTH_MB = 2.0
"""Of outboxes and other state beside pictures, from one rest to the other. An outbox that is used for the first time
lays aside a megabyte."""
_SAME = "no more in the second half than in the first"
_POINTS = 40
"""What is measured is divided into so many windows; the median of each is one point of the trend."""
_MOST_UNDER_WAY = 16
"""Frames without a fate at a moment: as many as come until a deadline, twice over."""


class Standing(str, Enum):
    """How a bar stands."""

    HELD = "held"
    FAILED = "FAILED"
    OPEN = "open"
    """The run was too short to tell."""


@dataclass(frozen=True, slots=True)
class Line:
    """One bar."""

    what: str
    measured: str
    bar: str
    standing: Standing


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment."""

    at_s: float
    """Since the run began."""
    calm: bool
    """No fault, nobody at the page, and the agent says that all is well."""
    holding: Holding
    state_mb: float
    """Outboxes, classes, budget."""
    pictures_mb: float
    """Snapshots, and what is kept for a second look."""
    records_mb: float
    """What the file sink has written."""


@dataclass(frozen=True, slots=True)
class Seen:
    """All that was seen of one run."""

    timetable: Timetable
    samples: Sequence[Sample]
    pictures_limit_mb: float
    lost: Sequence[str]
    """Sentences of the oracle, and of the agent's own counts; empty: nothing."""
    accepted: int = 0
    duplicates: int = 0
    captured: int = 0
    """Frames that have a fate."""
    most_under_way: int = 0
    """Frames without a fate at a moment, at most."""
    failed: int = 0
    """Frames that no engine answered in time, as their results say: the machine was too busy, or a fault took both."""
    faults: Sequence[str] = field(default_factory=tuple)
    """What else went wrong with the agent: it ended, or with an exit code that is not 0."""

    def calm(self) -> list[Sample]:
        """Those that count: calm, after the warm-up."""
        return [sample for sample in self.samples if sample.calm and sample.at_s >= self.timetable.warm_s]

    def resting(self, which: int) -> list[Sample]:
        """The calm ones of the first (0) or the last rest (1)."""
        rest = self.timetable.rests[which]
        return [sample for sample in self.calm() if rest.begin_s <= sample.at_s < rest.end_s]


def growth(seen: Seen, of: Callable[[Sample], float]) -> Trend:
    """Per hour, over the medians of windows of calm samples."""
    points = windows(seen, of)
    return trend([hour for hour, _ in points], [value for _, value in points])


def windows(seen: Seen, of: Callable[[Sample], float]) -> list[tuple[float, float]]:
    """The middle of each window in hours, and the median of its calm samples; a window without any is left out."""
    begin_s, length_s = seen.timetable.warm_s, (seen.timetable.total_s - seen.timetable.warm_s) / _POINTS
    grouped: dict[int, list[float]] = {}
    for sample in seen.calm():
        grouped.setdefault(int((sample.at_s - begin_s) / length_s), []).append(of(sample))
    return [
        ((begin_s + (number + 0.5) * length_s) / 3600, statistics.median(values)) for number, values in grouped.items()
    ]


def judge(seen: Seen, *, most_mb_per_hour: float = MOST_MB_PER_HOUR) -> list[Line]:
    """Every bar."""
    return [
        _slope("RSS of the agent", growth(seen, lambda each: each.holding.rss_mb), most_mb_per_hour),
        _slope("anonymous memory of the agent", growth(seen, lambda each: each.holding.anonymous_mb), most_mb_per_hour),
        _slope(
            "anonymous memory of its children",
            growth(seen, lambda each: each.holding.children_anonymous_mb),
            most_mb_per_hour,
        ),
        _flat("descriptors", seen, lambda each: each.holding.files),
        _flat("threads", seen, lambda each: each.holding.threads),
        _flat("children", seen, lambda each: each.holding.children),
        _flat("descriptors of its children", seen, lambda each: each.holding.child_files),
        _state(seen),
        _pictures(seen),
        *_frames(seen),
    ]


def _slope(what: str, found: Trend, bar: float) -> Line:
    """Held when growth is below the bar for sure, failed when it is above for sure; else the run was too short."""
    standing = Standing.HELD if found.high < bar else Standing.FAILED if found.low >= bar else Standing.OPEN
    measured = f"{found.slope:+.2f} MB/h ({found.low:+.2f} to {found.high:+.2f})"
    return Line(what, measured, f"below {bar:g} MB/h", standing)


def _flat(what: str, seen: Seen, of: Callable[[Sample], int]) -> Line:
    """The least at a calm moment: connections come and go, and what is never given back raises the least, too."""
    middle_s = (seen.timetable.warm_s + seen.timetable.total_s) / 2
    first = [of(sample) for sample in seen.calm() if sample.at_s < middle_s]
    last = [of(sample) for sample in seen.calm() if sample.at_s >= middle_s]
    if not first or not last:
        return Line(what, "no calm moment", _SAME, Standing.OPEN)
    most = max(of(sample) for sample in seen.samples)
    standing = Standing.HELD if min(last) <= min(first) else Standing.FAILED
    return Line(what, f"{min(first)} to {min(last)}, at most {most}", _SAME, standing)


def _state(seen: Seen) -> Line:
    ends = [[sample.state_mb for sample in seen.resting(which)] for which in (0, 1)]
    if not all(ends):
        return Line("state on disk", "no calm moment in a rest", "bounded", Standing.OPEN)
    before, after = map(statistics.median, ends)
    records = seen.samples[-1].records_mb
    standing = Standing.HELD if after - before < MOST_STATE_GROWTH_MB else Standing.FAILED
    measured = f"{before:.2f} to {after:.2f} MB, beside {records:.1f} MB of records"
    return Line("state on disk", measured, f"grows by less than {MOST_STATE_GROWTH_MB:g} MB", standing)


def _pictures(seen: Seen) -> Line:
    most, limit = max(sample.pictures_mb for sample in seen.samples), seen.pictures_limit_mb
    standing = Standing.HELD if most <= limit else Standing.FAILED
    return Line("pictures on disk", f"at most {most:.1f} MB", f"at most {limit:g} MB, as configured", standing)


def _frames(seen: Seen) -> list[Line]:
    wrong = [*seen.faults, *seen.lost]
    lost = f"{seen.accepted} results, {seen.duplicates} twice, {'; '.join(wrong) or 'none lost'}"
    most = seen.most_under_way
    stray = f"at most {most} without a fate, {seen.captured} captured, {seen.failed} not answered in time"
    fine = Standing.HELD if most <= _MOST_UNDER_WAY else Standing.FAILED
    return [
        Line("results", lost, "none lost, damaged or out of order", Standing.FAILED if wrong else Standing.HELD),
        Line("frames", stray, f"at most {_MOST_UNDER_WAY} under way", fine),
    ]


def table(lines: Sequence[Line]) -> str:
    """All of them, aligned."""
    rows = [("", "measured", "bar", ""), *((line.what, line.measured, line.bar, line.standing.value) for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
