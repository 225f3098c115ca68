"""A version from the shelf, loaded and warmed up beside the one that answers. Owner: the rollout's thread."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

from agent import logs
from agent.clock import Clock
from agent.errors import AgentError, EngineUnwanted
from agent.loop import Pulse
from agent.ports import Engine
from agent.rollout import memory
from agent.rollout.book import Stopping
from agent.rollout.switch import Version

_log: Final = logging.getLogger(__name__)
Progress: TypeAlias = Callable[[str], None]
"""See Context."""
Build: TypeAlias = Callable[[str, Progress], Engine]
"""Makes the engine of a version, which tells of its progress, and opens nothing."""


class Unusable(AgentError):
    """The version cannot be opened."""


class Opening:
    """Opens the versions of one package."""

    def __init__(self, package: str, build: Build, clock: Clock) -> None:
        self._package = package
        self._build = build
        self._damper = logs.Damper(_log.info, clock.now)

    def open(self, version: str, pulse: Pulse) -> Version:
        """`version`, ready to answer. Raises Unusable, Stopping."""
        label, used_mb = f"{self._package}@{version}", memory.used_mb()
        _log.info("%s is opened %s", label, logs.fields(free_mb=memory.available_mb()))
        engine: Engine | None = None
        try:
            engine = self._build(version, partial(self._show, pulse))
            engine.open()
        except Exception as error:  # whatever a new version does wrong, the running one goes on
            if engine is not None:
                engine.close()
            if isinstance(error, EngineUnwanted):
                raise Stopping from error
            raise Unusable(f"cannot be opened: {str(error) or type(error).__name__}") from error
        took_mb = (memory.used_mb() or 0.0) - (used_mb or 0.0)
        _log.info("%s is loaded %s", label, logs.fields(took_mb=took_mb, free_mb=memory.available_mb()))
        return Version(self._package, version, engine)

    def _show(self, pulse: Pulse, words: str) -> None:
        """A version that opens is alive. Raises EngineUnwanted: the agent stops."""
        pulse.beat()
        if pulse.stopping.is_set():
            raise EngineUnwanted("the new version is not needed any more")
        self._damper.note("opening", words)
