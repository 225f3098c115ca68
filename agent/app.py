"""The composition root: a configuration becomes objects, loops and stages. The one place that knows everybody.

Built and run by the main thread.
"""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from pathlib import Path

from agent import backfilling, imaging, outboxes, plugins
from agent.admission import Admission
from agent.backfill.sender import Backfill
from agent.budget import Budget
from agent.classes import Classes
from agent.clock import Clock, SystemClock
from agent.config import CameraConfig, Config
from agent.courier import Courier
from agent.errors import ConfigError, EngineBroken
from agent.flow import Route, State, Subject
from agent.handoff import Bell
from agent.health import Health
from agent.ladder import Ladder
from agent.lanes import Lane
from agent.link import Link
from agent.loop import Loop, Pulse, Stage
from agent.pipeline import Pipeline, Shared
from agent.ports import Context, Engine, Reporter
from agent.presence import Presence
from agent.record import Identity
from agent.router import MOST_IN_FLIGHT, Prefer, Router
from agent.sdnotify import Notifier
from agent.snapshots.album import Album
from agent.snapshots.taker import Snapshots
from agent.stamp import boot_id
from agent.states import States
from agent.supervisor import Supervisor
from agent.tracking.whereabouts import Whereabouts
from agent.uplink import MOST_ERRANDS, Uplink
from agent.view.crop import Crop
from agent.view.motion import MotionGate
from agent.view.shutter import Shutter
from agent.view.view import View

_log = logging.getLogger(__name__)
EXIT_DONE, EXIT_FAILED, EXIT_CONFIG = 0, 1, 78
"""Exit codes; 78 is sysexits.h's EX_CONFIG, on which the unit does not restart."""

CAPTURE_STOP_S = 2.0
ADMIT_STOP_S = 1.0
BACKFILL_STOP_S = 1.0
ANSWERS_STOP_S = 3.0
LANES_STOP_S = 0.5
EMIT_STOP_S = 1.0
SNAPSHOTS_STOP_S = 2.0
SINKS_STOP_S = 6.0
OUTBOXES_STOP_S = 4.0
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
    clock = clock or SystemClock()
    context = Context(config.agent, clock, base_dir, state_dir)
    bell = Bell()
    local, uplink = _engines(config, context, bell)
    lanes = _lanes(local, uplink, context, bell)
    states = States()
    couriers = outboxes.couriers(config.sinks, context, states=states, boot_id=boot_id(), durable=durable)
    sieve = backfilling.sieve(config.backfill)
    snapshots = _snapshots(config, context)
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
        witnesses=[witness for witness in (sieve, snapshots) if witness is not None],
    )
    classes = _classes(config, context, states) if durable else None
    pipelines = [_pipeline(camera, context, shared, classes) for camera in config.cameras]
    admission = Admission(pipelines, Router(config.mode, config.routing.prefer), shared)
    backfill = backfilling.build(config, context, sieve, shared=shared, pipelines=pipelines)
    stages = _stages(couriers, pipelines, admission, shared, backfill=backfill, snapshots=snapshots)
    supervisor = Supervisor(stages, clock)
    health = Health(config.agent, pipelines, couriers, uplink, states=states, clock=clock)
    return Agent(pipelines, couriers, lanes, uplink, supervisor, health, clock, backfill, snapshots, classes)


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


def _pipeline(camera: CameraConfig, context: Context, shared: Shared, classes: Classes | None) -> Pipeline:
    ladder = None
    if shared.uplink is not None:
        cloud = shared.uplink.engine
        ladder = Ladder(imaging.encode, cloud.longest_px, cloud.finest_quality)
    known = () if classes is None else classes.of(camera.name)
    source = plugins.build_source(camera.source, context)
    reporter = _reporter(camera, shared.identity, known)
    return Pipeline(camera.name, source, shared, ladder=ladder, reporter=reporter, shutter=_shutter(camera))


def _reporter(camera: CameraConfig, identity: Identity, known: Sequence[str]) -> Reporter:
    """What follows what it sees: by object, or by class."""
    if camera.rules is None:
        return Presence(identity, known)
    still_s = 0.0 if camera.motion is None else camera.motion.heartbeat_s
    return Whereabouts(replace(camera.rules, still_s=still_s), identity, crop=_crop(camera), known=known)


def _crop(camera: CameraConfig) -> Crop:
    return Crop() if camera.crop is None else Crop(*camera.crop)


def _view(camera: CameraConfig) -> View:
    """What its pictures show."""
    return View(
        imaging.turned,
        imaging.cover,
        rotate=camera.rotate,
        crop=_crop(camera),
        masks=[mask.mask for mask in camera.masks or ()],
    )


def _shutter(camera: CameraConfig) -> Shutter:
    """Which of its pictures become frames."""
    gate = None if camera.motion is None else MotionGate(camera.motion.sensitivity, imaging.small_grey)
    schedule = camera.schedule
    if schedule is None:
        return Shutter(_view(camera), fps=camera.fps, gate=gate)
    view, hours = _view(camera), schedule.hours
    return Shutter(view, fps=camera.fps, gate=gate, hours=hours, trust_clock=schedule.trust_clock)


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
    backfill: Backfill | None,
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
        *([] if backfill is None else [_backfill_stage(backfill)]),
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


def _backfill_stage(backfill: Backfill) -> Stage:
    """Stops before the lanes do; what is under way then is sent again after the next start."""
    loop = Loop("backfill", backfill.run, backfilling.STEP_S)
    return Stage("backfill", (loop,), BACKFILL_STOP_S, on_stop=backfill.wake)


def _once(act: Callable[[], None]) -> Callable[[Pulse], None]:
    """A loop that comes round once."""
    return lambda _: act()


def run(agent: Agent, *, seconds: float | None = None, on_tick: Callable[[Agent], str] = lambda _: "") -> int:
    """Run until asked to stop, the last camera has ended, `seconds` have passed, or something fatal; the exit code.

    `on_tick` is called a few times a second and gives the line that systemd shows.
    """
    notifier = Notifier()
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
    never, began_s, ready = threading.Event(), agent.clock.now(), False
    while not (agent.stop.asked or agent.supervisor.fatal is not None or _finished(agent)):
        if seconds is not None and agent.clock.now() - began_s >= seconds:
            return
        if not ready and all(lane.opened.is_set() for lane in agent.lanes.values()):
            ready = True
            notifier.ready()
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
