"""The keys of a camera that say what is tracked in its pictures, and the zones and lines there. No state."""

from collections import Counter
from typing import TypeAlias

from pydantic import Field, field_validator, model_validator

from agent.camera_options import Area, Fraction, polygon_of
from agent.options import Confidence, Name, Options
from agent.polygon import Point
from agent.tracking.lines import Line
from agent.tracking.rules import Rules
from agent.tracking.spot import Anchor
from agent.tracking.tracker import Settings
from agent.tracking.zones import Zone

_Classes: TypeAlias = tuple[str, ...] | None
_Place: TypeAlias = tuple[Fraction, Fraction]


class TrackingConfig(Options):
    """Which objects are followed from frame to frame."""

    hold_s: float = Field(2.0, gt=0, le=60, description="an object that is not seen for so many seconds is gone")
    begin_confidence: Confidence = Field(
        0.5, description="an object scored below this is not begun with, and only goes on with one that is known, 0..1"
    )
    classes: _Classes = Field(
        None, min_length=1, description="the classes that are followed, as the model's labels have them; left out: all"
    )

    @property
    def settings(self) -> Settings:
        """As the tracker knows them."""
        return Settings(self.hold_s, self.begin_confidence)


class ZoneConfig(Options):
    """An area of the picture that objects enter and leave."""

    name: Name = Field(description="the zone's name in events and topics: letters, digits, - and _")
    points: Area = Field(
        description="its corners [x, y], in the order in which one walks around it; fractions 0..1 of the rotated "
        "picture before it is cropped"
    )
    classes: _Classes = Field(
        None, min_length=1, description="objects of these classes count; left out: all that are followed"
    )
    dwell_s: float | None = Field(
        None,
        gt=0,
        le=86_400,
        description="an object that stays so many seconds is told of once more; left out: none is",
    )
    anchor: Anchor = Field(
        Anchor.BOTTOM, description="the point of its box that counts: bottom, the middle of its lower edge; centre"
    )

    @property
    def zone(self) -> Zone:
        """As the rules know it."""
        return Zone(self.name, polygon_of(self.points), frozenset(self.classes or ()), self.dwell_s, self.anchor)


class LineConfig(Options):
    """A line in the picture that objects cross."""

    name: Name = Field(description="the line's name in events and topics: letters, digits, - and _")
    begin: _Place = Field(
        alias="from",
        description="where it begins, [x, y]; fractions 0..1 of the rotated picture before it is cropped",
    )
    end: _Place = Field(
        alias="to",
        description="where it ends, [x, y]; `in` is the way from the left to the right of who looks from its beginning "
        "to its end, `out` the other",
    )
    classes: _Classes = Field(
        None, min_length=1, description="objects of these classes count; left out: all that are followed"
    )
    anchor: Anchor = Field(
        Anchor.BOTTOM, description="the point of its box that counts: bottom, the middle of its lower edge; centre"
    )

    @model_validator(mode="after")
    def _leads_somewhere(self) -> "LineConfig":
        self.line  # noqa: B018 - raises ValueError
        return self

    @property
    def line(self) -> Line:
        """As the rules know it. Raises ValueError: its ends are the same."""
        return Line(self.name, Point(*self.begin), Point(*self.end), frozenset(self.classes or ()), self.anchor)


class FollowConfig(Options):
    """What is followed in a camera's pictures."""

    tracking: TrackingConfig | None = Field(
        None,
        description="follow objects from frame to frame: results have ids, and events tell of each object; left out: "
        "only where there are zones or lines",
    )
    zones: tuple[ZoneConfig, ...] | None = Field(
        None, min_length=1, description="areas that objects enter and leave; left out: none"
    )
    lines: tuple[LineConfig, ...] | None = Field(
        None, min_length=1, description="lines that objects cross; left out: none"
    )

    @field_validator("zones")
    @classmethod
    def _zones_differ(cls, zones: tuple[ZoneConfig, ...] | None) -> tuple[ZoneConfig, ...] | None:
        _differ("zones", [zone.name for zone in zones or ()])
        return zones

    @field_validator("lines")
    @classmethod
    def _lines_differ(cls, lines: tuple[LineConfig, ...] | None) -> tuple[LineConfig, ...] | None:
        _differ("lines", [line.name for line in lines or ()])
        return lines

    @property
    def rules(self) -> Rules | None:
        """As the camera's thread of results knows them; None: nothing is followed."""
        if self.tracking is None and not self.zones and not self.lines:
            return None
        tracking = self.tracking or TrackingConfig()
        return Rules(
            tracking.settings,
            frozenset(tracking.classes or ()),
            tuple(zone.zone for zone in self.zones or ()),
            tuple(line.line for line in self.lines or ()),
        )


def _differ(what: str, names: list[str]) -> None:
    """Raises ValueError: two are called the same."""
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ValueError(f"two {what} of this camera are called {', '.join(twice)}; give each a name of its own")
