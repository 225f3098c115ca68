"""The panels of a camera's column, each drawn on axes of its own. No state."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agent.chart import bins, figure
from agent.chart.bins import Floats, Rows
from agent.chart.track import Column, days
from agent.flow import Reason

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_DOTS = 4000
"""More frames than this are drawn as ranges, not each as a dot."""
_MOST_REASONS = 8
"""So many have a line of the legend; the rarer ones share one."""
_LEAST_SHOWN = 0.01
"""Mbit/s and milliseconds: a logarithmic axis has no zero."""
_LEAST_RANGE = 10.0
"""Highest to lowest, so that a steady value looks steady and the axis has marks."""
_FAINTEST = 0.35
"""How strongly a strip shows a single frame among thousands."""

COLOURS = {
    Reason.P_OK.value: "#2f6fb3",
    Reason.CLOUD_ONLY.value: "#7fb2e5",
    Reason.LOCAL_OVERLOADED.value: "#1b3f66",
    Reason.UPLINK_BUSY.value: "#69c1b5",
    Reason.INFLIGHT_FULL.value: "#2a7d72",
    Reason.PROBE.value: figure.PROBE,
    Reason.P_LOW_BANDWIDTH.value: "#f0b429",
    Reason.P_LOW_RTT.value: "#e39c37",
    Reason.P_LOW_SERVER.value: "#b8651b",
    Reason.NO_EVIDENCE.value: "#c9c9c9",
    Reason.STALLED.value: "#e8746a",
    Reason.DEAD.value: "#a61c1c",
    Reason.BUDGET_DATA.value: "#5b8c2a",
    Reason.BUDGET_CREDITS.value: "#a3c96b",
    Reason.HTTP_AUTH.value: "#8a2a5b",
    Reason.HTTP_RATE_LIMITED.value: "#d77fae",
    Reason.HTTP_ERROR.value: "#6b4a3a",
    Reason.LOCAL_ONLY.value: "#777777",
}


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of the column."""

    height_in: float
    draw: Callable[["Axes", "Column"], None]


def _routes(ax: "Axes", column: Column) -> None:
    """A strip each for what a frame can be, the stronger the more frames of a bin are that."""
    track = column.track
    probe = column.reasons.index(Reason.PROBE.value) if Reason.PROBE.value in column.reasons else -1
    strips: dict[str, tuple[str, Rows]] = {
        "cloud": (figure.CLOUD, track.from_cloud),
        **({"corrected": (figure.CLOUD, track.corrected)} if track.corrected.any() else {}),
        "device": (figure.DEVICE, ~track.from_cloud),
        "probe": (figure.PROBE, track.reason == probe),
        "late": (figure.LATE, track.late),
    }
    shares = column.shares([rows for _, rows in strips.values()])
    for place, (colour, rows) in enumerate(strips.values()):
        strength = np.where(shares[place] > 0, _FAINTEST + (1 - _FAINTEST) * shares[place], 0.0)
        _strip(ax, column, colour, strength, bottom=len(strips) - 1 - place)
        counted = f"{np.count_nonzero(rows)} ({np.mean(rows):.1%})"
        ax.text(1.01, (len(strips) - 0.5 - place) / len(strips), counted, transform=ax.transAxes, va="center", size=8)
    ax.set_yticks(np.arange(len(strips)) + 0.5, list(reversed(strips)))
    ax.set_ylim(0, len(strips))
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False)


def _strip(ax: "Axes", column: Column, colour: str, strength: NDArray[np.float64], *, bottom: int) -> None:
    from matplotlib.colors import to_rgb

    pixels = np.empty((1, len(strength), 4))
    pixels[0, :, :3] = to_rgb(colour)
    pixels[0, :, 3] = strength
    left, right = days(column.limits_s[[0, -1]]).tolist()
    ax.imshow(
        pixels, extent=(left, right, bottom + 0.12, bottom + 0.88), aspect="auto", interpolation="nearest", zorder=2
    )


def _reasons(ax: "Axes", column: Column) -> None:
    """Shares of the reasons, one on the other, the most frequent lowest."""
    counts = np.bincount(column.track.reason, minlength=len(column.reasons))
    codes = [code for code in np.argsort(-counts, kind="stable").tolist() if counts[code]]
    named, rare = codes[:_MOST_REASONS], codes[_MOST_REASONS:]
    kinds = [column.track.reason == code for code in named]
    labels = [f"{column.reasons[code]}  {np.mean(rows):.1%}" for code, rows in zip(named, kinds, strict=True)]
    colours = [COLOURS.get(column.reasons[code], "#000000") for code in named]
    if rare:
        kinds.append(np.isin(column.track.reason, rare))
        labels.append(f"{len(rare)} others  {np.mean(kinds[-1]):.1%}")
        colours.append("#e8e8e8")
    tops = np.vstack((np.zeros(len(column.limits_s) - 1), np.cumsum(column.shares(kinds), axis=0)))
    at = days(column.limits_s)
    for place, (label, colour) in enumerate(zip(labels, colours, strict=True)):
        ax.stairs(tops[place + 1], at, baseline=tops[place], fill=True, color=colour, label=label, linewidth=0)
    ax.set_ylim(0, 1)
    ax.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    ax.set_ylabel("reason")
    _legend(ax)


