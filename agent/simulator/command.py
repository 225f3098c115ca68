"""`vedette simulate`: the command line, and what it prints. Main thread."""

import argparse
import json
import math
import sys
from dataclasses import asdict
from pathlib import Path

from agent.budget import Caps
from agent.chart import simulation
from agent.errors import AgentError, ChartError, ConfigError
from agent.router import Prefer
from agent.simulator import contest, picture, table, traces
from agent.simulator.contest import POLICIES, Heat, Terms
from agent.simulator.scenario import SECONDS, USUAL_RTT_S, Scenario, Span, synthetic

DEADLINES_MS = (300.0, 500.0, 1000.0)
DEFAULT_PICTURE = Path("vedette-simulation.png")
_EXIT_DONE = 0
_LEAST_SECONDS = 5.0
"""The last two seconds have no frames."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `vedette simulate`."""
    defaults = Terms()
    parser.description = (
        "Runs the agent's own router over simulated links, beside simpler policies and the best that anybody could do "
        "who knew the future. Without a trace: over five made-up scenarios."
    )
    add = parser.add_argument
    trace = "seconds,Mbit/s lines, a mahimahi trace, or a results file of a run"
    add("traces", nargs="*", type=Path, metavar="TRACE", help=trace)
    add("--synthetic", action="store_true", help="also run the five scenarios, beside the traces")
    add("--deadline-ms", action="append", type=_positive, metavar="MS", help="again for more (default 300, 500, 1000)")
    add("--fps", type=_positive, default=defaults.fps, help="frames a second (default %(default)g)")
    local_ms = defaults.local_s * 1000
    add("--local-ms", type=_positive, default=local_ms, metavar="MS", help="an on-device run takes (%(default)g)")
    rtt = f"round trip of the traces (default: as measured, else {USUAL_RTT_S * 1000:g})"
    add("--rtt-ms", type=_positive, metavar="MS", help=rtt)
    add("--outage", action="append", type=_span, metavar="A-B", help="the traces' link is dead from second A to B")
    add("--seconds", type=_positive, help=f"no more than so long (default: whole traces, {SECONDS:g} of the scenarios)")
    add("--policies", type=_policies, default=defaults.policies, metavar="A,B", help=f"of {', '.join(POLICIES)}")
    add("--prefer", type=Prefer, choices=list(Prefer), default=defaults.prefer, metavar="WHAT", help=_PREFER)
    add("--data-cap-mb-per-day", type=_positive, default=0.0, metavar="MB", help="the router's data budget")
    add("--credits-per-day", type=_positive, default=0.0, metavar="N", help="the router's credit budget")
    add("--seed", type=_whole, default=defaults.seed, help="of all that is random (default %(default)s)")
    add("--jobs", type=_jobs, default=2, metavar="N", help="processes (default %(default)s)")
    add("--picture", type=Path, metavar="FILE", help=f"where the picture goes (default {DEFAULT_PICTURE})")
    add("--no-picture", action="store_true", help="draw none")
    add("--json", type=Path, metavar="FILE", help="also write every figure there")


_PREFER = f"the router's routing.prefer: {', '.join(prefer.value for prefer in Prefer)} (default accuracy)"


def run(options: argparse.Namespace) -> int:
    """Simulate, print the table, draw the picture; the exit code.

    Raises:
        ConfigError: a trace or an option cannot be used.
        ChartError: there is no picture, and one was asked for.
    """
    scenarios, deadlines_ms = _scenarios(options), options.deadline_ms or DEADLINES_MS
    terms = Terms(
        policies=options.policies,
        fps=options.fps,
        local_s=options.local_ms / 1000,
        seed=options.seed,
        prefer=options.prefer,
        caps=Caps(data_mb_per_day=options.data_cap_mb_per_day, credits_per_day=options.credits_per_day),
    )
    heats = _run(scenarios, [ms / 1000 for ms in dict.fromkeys(deadlines_ms)], terms, jobs=options.jobs)
    print(table.report(heats), flush=True)  # noqa: T201 - the command's output
    if options.json is not None:
        _write_json(options.json, heats)
    if not options.no_picture:
        _draw(heats, options.picture)
    return _EXIT_DONE


def _scenarios(options: argparse.Namespace) -> list[Scenario]:
    seconds: float | None = options.seconds
    rtt_s = None if options.rtt_ms is None else options.rtt_ms / 1000
    found = [traces.read(path, rtt_s=rtt_s).with_outages(options.outage or ()) for path in options.traces]
    if not found and (options.outage or options.rtt_ms):
        raise ConfigError("--outage and --rtt-ms change traces; name one")
    if options.synthetic or not found:
        found += synthetic(options.seed, SECONDS if seconds is None else seconds)
    cut = [scenario.cut(seconds) for scenario in found]
    for scenario in cut:
        if scenario.seconds < _LEAST_SECONDS:
            raise ConfigError(f"{scenario.name} lasts {scenario.seconds:g} s; at least {_LEAST_SECONDS:g} s are needed")
    return cut


def _run(scenarios: list[Scenario], deadlines_s: list[float], terms: Terms, *, jobs: int) -> list[Heat]:
    """All heats in their order; says on standard error how far it is."""
    count = len(scenarios) * len(deadlines_s)
    heats: dict[int, Heat] = {}
    for number, heat in contest.run(scenarios, deadlines_s, terms, jobs=min(jobs, count)):
        heats[number] = heat
        told = f"{len(heats)} of {count}: {heat.scenario}, deadline {heat.deadline_s * 1000:g} ms"
        print(told, file=sys.stderr, flush=True)  # noqa: T201 - for the person at the terminal
    return [heats[number] for number in sorted(heats)]


def _draw(heats: list[Heat], path: Path | None) -> None:
    try:
        simulation.draw(path or DEFAULT_PICTURE, picture.bars(heats), picture.strips(heats))
    except ChartError as error:
        if path is not None:
            raise
        print(error, file=sys.stderr)  # noqa: T201 - for the person at the terminal
    else:
        print(f"picture: {path or DEFAULT_PICTURE}", file=sys.stderr)  # noqa: T201 - same


def _write_json(path: Path, heats: list[Heat]) -> None:
    told = [
        {
            "scenario": heat.scenario,
            "deadline_ms": round(heat.deadline_s * 1000, 3),
            "bound": heat.bound,
            "policies": {
                name: {"of_bound": heat.ratio(name), "on_time": score.on_time, **asdict(score)}
                for name, score in heat.scores.items()
            },
        }
        for heat in heats
    ]
    text = json.dumps(_finite(told), indent=1, allow_nan=False)
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise AgentError(f"{path} cannot be written: {error.strerror}; name another file") from error


def _finite(value: object) -> object:
    """The same with null for infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def _whole(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0")
    return value


def _jobs(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of processes, 1 or more")
    return value


def _span(text: str) -> Span:
    begin, dash, end = text.partition("-")
    if not dash:
        raise argparse.ArgumentTypeError(f"{text} is not A-B, as in 40-45")
    return float(begin), float(end)


def _policies(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    unknown = [name for name in names if name not in POLICIES]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is no policy; allowed: {', '.join(POLICIES)}")
    return names
