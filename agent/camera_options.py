"""The keys of a camera beside its source: what its pictures show, and when it is used. No state."""

import re
from datetime import time
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from agent.options import Options
from agent.polygon import Point, Polygon
from agent.view.crop import Crop
from agent.view.hours import Hours, Period, Place, Sun, When
from agent.view.motion import Sensitivity
from agent.view.view import Fill, Mask

Fraction = Annotated[float, Field(ge=0, le=1)]
_MINUTES: Final = range(60, 1440)
_CLOCK: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def _is_area(points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    """Raises ValueError: they are no area."""
    polygon_of(points)
    return points


def _is_rectangle(edges: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Raises ValueError: they are no rectangle in the picture."""
    Crop(*edges)
    return edges


def _is_time(text: str) -> str:
    """Raises ValueError: it is no time of day."""
    when_of(text)
    return text


def _as_text(value: object) -> object:
    """YAML 1.1 reads 19:00 without quotes as a number, of minutes. A lone 7 is not told from 0:07, and refused."""
    if isinstance(value, int) and value in _MINUTES:
        return f"{value // 60:02}:{value % 60:02}"
    return value


def polygon_of(points: tuple[tuple[float, float], ...]) -> Polygon:
    """The area within `points`. Raises ValueError: they are none."""
    return Polygon(tuple(Point(x, y) for x, y in points))


def when_of(text: str) -> When:
    """A time of day in words. Raises ValueError: it is none."""
    if text in tuple(Sun):
        return Sun(text)
    found = _CLOCK.fullmatch(text)
    if found is None:
        raise ValueError('give a time as "07:30", in quotes, or sunrise or sunset')
    return time(int(found[1]), int(found[2]))


Area = Annotated[tuple[tuple[float, float], ...], AfterValidator(_is_area)]
"""Corners in fractions 0..1 of the rotated picture before it is cropped."""
Rectangle = Annotated[tuple[float, float, float, float], AfterValidator(_is_rectangle)]
TimeOfDay = Annotated[str, BeforeValidator(_as_text), AfterValidator(_is_time)]


class MaskConfig(Options):
    """An area of the picture that is nobody's business."""

    points: Area = Field(
        description="its corners [x, y], in the order in which one walks around it; fractions 0..1 of the rotated "
        "picture before it is cropped"
    )
    fill: Fill = Field(Fill.BLACK, description="what it shows instead: black, blur or pixelate")

    @property
    def mask(self) -> Mask:
        """The mask as the view knows it."""
        return Mask(polygon_of(self.points), self.fill)


class MotionConfig(Options):
    """Frames are used only while something moves."""

    threshold: float = Field(0.002, gt=0, le=1, description="share of the picture that must change")
    level: int = Field(15, ge=1, le=255, description="by so many of 255 levels of brightness")
    hold_s: float = Field(3.0, ge=0, le=3600, description="frames go on for so many seconds after the last motion")
    heartbeat_s: float = Field(
        30.0, gt=0, le=86_400, description="one frame at least every so many seconds, whether anything moves or not"
    )

    @property
    def sensitivity(self) -> Sensitivity:
        """As the gate knows it."""
        return Sensitivity(self.threshold, self.level, self.hold_s, self.heartbeat_s)


class PeriodConfig(Options):
    """A part of the day."""

    begin: TimeOfDay = Field(alias="from", description='when it begins: "07:30", sunrise or sunset')
    end: TimeOfDay = Field(
        alias="to", description='when it ends: "19:00", sunrise or sunset; on the next day where that is not later'
    )
    days: tuple[_Day, ...] | None = Field(
        None, min_length=1, description="the days on which it begins: mon, tue, wed, thu, fri, sat, sun; left out: all"
    )
    fps: float | None = Field(None, gt=0, le=1000, description="most frames per second in it; left out: the camera's")

    @property
    def period(self) -> Period:
        """As the hours know it."""
        return Period(when_of(self.begin), when_of(self.end), frozenset(map(_DAYS.index, self.days or _DAYS)), self.fps)


class ScheduleConfig(Options):
    """The hours in which a camera is used; in all others it is closed."""

    periods: tuple[PeriodConfig, ...] = Field(min_length=1, description="parts of the day, in this machine's time zone")
    trust_clock: bool = Field(
        False, description="go by this machine's clock where nothing vouches for it, as with an RTC and no network"
    )
    latitude: float | None = Field(None, ge=-90, le=90, description="degrees north, for sunrise and sunset")
    longitude: float | None = Field(None, ge=-180, le=180, description="degrees east, for sunrise and sunset")

    @model_validator(mode="after")
    def _sun_needs_a_place(self) -> "ScheduleConfig":
        sunny = any(text in tuple(Sun) for period in self.periods for text in (period.begin, period.end))
        if sunny and (self.latitude is None or self.longitude is None):
            raise ValueError("sunrise and sunset need latitude and longitude beside periods")
        return self

    @property
    def hours(self) -> Hours:
        """As the shutter knows them."""
        place = None
        if self.latitude is not None and self.longitude is not None:
            place = Place(self.latitude, self.longitude)
        return Hours([period.period for period in self.periods], place)


class LookConfig(Options):
    """What a camera's pictures show, and when it is used."""

    rotate: Literal[0, 90, 180, 270] = Field(0, description="degrees by which its pictures are turned clockwise")
    crop: Rectangle | None = Field(
        None, description="the part that is used: [left, top, right, bottom], fractions 0..1 of the rotated picture"
    )
    masks: tuple[MaskConfig, ...] | None = Field(
        None,
        min_length=1,
        description="areas that nothing ever sees: no model, no API, no snapshot; they stay where they are when "
        "the crop changes; left out: none",
    )
    fps: float | None = Field(None, gt=0, le=1000, description="most frames per second that are used; left out: all")
    motion: MotionConfig | None = Field(
        None, description="use frames only while something moves, which saves data and heat; left out: all"
    )
    schedule: ScheduleConfig | None = Field(
        None, description="the hours in which the camera is used; left out: at all times"
    )

    @property
    def doubts(self) -> list[str]:
        """What is allowed, and probably not meant."""
        left, top, right, bottom = self.crop or (0.0, 0.0, 1.0, 1.0)
        said = []
        for number, mask in enumerate(self.masks or ()):
            across, down = zip(*mask.points, strict=True)
            if max(across) <= left or min(across) >= right or max(down) <= top or min(down) >= bottom:
                said.append(f"masks[{number}] lies in what crop cuts off, and hides nothing")
        if self.motion is not None and self.motion.heartbeat_s <= self.motion.hold_s:
            said.append("motion.heartbeat_s is not above motion.hold_s: next to nothing is held back")
        if self.motion is not None and self.fps is not None and self.motion.heartbeat_s * self.fps <= 1:
            said.append("motion.heartbeat_s is no longer than from one frame to the next by fps: nothing is held back")
        return said
