"""What may be spent at the hosted API, and what spending costs meanwhile. Admit and cloud lane threads; one lock.

Each cap is a token bucket that fills at an even rate and refuses when it is empty. Long before that a price makes the
router choosy: it grows with what was spent ahead of the allowance (drift-plus-penalty), so that the budget goes to the
frames for which it does most. An upload is paid for before it begins, by its size, and settled by what it really took:
the bytes on the wire, retransmissions included, and the server's own time, by which credits are billed.

Time between runs counts by the monotonic clock within a boot. Across boots it is the wall clock's, where that was right
at both ends; until it is known to be right, only the time since the boot. So neither a step of the clock nor a restart
grants anything, and what a SIGKILL leaves open stays paid.
"""

import itertools
import math
import threading
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from agent.clock import Clock
from agent.flow import Prices
from agent.ledger import Ledger

DAY_S, MONTH_S = 86_400.0, 30 * 86_400.0
BURST_OF_DAY_S = 3_600.0
BURST_OF_MONTH_S = DAY_S
"""A bucket holds what comes in so long, and what it lets through in any full period is its cap."""
BASE_PER_MB = 0.05
"""Accuracy that a megabyte must gain in any case: stops 180 kB where 90 kB would do."""
THRIFTY_PER_MB, THRIFTY_PER_CALL = 0.5, 0.05
"""The same where cost is preferred: ten times as much, and a fifth of what the smallest picture usually gains."""
PER_MB_RISE, PER_CALL_RISE = 12.0, 0.3
"""What a minute's allowance, spent ahead, adds to the price of a megabyte (with a megabyte a minute) and of a call."""
_MINUTE_S = 60.0
LEAST_BILLED_S = 0.1
SECONDS_PER_CREDIT = 500.0
"""Roboflow's pricing: a call is billed by the server's time, at least a tenth of a second."""
CREDITS_PER_CALL = LEAST_BILLED_S / SECONDS_PER_CREDIT
_HEADERS_SHARE = 1.06
_HEADERS_BYTES = 2_500
"""What an upload costs beside its picture: TCP/IP headers and acknowledgements by its size, HTTP and the answer."""


@dataclass(frozen=True, slots=True)
class Caps:
    """What may be spent at most; 0: no cap."""

    data_mb_per_day: float = 0.0
    data_mb_per_month: float = 0.0
    credits_per_day: float = 0.0
    credits_per_month: float = 0.0


class Kind(str, Enum):
    """What is spent."""

    DATA = "data"
    CREDITS = "credits"


@dataclass(slots=True)
class _Bucket:
    """One cap. The level may fall below nothing: then it fills up before anything more is let through."""

    name: str
    kind: Kind
    rate: float
    """Bytes or credits a second."""
    burst: float
    level: float

    def fill(self, seconds: float) -> None:
        self.level = min(self.burst, self.level + self.rate * seconds)


@dataclass(slots=True)
class _Receipt:
    """What was paid in advance."""

    data: float
    credits: float


