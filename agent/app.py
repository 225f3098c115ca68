"""The composition root: a configuration becomes objects, loops and stages. The one place that knows everybody.

Built and run by the main thread.
"""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path

from agent import backfilling, imaging, outboxes, pages, plugins, rollouts
from agent.admission import Admission
from agent.backfill.sender import Backfill
from agent.budget import Budget
from agent.classes import Classes
from agent.clock import Clock, SystemClock
from agent.config import Config
from agent.courier import Courier
from agent.errors import ConfigError, EngineBroken
from agent.flow import Route
from agent.handoff import Bell
from agent.health import Health
from agent.heat import Thermometer
from agent.lanes import Lane
from agent.link import Link
from agent.loop import Loop, Pulse, Stage
from agent.page.gallery import Gallery
from agent.pipeline import Pipeline, Shared
from agent.pipelines import pipeline_of
from agent.ports import Context, Engine, Witness
from agent.readiness import Watched
from agent.record import Identity
from agent.rollouts import Following
from agent.router import MOST_IN_FLIGHT, Prefer, Router
from agent.sdnotify import Notifier
from agent.snapshots.album import Album
from agent.snapshots.taker import Snapshots
from agent.stamp import boot_id
from agent.states import State, States, Subject
from agent.supervisor import HANG_LIMIT_S, Supervisor
from agent.uplink import MOST_ERRANDS, Uplink

_log = logging.getLogger(__name__)
EXIT_DONE, EXIT_FAILED, EXIT_CONFIG = 0, 1, 78
"""Exit codes; 78 is sysexits.h's EX_CONFIG, on which the unit does not restart."""

CAPTURE_STOP_S = 2.0
ADMIT_STOP_S = 1.0
BACKFILL_STOP_S = 1.0
ROLLOUT_STOP_S = rollouts.STOP_S
ANSWERS_STOP_S = 3.0
LANES_STOP_S = 0.5
EMIT_STOP_S = 1.0
SNAPSHOTS_STOP_S = 2.0
SINKS_STOP_S = 6.0
OUTBOXES_STOP_S = 4.0
PAGE_STOP_S = pages.STOP_S
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
    health: Health
    clock: Clock
    backfill: Backfill | None = None
    snapshots: Snapshots | None = None
    classes: Classes | None = None
    stop: StopSign = field(default_factory=StopSign)
    notifier: Notifier = field(default_factory=Notifier)


def build(
    config: Config, *, base_dir: Path, state_dir: Path, clock: Clock | None = None, durable: bool = True
) -> Agent:
    """Make the agent that `config` describes; nothing is opened yet.

    Args:
        config: the checked configuration.
        base_dir: relative paths in it start here.
        state_dir: where undelivered results are kept.
        clock: the machine's, unless a test brings its own.
        durable: whether what sinks cannot take outlasts this run.
    """
    clock, bell, states, lanes = clock or SystemClock(), Bell(), States(), dict[Route, Lane]()
    context = Context(config.agent, clock, base_dir, state_dir, _progress(lanes))
    following = rollouts.prepare(config, context)
    local, uplink = _engines(config, context, bell, following)
    lanes |= _lanes(local, uplink, context, bell)
    couriers = outboxes.couriers(config.sinks, context, states=states, boot_id=boot_id(), durable=durable)
    sieve, snapshots, gallery = backfilling.sieve(config.backfill), _snapshots(config, context), pages.gallery(config)
    shared = Shared(
        clock,
        bell,
        lanes,
        couriers,
        Identity(config.agent, boot_id()),
        config.routing.deadline_ms / 1000,
        local=local,
        uplink=uplink,
        one_camera=len(config.cameras) == 1,
        states=states,
        witnesses=_witnesses(sieve, snapshots, None if following is None else following.references, gallery),
    )
    classes = _classes(config, context, states) if durable else None
    pipelines = [pipeline_of(camera, context, shared, classes) for camera in config.cameras]
    admission = Admission(pipelines, Router(config.mode, config.routing.prefer), shared)
    backfill = backfilling.build(config, context, sieve, shared=shared, pipelines=pipelines)
    asides = [*rollouts.stages(config, context, following, lanes), *_backfill_stages(backfill)]
    supervisor = Supervisor(_stages(couriers, pipelines, admission, shared, asides=asides, snapshots=snapshots), clock)
    health = Health(config.agent, pipelines, couriers, uplink, states=states, clock=clock)
    agent = Agent(pipelines, couriers, lanes, uplink, supervisor, health, clock, backfill, snapshots, classes)
    return _with_page(agent, config, context, gallery)


