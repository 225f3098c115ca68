"""The scores as the picture wants them. No state."""

import statistics
from collections.abc import Sequence

from agent.chart.simulation import Bars, Strip
from agent.simulator.contest import Heat


def bars(heats: Sequence[Heat]) -> Bars:
    """Each policy's utility over the bound, for each deadline."""
    by_deadline: dict[float, list[Heat]] = {}
    for heat in heats:
        by_deadline.setdefault(heat.deadline_s, []).append(heat)
    policies = tuple(heats[0].scores)
    ratios = {
        deadline_s: [[heat.ratio(policy) for heat in some] for policy in policies]
        for deadline_s, some in by_deadline.items()
    }
    return Bars(
        policies=policies,
        deadlines=tuple(f"{deadline_s * 1000:g} ms" for deadline_s in by_deadline),
        medians=tuple(tuple(statistics.median(values) for values in rows) for rows in ratios.values()),
        worst=tuple(tuple(min(values) for values in rows) for rows in ratios.values()),
    )


def strips(heats: Sequence[Heat]) -> list[Strip]:
    """The router's course in each scenario, with the deadline in the middle of those that were run."""
    deadlines_s = sorted({heat.deadline_s for heat in heats})
    middle_s = deadlines_s[len(deadlines_s) // 2]
    return [
        Strip(
            title=f"{heat.scenario}, deadline {heat.deadline_s * 1000:g} ms",
            capacity_mbit_s=heat.course.capacity_mbit_s,
            outages=heat.course.outages,
            captured_s=heat.course.captured_s,
            believed_mbit_s=heat.course.believed_mbit_s,
            by_cloud=heat.course.by_cloud,
        )
        for heat in heats
        if heat.course is not None and heat.deadline_s == middle_s
    ]
