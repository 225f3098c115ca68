"""What kept pictures are sent for, and one request of that kind. No state."""

from collections.abc import Callable
from typing import Protocol

from agent.backfill.keep import Step
from agent.backfill.kept import Kept
from agent.errors import EngineError
from agent.flow import Prices


class Load(Protocol):
    """One request: carried at most once, then ended."""

    yielded: bool
    """It was given up for a live frame."""

    def carry(self, give_up_s: float) -> object:
        """Make it, by the monotonic time `give_up_s`. Raises EngineUnavailable, EngineRefused."""

    def end(self) -> None:
        """However it went, or if it was never carried."""


class Purpose(Protocol):
    """What pictures are sent for."""

    step: Step
    done: int
    """How often it was reached."""

    def open(self) -> None:
        """Get ready. Raises ConfigError."""

    def is_ready(self, size_bytes: int, prices: Prices | None) -> bool:
        """Whether a picture may be sent, as far as it is not the link's to say."""

    def load(self, kept: Kept, yields: Callable[[], bool]) -> Load:
        """The request for one picture; `yields`: whether others need the wire more."""

    def succeeded(self, kept: Kept, outcome: object, *, took_s: float) -> None:
        """`outcome` is what the request gave."""

    def failed(self, error: EngineError) -> None:
        """The request failed."""

    def gave_way(self) -> None:
        """The request was given up for a live frame, before all of the picture had arrived."""

    def close(self) -> None:
        """Let go; never raises."""
