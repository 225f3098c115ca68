"""How many pictures may be contributed in any hour and any day, over restarts. Owner: the back-fill's thread.

Counts are kept by the minute and by the hour, of a time that goes on between runs as far as that is known: by the
monotonic clock within a boot, by the wall clock across boots where it was right at both ends, else only since this
boot. So neither a step of the clock nor a restart grants anything.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from agent.clock import Clock
from agent.ledger import Ledger
from agent.stamp import Stamp, elapsed_s, stamp

_MINUTE_S: Final = 60.0
_HOUR_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Caps:
    """What may be contributed at most."""

    per_hour: int
    per_day: int


class _Window:
    """Counts of the last `bins` stretches of `bin_s` seconds each, and of the one that has begun."""

    def __init__(self, bin_s: float, bins: int, cap: int) -> None:
        self.counts: dict[int, int] = {}
        self._bin_s = bin_s
        self._bins = bins
        self._cap = cap

    def has_room(self, at_s: float) -> bool:
        self._forget(at_s)
        return sum(self.counts.values()) < self._cap

    def add(self, at_s: float, count: int) -> None:
        self._forget(at_s)
        number = int(at_s / self._bin_s)
        self.counts[number] = max(0, self.counts.get(number, 0) + count)

    def _forget(self, at_s: float) -> None:
        now = int(at_s / self._bin_s)
        self.counts = {number: count for number, count in self.counts.items() if now - self._bins <= number <= now}


class Quota:
    """The caps, and what was used of them; in the file `store`."""

    def __init__(self, caps: Caps, store: Path, *, clock: Clock, boot_id: str) -> None:
        """Raises ConfigError when another process has the file."""
        self._clock = clock
        self._boot_id = boot_id
        self._hour = _Window(_MINUTE_S, 60, caps.per_hour)
        self._day = _Window(_HOUR_S, 24, caps.per_day)
        self._ledger = Ledger(store)
        self._since, self._at_s = stamp(clock, boot_id), 0.0
        if self._ledger.record is not None:
            self._resume(self._ledger.record)

    def _resume(self, record: Mapping[str, Any]) -> None:
        """Go on from what an earlier run has left; what does not fit counts as nothing."""
        try:
            since, at_s = Stamp(**record["since"]), float(record["at_s"])
            hour, day = (
                {int(number): int(count) for number, count in record[name].items()} for name in ("hour", "day")
            )
            elapsed_s(since, self._clock, self._boot_id)
        except (LookupError, TypeError, ValueError, AttributeError):
            return
        self._since, self._at_s, self._hour.counts, self._day.counts = since, at_s, hour, day

    @property
    def has_room(self) -> bool:
        """Whether one more picture may be contributed now."""
        now_s = self._now_s()
        return self._hour.has_room(now_s) and self._day.has_room(now_s)

    def take(self) -> None:
        """One picture is about to be contributed: a kill in the middle does not forget it."""
        self._count(1)

    def give_back(self) -> None:
        """It was not contributed after all."""
        self._count(-1)

    def _now_s(self) -> float:
        return self._at_s + elapsed_s(self._since, self._clock, self._boot_id)

    def _count(self, count: int) -> None:
        self._at_s, self._since = self._now_s(), stamp(self._clock, self._boot_id)
        for window in (self._hour, self._day):
            window.add(self._at_s, count)
        counts = {"hour": self._hour.counts, "day": self._day.counts}
        self._ledger.write({"since": asdict(self._since), "at_s": self._at_s, **counts})

    def close(self) -> None:
        """Let go of the file."""
        self._ledger.close()
