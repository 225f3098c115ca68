"""When each fault strikes, for how long, and who looks at the page meanwhile: drawn from a seed. No state."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SLOT_S = 30.0
"""One fault, and the calm after it; shorter where the whole run is short."""
_LEAST_SLOTS = 6
_FAULT_SHARE = (0.15, 0.5)
"""Of a slot, how much of it a fault lasts."""
REST_SLOTS = 2
"""A rest lasts so many: a sink that was lost waits up to 30 s before it tries again."""
_WARM_SHARE, _LONGEST_WARM_S = 1 / 3, 3600.0
VIEWERS = ("", "watching", "stalled", "listening")
"""Nobody; who takes live pictures; who asks for them and takes nothing; who listens to what happens."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Seconds since the run began; a rest has no fault and no viewer."""

    begin_s: float
    fault: str
    """Empty: none."""
    over_s: float
    """When the fault ends, and the viewer leaves."""
    viewer: str
    end_s: float


@dataclass(frozen=True, slots=True)
class Timetable:
    """All of a run, without gaps. What is measured begins with one rest and ends with another."""

    slots: tuple[Slot, ...]
    warm_s: float
    """From then on it counts."""

    @property
    def total_s(self) -> float:
        """How long it lasts."""
        return self.slots[-1].end_s

    @property
    def rests(self) -> tuple[Slot, Slot]:
        """The two."""
        first, last = (slot for slot in self.slots if not slot.fault)
        return first, last


def draw(total_s: float, faults: Sequence[str], *, seed: int) -> Timetable:
    """Every fault strikes once before any strikes again; each such deck is shuffled anew.

    The warm-up is a third of the run, an hour at most, and a whole deck where the run has two: what the first of its
    kind brings (a library that is loaded, a pool that is filled) is no growth.
    """
    count = max(_LEAST_SLOTS, round(total_s / SLOT_S))
    length_s = total_s / count
    strikes = count - 2 * REST_SLOTS
    warm = min(strikes - 1, max(1, round(min(_WARM_SHARE * total_s, _LONGEST_WARM_S) / length_s)))
    if strikes >= 2 * len(faults):
        warm = max(warm, len(faults))
    dice = random.Random(f"{seed}/soak")  # noqa: S311 - not a secret
    deck = _deck(faults, dice)
    slots, at_s = list[Slot](), 0.0
    for number in range(strikes + 2):
        is_rest = number in {warm, strikes + 1}
        end_s = at_s + length_s * (REST_SLOTS if is_rest else 1)
        slots.append(Slot(at_s, "", at_s, "", end_s) if is_rest else _strike(next(deck), at_s, length_s, dice))
        at_s = end_s
    return Timetable(tuple(slots), slots[warm].begin_s)


def _deck(faults: Sequence[str], dice: random.Random) -> Iterator[str]:
    while True:
        yield from dice.sample(faults, len(faults))


def _strike(fault: str, begin_s: float, length_s: float, dice: random.Random) -> Slot:
    over_s = begin_s + length_s * dice.uniform(*_FAULT_SHARE)
    return Slot(begin_s, fault, over_s, dice.choice(VIEWERS), begin_s + length_s)
