"""The composition root: a configuration becomes objects, loops and stages. The one place that knows everybody.

Built by the main thread; `service` runs it.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path

from agent import backfilling, caring, imaging, outboxes, pages, plugins, remotes, rollouts
from agent.admission import Admission
from agent.backfill.sender import Backfill
from agent.budget import Budget
from agent.classes import Classes
from agent.clock import Clock, SystemClock, wait_until
from agent.config import Config
from agent.controls import Controls
from agent.courier import Courier
from agent.flow import Delivery, Route
from agent.handoff import Bell
from agent.health import Health
from agent.heat import Thermometer
from agent.lanes import Lane
from agent.link import Link
from agent.loop import Loop, Pulse, Stage
from agent.numbers import Numbers
from agent.page.gallery import Gallery
from agent.pipeline import Pipeline, Shared
from agent.pipelines import pipeline_of
from agent.ports import Context, Engine, Source, Witness
from agent.readiness import Watched
from agent.record import Identity
from agent.reload import StopSign
from agent.rollouts import Following
from agent.router import MOST_IN_FLIGHT, Prefer, Router
from agent.sdnotify import Notifier
from agent.snapshots.album import Album
from agent.snapshots.taker import Snapshots
from agent.stamp import boot_id
from agent.states import State, States, Subject
from agent.supervisor import Supervisor
from agent.uplink import MOST_ERRANDS, Uplink

_log = logging.getLogger(__name__)
EXIT_DONE, EXIT_FAILED, EXIT_RESTART, EXIT_CONFIG = 0, 1, 75, 78
"""Exit codes; 78 is sysexits.h's EX_CONFIG, on which the unit does not restart, and 75 its EX_TEMPFAIL: on that it
does, as somebody wants it to."""

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
CARE_STOP_S = caring.STOP_S
PAGE_STOP_S = pages.STOP_S
REMOTE_STOP_S = remotes.STOP_S
"""How long each part of a stop may take, the answers under way among them; their sum stays below TimeoutStopSec in the
unit, which a test checks."""
SINK_STEP_S = 60.0
"""An MQTT broker may take its time twice, for MQTT 5 and for 3.1.1: address, TLS, answer and acknowledgement."""


@dataclass(frozen=True, slots=True)
class Handover:
    """What an agent leaves to the one that takes its place in this process, with another configuration."""

    stop: StopSign = field(default_factory=StopSign)
    notifier: Notifier = field(default_factory=Notifier)
    controls: Controls = field(default_factory=Controls)
    numbers: Numbers = field(default_factory=Numbers)
    sources: Mapping[str, Source] = field(default_factory=dict)
    """Closed, by camera; of those alone whose source is configured as before."""
    undelivered: Mapping[str, Sequence[Delivery]] = field(default_factory=dict)
    """By sink: what its outbox had in memory alone, for its disk failed."""
    file: Path | None = None
    """The device's own configuration file; None: there is none."""


@dataclass(frozen=True, slots=True)
class Agent:
    """Everything that runs."""

    config: Config
    left: Handover
    """What it was built with, and leaves in turn: what a reload does not change."""
    pipelines: Sequence[Pipeline]
    couriers: Sequence[Courier]
    lanes: dict[Route, Lane]
    uplink: Uplink | None
    supervisor: Supervisor
    health: Health
    thermometer: Thermometer
    clock: Clock
    backfill: Backfill | None = None
    snapshots: Snapshots | None = None
    classes: Classes | None = None

    @property
    def stop(self) -> StopSign:
        """Through which it is asked to stop, or to run another configuration."""
        return self.left.stop


