"""`restart`: an orderly stop with an exit code upon which systemd starts the agent again."""

from collections.abc import Callable

from agent.options import Options
from agent.remote.command import Outcome, checked
from agent.remote.order import Order
from agent.remote.words import Word


class Fields(Options):
    """Nothing is to be said of it."""


class Restart:
    """See Command."""

    word = Word.RESTART
    alone = True

    def __init__(self, stop: Callable[[], None]) -> None:
        """`stop`: begins the stop; called once the broker has the answer."""
        self._stop = stop

    def run(self, order: Order) -> Outcome:
        """See Command."""
        checked(Fields, order)
        return Outcome(then=self._stop)
