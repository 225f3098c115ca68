"""The spans in which the router thought the same of the cloud, and what ended each. No state."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from agent import words
from agent.explain import figures
from agent.explain.meanings import meaning_of
from agent.flow import Reason
from agent.history import Columns

MOST_SHOWN = 30
_LOOK_AHEAD = 20
"""Frames."""
_AT_CLOUD = (Reason.P_OK, Reason.UPLINK_BUSY, Reason.INFLIGHT_FULL, Reason.LOCAL_OVERLOADED, Reason.CLOUD_ONLY)
"""The router took the cloud to serve, wherever the frame itself went."""


@dataclass(frozen=True, slots=True)
class Episode:
    """Consecutive frames for which the router thought the same of the cloud."""

    on_cloud: bool
    rows: slice
    begin_s: float
    """Seconds since the epoch."""
    end_s: float
    """When the next one begins, or its own last frame came where a pause or nothing follows."""
    goes_on: bool
    """Whether another follows at once."""

    @property
    def lasted_s(self) -> float:
        """Its length, seconds."""
        return self.end_s - self.begin_s


def lines(frames: Columns, reasons: Sequence[str], columns: int) -> list[str]:
    """The episodes in words, no line longer than `columns`; of many, the last."""
    found = episodes(frames, reasons)
    shown = found[-MOST_SHOWN:]
    dated = figures.date(shown[0].begin_s) != figures.date(shown[-1].end_s)
    more = [f"the last {MOST_SHOWN} of {len(found)}; for others: --since, --until"] if len(found) > MOST_SHOWN else []
    told = [line for episode in shown for line in _told(episode, frames, reasons, columns, dated=dated)]
    return [_overview(found), *more, *told]


def episodes(frames: Columns, reasons: Sequence[str]) -> list[Episode]:
    """Cut the frames where the router changed its mind, and where the agent was away."""
    at_cloud = np.isin(frames.reason, [reasons.index(reason.value) for reason in _AT_CLOUD])
    at_cloud = np.where(frames.reason < len(Reason), at_cloud, frames.sent)
    cuts = np.flatnonzero((at_cloud[1:] != at_cloud[:-1]) | (np.diff(frames.span) != 0)) + 1
    bounds = pairwise([0, *cuts.tolist(), len(frames)])
    return [_episode(frames, slice(*pair), on_cloud=bool(at_cloud[pair[0]])) for pair in bounds]


def _episode(frames: Columns, rows: slice, *, on_cloud: bool) -> Episode:
    last = rows.stop - 1
    goes_on = rows.stop < len(frames) and bool(frames.span[rows.stop] == frames.span[last])
    end_s = float(frames.at_s[rows.stop if goes_on else last])
    return Episode(on_cloud, rows, float(frames.at_s[rows.start]), end_s, goes_on)


def _story(episode: Episode, frames: Columns, reasons: Sequence[str]) -> str:
    """What it was like, and what ended it."""
    codes = frames.reason[episode.rows]
    if episode.on_cloud:
        ended = f"; ended by {_named(_ended_by(episode, frames, reasons))}" if episode.goes_on else ""
        return f"{figures.share((frames.from_cloud | frames.cloud_in_time)[episode.rows])} by the cloud{ended}"
    return _why_away(codes, reasons) + (f"; back by {_way_back(codes, reasons)}" if episode.goes_on else "")


def _named(reason: str) -> str:
    return f"{reason}: {meaning_of(reason).short}"


def _ended_by(episode: Episode, frames: Columns, reasons: Sequence[str]) -> str:
    """The first reason afterwards that is no probe: a probe only follows it."""
    codes = frames.reason[episode.rows.stop : episode.rows.stop + _LOOK_AHEAD]
    others = codes[codes != reasons.index(Reason.PROBE.value)]
    return reasons[int(others[0] if len(others) else codes[0])]


def _why_away(codes: NDArray[np.integer], reasons: Sequence[str]) -> str:
    """What it began with, and what it mostly was."""
    first = reasons[int(codes[0])]
    others = codes[codes != reasons.index(Reason.PROBE.value)]
    most = reasons[int(np.bincount(others).argmax())] if len(others) else first
    return _named(most) if first == most else f"{first}, then {_named(most)}"


def _way_back(codes: NDArray[np.integer], reasons: Sequence[str]) -> str:
    """What brought the cloud back: a connection to a dead link, an answer to a probe, or the evidence in hand."""
    probes = np.flatnonzero(codes == reasons.index(Reason.PROBE.value))
    dead = np.flatnonzero(codes == reasons.index(Reason.DEAD.value))
    if len(dead) and (not len(probes) or probes[-1] > dead[-1]):
        return "dialling" + (" and a probe" if len(probes) else "")
    return f"{words.plural(len(probes), 'probe')}" if len(probes) else "what was known of the link"


def _overview(found: Sequence[Episode]) -> str:
    changes = sum(one.on_cloud is not other.on_cloud for one, other in pairwise(found))
    minutes = sum(episode.lasted_s for episode in found) / 60
    said = words.plural(changes, "change") + (f", {changes / minutes:.1f} a minute" if minutes >= 1 else "")
    away = [episode for episode in found if not episode.on_cloud]
    if not away:
        return said
    longest = max(away, key=lambda episode: episode.lasted_s)
    return f"{said}; longest without the cloud: {figures.length(longest.lasted_s)} from {figures.time(longest.begin_s)}"


def _told(episode: Episode, frames: Columns, reasons: Sequence[str], columns: int, *, dated: bool) -> list[str]:
    begin = figures.time(episode.begin_s)
    begin = f"{figures.date(episode.begin_s)[5:]} {begin}" if dated else begin
    mode, lasted = "cloud" if episode.on_cloud else "device", figures.length(episode.lasted_s)
    count = episode.rows.stop - episode.rows.start
    head = f"{begin}  {mode:<6}  {lasted:>12}  {count:>6} frame{'s' if count != 1 else ' '}  "
    story = _story(episode, frames, reasons)
    return textwrap.wrap(story, columns, initial_indent=head, subsequent_indent=" " * len(head))
