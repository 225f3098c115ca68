"""The agent's life: it starts, is watched, gives way to another configuration, and stops. Owner: main thread."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Final, TypeAlias

from agent import heap, logs
from agent.app import EXIT_CONFIG, EXIT_DONE, EXIT_FAILED, EXIT_RESTART, Agent, Handover
from agent.clock import wait_until
from agent.config import Config
from agent.errors import AgentError, ConfigError, EngineBroken
from agent.lanes import OPENING_STEP_S
from agent.reload import OVERTAKEN, STOPPING, Reload

_log = logging.getLogger(__name__)
TICK_S: Final = 0.25
DRAIN_S: Final = 1.0
"""Beyond the deadline, how long the frames under way at a reload have for their answers."""
TIDY_S: Final = 60.0
SETTLE_S: Final = 10.0
"""A new configuration that has run for so long has shown that it can, though a camera or a sink be silent."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """A new configuration that runs, and has not shown yet that it can."""

    told: Callable[[str | None], None]
    before: Config
    """The last one that could."""
    began_s: float
    """Monotonic."""
    paused_s: float = 0.0
    """For how long no camera was read."""


Make: TypeAlias = Callable[[Config, Handover], Agent]
"""Builds an agent. Raises ConfigError."""


class Service:
    """Runs one agent after the other, each with its configuration."""

    def __init__(self, config: Config, make: Make, on_tick: Callable[[Agent], str] = lambda _: "") -> None:
        """Nothing runs yet. Raises ConfigError.

        Args:
            config: the first one.
            make: builds the agent of each.
            on_tick: called a few times a second; gives the line that systemd shows.
        """
        self.agent = agent = make(config, Handover())
        """The one that runs, or ran last."""
        self._make = make
        self._on_tick = on_tick
        self._clock, self._notifier, self._stop = agent.clock, agent.left.notifier, agent.stop
        self._ready = False
        self._signs = 0
        self._trial: _Trial | None = None
        self._tidied_s = self._clock.now()

    def run(self, *, seconds: float | None = None) -> int:
        """Run until asked to stop, the last camera has ended, `seconds` have passed, or something fatal; the exit code.

        Raises ConfigError: another agent of this name runs; or, after a reload, neither configuration can be used.
        """
        until_s, never = self._clock.now() + (inf if seconds is None else seconds), threading.Event()
        _begin(self.agent)
        try:
            while self._goes_on(until_s):
                self._look()
                self._clock.wait(never, TICK_S)
        finally:
            self._end()
        self._on_tick(self.agent)
        return _exit_code(self.agent.supervisor.fatal, again=self._stop.again)

    def _goes_on(self, until_s: float) -> bool:
        if self._stop.asked or self._clock.now() >= until_s:
            return False
        return self._trial is not None or (self.agent.supervisor.fatal is None and not _finished(self.agent))

    def _look(self) -> None:
        """One round: what is asked for, what has happened, and what systemd and others are told."""
        wish, fatal = self._stop.take(), self.agent.supervisor.fatal
        if wish is not None:
            self._reload(wish)
        elif self._trial is not None and fatal is not None:
            self._go_back(self._trial, fatal)
        if not self._ready and self._has_begun():
            self._note_ready()
        self._tell()
        if self._clock.now() - self._tidied_s >= TIDY_S:
            self._tidied_s = self._clock.now()
            heap.give_back()

    def _has_begun(self) -> bool:
        """Whether the engines are loaded and, after a reload, nothing else has turned out to be wrong."""
        agent, trial = self.agent, self._trial
        if not all(lane.opened.is_set() for lane in agent.lanes.values()):
            return False
        begun = trial is None or _settled(agent) or self._clock.now() - trial.began_s >= SETTLE_S
        return begun and agent.supervisor.fatal is None  # asked last: a thread that ended may have failed

    def _note_ready(self) -> None:
        self._ready = True
        self._notifier.ready()
        trial, self._trial = self._trial, None
        if trial is not None:
            _end_wishes(self.agent)
            tail = logs.fields(cameras=len(self.agent.pipelines), paused_ms=round(trial.paused_s * 1000))
            _log.info("the new configuration runs %s", tail)
            trial.told(None)

    def _tell(self) -> None:
        agent = self.agent
        signs = sum(lane.signs for lane in agent.lanes.values())
        if signs > self._signs:
            self._notifier.extend(OPENING_STEP_S)
        self._signs = signs
        agent.health.tell()
        if agent.classes is not None:
            agent.classes.note()
        line, stuck = self._on_tick(agent), agent.supervisor.stuck()
        self._notifier.status(f"{', '.join(stuck)}: no progress | {line}" if stuck else line)
        if not stuck:
            self._notifier.alive()

    def _reload(self, wish: Reload) -> None:
        """Read and check another configuration, and run it if it is right. Raises ConfigError, as `_go_back`."""
        self._notifier.reloading(self._clock.now())
        try:
            config = wish.load()
        except ConfigError as error:
            for problem in error.problems:
                _log.error("not reloaded: %s", problem)
            wish.told(str(error))
            if self._ready:
                self._notifier.ready()
            return
        before = self.agent.config
        if self._trial is not None:
            before = self._trial.before
            self._trial.told(OVERTAKEN)
        self._try(_Trial(wish.told, before, self._clock.now()), config)

    def _try(self, trial: _Trial, config: Config) -> None:
        try:
            self._replace(config)
        except AgentError as error:
            self._go_back(trial, error)
        else:
            now_s = self._clock.now()
            self._trial = replace(trial, began_s=now_s, paused_s=now_s - trial.began_s)

    def _go_back(self, trial: _Trial, reason: BaseException) -> None:
        """Run again what could be run. Raises ConfigError: it cannot any more."""
        self._trial = None
        for problem in str(reason).splitlines():
            _log.error("not reloaded, for the new configuration cannot run: %s", problem)
        try:
            self._replace(trial.before)
        finally:
            trial.told(str(reason))

    def _replace(self, config: Config) -> None:
        """Put an agent with `config` in the place of the one that runs. Raises ConfigError."""
        old = self.agent
        _drain(old)
        self._notifier.alive()
        if not self._stop.asked:
            old.supervisor.stop()
        if not self._stop.asked:  # else what is left of the stop is for the end
            _close(old)
            if config.agent != old.config.agent:
                _warn_of_old_name(old, config)
            self._ready, self._signs = False, 0
            self.agent = self._make(config, handover(old, config))
            _begin(self.agent)

    def _end(self) -> None:
        self._notifier.stopping()
        self.agent.supervisor.stop()
        _close(self.agent)
        for courier in self.agent.couriers:
            kept, lost = courier.outbox.kept, len(courier.outbox.rest())
            if kept:
                tail = logs.fields(count=kept, sink=courier.name)
                _log.warning("undelivered results are kept, and sent at the next start %s", tail)
            if lost:
                tail = logs.fields(sink=courier.name, count=lost)
                _log.error("undelivered results are lost with the end of this run %s", tail)
        for wish in (self._trial, self._stop.take()):
            if wish is not None:
                wish.told(STOPPING)


def _begin(agent: Agent) -> None:
    """Start it. Raises ConfigError: another process is an agent of this name."""
    try:
        for courier in agent.couriers:
            courier.outbox.claim()  # before any sink is opened: a second agent of this name must not disturb the first
    except ConfigError:
        for courier in agent.couriers:
            courier.outbox.release()
        raise
    agent.supervisor.start()


def _warn_of_old_name(old: Agent, config: Config) -> None:
    """Outboxes lie under the agent's name, and nobody has that of before any more."""
    for courier in old.couriers:
        if kept := courier.outbox.kept:
            before, now = (f"{name}/{courier.name}" for name in (old.config.agent, config.agent))
            how = f"`vedette outbox replay {now} --from {before}` lets the agent send them under its new one"
            tail = logs.fields(count=kept, sink=courier.name)
            _log.warning("undelivered results stay behind under the agent's old name; %s %s", how, tail)


