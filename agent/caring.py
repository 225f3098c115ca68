"""From the configuration to the agent's care of its machine. Main thread, before anything runs."""

from collections.abc import Callable, Sequence
from math import inf
from typing import Final

from agent.care import way_out
from agent.care.care import Care, Senses
from agent.care.metered import Metered
from agent.care.relief import Relief
from agent.care_options import CareConfig
from agent.clock import Clock
from agent.controls import Controls
from agent.flow import Fate
from agent.heat import Heat
from agent.loop import Loop, Stage
from agent.pipeline import Pipeline

STOP_S: Final = 0.5


def build(
    options: CareConfig,
    pipelines: Sequence[Pipeline],
    controls: Controls,
    *,
    heat: Callable[[], Heat],
    interface: Callable[[], str | None] = way_out.interface,
    clock: Clock,
) -> Care:
    """What takes care. Without a policy it reads how hot the machine is all the same, for the page and the metrics.

    Args:
        options: its section of the configuration.
        pipelines: the cameras.
        controls: where it says what it wants.
        heat: reads how hot the machine is, which may hang.
        interface: which network interface leads out.
        clock: the agent's.
    """
    metered = None
    if options.metered:
        metered = Metered(options.metered, options.when_metered, controls, interface=interface)

    def answered() -> dict[str, int]:
        return {each.camera: each.telemetry.status().fates.get(Fate.DONE, 0) for each in pipelines}

    relief = Relief(options.policy, options.least_fps, controls)
    return Care(relief, options.limits, Senses(heat, answered), metered=metered, clock=clock)


def stage(care: Care) -> Stage:
    """Its one loop. A sensor may hang in its driver, which is nobody else's affair, and which no restart would mend."""
    return Stage("care", (Loop("care", care.run, inf),), STOP_S)
