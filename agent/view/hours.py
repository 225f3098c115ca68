"""When a camera is used, by the clock on the wall and by the sun. No state.

The only place where the agent goes by wall time, for hours are wall time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from enum import Enum
from typing import Final, TypeAlias

from agent.view.sun import rise_and_set


class Sun(str, Enum):
    """A time of day that the sun gives."""

    RISE = "sunrise"
    SET = "sunset"


When: TypeAlias = time | Sun
_EARLIEST: Final = {Sun.RISE: time(3), Sun.SET: time(15)}
_LATEST: Final = {Sun.RISE: time(9), Sun.SET: time(22)}
"""Where most people live; by these alone is decided whether a period is over midnight."""


@dataclass(frozen=True, slots=True)
class Period:
    """From one time of day to another, the next day's where that is never later.

    From 05:00 to sunrise is over on its day: where the sun rises before 05:00, there is no such period that day.
    """

    begin: When
    end: When
    days: frozenset[int] = frozenset(range(7))
    """Those on which it begins; Monday is 0."""
    fps: float | None = None
    """Frames per second that are wanted then; None: as at all times."""

    @property
    def over_midnight(self) -> bool:
        """It ends on the day after."""
        begin = _EARLIEST[self.begin] if isinstance(self.begin, Sun) else self.begin
        end = _LATEST[self.end] if isinstance(self.end, Sun) else self.end
        return self.end == self.begin or end <= begin


@dataclass(frozen=True, slots=True)
class Place:
    """Degrees, north and east positive."""

    latitude: float
    longitude: float


class Hours:
    """The periods of one camera."""

    def __init__(self, periods: Sequence[Period], place: Place | None = None) -> None:
        """`place`: needed where a period goes by the sun."""
        self._periods = tuple(periods)
        self._place = place

    def now(self, wall_s: float) -> Period | None:
        """The first period that holds the time `wall_s`, in this machine's time zone; None: the camera rests."""
        local = datetime.fromtimestamp(wall_s, timezone.utc).astimezone()
        here = local.replace(tzinfo=None)
        for period in self._periods:
            for day in (here.date(), here.date() - timedelta(days=1)):  # it may have begun yesterday
                if day.weekday() in period.days and self._holds(period, day, here):
                    return period
        return None

    def _holds(self, period: Period, day: date, here: datetime) -> bool:
        last_day = day + timedelta(days=period.over_midnight)
        return self._at(period.begin, day) <= here < self._at(period.end, last_day)

    def _at(self, when: When, day: date) -> datetime:
        """The time of that day, in this machine's time zone."""
        if isinstance(when, time):
            return datetime.combine(day, when)
        assert self._place is not None  # noqa: S101 - the configuration asks for it
        rise, set_ = rise_and_set(day, latitude=self._place.latitude, longitude=self._place.longitude)
        return (rise if when is Sun.RISE else set_).astimezone().replace(tzinfo=None)
