"""The composition root: a configuration becomes objects, loops and stages. The one place that knows everybody.

Built and run by the main thread.
"""

import logging
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

_log = logging.getLogger(__name__)
EXIT_DONE, EXIT_FAILED, EXIT_CONFIG = 0, 1, 78
"""Exit codes; 78 is sysexits.h's EX_CONFIG, on which the unit does not restart."""

CAPTURE_STOP_S = 2.0
ADMIT_STOP_S = 1.0
ANSWERS_STOP_S = 3.0
LANES_STOP_S = 0.5
EMIT_STOP_S = 1.0
SINKS_STOP_S = 6.0
"""How long each part of a stop may take, the answers under way among them; their sum stays below TimeoutStopSec in the
unit, which a test checks."""
SINK_STEP_S = 60.0
"""An MQTT broker may take its time twice, for MQTT 5 and for 3.1.1: address, TLS, answer and acknowledgement."""
_TICK_S = 0.25


class StopSign:
    """Asks the main loop to stop. Safe in a signal handler, where a lock of the interrupted thread would be held."""

    asked = False

    def ask(self) -> None:
        """From now on the agent is stopping."""
        self.asked = True


@dataclass(frozen=True, slots=True)
class Agent:
    """Everything that runs."""

    pipelines: Sequence[Pipeline]
    couriers: Sequence[Courier]
    lanes: dict[Route, Lane]
    link: Link
    supervisor: Supervisor
    clock: Clock
    stop: StopSign = field(default_factory=StopSign)


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
    identity = Identity(config.agent, _boot_id())
    shared = Shared(clock, bell, link, lanes, outboxes, identity, deadline_s, one_camera=len(config.cameras) == 1)
    pipelines = [Pipeline(c.name, plugins.build_source(c.source, context), shared) for c in config.cameras]
    admission = Admission(pipelines, Router(config.mode), link=link, lanes=lanes, clock=clock)
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
    """Each sink behind its outbox. What a stop keeps belongs to this agent and to the nth sink of its type."""
    couriers: list[Courier] = []
    for options in config.sinks:
        type_ = plugins.type_of(options)
        name = f"{type_}-{1 + sum(courier.name.startswith(f'{type_}-') for courier in couriers)}"
        outbox = MemoryOutbox(context.state_dir / f"undelivered-{context.agent}-{name}.jsonl")
        couriers.append(Courier(name, plugins.build_sink(options, context), outbox))
    _warn_of_orphans(context, {courier.name for courier in couriers})
    return couriers


def _warn_of_orphans(context: Context, names: set[str]) -> None:
    """Results that were kept for a sink which the configuration no longer has are left where they are."""
    prefix = f"undelivered-{context.agent}-"
    for path in sorted(context.state_dir.glob(f"{prefix}*.jsonl")):
        if path.stem.removeprefix(prefix) not in names:
            _log.warning("%s holds results for a sink that is not configured any more", path)


def _stages(
    couriers: Sequence[Courier], pipelines: Sequence[Pipeline], admission: Admission, shared: Shared
) -> tuple[Stage, ...]:
    """Every loop of the agent, in the order they start; they stop in reverse."""

    def admit(pulse: Pulse) -> None:
        admission.run(pulse, bell=shared.bell, deadline_s=shared.deadline_s)

    def close_pipelines() -> None:
        for pipeline in pipelines:
            pipeline.close()

    def stop_lanes() -> None:
        _wait_until(lambda: all(p.ordered.in_flight == 0 for p in pipelines), ANSWERS_STOP_S, shared.clock)
        for lane in shared.lanes.values():
            lane.stop()

    sinks = tuple(Loop(f"sink-{courier.name}", courier.run, SINK_STEP_S) for courier in couriers)
    emits = tuple(Loop(f"emit-{pipeline.camera}", pipeline.emit) for pipeline in pipelines)
    # A late request is left behind at a stop: its frame was answered, and cutting it off is the same as waiting.
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
    agent.supervisor.start()
    try:
        _watch(agent, notifier, seconds, on_tick)
    finally:
        notifier.stopping()
        agent.supervisor.stop()
        _close(agent)
    on_tick(agent)
    return _exit_code(agent.supervisor.fatal)


def _watch(agent: Agent, notifier: Notifier, seconds: float | None, on_tick: Callable[[Agent], str]) -> None:
    """The main thread's loop, until there is a reason to stop."""
    never, began_s, ready = threading.Event(), agent.clock.now(), False
    while not (agent.stop.asked or agent.supervisor.fatal is not None or _finished(agent)):
        if seconds is not None and agent.clock.now() - began_s >= seconds:
            return
        if not ready and all(lane.opened.is_set() for lane in agent.lanes.values()):
            ready = True
            notifier.ready()
        notifier.status(on_tick(agent))
        if not agent.supervisor.stuck():
            notifier.alive()
        agent.clock.wait(never, _TICK_S)


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
