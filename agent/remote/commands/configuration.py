"""`config_validate`, `config_apply` and `config_revert`: another configuration, and back.

What is applied is swapped in at once, is on trial, and is used at the next start only if it was confirmed (`trial`).
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from pydantic import Field

from agent.errors import CommandRefused, ConfigError
from agent.options import Options
from agent.remote.command import Outcome, checked, first
from agent.remote.order import Order
from agent.remote.words import Status, Word


class Fields(Options):
    """What is to be said of a configuration."""

    document: str = Field(min_length=1, description="the whole YAML file as text")


class NoFields(Options):
    """Nothing is to be said."""


class Clerk(Protocol):
    """Who knows configurations."""

    def check(self, text: str) -> Sequence[str]:
        """What is allowed in it and probably not meant. Raises ConfigError: it cannot be used."""

    def begin(self, order: Order, text: str | None) -> Callable[[], None]:
        """Put it on trial, None being the device's own file; what is to be done once the answer has gone.

        Raises CommandRefused: another one is on trial, or it cannot be written down.
        """


class Validate:
    """See Command."""

    word = Word.CONFIG_VALIDATE
    alone = True

    def __init__(self, clerk: Clerk) -> None:
        self._clerk = clerk

    def run(self, order: Order) -> Outcome:
        """See Command."""
        return Outcome({"notes": list(_checked(self._clerk, checked(Fields, order).document))})


class Apply:
    """See Command."""

    word = Word.CONFIG_APPLY
    alone = True

    def __init__(self, clerk: Clerk) -> None:
        self._clerk = clerk

    def run(self, order: Order) -> Outcome:
        """See Command."""
        text = checked(Fields, order).document
        notes = list(_checked(self._clerk, text))
        return Outcome({"notes": notes}, then=self._clerk.begin(order, text), status=Status.ACCEPTED)


class Revert:
    """See Command."""

    word = Word.CONFIG_REVERT
    alone = True

    def __init__(self, clerk: Clerk) -> None:
        self._clerk = clerk

    def run(self, order: Order) -> Outcome:
        """See Command."""
        checked(NoFields, order)
        return Outcome(then=self._clerk.begin(order, None), status=Status.ACCEPTED)


def _checked(clerk: Clerk, text: str) -> Sequence[str]:
    try:
        return clerk.check(text)
    except ConfigError as error:
        raise CommandRefused("\n".join(first(error.problems))) from error