class Budget:
    """All caps of one agent; remembered in the file `store`."""

    def __init__(self, caps: Caps, store: Path, *, clock: Clock, boot_id: str, thrifty: bool = False) -> None:
        """`thrifty`: even where there is no cap, or none in sight, an upload must be well worth its cost."""
        self._clock = clock
        self._boot_id = boot_id
        self.thrifty = thrifty
        """May change at any time."""
        self._lock = threading.Lock()
        self._buckets = _buckets(caps)
        self._ahead = dict.fromkeys(Kind, 0.0)
        """What was spent ahead of the allowance."""
        self._receipts: dict[int, _Receipt] = {}
        self._numbers = itertools.count(1)
        self._metered_bytes = 0
        self._filled_s = clock.now()
        self._since_wall_s: float | None = None
        """Until when an earlier boot has filled the buckets, as long as the clock cannot tell how long ago that is."""
        self._ledger = Ledger(store) if self._buckets else None
        if self._ledger is not None and self._ledger.record is not None:
            self._resume(self._ledger.record)

    def _resume(self, record: dict[str, Any]) -> None:
        """Go on from what an earlier run has left. What does not fit is left out."""
        for bucket in self._buckets:
            bucket.level = min(bucket.burst, _number(record.get(bucket.name), bucket.level))
        self._ahead = {kind: max(0.0, _number(record.get(f"ahead_{kind.value}"), 0.0)) for kind in Kind}
        now_s = self._clock.now()
        filled_s = _number(record.get("monotonic_s"), now_s)
        since_wall_s = _number(record.get("since_wall_s"), math.nan)
        if record.get("boot_id") == self._boot_id:
            self._filled_s = min(now_s, filled_s)
        else:
            self._filled_s = 0.0  # the machine has been up for so long since, at least
            since_wall_s = _number(record.get("wall_s"), since_wall_s + filled_s)
        self._since_wall_s = None if math.isnan(since_wall_s) else since_wall_s
        self._fill(now_s)

    def prices(self, now_s: float) -> Prices | None:
        """What uploading costs at a monotonic time; None where nothing limits it."""
        if not self._buckets and not self.thrifty:
            return None
        with self._lock:
            self._fill(now_s)
            return Prices(
                per_mb=self._per_mb(),
                per_call=self._per_call(),
                data_left_bytes=self._left(Kind.DATA),
                credits_left=self._left(Kind.CREDITS),
                data_bytes_s=self._rate(Kind.DATA),
                credits_s=self._rate(Kind.CREDITS),
            )

    def _per_mb(self) -> float:
        base = THRIFTY_PER_MB if self.thrifty else BASE_PER_MB
        minute_mb = self._rate(Kind.DATA) * _MINUTE_S / 1e6
        return base + PER_MB_RISE * self._ahead[Kind.DATA] / 1e6 / minute_mb

    def _per_call(self) -> float:
        base = THRIFTY_PER_CALL if self.thrifty else 0.0
        return base + PER_CALL_RISE * self._ahead[Kind.CREDITS] / (self._rate(Kind.CREDITS) * _MINUTE_S)

    def _rate(self, kind: Kind) -> float:
        """The allowance a second: that of the tightest cap; infinite without one."""
        return min((bucket.rate for bucket in self._buckets if bucket.kind is kind), default=math.inf)

    def _left(self, kind: Kind) -> float:
        levels = (bucket.level for bucket in self._buckets if bucket.kind is kind)
        return max(0.0, min(levels, default=math.inf))

    def reserve(self, size_bytes: int) -> int:
        """Pay for an upload before it begins; the number of the receipt."""
        with self._lock:
            number = next(self._numbers)
            receipt = _Receipt(size_bytes * _HEADERS_SHARE + _HEADERS_BYTES, CREDITS_PER_CALL)
            self._receipts[number] = receipt
            self._spend(data=receipt.data, credits_=receipt.credits)
            return number

    def settle(self, number: int, *, metered_bytes: int, billed_s: float | None = None, billed: bool = True) -> None:
        """An upload is over: correct what was paid for it. Only the first time counts.

        Args:
            number: of its receipt.
            metered_bytes: all bytes that it took, both ways.
            billed_s: the server's time, as the server states it; None: the least that is billed.
            billed: whether it costs any credits: it reached the server, and was not refused.
        """
        with self._lock:
            receipt = self._receipts.pop(number, None)
            if receipt is not None:
                credits_ = max(billed_s or 0.0, LEAST_BILLED_S) / SECONDS_PER_CREDIT if billed else 0.0
                self._metered_bytes += metered_bytes
                self._spend(data=metered_bytes - receipt.data, credits_=credits_ - receipt.credits)

    def note_overhead(self, size_bytes: int) -> None:
        """So many bytes went to keep or try the connection."""
        with self._lock:
            self._metered_bytes += size_bytes
            self._spend(data=size_bytes, credits_=0.0)

    @property
    def metered_bytes(self) -> int:
        """All bytes since the start, both ways, of whatever has ended."""
        with self._lock:
            return self._metered_bytes

    def used(self, now_s: float) -> dict[str, float]:
        """Of what each cap lets through at once, the share that is spent at a monotonic time: at 1 nothing is left."""
        with self._lock:
            self._fill(now_s)
            return {bucket.name: 1 - bucket.level / bucket.burst for bucket in self._buckets}

    def _spend(self, *, data: float, credits_: float) -> None:
        """Take from every bucket of its kind; less than nothing gives back."""
        spent = {Kind.DATA: data, Kind.CREDITS: credits_}
        for bucket in self._buckets:
            bucket.level -= spent[bucket.kind]
        for kind, amount in spent.items():
            if math.isfinite(self._rate(kind)):
                self._ahead[kind] = max(0.0, self._ahead[kind] + amount)
        self._remember()

    def _fill(self, now_s: float) -> None:
        """Let in what has become due since the last time."""
        elapsed_s = max(0.0, now_s - self._filled_s)
        self._filled_s = max(self._filled_s, now_s)
        if self._since_wall_s is not None and self._clock.synchronized():
            away_s = self._clock.wall() - self._since_wall_s - now_s  # the time since the boot is let in already
            elapsed_s += max(0.0, away_s)
            self._since_wall_s = None
        for bucket in self._buckets:
            bucket.fill(elapsed_s)
        for kind in Kind:
            rate = self._rate(kind)
            if math.isfinite(rate):
                self._ahead[kind] = max(0.0, self._ahead[kind] - rate * elapsed_s)

    def _remember(self) -> None:
        if self._ledger is None:
            return
        # A wall clock that is not known to be right is not written down: nothing may be counted from it.
        wall_s = self._clock.wall() - (self._clock.now() - self._filled_s) if self._clock.synchronized() else None
        self._ledger.write(
            {
                "boot_id": self._boot_id,
                "monotonic_s": self._filled_s,
                "wall_s": wall_s,
                "since_wall_s": self._since_wall_s,
                **{bucket.name: bucket.level for bucket in self._buckets},
                **{f"ahead_{kind.value}": amount for kind, amount in self._ahead.items()},
            }
        )

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._ledger is not None:
                self._fill(self._clock.now())
                self._remember()
                self._ledger.close()

    def __repr__(self) -> str:
        levels = ", ".join(f"{bucket.name} {bucket.level:.4g} of {bucket.burst:.4g}" for bucket in self._buckets)
        return f"<Budget {levels or 'unlimited'}>"


def _buckets(caps: Caps) -> list[_Bucket]:
    """A full bucket for each cap. Over any whole period it lets in the cap, its own content at the begin included."""
    given = (
        ("data_day", Kind.DATA, caps.data_mb_per_day * 1e6, DAY_S, BURST_OF_DAY_S),
        ("data_month", Kind.DATA, caps.data_mb_per_month * 1e6, MONTH_S, BURST_OF_MONTH_S),
        ("credits_day", Kind.CREDITS, caps.credits_per_day, DAY_S, BURST_OF_DAY_S),
        ("credits_month", Kind.CREDITS, caps.credits_per_month, MONTH_S, BURST_OF_MONTH_S),
    )
    buckets = []
    for name, kind, cap, period_s, burst_s in given:
        if cap:
            rate = cap / (period_s + burst_s)
            buckets.append(_Bucket(name, kind, rate, burst=rate * burst_s, level=rate * burst_s))
    return buckets


def _number(value: object, otherwise: float) -> float:
    """`value` if it is a finite number."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else otherwise  # type: ignore[arg-type]
