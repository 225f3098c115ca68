"""Reads how hot the machine is, holds back when it is too hot or its supply too weak, and spares data that is dear.

Owner: the thread `care`. What it wants is in the Controls, which cameras and admission ask.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from agent.care import strain
from agent.care.governor import Governor
from agent.care.metered import Metered
from agent.care.relief import SHARE, Rates, Relief
from agent.care.strain import Limits, Strain
from agent.clock import Clock
from agent.heat import Heat
from agent.logs import Damper
from agent.loop import Pulse

_log = logging.getLogger(__name__)
STEP_S: Final = 2.0
BY: Final = ("heat", "power", "data")
MOST_FOR_POWER: Final = 3
"""Steps, to half the frames: a supply that is too weak for half of the work is too weak without any."""


@dataclass(frozen=True, slots=True)
class Senses:
    """What the care goes by."""

    heat: Callable[[], Heat]
    """Reads it now."""
    answered: Callable[[], Mapping[str, int]]
    """How many frames of each camera have been answered."""


class Care:
    """Looks every two seconds."""

    def __init__(
        self, relief: Relief, limits: Limits, senses: Senses, *, metered: Metered | None = None, clock: Clock
    ) -> None:
        self._relief = relief
        self._limits = limits
        self._senses = senses
        self._metered = metered
        self._clock = clock
        self._rates = Rates()
        self._governors = {"heat": Governor(limits.hysteresis_c), "power": Governor(limits.hysteresis_c)}
        self._looked = False
        self._warn = Damper(_log.warning, clock.now)
        self._tell = Damper(_log.info, clock.now)

    def run(self, pulse: Pulse) -> None:
        """Look until told to stop. What it wants ends with it."""
        try:
            self._release()  # what a care before it left, whose sensor hung
            pulse.beat()
            self.step()
            while not pulse.rest(STEP_S):
                self.step()
        finally:
            self._release()

    def _release(self) -> None:
        for by in BY:
            self._relief.controls.release(by=by)

    def step(self) -> None:
        """Look once, and act on it."""
        now_s, heat = self._clock.now(), self._senses.heat()
        if self._metered is not None:
            self._metered.step(now_s)
        if not (self._relief.policy.shifts or self._relief.policy.lowers):
            return
        self._heed_blindness(heat)
        held = any(governor.level for governor in self._governors.values())
        self._rates.note(self._senses.answered(), now_s, held=held)
        most = self._relief.most(self._rates.best_fps)
        self._govern("heat", strain.of_heat(heat, self._limits), most)
        self._govern("power", strain.of_power(heat), min(most, MOST_FOR_POWER))

    def _govern(self, by: str, found: Strain, most: int) -> None:
        governor = self._governors[by]
        before = governor.level
        if not governor.note(found.over_c, self._clock.now(), most=most):
            return
        self._relief.apply(governor.level, self._rates.best_fps, by=by, why=found.words)
        say = self._warn if not before else self._tell
        say.note(f"{by} {'more' if governor.level > before else 'less'}", f"{found.words}: {self._now(governor.level)}")

    def _now(self, level: int) -> str:
        """What a level means, in words."""
        relief, said = self._relief, list[str]()
        if not level:
            return "nothing is held back for it any more"
        if relief.policy.shifts:
            said.append("the on-device model rests wherever the cloud answers")
        fewer = level - relief.policy.shifts if relief.policy.lowers else 0
        if fewer:
            said.append(f"cameras keep {SHARE**fewer:.0%} of their frames, at least {relief.least_fps:.3g} a second")
        return ", and ".join(said)

    def _heed_blindness(self, heat: Heat) -> None:
        """Say once that what is to be looked at is not there."""
        limits = self._limits
        if not self._looked and not strain.watched(heat, limits):
            there = ", ".join(sorted(heat.celsius)) or "none"
            if limits.zones is not None:
                _log.warning(
                    "care.zones names no thermal zone with a limit; there are: %s; care.hot_c gives one", there
                )
            elif limits.hot_c is not None:
                _log.warning("care.hot_c is given, but this machine shows no thermal zone: heat is not watched")
            else:
                _log.debug(
                    "no thermal zone tells where it slows this machine down: heat is not watched; zones: %s", there
                )
        self._looked = True