def build(
    config: Config,
    left: Handover | None = None,
    *,
    base_dir: Path,
    state_dir: Path,
    clock: Clock | None = None,
    durable: bool = True,
) -> Agent:
    """Make the agent that `config` describes; nothing is opened yet.

    Args:
        config: the checked configuration.
        left: what the agent before it in this process has left; None: it is the first.
        base_dir: relative paths in it start here.
        state_dir: where undelivered results are kept.
        clock: the machine's, unless a test brings its own.
        durable: whether what sinks cannot take outlasts this run.
    """
    left, lanes = left or Handover(), dict[Route, Lane]()
    clock = clock or SystemClock()
    context = Context(config.agent, clock, base_dir, state_dir, _progress(lanes))
    following = rollouts.prepare(config, context)
    sieve, snapshots = backfilling.sieve(config.backfill), _snapshots(config, context)
    gallery, seen = pages.gallery(config), remotes.gallery(config)
    witnesses = _witnesses(sieve, snapshots, None if following is None else following.references, gallery, seen)
    shared, couriers = _shared(config, context, left, following=following, witnesses=witnesses, durable=durable)
    lanes |= shared.lanes
    classes = _classes(config, context, shared.states) if durable else None
    pipelines = _pipelines(config, context, left, shared, classes=classes)
    admission = Admission(pipelines, Router(config.mode, config.routing.prefer), shared)
    backfill = backfilling.build(config, context, sieve, shared=shared, pipelines=pipelines)
    thermometer = Thermometer(clock)
    care = caring.build(config.care, pipelines, left.controls, heat=thermometer.read, clock=clock)
    asides = [*rollouts.stages(config, context, following, lanes), *_backfill_stages(backfill), caring.stage(care)]
    supervisor = Supervisor(_stages(couriers, pipelines, admission, shared, asides=asides, snapshots=snapshots), clock)
    health = Health(pipelines, couriers, shared)
    beside = backfill, snapshots, classes
    agent = Agent(
        config, left, pipelines, couriers, lanes, shared.uplink, supervisor, health, thermometer, clock, *beside
    )
    _add_page(agent, context, gallery)
    _add_remote(agent, context, seen, None if following is None else following.package)
    return agent


def _pipelines(
    config: Config, context: Context, left: Handover, shared: Shared, *, classes: Classes | None
) -> list[Pipeline]:
    return [
        pipeline_of(camera, context, shared, classes, source=left.sources.get(camera.name)) for camera in config.cameras
    ]


def _shared(
    config: Config,
    context: Context,
    left: Handover,
    *,
    following: Following | None,
    witnesses: Sequence[Witness],
    durable: bool,
) -> tuple[Shared, list[Courier]]:
    """What all cameras have in common, and the outboxes among it as what they are."""
    bell, states, identity = Bell(), States(), Identity(config.agent, boot_id())
    local, uplink = _engines(config, context, bell, following)
    couriers = outboxes.couriers(config.sinks, context, states=states, boot_id=identity.boot_id, durable=durable)
    outboxes.take(couriers, left.undelivered)
    shared = Shared(
        context.clock,
        bell,
        _lanes(local, uplink, context, bell),
        couriers,
        identity,
        config.routing.deadline_ms / 1000,
        local=local,
        uplink=uplink,
        one_camera=len(config.cameras) == 1,
        states=states,
        witnesses=witnesses,
        controls=left.controls,
        numbers=left.numbers,
    )
    return shared, couriers


def _add_page(agent: Agent, context: Context, gallery: Gallery | None) -> None:
    if agent.config.page is not None and gallery is not None:
        agent.supervisor.add(pages.stage(agent.config.page, context, gallery, _watched(agent)))


def _add_remote(agent: Agent, context: Context, seen: Gallery | None, package: str | None) -> None:
    """Commands stop first, so that none comes to what has stopped. `package`: the model that is followed."""
    if seen is None:
        return
    left, identity = agent.left, Identity(context.agent, boot_id())
    reach = remotes.Reach(left.controls, identity, left.stop, left.file, _watched(agent), package)
    for stage in remotes.stages(agent.config, context, seen, reach):
        agent.supervisor.add(stage)


def _watched(agent: Agent) -> Watched:
    return Watched(
        agent.config.agent,
        agent.clock,
        agent.pipelines,
        agent.couriers,
        agent.lanes,
        agent.uplink,
        stuck=agent.supervisor.stuck,
        trouble=agent.supervisor.trouble,
        pings=lambda: agent.left.notifier.pings,
        heat=agent.thermometer.heat,
        controls=agent.left.controls,
    )


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
        wait_until(lambda: all(p.ordered.in_flight == 0 for p in pipelines), ANSWERS_STOP_S, shared.clock)
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


def state_dir() -> Path:
    """Where systemd lets the agent write, else the user's own state folder."""
    given = os.environ.get("STATE_DIRECTORY")
    if given:
        return Path(given.split(":")[0])
    return Path(os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()) / "vedette"
