"""Zones: who enters, stays and leaves. A Stay is owned by the one thread that calls it."""

from dataclasses import dataclass

from agent.polygon import Polygon
from agent.tracking.incident import Cause, Incident
from agent.tracking.spot import Anchor, Spot


@dataclass(frozen=True, slots=True)
class Zone:
    """An area of a camera's picture."""

    name: str
    polygon: Polygon
    """In fractions of the rotated picture before it is cropped."""
    classes: frozenset[str] = frozenset()
    """Empty: all."""
    dwell_s: float | None = None
    """Who has been in it for so long is told of once more; None: nobody is."""
    anchor: Anchor = Anchor.BOTTOM

    def wants(self, class_name: str) -> bool:
        """Whether the zone is for objects of this class."""
        return not self.classes or class_name in self.classes

    def holds(self, spot: Spot) -> bool:
        """Whether the point lies inside."""
        return self.polygon.contains(spot.x, spot.y)

    def clears(self, spot: Spot) -> bool:
        """Whether the point lies outside, by a margin."""
        points = self.polygon.points
        edges = zip(points, points[1:] + points[:1], strict=True)
        return not self.holds(spot) and all(spot.distance(begin, end) >= 1 for begin, end in edges)


class Stay:
    """One track and one zone.

    Two sightings in a row must say that it is inside, or that it is outside by a margin: neither one bad box nor an
    edge on which it stands makes it come and go. Only the first place that is known of a track counts at once, for it
    took two sightings until it was confirmed.
    """

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.since_s: float | None = None
        """Monotonic; when it entered. None: it is not inside."""
        self._doubt_s: float | None = None
        """When it was first seen to be on the other side; None: it was not."""
        self._known = False
        self._dwelt = False

    def note(self, spot: Spot, at_s: float) -> list[Incident]:
        """The track was seen at `spot` at the monotonic time `at_s`."""
        inside = self.zone.holds(spot) if self.since_s is None else not self.zone.clears(spot)
        certain, self._known = self._doubt_s is not None or not self._known, True
        if inside == (self.since_s is not None):
            self._doubt_s = None
            return self._dwell(at_s)
        since_s = at_s if self._doubt_s is None else self._doubt_s
        self._doubt_s = since_s
        if not certain:
            return []
        return [self._enter(since_s), *self._dwell(at_s)] if inside else self.leave(since_s)

    def _enter(self, at_s: float) -> Incident:
        self.since_s, self._doubt_s, self._dwelt = at_s, None, False
        return Incident(Cause.ENTERED, zone=self.zone.name)

    def _dwell(self, at_s: float) -> list[Incident]:
        due_s = self.zone.dwell_s
        if self.since_s is None or self._dwelt or due_s is None or at_s - self.since_s < due_s:
            return []
        self._dwelt = True
        return [Incident(Cause.DWELT, zone=self.zone.name, dwell_s=at_s - self.since_s)]

    def leave(self, at_s: float) -> list[Incident]:
        """It is outside since `at_s`: it was seen there, is gone, or the zone is not for its class."""
        since_s, self.since_s, self._doubt_s = self.since_s, None, None
        if since_s is None:
            return []
        return [Incident(Cause.LEFT, zone=self.zone.name, dwell_s=max(0.0, at_s - since_s))]
