"""The picture of a benchmark: for each engine how long a frame takes, how many a second, and how much memory. No state.

A bar goes to the median end to end, its darker part is the execution; a line goes on to p95, a mark stands at p99.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent.chart.figure import CLOUD, DEVICE, FAINT, MEASURED, sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH_IN = 11.0
_FRAME_IN, _ROW_IN = 1.1, 0.42
_ROOM = 1.3
"""Right of the longest bar, for its number."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One engine; NaN where nothing is known."""

    title: str
    hosted: bool
    end_to_end_ms: tuple[float, ...]
    """p50, p95, p99."""
    execution_ms: float
    """The median."""
    fps: float
    memory_mb: float


def draw(path: Path, bars: Sequence[Bar], *, title: str) -> None:
    """Write the picture to `path` as PNG. Raises ChartError."""
    with sheet(path, width_in=_WIDTH_IN, height_in=_FRAME_IN + _ROW_IN * len(bars)) as figure:
        figure.suptitle(title, x=0.01, ha="left", size=10)
        times, rates, memory = figure.subplots(1, 3, sharey=True, width_ratios=(2.6, 1, 1))
        _draw_times(times, bars)
        _draw_plain(rates, bars, [bar.fps for bar in bars], "frames a second")
        _draw_plain(memory, bars, [bar.memory_mb for bar in bars], "peak memory, MB")
        times.set_yticks(range(len(bars)), [bar.title for bar in bars])
        times.invert_yaxis()  # the three share it


def _draw_times(axes: "Axes", bars: Sequence[Bar]) -> None:
    for place, bar in enumerate(bars):
        median, p95, p99 = bar.end_to_end_ms
        if math.isnan(median):
            continue
        axes.barh(place, median, color=_colour(bar), alpha=0.45, height=0.6)
        if not math.isnan(bar.execution_ms):
            axes.barh(place, bar.execution_ms, color=_colour(bar), height=0.6)
        axes.hlines(place, median, p95, color=MEASURED, linewidth=1.2)
        axes.plot(p99, place, "|", color=MEASURED, markersize=9)
        axes.annotate(f"{median:.1f}", (p99, place), xytext=(6, 0), textcoords="offset points", va="center", size=8)
    axes.set_title("ms a frame: execution dark, end to end light; line to p95, mark at p99")
    _from_zero(axes, [bar.end_to_end_ms[-1] for bar in bars])


def _draw_plain(axes: "Axes", bars: Sequence[Bar], values: Sequence[float], title: str) -> None:
    for place, (bar, value) in enumerate(zip(bars, values, strict=True)):
        if not math.isnan(value):
            axes.barh(place, value, color=_colour(bar), height=0.6)
        shown = f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 0 else "not measured"  # noqa: PLR2004
        colour = FAINT if math.isnan(value) else MEASURED
        where = (0.0 if math.isnan(value) else value, place)
        axes.annotate(shown, where, xytext=(4, 0), textcoords="offset points", va="center", size=8, color=colour)
    axes.set_title(title)
    _from_zero(axes, values)


def _from_zero(axes: "Axes", values: Sequence[float]) -> None:
    known = [value for value in values if not math.isnan(value)]
    axes.set_xlim(0, max(known, default=1.0) * _ROOM or 1.0)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _colour(bar: Bar) -> str:
    return CLOUD if bar.hosted else DEVICE
