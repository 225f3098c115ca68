"""What the link does when: phases, their presets, and the player that goes through them.

State (the player's) is owned by the emulator's event loop. On the command line a schedule is
`good:15,slow:10,dead:8` (seconds each), with presets or `name=2mbit/60ms:10` of one's own; one phase alone needs no
seconds and lasts.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from agent.emulator.link import Link, Shape
from agent.errors import ConfigError

PRESETS = {
    "good": Shape(rate_bit_s=20e6, rtt_s=0.040),
    "fair": Shape(rate_bit_s=3e6, rtt_s=0.090),
    "slow": Shape(rate_bit_s=0.4e6, rtt_s=0.250),
    "dead": Shape(outage=True),
}
_UNITS = {"kbit": 1e3, "mbit": 1e6}
_NUMBER = r"\d+(?:\.\d+)?"
_PHASE = re.compile(
    rf"(?P<name>[A-Za-z][\w-]*)(?:=(?P<rate>{_NUMBER})(?P<unit>kbit|mbit)/(?P<rtt_ms>{_NUMBER})ms)?"
    rf"(?::(?P<seconds>{_NUMBER}))?"
)
_BY_HAND = "by hand"
FORMS = (
    f"what the link does, again and again: good:15,slow:10,dead:8 (seconds each), of the presets {', '.join(PRESETS)} "
    "and links of your own, which need a name: mine=2mbit/60ms:10. One phase alone needs no seconds and lasts: slow"
)
"""For people."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of time on the link."""

    name: str
    shape: Shape
    seconds: float | None
    """None: it lasts."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Phases in their order."""

    phases: tuple[Phase, ...]
    once: bool = False
    """True: the last phase lasts. False: after it comes the first again."""


def parse(text: str, *, once: bool = False) -> Schedule:
    """A schedule from the command line.

    Raises:
        ConfigError: a phase that is none, or has no seconds though others follow.
    """
    phases = tuple(_phase(part.strip()) for part in text.split(","))
    if len(phases) > 1 and any(phase.seconds is None for phase in phases):
        names = ", ".join(phase.name for phase in phases if phase.seconds is None)
        raise ConfigError(f"the link phases {names} have no seconds; write {phases[0].name}:10 and so on")
    return Schedule(phases, once=once)


def _phase(text: str) -> Phase:
    match = _PHASE.fullmatch(text)
    known = ", ".join(PRESETS)
    if match is None:
        allowed = f"neither PRESET:SECONDS ({known}) nor NAME=2mbit/60ms:SECONDS, for example mine=2mbit/60ms:10"
        raise ConfigError(f"the link phase {text!r} is {allowed}")
    name, seconds = match["name"], match["seconds"]
    if match["rate"] is None and name not in PRESETS:
        raise ConfigError(f"there is no link preset {name!r}; there are {known}, or write {name}=2mbit/60ms:10")
    shape = PRESETS[name] if match["rate"] is None else _own_shape(match)
    if seconds is not None and float(seconds) <= 0:
        raise ConfigError(f"the link phase {text!r} lasts 0 s; give it some seconds")
    return Phase(name, shape, None if seconds is None else float(seconds))


def _own_shape(match: re.Match[str]) -> Shape:
    rate_bit_s = float(match["rate"]) * _UNITS[match["unit"]]
    if rate_bit_s <= 0:
        raise ConfigError(f"the link phase {match[0]!r} has no rate; for an outage write dead:SECONDS")
    return Shape(rate_bit_s=rate_bit_s, rtt_s=float(match["rtt_ms"]) / 1000)


class Player:
    """Takes a link through a schedule, until someone sets the link by hand."""

    def __init__(self, link: Link, schedule: Schedule | None) -> None:
        self._link = link
        self._schedule = schedule
        self._phase: str | None = None
        self._ends_s: float | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin with the first phase; without a schedule the link stays as it is."""
        if self._schedule is not None:
            self._enter(self._schedule.phases[0])
            self._task = asyncio.get_running_loop().create_task(self._play(self._schedule))

    async def _play(self, schedule: Schedule) -> None:
        while True:
            for phase in schedule.phases:
                self._enter(phase)
                if phase.seconds is None:
                    return
                await asyncio.sleep(phase.seconds)
            if schedule.once:
                self._enter(replace(schedule.phases[-1], seconds=None))
                return

    def _enter(self, phase: Phase) -> None:
        self._phase = phase.name
        now_s = asyncio.get_running_loop().time()
        self._ends_s = None if phase.seconds is None else now_s + phase.seconds
        if self._link.shape != phase.shape:
            self._link.apply(phase.shape)

    def stop(self) -> None:
        """End the schedule; the link stays as it is."""
        if self._task is not None:
            self._task.cancel()
        self._ends_s = None

    def state(self) -> dict[str, object]:
        """The present phase and the seconds it has left, null where there is none."""
        left_s = None if self._ends_s is None else max(0.0, self._ends_s - asyncio.get_running_loop().time())
        return {"phase": self._phase, "seconds_left": left_s} | self._link.state()

    def set_by_hand(self, values: Mapping[str, object]) -> None:
        """End the schedule and change what `values` names: rate_mbit_s, rtt_ms, outage, drip_s; reset resets.

        Raises:
            ConfigError: an unknown key or a value of the wrong kind; then nothing is changed.
        """
        known = ("rate_mbit_s", "rtt_ms", "outage", "drip_s", "reset")
        strange = sorted(set(values) - set(known))
        if strange:
            raise ConfigError(f"the link has no {', '.join(strange)}; it has {', '.join(known)}")
        shape = _changed(self._link.shape, values)
        reset = _flag(values, "reset", otherwise=False)
        self.stop()
        self._phase = _BY_HAND
        self._link.apply(shape)
        if reset:
            self._link.reset_all()


def _changed(shape: Shape, values: Mapping[str, object]) -> Shape:
    rate = _number(values, "rate_mbit_s", otherwise=None)
    return Shape(
        rate_bit_s=(None if rate is None else rate * 1e6) if "rate_mbit_s" in values else shape.rate_bit_s,
        rtt_s=(_number(values, "rtt_ms", otherwise=0.0) or 0.0) / 1000 if "rtt_ms" in values else shape.rtt_s,
        outage=_flag(values, "outage", otherwise=shape.outage),
        drip_s=_number(values, "drip_s", otherwise=shape.drip_s),
    )


def _flag(values: Mapping[str, object], name: str, *, otherwise: bool) -> bool:
    value = values.get(name, otherwise)
    if not isinstance(value, bool):
        raise ConfigError(f"the link's {name} is {value!r}; give true or false")
    return value


def _number(values: Mapping[str, object], name: str, *, otherwise: float | None) -> float | None:
    """The number above 0 (rtt_ms: 0 too) that `values` gives, or null."""
    value = values.get(name, otherwise)
    if value is None:
        return None
    least_ok = name == "rtt_ms" and value == 0
    if isinstance(value, bool) or not isinstance(value, int | float) or not (least_ok or 0 < value < float("inf")):
        raise ConfigError(f"the link's {name} is {value!r}; give a number above 0, or null for none")
    return float(value)
