"""What the main thread is asked for: to stop, or to run another configuration. Any thread, and signal handlers."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agent.config import Config

OVERTAKEN: Final = "a newer configuration came before this one ran"
STOPPING: Final = "the agent is stopping"


@dataclass(frozen=True, slots=True)
class Reload:
    """One wish for another configuration."""

    load: Callable[[], Config]
    """Reads and checks it, in the main thread. Raises ConfigError: the one that runs is kept."""
    told: Callable[[str | None], None]
    """Called once, in the main thread: with None once the new one runs, else with why it does not. Never raises."""


class StopSign:
    """Read by the main thread a few times a second. No lock is taken: a signal handler may hold up nobody."""

    def __init__(self) -> None:
        self.asked = False
        self.again = False
        """Whether it is to be started again."""
        self._reloads: deque[Reload] = deque()

    def ask(self) -> None:
        """From now on the agent is stopping."""
        self.asked = True

    def restart(self) -> None:
        """Stop, so as to be started again by whoever keeps the agent running."""
        self.again = True
        self.ask()

    def reload(self, load: Callable[[], Config], told: Callable[[str | None], None] = lambda _: None) -> None:
        """Run what `load` gives instead, if it can be run; `Reload` has the terms. Of several wishes the last holds."""
        self._reloads.append(Reload(load, told))

    def take(self) -> Reload | None:
        """The last wish since the last call; those before it hear that it came. Main thread."""
        last = None
        while self._reloads:
            if last is not None:
                last.told(OVERTAKEN)
            last = self._reloads.popleft()
        return last
