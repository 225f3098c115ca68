"""From the configuration to remote control. Main thread, before anything runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent import applied, imaging
from agent.config import Config
from agent.controls import Controls
from agent.flow import Pixels, Prediction
from agent.loop import Loop, Stage
from agent.page.gallery import Gallery
from agent.ports import Context
from agent.readiness import Watched
from agent.record import Identity
from agent.reload import StopSign
from agent.remote import vitals
from agent.remote_options import RemoteConfig
from agent.shelf import MODELS, Shelf

if TYPE_CHECKING:  # an agent that takes no commands does not load what they need
    from agent.clerk import Clerk
    from agent.remote.audit import Audit
    from agent.remote.command import Command
    from agent.remote.drafts import Drafts
    from agent.remote.line import Peer
    from agent.remote.remote import Remote
    from agent.remote.trial import Trial

STOP_S: Final = 2.0
"""How long its part of a stop may take."""
STEP_S: Final = 60.0
"""As for a sink: a broker may take its time, twice."""
_QUALITY: Final = 80
"""Of a snapshot."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What of the running agent commands act upon."""

    controls: Controls
    identity: Identity
    stop: StopSign
    file: Path | None
    """The device's own configuration file; None: there is none to be replaced."""
    watched: Watched
    package: str | None = None
    """The installed model that engines.local follows."""


def gallery(config: Config) -> Gallery | None:
    """What sees the frames for snapshots; None where none may be asked for."""
    return None if config.remote is None or not config.remote.allow else Gallery()


def stages(config: Config, context: Context, seen: Gallery, reach: Reach) -> list[Stage]:
    """The loops that take commands, and watch what was applied. `seen`: what `gallery` made.

    Raises:
        ConfigError: the keys of signatures cannot be had.
    """
    from agent.remote.audit import Audit
    from agent.remote.drafts import Drafts

    options = config.remote
    if options is None:
        return []
    folder = applied.folder(config, context.state_dir)
    drafts, audit = Drafts(folder), Audit(folder / "audit.jsonl", context.clock)
    clerk = None if reach.file is None else _clerk(reach.file, context, drafts, reach)
    commands = _commands(config, context, seen, reach, clerk=clerk)
    remote = remote_of(config, options, context, commands, audit=audit)
    loops = [Loop("remote", remote.run, STEP_S)]
    if clerk is not None:
        trial = _trial(drafts, clerk, remote, reach, audit=audit)
        loops.append(Loop("remote-trial", lambda pulse: trial.run(pulse, options.confirm_within_s)))
    return [Stage("remote", tuple(loops), STOP_S)]


def remote_of(
    config: Config, options: RemoteConfig, context: Context, commands: "Sequence[Command]", *, audit: "Audit"
) -> "Remote":
    """The loop that takes commands. Raises ConfigError: the keys of signatures cannot be had."""
    from agent.remote.desk import Desk, Gate
    from agent.remote.envelope import Reader
    from agent.remote.freshness import Freshness
    from agent.remote.ledger import Ledger
    from agent.remote.line import Line
    from agent.remote.rate import HEARD_A_MINUTE, Rate
    from agent.remote.remote import Remote, Terms

    keys, clock, known = options.reveal_keys(context.base_dir), context.clock, {each.word: each for each in commands}
    allowed = [word for word in options.allow if word in known]
    peer = _peer(config, context)
    gate = Gate(
        Rate(HEARD_A_MINUTE, clock, burst=100),
        Rate(options.per_minute, clock),
        Rate(options.per_minute, clock),
        Reader(config.agent, allowed, keys),
        Freshness(options.window_s, clock, proof=bool(keys)),
        Ledger(applied.folder(config, context.state_dir) / "seen.jsonl", clock),
    )
    desk = Desk(gate, known, audit, answers_below=peer.answers, clock=clock)
    terms = Terms(config.agent, allowed, signed=bool(keys), window_s=options.window_s)
    return Remote(Line(peer, clock), desk, terms)


def _clerk(file: Path, context: Context, drafts: "Drafts", reach: Reach) -> "Clerk":
    from agent.clerk import Clerk

    return Clerk(file, context.state_dir, drafts, stop=reach.stop, online=lambda: vitals.online(reach.watched))


def _trial(drafts: "Drafts", clerk: "Clerk", remote: "Remote", reach: Reach, *, audit: "Audit") -> "Trial":
    from agent.remote.desk import Reply
    from agent.remote.trial import Trial
    from agent.remote.vitals import Vitals

    return Trial(
        drafts,
        amiss=Vitals(reach.watched, lambda: remote.connected).amiss,
        take_back=clerk.take_back,
        tell=lambda answer: remote.say(Reply(answer)),
        audit=audit,
        clock=reach.watched.clock,
    )


def _peer(config: Config, context: Context) -> "Peer":
    """The first MQTT sink's broker, which the configuration has been checked to have."""
    from agent.remote.line import Peer
    from agent.sinks import mqtt

    sink = next(sink for sink in config.sinks if isinstance(sink, mqtt.Options))
    return Peer(
        partial(mqtt.broker_of, sink, context),
        mqtt.where_of(sink),
        mqtt.topics_of(sink, context).prefix,
        sink.protocol,
        sink.ack_timeout_s,
    )


def _commands(
    config: Config, context: Context, seen: Gallery, reach: Reach, *, clerk: "Clerk | None"
) -> "list[Command]":
    from agent.remote.commands.configuration import Apply, Revert, Validate
    from agent.remote.commands.fps import Fps
    from agent.remote.commands.log_level import LogLevel
    from agent.remote.commands.model_install import ModelInstall
    from agent.remote.commands.pause import Pause, Resume
    from agent.remote.commands.restart import Restart
    from agent.remote.commands.route import Route
    from agent.remote.commands.snapshot import Snapshot

    cameras = [camera.name for camera in config.cameras]
    commands: list[Command] = [
        Snapshot(cameras, seen, _developed, identity=reach.identity, clock=context.clock),
        Pause(cameras, reach.controls),
        Resume(cameras, reach.controls),
        Fps(cameras, reach.controls),
        Route(reach.watched.lanes.keys(), reach.controls),
        LogLevel(config.log.level),
        Restart(reach.stop.restart),
    ]
    if clerk is None or reach.file is None:
        return commands
    shelf = Shelf(context.state_dir / MODELS, context.clock)
    install = ModelInstall(reach.file, context.state_dir, shelf, followed=reach.package, clock=context.clock)
    return [*commands, Validate(clerk), Apply(clerk), Revert(clerk), install]


def _developed(pixels: Pixels, found: Sequence[Prediction], comment: str, longest_px: int) -> bytes:
    return imaging.snapshot(pixels, found, comment, longest_px=longest_px, quality=_QUALITY)
