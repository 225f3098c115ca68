"""`vedette simulate`: from its options to the table, the figures and the picture. Main thread."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from agent.budget import Caps
from agent.chart import simulation
from agent.clock import SystemClock
from agent.errors import ChartError
from agent.simulator import contest, figures, links, picture, table
from agent.simulator.contest import Heat, Terms
from agent.simulator.options import DEFAULT_PICTURE, add_arguments
from agent.simulator.scenario import Scenario
from agent.simulator.terminal import say, tell

__all__ = ["add_arguments", "run"]
_EXIT_DONE = 0
_STDOUT = Path("-")
_TELL_EVERY_S = 5.0


def run(options: argparse.Namespace) -> int:
    """Simulate, print the table, draw the picture; the exit code.

    Raises:
        ConfigError: a trace or an option cannot be used.
        ChartError: there is no picture, and one was asked for.
        AgentError: the output cannot be written.
    """
    if options.json not in {None, _STDOUT}:
        figures.refuse_what_is_not_ours(options.json, options.traces)
    scenarios = links.chosen(options)
    habits = links.habits(scenarios, options)
    terms = Terms(
        policies=options.policies,
        fps=habits.fps,
        local_s=habits.local_s,
        seed=options.seed,
        prefer=options.prefer,
        caps=Caps(data_mb_per_day=options.data_cap_mb_per_day, credits_per_day=options.credits_per_day),
    )
    if habits.told:
        (tell if options.json == _STDOUT else say)(f"{habits.told}\n")
    heats = _run(scenarios, [ms / 1000 for ms in habits.deadlines_ms], terms, jobs=options.jobs)
    say(figures.text(heats) if options.json == _STDOUT else table.report(heats, overloaded=_overloaded(terms)))
    if options.json not in {None, _STDOUT}:
        figures.write(options.json, heats)
    if not options.no_picture:
        _draw(heats, options.picture)
    return _EXIT_DONE


def _overloaded(terms: Terms) -> bool:
    """Whether the device cannot answer every frame."""
    return terms.local_s * terms.fps > 1


def _run(scenarios: Sequence[Scenario], deadlines_s: Sequence[float], terms: Terms, *, jobs: int) -> list[Heat]:
    """All heats in their order; says on standard error how far it is."""
    count, clock = len(scenarios) * len(deadlines_s), SystemClock()
    heats: dict[int, Heat] = {}
    begun_s = told_s = clock.now()
    for progress in contest.run(scenarios, deadlines_s, terms, jobs=min(jobs, count * len(terms.policies))):
        now_s = clock.now()
        left = f"about {_span((now_s - begun_s) * (1 / progress.done - 1))} left"
        if progress.heat is not None:
            heats[progress.number] = progress.heat
            ends = f"{len(heats)} of {count}: {progress.heat.scenario}, deadline {progress.heat.deadline_s * 1000:g} ms"
            tell(f"{ends}; {left}" if len(heats) < count else ends)
        elif now_s - told_s >= _TELL_EVERY_S:
            tell(f"{progress.done:.0%} done, {left}; --seconds makes it shorter")
        else:
            continue
        told_s = now_s
    return [heats[number] for number in sorted(heats)]


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 2 * 60 else f"{seconds / 60:.0f} min"


def _draw(heats: list[Heat], path: Path | None) -> None:
    try:
        simulation.draw(path or DEFAULT_PICTURE, picture.bars(heats), picture.strips(heats))
    except ChartError as error:
        if path is not None:
            raise
        tell(str(error))
    else:
        tell(f"picture: {path or DEFAULT_PICTURE}")