def handover(old: Agent, config: Config) -> Handover:
    """What an agent that has stopped leaves to one with `config`."""
    before = {camera.name: camera.source for camera in old.config.cameras}
    same = {camera.name for camera in config.cameras if camera.source == before.get(camera.name)}
    return replace(
        old.left,
        sources={
            pipeline.camera: pipeline.source
            for pipeline in old.pipelines
            if pipeline.camera in same and old.supervisor.ended(f"capture-{pipeline.camera}")
        },
        undelivered={courier.name: courier.outbox.rest() for courier in old.couriers},
    )


def _end_wishes(agent: Agent) -> None:
    """What was wanted of cameras that are gone; and all from afar where nobody there can take it back any more."""
    controls, config = agent.left.controls, agent.config
    for wish in controls.reasons():
        if wish.camera is not None and wish.camera not in {camera.name for camera in config.cameras}:
            controls.resume(wish.camera, by=wish.by)
            controls.limit_fps(wish.camera, None, by=wish.by)
    if config.remote is None or not config.remote.allow:
        controls.release(by="remote")


def _drain(agent: Agent) -> None:
    """Take no more frames, and wait for the answers of those that were taken, if any can come."""
    agent.supervisor.stop("capture")

    def is_over() -> bool:
        given_up = agent.stop.asked or agent.supervisor.fatal is not None
        return given_up or all(pipeline.idle for pipeline in agent.pipelines)

    wait_until(is_over, agent.config.routing.deadline_ms / 1000 + DRAIN_S, agent.clock)


def _finished(agent: Agent) -> bool:
    """Every camera has ended, and every frame of theirs has its fate."""
    return not agent.supervisor.alive("capture") and all(pipeline.idle for pipeline in agent.pipelines)


def _settled(agent: Agent) -> bool:
    """Every loop has come round or failed in a way that is tried again, and so has every camera with its pictures."""
    seen = (
        pipeline.telemetry.status().online
        or pipeline.resting
        or agent.supervisor.trouble(f"capture-{pipeline.camera}") is not None
        or agent.supervisor.ended(f"capture-{pipeline.camera}")
        for pipeline in agent.pipelines
    )
    return agent.supervisor.begun and all(seen)


def _close(agent: Agent) -> None:
    if agent.classes is not None:
        agent.classes.note()
    for lane in agent.lanes.values():
        lane.close()
    if agent.uplink is not None:
        agent.uplink.budget.close()


def _exit_code(fatal: BaseException | None, *, again: bool) -> int:
    if fatal is None:
        return EXIT_RESTART if again else EXIT_DONE
    return EXIT_CONFIG if isinstance(fatal, ConfigError | EngineBroken) else EXIT_FAILED
