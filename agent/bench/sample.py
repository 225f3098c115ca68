"""What one frame took, and what one engine took in all. No state."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

PERCENTILES = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class Sample:
    """One answered frame, milliseconds."""

    end_to_end_ms: float
    """From the captured frame to the answer in hand."""
    execution_ms: float | None
    """The inference alone: on the device as measured, of the hosted API as it states it; None: it does not."""
    parts_ms: dict[str, float]
    """What else was measured of it: preprocess, postprocess, encode, connect, upload, server."""
    size_bytes: int = 0
    """What it cost on the wire, both ways."""
    cold_start: bool = False


@dataclass(frozen=True, slots=True)
class About:
    """What the engine said of itself once it was open."""

    input: str
    """In pixels; of the hosted API the picture that is sent."""
    threads: int | None = None
    runtime: str = ""
    """Its name and version, or the server's address."""
    complaints: tuple[str, ...] = ()


@dataclass(slots=True)
class Tally:
    """All runs of one subject. Main thread."""

    about: About | None = None
    samples: list[Sample] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    """By cause; they are in no percentile."""
    peak_mb: list[float] = field(default_factory=list)
    """The most memory that each run's process held."""
    runs: int = 0
    trouble: str = ""
    """Why it could not be measured, or not to the end."""

    @property
    def fps(self) -> float:
        """Frames a second, one after the other."""
        total_ms = sum(sample.end_to_end_ms for sample in self.samples)
        return len(self.samples) / total_ms * 1000 if total_ms else math.nan


def percentiles(values: Iterable[float | None]) -> tuple[float, ...]:
    """p50, p95, p99 of what is known, linear between the nearest two; NaN without any."""
    known = sorted(value for value in values if value is not None)
    return tuple(_percentile(known, share / 100) if known else math.nan for share in PERCENTILES)


def _percentile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
    return below + (above - below) * (place - math.floor(place))


def median_parts(samples: Sequence[Sample]) -> dict[str, float]:
    """The median of each part over the frames that have it."""
    names = dict.fromkeys(name for sample in samples for name in sample.parts_ms)
    return {
        name: statistics.median(sample.parts_ms[name] for sample in samples if name in sample.parts_ms)
        for name in names
    }
