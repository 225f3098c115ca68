"""The sizes in which one camera's pictures can be uploaded, found by measuring. Admit and lane threads; one lock.

Two encodings of one picture tell how its size depends on the JPEG quality. From that come the rungs: about 20, 45, 90
and 180 kB, none finer than the model has use for; where even a poor quality is too large, the resolution goes down
instead. Every picture sent corrects its rung's size. One that is off by a quarter of what its rung made at first shows
another scene, and the ladder is measured anew with it.
"""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from agent.flow import Picture, Pixels, Rung

Encode: TypeAlias = Callable[[Pixels, int, int], Picture]
"""Pixels, longest side in pixels, JPEG quality -> the picture."""

TARGETS_BYTES = (20_000, 45_000, 90_000, 180_000)
"""Steps of a factor of two; finer ones are inside the noise of the prediction."""
POOREST_QUALITY = 30
"""Below it blocks show and detection suffers at once: rather fewer pixels."""
LEAST_PX = 160
CHANGED = 0.25
"""A picture that is off by so much of its rung's first one shows another scene."""
_NEXT_STEP = 1.25
"""A finer rung must be larger by this factor to be one."""
_NEWEST_SHARE = 0.2
"""Weight of the newest picture in a rung's size."""
_WORTH_OF_QUALITY = ((10, 0.65), (20, 0.85), (35, 0.930), (70, 0.980), (85, 0.997), (95, 1.0), (100, 1.0))
"""Accuracy by JPEG quality, as a share of the best. An assumption of the shape that studies report: little is lost
until strong compression, then much."""
_WORTH_EXPONENT = 0.3
"""Accuracy by resolution: half the pixels across leave 0.81 of it (YOLOv8n's mAP50-95 on coco128, 0.472 at 640 px and
0.383 at 320 px)."""


@dataclass(frozen=True, slots=True)
class _Law:
    """How large a picture is: `at_one` bytes at quantiser scale 1, falling with its power `exponent`."""

    at_one: float
    exponent: float

    def size_bytes(self, quality: float) -> float:
        return self.at_one * math.pow(_quantiser(quality), -self.exponent)

    def quality(self, size_bytes: float) -> float:
        """The quality that gives a size; outside 1..100 where none does."""
        scale = math.pow(self.at_one / size_bytes, 1 / self.exponent)
        return 100.0 - scale * 50 if scale < 1 else 50.0 / scale


def _quantiser(quality: float) -> float:
    """Scale of libjpeg's quantisation tables at a quality (jpeg_quality_scaling), 1 at 50."""
    return max(0.02, 2 - quality / 50) if quality >= 50 else 50 / quality  # noqa: PLR2004 - libjpeg's formula has two parts


def _law(one: Picture, other: Picture) -> _Law:
    """The law that two encodings of the same picture follow."""
    scales = math.log(_quantiser(other.quality)) - math.log(_quantiser(one.quality))
    exponent = max(0.2, math.log(len(one.data) / len(other.data)) / scales)
    return _Law(len(one.data) * math.pow(_quantiser(one.quality), exponent), exponent)


