"""The composition root: a configuration becomes objects, loops and stages. The one place that knows everybody.

Built and run by the main thread.
"""

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent import plugins
from agent.admission import Admission
from agent.clock import Clock, SystemClock
from agent.config import Config
from agent.courier import Courier
from agent.errors import ConfigError, EngineBroken
from agent.flow import Route
from agent.handoff import Bell
from agent.lanes import Lane
from agent.link import Link
from agent.loop import Loop, Pulse, Stage
from agent.outbox import MemoryOutbox
from agent.pipeline import Pipeline, Shared
from agent.ports import Context
from agent.record import Identity
from agent.router import Router, in_flight_limit
from agent.sdnotify import Notifier
from agent.supervisor import Supervisor

EXIT_DONE, EXIT_FAILED, EXIT_CONFIG = 0, 1, 78
"""Exit codes; 78 is sysexits.h's EX_CONFIG, on which the unit does not restart."""

CAPTURE_STOP_S = 2.0
ADMIT_STOP_S = 1.0
LANES_STOP_S = 4.0
EMIT_STOP_S = 1.0
SINKS_STOP_S = 6.0
"""How long each stage of a stop may take; their sum stays below TimeoutStopSec in the unit, which a test checks."""
_ANSWERS_WAIT_S = 3.0
_TICK_S = 0.25


@dataclass(frozen=True, slots=True)
class Agent:
    """Everything that runs."""

    pipelines: Sequence[Pipeline]
    couriers: Sequence[Courier]
    lanes: dict[Route, Lane]
    link: Link
    supervisor: Supervisor
    clock: Clock
    stop_asked: threading.Event = field(default_factory=threading.Event)


def build(config: Config, *, base_dir: Path, state_dir: Path, clock: Clock | None = None) -> Agent:
    """Make the agent that `config` describes; nothing is opened yet.

    Args:
        config: the checked configuration.
        base_dir: relative paths in it start here.
        state_dir: where undelivered results are kept.
        clock: the machine's, unless a test brings its own.
    """
    clock = clock or SystemClock()
    context = Context(config.agent, clock, base_dir, state_dir)
    bell, link = Bell(), Link(clock.now())
    deadline_s = config.routing.deadline_ms / 1000
    lanes = _lanes(config, context, deadline_s, bell)
    couriers = _couriers(config, context)
    outboxes = [courier.outbox for courier in couriers]
    shared = Shared(clock, bell, link, lanes, outboxes, Identity(config.agent, _boot_id()), deadline_s)
    pipelines = [Pipeline(c.name, plugins.build_source(c.source, context), shared) for c in config.cameras]
    admission = Admission(pipelines, Router(config.mode), link=link, lanes=lanes)
    supervisor = Supervisor(_stages(couriers, pipelines, admission, shared), clock)
    return Agent(pipelines, couriers, lanes, link, supervisor, clock)


def _lanes(config: Config, context: Context, deadline_s: float, bell: Bell) -> dict[Route, Lane]:
    lanes = {}
    if config.engines.local is not None:
        engine = plugins.build_engine(config.engines.local, context)
        lanes[Route.LOCAL] = Lane("local", engine, context.clock, on_room=bell.ring)
    if config.engines.cloud is not None:
        width = in_flight_limit(deadline_s)
        engine = plugins.build_engine(config.engines.cloud, context, width=width)
        lanes[Route.CLOUD] = Lane("cloud", engine, context.clock, on_room=bell.ring)
    return lanes


def _couriers(config: Config, context: Context) -> list[Courier]:
    couriers = []
    for number, options in enumerate(config.sinks, start=1):
        name = f"{getattr(options, 'type')}-{number}"  # noqa: B009 - every plugin's Options has it
        outbox = MemoryOutbox(context.state_dir / f"undelivered-{name}.jsonl")
        couriers.append(Courier(name, plugins.build_sink(options, context), outbox))
    return couriers


def _stages(
    couriers: Sequence[Courier], pipelines: Sequence[Pipeline], admission: Admission, shared: Shared
) -> tuple[Stage, ...]:
    """Every loop of the agent, in the order they start; they stop in reverse."""

    def admit(pulse: Pulse) -> None:
        admission.run(pulse, clock=shared.clock, bell=shared.bell, deadline_s=shared.deadline_s)

    def close_pipelines() -> None:
        for pipeline in pipelines:
            pipeline.close()

    def stop_lanes() -> None:
        _wait_until(lambda: all(p.ordered.in_flight == 0 for p in pipelines), _ANSWERS_WAIT_S, shared.clock)
        for lane in shared.lanes.values():
            lane.stop()

    sinks = tuple(Loop(f"sink-{courier.name}", courier.run) for courier in couriers)
    emits = tuple(Loop(f"emit-{pipeline.camera}", pipeline.emit) for pipeline in pipelines)
    workers = tuple(
        Loop(f"{lane.name}-{n}", lane.run) for lane in shared.lanes.values() for n in range(1, lane.engine.width + 1)
    )
    cameras = tuple(Loop(f"capture-{pipeline.camera}", pipeline.capture) for pipeline in pipelines)
    return (
        Stage("sinks", sinks, SINKS_STOP_S),
        Stage("emit", emits, EMIT_STOP_S, on_stop=close_pipelines),
        Stage("lanes", workers, LANES_STOP_S, on_stop=stop_lanes),
        Stage("admit", (Loop("admit", admit),), ADMIT_STOP_S, on_stop=shared.bell.ring),
        Stage("capture", cameras, CAPTURE_STOP_S),
    )


def run(agent: Agent, *, seconds: float | None = None, on_tick: Callable[[Agent], str] = lambda _: "") -> int:
    """Run until asked to stop, the last camera has ended, `seconds` have passed, or something fatal; the exit code.

    `on_tick` is called a few times a second and gives the line that systemd shows.
    """
    notifier = Notifier()
    began_s = agent.clock.now()
    agent.supervisor.start()
    ready = False
    while not agent.clock.wait(agent.stop_asked, _TICK_S):
        if agent.supervisor.fatal is not None or _finished(agent):
            break
        if seconds is not None and agent.clock.now() - began_s >= seconds:
            break
        if not ready and all(lane.opened.is_set() for lane in agent.lanes.values()):
            ready = True
            notifier.ready()
        notifier.status(on_tick(agent))
        if not agent.supervisor.stuck():
            notifier.alive()
    notifier.stopping()
    agent.supervisor.stop()
    on_tick(agent)
    _close(agent)
    return _exit_code(agent.supervisor.fatal)


def _finished(agent: Agent) -> bool:
    """Every camera has ended, and every frame of theirs has its fate."""
    return not agent.supervisor.alive("capture") and all(pipeline.idle for pipeline in agent.pipelines)


def _close(agent: Agent) -> None:
    for lane in agent.lanes.values():
        lane.close()
    for courier in agent.couriers:
        courier.outbox.close()


def _exit_code(fatal: BaseException | None) -> int:
    if fatal is None:
        return EXIT_DONE
    return EXIT_CONFIG if isinstance(fatal, ConfigError | EngineBroken) else EXIT_FAILED


def state_dir() -> Path:
    """Where systemd lets the agent write, else the user's own state folder."""
    given = os.environ.get("STATE_DIRECTORY")
    if given:
        return Path(given.split(":")[0])
    return Path(os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()) / "vedette"


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def _wait_until(done: Callable[[], bool], limit_s: float, clock: Clock) -> None:
    until_s = clock.now() + limit_s
    never = threading.Event()
    while not done() and clock.now() < until_s:
        clock.wait(never, 0.01)
