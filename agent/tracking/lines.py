"""Lines: who crosses them, and which way. A Passage is owned by the one thread that calls it."""

from dataclasses import dataclass

from agent.polygon import Point
from agent.states import Direction
from agent.tracking.spot import Anchor, Spot


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line across a part of a camera's picture. Raises ValueError: both ends are the same.

              left
    begin ●──────────● end      in: from the left to the right      out: from the right to the left
              right
    """

    name: str
    begin: Point
    """In fractions of the rotated picture before it is cropped."""
    end: Point
    classes: frozenset[str] = frozenset()
    """Empty: all."""
    anchor: Anchor = Anchor.BOTTOM

    def __post_init__(self) -> None:
        if self.begin == self.end:
            raise ValueError("begins and ends at the same point; give two different ones")

    def wants(self, class_name: str) -> bool:
        """Whether objects of this class are counted."""
        return not self.classes or class_name in self.classes

    def is_right(self, spot: Spot) -> bool:
        """Whether the point lies on the right, or exactly on the line."""
        return self._turn(spot) >= 0

    def spans(self, before: Spot, after: Spot) -> bool:
        """Whether the way from one side to the other leads between the line's two ends, or past them."""
        turns = self._turn(before), self._turn(after)
        share = turns[0] / (turns[0] - turns[1])
        x, y = before.x + share * (after.x - before.x), before.y + share * (after.y - before.y)
        dx, dy = self.end.x - self.begin.x, self.end.y - self.begin.y
        along = ((x - self.begin.x) * dx + (y - self.begin.y) * dy) / (dx * dx + dy * dy)
        return 0 <= along <= 1

    def _turn(self, spot: Spot) -> float:
        """Above 0 on the right, as y counts downwards."""
        across, down = self.end.x - self.begin.x, self.end.y - self.begin.y
        return across * (spot.y - self.begin.y) - down * (spot.x - self.begin.x)


class Passage:
    """One track and one line.

    It has crossed when it was on one side by a margin, is now on the other by a margin, and last changed sides between
    the two ends of the line: who wavers on the line crosses it once or not at all.
    """

    def __init__(self, line: Line) -> None:
        self.line = line
        self._side: Direction | None = None
        """The way that led to the side where it was last for certain; None: it has been on neither."""
        self._last: Spot | None = None
        self._went_between = False

    def note(self, spot: Spot) -> Direction | None:
        """The track was seen at `spot`; the way in which it has crossed the line by that, if it has."""
        line, last, self._last = self.line, self._last, spot
        if last is not None and line.is_right(last) != line.is_right(spot):
            self._went_between = line.spans(last, spot)
        offset = spot.offset(line.begin, line.end)
        if abs(offset) < 1:
            return None
        before, self._side = self._side, Direction.IN if offset > 0 else Direction.OUT
        return self._side if before not in (None, self._side) and self._went_between else None
