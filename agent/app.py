"""The composition root: a configuration becomes objects, loops and stages. The one place that knows everybody.

Built and run by the main thread.
"""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent import imaging, plugins
from agent.admission import Admission
from agent.budget import Budget
from agent.clock import Clock, SystemClock
from agent.config import CameraConfig, Config
from agent.courier import Courier
from agent.errors import ConfigError, EngineBroken
from agent.flow import Route
from agent.handoff import Bell
from agent.ladder import Ladder
from agent.lanes import Lane
from agent.link import Link
from agent.loop import Loop, Pulse, Stage
from agent.outbox import MemoryOutbox
from agent.pipeline import Pipeline, Shared
from agent.ports import Context, Engine
from agent.record import Identity
from agent.router import MOST_IN_FLIGHT, Prefer, Router
from agent.sdnotify import Notifier
from agent.supervisor import Supervisor
from agent.uplink import MOST_ERRANDS, Uplink

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
    uplink: Uplink | None
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
    bell = Bell()
    local, uplink = _engines(config, context, bell)
    lanes = _lanes(local, uplink, context, bell)
    couriers = _couriers(config, context)
    shared = Shared(
        clock,
        bell,
        lanes,
        [courier.outbox for courier in couriers],
        Identity(config.agent, _boot_id()),
        config.routing.deadline_ms / 1000,
        local=local,
        uplink=uplink,
        one_camera=len(config.cameras) == 1,
    )
    pipelines = [_pipeline(camera, context, shared) for camera in config.cameras]
    admission = Admission(pipelines, Router(config.mode, config.routing.prefer), shared)
    supervisor = Supervisor(_stages(couriers, pipelines, admission, shared), clock)
    return Agent(pipelines, couriers, lanes, uplink, supervisor, clock)


def _engines(config: Config, context: Context, bell: Bell) -> tuple[Engine | None, Uplink | None]:
    """The on-device model, and the way to the hosted one."""
    local = None if config.engines.local is None else plugins.build_engine(config.engines.local, context)
    if config.engines.cloud is None:
        return local, None
    cloud = plugins.build_cloud_engine(config.engines.cloud, context, width=MOST_IN_FLIGHT + MOST_ERRANDS)
    link = Link(context.clock.now(), measures=cloud.measures)
    budget = Budget(
        config.routing.caps,
        context.state_dir / f"budget-{context.agent}",
        clock=context.clock,
        boot_id=_boot_id(),
        thrifty=config.routing.prefer is Prefer.COST,
    )
    return local, Uplink(cloud, link=link, budget=budget, clock=context.clock, on_progress=bell.ring)


def _lanes(local: Engine | None, uplink: Uplink | None, context: Context, bell: Bell) -> dict[Route, Lane]:
    engines = {Route.LOCAL: local, Route.CLOUD: None if uplink is None else uplink.engine}
    return {
        route: Lane(route.value, engine, context.clock, on_room=bell.ring)
        for route, engine in engines.items()
        if engine is not None
    }


def _pipeline(camera: CameraConfig, context: Context, shared: Shared) -> Pipeline:
    ladder = None
    if shared.uplink is not None:
        cloud = shared.uplink.engine
        ladder = Ladder(imaging.encode, cloud.longest_px, cloud.finest_quality)
    return Pipeline(camera.name, plugins.build_source(camera.source, context), shared, ladder=ladder)


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
        admission.run(pulse)

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
    if agent.uplink is not None:
        agent.uplink.budget.close()


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
