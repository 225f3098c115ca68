"""The picture of a simulation: how near each policy comes to the bound, and what the router did on each link. No state.

Bars are the median over the scenarios, a line goes down to the worst. Below, for each scenario: what the link carried,
what the router took it to carry, when it was dead, and under it which frames were answered where.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agent.chart.figure import CLOUD, DEVICE, FAINT, LATE, LIMIT, MEASURED, sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH_IN = 11.0
_BARS_IN, _STRIP_IN = 3.4, 1.7
_SHADES = ("#9ebcda", "#5f8fc4", CLOUD)
_LEAST_MBIT_S = 0.05
"""At the foot of a link's axis."""
_HEADROOM = 8.0
"""Above the highest rate, where the routes are."""


@dataclass(frozen=True, slots=True)
class Bars:
    """Utility as a share of the bound."""

    policies: tuple[str, ...]
    deadlines: tuple[str, ...]
    medians: tuple[tuple[float, ...], ...]
    """For each deadline, of each policy."""
    worst: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Strip:
    """One scenario."""

    title: str
    capacity_mbit_s: NDArray[np.float64]
    """For each second."""
    outages: tuple[tuple[float, float], ...]
    """From when to when, seconds."""
    captured_s: NDArray[np.float64]
    """For each frame."""
    believed_mbit_s: NDArray[np.float64]
    """NaN: the router had no idea."""
    by_cloud: NDArray[np.float64]
    """1: answered by the cloud, 0: by the device; NaN: by none."""


def draw(path: Path, bars: Bars, strips: Sequence[Strip]) -> None:
    """Write the picture to `path` as PNG. Raises ChartError."""
    heights_in = [_BARS_IN, *(_STRIP_IN for _ in strips)]
    with sheet(path, width_in=_WIDTH_IN, height_in=sum(heights_in)) as figure:
        rows = figure.subplots(len(heights_in), 1, squeeze=False, height_ratios=heights_in)[:, 0]
        _draw_bars(rows[0], bars)
        for axes, strip in zip(rows[1:], strips, strict=True):
            _draw_strip(axes, strip, first=strip is strips[0])


def _draw_bars(axes: "Axes", bars: Bars) -> None:
    places, width = np.arange(len(bars.policies)), 0.8 / len(bars.deadlines)
    for number, (deadline, medians, worst) in enumerate(zip(bars.deadlines, bars.medians, bars.worst, strict=True)):
        shade = _SHADES[(number + max(0, len(_SHADES) - len(bars.deadlines))) % len(_SHADES)]
        at = places - 0.4 + width * (number + 0.5)
        axes.bar(at, medians, width=0.92 * width, color=shade, label=deadline)
        axes.vlines(at, worst, medians, colors=MEASURED, linewidth=1.0)
        axes.plot(at, worst, "_", color=MEASURED, markersize=6.0, label="worst" if number == 0 else None)
    axes.axhline(1.0, color=LIMIT, linewidth=0.8)
    lowest = min(min(row) for row in bars.worst)
    axes.set_ylim(max(0.0, np.floor(10 * lowest) / 10 - 0.05), 1.02)
    axes.set_xticks(places, bars.policies)
    axes.grid(visible=False, axis="x")
    axes.set_title("Utility as a share of what a policy could reach that knows the future: median over the scenarios")
    axes.legend(ncols=len(bars.deadlines) + 1, loc="lower right", bbox_to_anchor=(1.0, 1.0))


def _draw_strip(axes: "Axes", strip: Strip, *, first: bool) -> None:
    seconds = np.arange(len(strip.capacity_mbit_s) + 1, dtype=np.float64)
    alive = _without(strip.capacity_mbit_s, strip.outages)
    axes.stairs(np.maximum(alive, _LEAST_MBIT_S), seconds, color=FAINT, label="the link carries")
    axes.plot(strip.captured_s, strip.believed_mbit_s, color=MEASURED, linewidth=0.9, label="the router believes")
    for begin_s, end_s in strip.outages:
        axes.axvspan(begin_s, end_s, color=FAINT, alpha=0.2, linewidth=0)
    axes.set_yscale("log")
    highest = max(1.0, float(alive.max(initial=0.0)), float(np.nanmax(strip.believed_mbit_s, initial=0.0)))
    axes.set_ylim(_LEAST_MBIT_S, highest * _HEADROOM)
    axes.set_xlim(0.0, float(seconds[-1]))
    axes.set_ylabel("Mbit/s")
    axes.xaxis.set_major_formatter("{x:g} s")
    axes.set_title(strip.title)
    _draw_routes(axes, strip)
    if first:
        axes.legend(ncols=5, loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.1)


def _draw_routes(axes: "Axes", strip: Strip) -> None:
    """A band along the upper edge, a mark for each frame."""
    routes = (
        (strip.by_cloud == 1, CLOUD, "by the cloud", 0.95),
        (strip.by_cloud == 0, DEVICE, "by the device", 0.88),
        (np.isnan(strip.by_cloud), LATE, "no answer", 0.81),
    )
    for rows, colour, label, height in routes:
        at_s = strip.captured_s[rows]
        level = np.full(len(at_s), height)
        transform = axes.get_xaxis_transform()
        axes.plot(at_s, level, "|", color=colour, markersize=5.0, markeredgewidth=0.6, label=label, transform=transform)


def _without(capacity_mbit_s: NDArray[np.float64], outages: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
    """The capacity, none in the seconds that an outage fills."""
    alive = np.array(capacity_mbit_s, dtype=np.float64)
    for begin_s, end_s in outages:
        alive[int(np.ceil(begin_s)) : int(end_s)] = 0.0
    return alive