def _with_page(agent: Agent, config: Config, context: Context, gallery: Gallery | None) -> Agent:
    if config.page is None or gallery is None:
        return agent
    watched = Watched(
        config.agent,
        agent.clock,
        agent.pipelines,
        agent.couriers,
        agent.lanes,
        agent.uplink,
        stuck=agent.supervisor.stuck,
        trouble=agent.supervisor.trouble,
        pings=lambda: agent.notifier.pings,
        heat=Thermometer(agent.clock).heat,
    )
    agent.supervisor.add(pages.stage(config.page, context, gallery, watched))
    return agent


def _progress(lanes: dict[Route, Lane]) -> Callable[[str], None]:
    """Tells the lane how far its engine is; the lane is made after its engine, and is not in `lanes` yet."""

    def progress(words: str) -> None:
        lanes[Route.LOCAL].progress(words)

    return progress


def _witnesses(*witnesses: Witness | None) -> list[Witness]:
    return [witness for witness in witnesses if witness is not None]


def _engines(
    config: Config, context: Context, bell: Bell, following: Following | None
) -> tuple[Engine | None, Uplink | None]:
    """The on-device model, and the way to the hosted one."""
    local: Engine | None = None if following is None else following.switch
    if local is None and config.engines.local is not None:
        local = plugins.build_engine(config.engines.local, context)
    if config.engines.cloud is None:
        return local, None
    cloud = plugins.build_cloud_engine(config.engines.cloud, context, width=MOST_IN_FLIGHT + MOST_ERRANDS)
    link = Link(context.clock.now(), measures=cloud.measures)
    budget = Budget(
        config.routing.caps,
        context.state_dir / f"budget-{context.agent}",
        clock=context.clock,
        boot_id=boot_id(),
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


def _classes(config: Config, context: Context, states: States) -> Classes:
    """What an earlier run has told counts of."""
    path = context.state_dir / f"classes-{context.agent}.json"
    return Classes(path, [camera.name for camera in config.cameras], states, context.clock)


def _snapshots(config: Config, context: Context) -> Snapshots | None:
    """The pictures for people, of this agent in a folder that others may share."""
    options = config.snapshots
    if options is None:
        return None
    folder = context.base_dir / options.folder / context.agent
    return Snapshots(
        [rule.rule for rule in options.rules],
        Album(folder, options.limits, clock=context.clock, boot_id=boot_id()),
        partial(imaging.snapshot, longest_px=options.longest_px, quality=options.quality),
        identity=Identity(context.agent, boot_id()),
        clock=context.clock,
        record=options.record,
    )


def _stages(
    couriers: Sequence[Courier],
    pipelines: Sequence[Pipeline],
    admission: Admission,
    shared: Shared,
    *,
    asides: Sequence[Stage],
    snapshots: Snapshots | None,
) -> tuple[Stage, ...]:
    """Every loop of the agent, in the order they start; they stop in reverse."""

    def admit(pulse: Pulse) -> None:
        admission.run(pulse)

    def close_pipelines() -> None:
        for pipeline in pipelines:
            pipeline.close()
            shared.states.put(State(Subject.CAMERA, b"offline", pipeline.camera))  # shown by the sinks' last step

    def stop_lanes() -> None:
        _wait_until(lambda: all(p.ordered.in_flight == 0 for p in pipelines), ANSWERS_STOP_S, shared.clock)
        for lane in shared.lanes.values():
            lane.stop()

    emits = tuple(Loop(f"emit-{pipeline.camera}", pipeline.emit) for pipeline in pipelines)
    # A late request is left behind at a stop: its frame was answered, and cutting it off is the same as waiting.
    workers = tuple(
        Loop(f"{lane.name}-{n}", lane.run) for lane in shared.lanes.values() for n in range(1, lane.engine.width + 1)
    )
    cameras = tuple(Loop(f"capture-{pipeline.camera}", pipeline.capture) for pipeline in pipelines)
    return (
        *_delivery(couriers),
        *([] if snapshots is None else [_snapshots_stage(snapshots)]),
        Stage("emit", emits, EMIT_STOP_S, on_stop=close_pipelines),
        Stage("lanes", workers, LANES_STOP_S, on_stop=stop_lanes),
        *asides,
        Stage("admit", (Loop("admit", admit),), ADMIT_STOP_S, on_stop=shared.bell.ring),
        Stage("capture", cameras, CAPTURE_STOP_S),
    )


def _delivery(couriers: Sequence[Courier]) -> tuple[Stage, Stage]:
    """The outboxes, and the sinks. A disk that hangs holds up nothing but its outbox, and no restart would mend it."""
    boxes = tuple(Loop(f"outbox-{courier.name}", courier.outbox.run, inf) for courier in couriers)
    boxes += tuple(Loop(f"verify-{courier.name}", _once(courier.outbox.verify), inf) for courier in couriers)
    sinks = tuple(Loop(f"sink-{courier.name}", courier.run, SINK_STEP_S) for courier in couriers)
    return Stage("outboxes", boxes, OUTBOXES_STOP_S), Stage("sinks", sinks, SINKS_STOP_S)


def _snapshots_stage(snapshots: Snapshots) -> Stage:
    """Stops once the last results have been shown to it. A disk that hangs, a network's perhaps, is its own affair."""
    return Stage("snapshots", (Loop("snapshots", snapshots.run, inf),), SNAPSHOTS_STOP_S, on_stop=snapshots.wake)


def _backfill_stages(backfill: Backfill | None) -> list[Stage]:
    """Stops before the lanes do; what is under way then is sent again after the next start."""
    if backfill is None:
        return []
    loop = Loop("backfill", backfill.run, backfilling.STEP_S)
    return [Stage("backfill", (loop,), BACKFILL_STOP_S, on_stop=backfill.wake)]


def _once(act: Callable[[], None]) -> Callable[[Pulse], None]:
    """A loop that comes round once."""
    return lambda _: act()


def run(agent: Agent, *, seconds: float | None = None, on_tick: Callable[[Agent], str] = lambda _: "") -> int:
    """Run until asked to stop, the last camera has ended, `seconds` have passed, or something fatal; the exit code.

    `on_tick` is called a few times a second and gives the line that systemd shows.
    """
    notifier = agent.notifier
    for courier in agent.couriers:
        courier.outbox.claim()  # before any sink is opened: a second agent of this name must not disturb the first
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
    never, began_s, ready, signs = threading.Event(), agent.clock.now(), False, 0
    while not (agent.stop.asked or agent.supervisor.fatal is not None or _finished(agent)):
        if seconds is not None and agent.clock.now() - began_s >= seconds:
            return
        if not ready and all(lane.opened.is_set() for lane in agent.lanes.values()):
            ready = True
            notifier.ready()
        seen = sum(lane.signs for lane in agent.lanes.values())
        if seen > signs:
            signs = seen
            notifier.extend(HANG_LIMIT_S)
        agent.health.tell()
        if agent.classes is not None:
            agent.classes.note()
        notifier.status(on_tick(agent))
        if not agent.supervisor.stuck():
            notifier.alive()
        agent.clock.wait(never, _TICK_S)


def _finished(agent: Agent) -> bool:
    """Every camera has ended, and every frame of theirs has its fate."""
    return not agent.supervisor.alive("capture") and all(pipeline.idle for pipeline in agent.pipelines)


def _close(agent: Agent) -> None:
    if agent.classes is not None:
        agent.classes.note()
    for lane in agent.lanes.values():
        lane.close()
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


def _wait_until(done: Callable[[], bool], limit_s: float, clock: Clock) -> None:
    until_s = clock.now() + limit_s
    never = threading.Event()
    while not done() and clock.now() < until_s:
        clock.wait(never, 0.01)