def _answers(ax: "Axes", column: Column) -> None:
    """From capture to answer, against the deadline."""
    track = column.track
    rows_of = {"device": (figure.DEVICE, ~track.from_cloud), "cloud": (figure.CLOUD, track.from_cloud)}
    for label, (colour, rows) in rows_of.items():
        _cloud_of_dots(ax, track.at_s[rows], track.took_ms[rows], column.limits_s, colour=colour, label=label)
    corrections = (track.corrected_at_s, track.corrected_took_ms, column.limits_s)
    _cloud_of_dots(ax, *corrections, colour=figure.FAINT, label="cloud, a correction")
    deadline = column.band(track.deadline_ms)
    ax.plot(days(deadline.at_s), deadline.median, "--", color=figure.LIMIT, linewidth=1.2, label="deadline")
    _logarithmic(ax)
    ax.set_ylabel("answer, ms")
    _legend(ax)


def _cloud_of_dots(
    ax: "Axes", at_s: Floats, values: Floats, limits_s: NDArray[np.float64], *, colour: str, label: str
) -> None:
    """Each frame, or where there are too many of them the range and the middle of each bin."""
    if not np.isfinite(values).any():
        return
    if len(values) <= _MOST_DOTS:
        ax.plot(days(at_s), np.maximum(values, _LEAST_SHOWN), ".", color=colour, markersize=3, label=label)
        return
    found = bins.band(at_s, np.maximum(values, _LEAST_SHOWN), np.zeros(len(at_s), np.int32), limits_s)
    at = days(found.at_s)
    ax.vlines(at, found.lowest, found.highest, color=colour, alpha=0.3, linewidth=1)
    ax.plot(at, found.median, ".", color=colour, markersize=2, label=f"{label}: range, median")


def _link(ax: "Axes", column: Column) -> None:
    """What the router believed of the link: rate to the left, round trip to the right."""
    other = ax.twinx()
    for side, values, colour, name in (
        (ax, column.track.uplink_mbit_s, figure.CLOUD, "uplink, Mbit/s"),
        (other, column.track.rtt_ms, figure.DEVICE, "round trip, ms"),
    ):
        _line(side, column.band(np.maximum(values, _LEAST_SHOWN)), colour=colour)
        _logarithmic(side)
        side.set_ylabel(name, color=colour)
    other.grid(visible=False)


def _chances(ax: "Axes", column: Column) -> None:
    _line(ax, column.band(column.track.p), colour=figure.MEASURED, label="p")
    threshold = column.band(column.track.threshold)
    ax.plot(days(threshold.at_s), threshold.median, "--", color=figure.LIMIT, linewidth=1.2, label="threshold")
    ax.set_ylim(0, 1.04)
    ax.set_ylabel("chance in time")
    _legend(ax)


def _budget(ax: "Axes", column: Column) -> None:
    """What could be spent: data to the left, credits to the right."""
    other = ax.twinx()
    for side, values, colour, name in (
        (ax, column.track.data_left_mb, figure.CLOUD, "data left, MB"),
        (other, column.track.credits_left, figure.DEVICE, "credits left"),
    ):
        if np.isfinite(values).any():
            _line(side, column.band(values), colour=colour)
            side.set_ylim(bottom=min(0.0, float(np.nanmin(values))))
            side.set_ylabel(name, color=colour)
        else:
            side.set_yticks([])
    other.grid(visible=False)


def _line(ax: "Axes", found: bins.Band, *, colour: str, label: str | None = None) -> None:
    at = days(found.at_s)
    ax.fill_between(at, found.lowest, found.highest, color=colour, alpha=0.2, linewidth=0)
    ax.plot(at, found.median, color=colour, linewidth=1.2, label=label)


def _logarithmic(ax: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator

    ax.set_yscale("log")
    low, high = ax.get_ylim()
    widened = max(1.0, math.sqrt(_LEAST_RANGE * low / high))
    ax.set_ylim(low / widened, high * widened)
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))


def _legend(ax: "Axes") -> None:
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.04), borderaxespad=0.2)


PANELS = [
    Panel(0.9, _routes),
    Panel(1.5, _reasons),
    Panel(1.6, _answers),
    Panel(1.4, _link),
    Panel(1.2, _chances),
]
BUDGET = Panel(1.1, _budget)
