"""Points and polygons in a picture, in fractions of its width and height. No state."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """A place in a picture: 0, 0 is its upper left corner and 1, 1 its lower right one."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Polygon:
    """An area within straight edges, from each point to the next and from the last to the first.

    Raises ValueError: a point lies outside of the picture, there are too few of them, or edges meet elsewhere than
    where one follows the other.
    """

    points: tuple[Point, ...]

    def __post_init__(self) -> None:
        for point in self.points:
            if not (0 <= point.x <= 1 and 0 <= point.y <= 1):
                raise ValueError(f"{_at(point)} lies outside of the picture; give fractions of it, each 0..1")
        if len(self.points) < 3:  # noqa: PLR2004 - fewer have no area
            raise ValueError(f"needs at least three points, and has {len(self.points)}")
        clash = _clash(self.points)
        if clash:
            raise ValueError(clash)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom edge of the smallest upright rectangle around it."""
        across, down = [point.x for point in self.points], [point.y for point in self.points]
        return min(across), min(down), max(across), max(down)

    def contains(self, x: float, y: float) -> bool:
        """Whether the point is inside.

        A ray to the right crosses the outline an odd number of times (W. R. Franklin's pnpoly). Of two polygons that
        share an edge, exactly one contains a point on it.
        """
        inside = False
        for a, b in _edges(self.points):
            if (a.y > y) != (b.y > y) and x < a.x + (b.x - a.x) * (y - a.y) / (b.y - a.y):
                inside = not inside
        return inside


def _edges(points: tuple[Point, ...]) -> list[tuple[Point, Point]]:
    return list(zip(points, points[1:] + points[:1], strict=True))


def _clash(points: tuple[Point, ...]) -> str:
    """Which edges are in each other's way, in words; nothing where none are."""
    edges = _edges(points)
    for row, (a, b) in enumerate(edges):
        if a == b:
            return f"the point {_at(a)} comes twice in a row; give it once"
        for later, (c, d) in enumerate(edges[row + 1 :], start=row + 1):
            follows, closes = later == row + 1, row == 0 and later == len(edges) - 1
            if _folds(a, b, d) if follows else _folds(c, d, b) if closes else _meet(a, b, c, d):
                return (
                    f"the edge from {_at(a)} to {_at(b)} meets the one from {_at(c)} to {_at(d)}; give the points in "
                    "the order in which one walks around the area"
                )
    return ""


def _turn(a: Point, b: Point, c: Point) -> float:
    """Above 0 where the way from a over b to c turns clockwise as seen in the picture, 0 where it is straight."""
    return (b.x - a.x) * (c.y - b.y) - (b.y - a.y) * (c.x - b.x)


def _folds(a: Point, b: Point, c: Point) -> bool:
    """Whether the way from a over b to c goes back on itself."""
    return _turn(a, b, c) == 0 and (b.x - a.x) * (c.x - b.x) + (b.y - a.y) * (c.y - b.y) < 0


def _meet(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether two edges that do not follow each other have a point in common."""
    sides = [_turn(a, b, c), _turn(a, b, d), _turn(c, d, a), _turn(c, d, b)]
    if sides[0] * sides[1] < 0 and sides[2] * sides[3] < 0:
        return True
    ends = ((a, b, c), (a, b, d), (c, d, a), (c, d, b))
    return any(side == 0 and _within(*end) for side, end in zip(sides, ends, strict=True))


def _within(a: Point, b: Point, c: Point) -> bool:
    """Whether c, on the line through a and b, lies between them."""
    return min(a.x, b.x) <= c.x <= max(a.x, b.x) and min(a.y, b.y) <= c.y <= max(a.y, b.y)


def _at(point: Point) -> str:
    return f"({point.x:g}, {point.y:g})"
