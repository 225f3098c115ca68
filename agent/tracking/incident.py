"""What may happen to a tracked object. No state."""

from dataclasses import dataclass
from enum import Enum

from agent.states import Direction


class Cause(str, Enum):
    """Why an event is told."""

    APPEARED = "appeared"
    """The track is confirmed."""
    CLASS = "class"
    """Most of what was seen of it is for another class now."""
    ENTERED = "entered"
    LEFT = "left"
    DWELT = "dwelt"
    """It has been in the zone for the zone's `dwell_s`."""
    CROSSED = "crossed"
    GONE = "gone"
    """It was not seen for `hold_s`."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One thing that happened to one track."""

    cause: Cause
    zone: str | None = None
    inside: int | None = None
    """Tracked objects of the same class in that zone, after it."""
    dwell_s: float | None = None
    """How long it has been in that zone."""
    line: str | None = None
    direction: Direction | None = None
    totals: dict[Direction, int] | None = None
    """How many have crossed that line since the agent's start, after it."""
