"""A soak drawn: memory with its trend, descriptors and threads, disk, and when each fault struck. No state."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from soak.verdict import Sample, Seen, growth, windows


def draw(seen: Seen, path: Path) -> None:
    """Write it; the ending says in which format."""
    figure, axes = plt.subplots(4, 1, sharex=True, figsize=(12, 10), height_ratios=[3, 2, 2, 1.4])
    memory, counts, disk, faults = axes
    _line(memory, seen, "RSS of the agent", lambda each: each.holding.rss_mb)
    _line(memory, seen, "of that anonymous", lambda each: each.holding.anonymous_mb)
    _line(memory, seen, "PSS of its children", lambda each: each.holding.children_mb)
    _trend(memory, seen)
    _line(counts, seen, "descriptors", lambda each: each.holding.files)
    _line(counts, seen, "threads", lambda each: each.holding.threads)
    _line(counts, seen, "descriptors of children", lambda each: each.holding.child_files)
    _line(disk, seen, "state", lambda each: each.state_mb)
    _line(disk, seen, "pictures", lambda each: each.pictures_mb)
    _line(disk, seen, "records", lambda each: each.records_mb)
    _faults(faults, seen)
    for axis, label in zip(axes, ("MB", "number", "MB", ""), strict=True):
        _frame(axis, seen, label)
    faults.set_xlabel("minutes")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _line(axis: Any, seen: Seen, name: str, of: Callable[[Sample], float]) -> None:
    axis.plot([each.at_s / 60 for each in seen.samples], [of(each) for each in seen.samples], label=name, linewidth=1)


def _trend(axis: Any, seen: Seen) -> None:
    """Through the windows that the slope was found from."""
    points = windows(seen, lambda each: each.holding.rss_mb)
    hours, values = [hour for hour, _ in points], [value for _, value in points]
    axis.plot([hour * 60 for hour in hours], values, "k.", markersize=3)
    found = growth(seen, lambda each: each.holding.rss_mb)
    if points:
        middle = sorted(value - found.slope * hour for hour, value in points)[len(points) // 2]
        label = f"{found.slope:+.2f} MB/h ({found.low:+.2f} to {found.high:+.2f})"
        axis.plot([hour * 60 for hour in hours], [middle + found.slope * hour for hour in hours], "k--", label=label)


def _faults(axis: Any, seen: Seen) -> None:
    names = sorted({slot.fault for slot in seen.timetable.slots if slot.fault})
    for slot in seen.timetable.slots:
        if slot.fault:
            axis.plot([slot.begin_s / 60, slot.over_s / 60], [names.index(slot.fault)] * 2, "r-", linewidth=3)
    axis.set_yticks(range(len(names)), names, fontsize=5)


def _frame(axis: Any, seen: Seen, label: str) -> None:
    axis.axvspan(0, seen.timetable.warm_s / 60, color="0.93")
    for rest in seen.timetable.rests:
        axis.axvspan(rest.begin_s / 60, rest.end_s / 60, color="tab:green", alpha=0.1)
    axis.set_ylabel(label)
    axis.grid(visible=True, alpha=0.3)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(loc="upper left", fontsize=7, ncols=4)
    axis.margins(x=0)
