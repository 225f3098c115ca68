"""Which links are simulated, and what is known of the runs that met them. No state."""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.errors import ConfigError
from agent.simulator import traces
from agent.simulator.contest import Terms
from agent.simulator.options import DEADLINES_MS, LONGEST_S
from agent.simulator.scenario import SECONDS, Scenario, Span, synthetic
from agent.simulator.terminal import tell

_LEAST_SECONDS = 5.0
"""The last two seconds have no frames."""
_LARGE_BYTES = 5_000_000
"""Reading it takes seconds."""


def chosen(options: argparse.Namespace) -> list[Scenario]:
    """The traces, the made-up scenarios, or both. Raises ConfigError."""
    if not options.traces and (options.outage or options.rtt_ms):
        raise ConfigError("--outage and --rtt-ms change traces; name one")
    rtt_s = None if options.rtt_ms is None else options.rtt_ms / 1000
    found = [_of_trace(path, options.seconds, rtt_s, options.outage or ()) for path in options.traces]
    if options.synthetic or not found:
        found += synthetic(options.seed, options.seconds or SECONDS)
    return found


def _of_trace(path: Path, seconds: float | None, rtt_s: float | None, outages: Sequence[Span]) -> Scenario:
    if path.is_file() and path.stat().st_size > _LARGE_BYTES:
        tell(f"reading {path}, {path.stat().st_size / 1e6:.0f} MB")
    whole = traces.read(path, rtt_s=rtt_s)
    for fault in whole.met.left_out if whole.met else ():
        tell(f"{path}: left out: {fault}")
    if seconds is None and whole.seconds > LONGEST_S:
        tell(f"{path} lasts {whole.seconds:.0f} s; its first {LONGEST_S:g} s are run, --seconds sets how many")
    scenario = whole.cut(LONGEST_S if seconds is None else seconds)
    if scenario.seconds < _LEAST_SECONDS:
        raise ConfigError(f"{path.name} lasts {scenario.seconds:g} s; at least {_LEAST_SECONDS:g} s are needed")
    for begin_s, end_s in outages:
        if begin_s >= scenario.seconds:
            raise ConfigError(
                f"--outage {begin_s:g}-{end_s:g}: {path.name} ends before that, at {scenario.seconds:g} s; allowed: "
                "one that begins earlier"
            )
    return scenario.with_outages(outages)


@dataclass(frozen=True, slots=True)
class Habits:
    """What the options leave open, as the runs had it, or as is usual."""

    fps: float
    local_s: float
    deadlines_ms: tuple[int, ...]
    told: str
    """What is from a run, in words; empty: nothing is."""


def habits(scenarios: Sequence[Scenario], options: argparse.Namespace) -> Habits:
    """What the options say; where they say nothing and all links are from runs, what the first had that tells."""
    runs = [scenario.met for scenario in scenarios if scenario.met is not None]
    if len(runs) < len(scenarios):
        runs = []
    usual, told = Terms(), []
    fps: float | None = options.fps
    local_s: float | None = None if options.local_ms is None else options.local_ms / 1000
    deadlines_ms: list[int] = options.deadline_ms or []
    if fps is None and (fps := _first(run.fps for run in runs)):
        told.append(f"{fps:g} frames a second")
    if not deadlines_ms and (deadlines_ms := [run.deadline_ms for run in runs if run.deadline_ms]):
        told.append(f"deadline {', '.join(map(str, dict.fromkeys(deadlines_ms)))} ms")
    if local_s is None and (local_s := _first(run.local_s for run in runs)):
        told.append(f"about {local_s * 1000:g} ms for an on-device run")
    return Habits(
        fps=fps or usual.fps,
        local_s=local_s or usual.local_s,
        deadlines_ms=tuple(dict.fromkeys(deadlines_ms or DEADLINES_MS)),
        told=f"As in {scenarios[0].name}: {', '.join(told)}." if told else "",
    )


def _first(values: Iterable[float | None]) -> float | None:
    return next((value for value in values if value is not None), None)
