"""Cameras' tracks -> a PNG of routes, reasons, answer times, link, chance and budget over one time axis. No state."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.chart import bins, figure
from agent.chart.panels import BUDGET, PANELS
from agent.chart.track import Column, Track, days
from agent.errors import ChartError

__all__ = ["MOST_CAMERAS", "Track", "draw"]

MOST_CAMERAS = 8
_BINS = 800
"""About one for each pixel of a panel."""


def draw(path: Path, tracks: Sequence[Track], reasons: Sequence[str], *, title: str) -> None:
    """Write the picture: a column of panels for each of the first MOST_CAMERAS tracks.

    Raises:
        ChartError: there is no frame, Matplotlib is not installed, or the file may not or cannot be written.
    """
    shown = [track for track in tracks if len(track.at_s)][:MOST_CAMERAS]
    if not shown:
        raise ChartError("no picture: there is no frame to draw")
    panels = [*PANELS, BUDGET] if any(track.budgeted for track in shown) else PANELS
    heights_in = [panel.height_in for panel in panels]
    limits_s = _limits_s(shown)
    with figure.sheet(path, width_in=11.0 * len(shown), height_in=sum(heights_in) + 1.0) as page:
        page.suptitle(title)
        ratios = {"height_ratios": heights_in}
        grid = page.subplots(len(panels), len(shown), sharex=True, squeeze=False, gridspec_kw=ratios)
        for track, axes in zip(shown, grid.T, strict=False):
            column = Column(track, reasons, limits_s)
            for panel, ax in zip(panels, axes, strict=True):
                panel.draw(ax, column)
            axes[0].set_title(track.title, fontweight="bold")
            axes[-1].xaxis_date("UTC")
            axes[-1].set_xlim(*days(limits_s[[0, -1]]).tolist())
            axes[-1].set_xlabel("time, UTC", loc="left")


def _limits_s(tracks: Sequence[Track]) -> NDArray[np.float64]:
    """Of the bins, the same for all cameras."""
    begin_s = min(float(track.at_s[0]) for track in tracks)
    end_s = max(float(track.at_s[-1]) for track in tracks)
    return bins.edges(begin_s, max(end_s, begin_s + 1.0), _BINS)