class Ladder:
    """The rungs of one camera."""

    def __init__(self, encode: Encode, longest_px: int, finest_quality: int) -> None:
        """`longest_px`, `finest_quality`: above these nothing is gained."""
        self._encode = encode
        self._most_px = self._longest_px = longest_px
        self._finest_quality = finest_quality
        self._lock = threading.Lock()
        self._measured = False
        self._first_bytes: dict[tuple[int, int], int] = {}
        """What the first picture of each rung had, by longest side and quality, since the ladder was measured."""
        typical = zip(TARGETS_BYTES, (35, 70, 85, 95), strict=True)
        self._rungs = self._distinct([self._rung(size, longest_px, quality) for size, quality in typical])

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """The smallest first; typical ones until the first picture was measured."""
        with self._lock:
            return self._rungs

    def picture(self, pixels: Pixels, rung: Rung) -> Picture:
        """`pixels` as a picture of about the size of `rung`, ready for upload."""
        made = self._encode(pixels, rung.longest_px, rung.quality)
        if self._fits(made, rung):
            self._correct(rung, len(made.data))
            return made
        self._measure(pixels)
        nearest = min(self.rungs, key=lambda other: abs(math.log(other.size_bytes / rung.size_bytes)))
        if (nearest.longest_px, nearest.quality) != (rung.longest_px, rung.quality):
            made = self._encode(pixels, nearest.longest_px, nearest.quality)
        self._fits(made, nearest)
        self._correct(nearest, len(made.data), weight=1.0)
        return made

    def _fits(self, made: Picture, rung: Rung) -> bool:
        """Whether the picture shows the scene that the ladder was measured with."""
        with self._lock:
            first_bytes = self._first_bytes.setdefault((rung.longest_px, rung.quality), len(made.data))
        return self._measured and abs(len(made.data) / first_bytes - 1) <= CHANGED

    def _measure(self, pixels: Pixels) -> None:
        """Find the rungs anew, with `pixels` as the example."""
        finest = self._encode(pixels, self._most_px, self._finest_quality)
        poorest = self._encode(pixels, self._most_px, POOREST_QUALITY)
        law = _law(finest, poorest) if self._finest_quality > POOREST_QUALITY else None
        sizes_bytes = len(finest.data), len(poorest.data)
        self._longest_px = max(finest.width, finest.height)  # the camera may have fewer pixels than the model wants
        rungs = [self._at(target, law, *sizes_bytes) for target in TARGETS_BYTES]
        with self._lock:
            self._rungs = self._distinct(rungs)
            self._first_bytes.clear()
            self._measured = True

    def _at(self, target_bytes: int, law: _Law | None, finest_bytes: int, poorest_bytes: int) -> Rung:
        """The rung of about a size, or the finest where that is smaller."""
        if target_bytes * _NEXT_STEP >= finest_bytes:
            return self._rung(finest_bytes, self._longest_px, self._finest_quality)
        if law is None or target_bytes <= poorest_bytes:
            factor = math.sqrt(min(1.0, target_bytes / poorest_bytes))
            longest_px = max(LEAST_PX, round(self._longest_px * factor))
            return self._rung(target_bytes, longest_px, min(POOREST_QUALITY, self._finest_quality))
        quality = min(self._finest_quality, max(POOREST_QUALITY, round(law.quality(target_bytes))))
        return self._rung(round(law.size_bytes(quality)), self._longest_px, quality)

    def _rung(self, size_bytes: int, longest_px: int, quality: int) -> Rung:
        quality = min(quality, self._finest_quality)
        resolution = math.pow(longest_px / self._longest_px, _WORTH_EXPONENT)
        worth = resolution * _worth(quality) / _worth(self._finest_quality)
        return Rung(size_bytes, longest_px, quality, worth)

    @staticmethod
    def _distinct(rungs: list[Rung]) -> tuple[Rung, ...]:
        """Each picture once, the smallest first."""
        unique = {(rung.longest_px, rung.quality): rung for rung in reversed(rungs)}
        return tuple(sorted(unique.values(), key=lambda rung: (rung.size_bytes, rung.worth)))

    def _correct(self, rung: Rung, size_bytes: int, *, weight: float = _NEWEST_SHARE) -> None:
        """Move the size of a rung towards that of a picture made by it."""

        def corrected(mine: Rung) -> Rung:
            if (mine.longest_px, mine.quality) != (rung.longest_px, rung.quality):
                return mine
            return replace(mine, size_bytes=max(1, round(mine.size_bytes + weight * (size_bytes - mine.size_bytes))))

        with self._lock:
            self._rungs = self._distinct([corrected(mine) for mine in self._rungs])

    def __repr__(self) -> str:
        steps = ", ".join(f"{rung.size_bytes / 1000:.0f} kB q{rung.quality}" for rung in self.rungs)
        return f"<Ladder {steps}>"


def _worth(quality: int) -> float:
    """Accuracy by JPEG quality, between the known points in a straight line."""
    (before, low), *others = _WORTH_OF_QUALITY
    for after, high in others:
        if quality <= after:
            return low + (high - low) * max(0, quality - before) / (after - before)
        before, low = after, high
    return low
