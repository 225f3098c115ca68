"""Whether a command is of now: not one that somebody recorded earlier, nor one that has lain at a broker.

A device may start before its clock is right, and stay so for days where there is no network time. So there are two
proofs, either of which will do:

at         the sender's time, within the window of ours. It counts only while our clock is synchronised.
session    what the agent has drawn and retained on PREFIX/remote. It needs no clock.

Within either, an id is taken once (`ledger`), so a recorded command is worth nothing. A session ends before the ledger
forgets a command of it: after a thousand commands another is drawn, and the one before it counts for a thousand more,
so that whoever has just read it is not turned away. Owner: the remote thread.
"""

import secrets
from collections.abc import Callable

from agent.clock import Clock
from agent.errors import CommandRefused
from agent.remote.ledger import REMEMBERED
from agent.remote.order import Order


def _drawn() -> str:
    return secrets.token_urlsafe(12)


class Freshness:
    """Of one run of the agent."""

    def __init__(self, window_s: float, clock: Clock, *, proof: bool, draw: Callable[[], str] = _drawn) -> None:
        """A session is drawn.

        Args:
            window_s: how far `at` may be from now.
            clock: the time.
            proof: whether one is needed: commands are signed, so that it can be none that was made up.
            draw: gives a session that nobody can guess.
        """
        self.session = draw()
        """The present one."""
        self._before = self.session
        self._entered = 0
        self._window_s = window_s
        self._clock = clock
        self._proof = proof
        self._draw = draw

    def note_entered(self) -> None:
        """The ledger has one command more."""
        self._entered += 1
        if self._entered >= REMEMBERED // 2:
            self._before, self.session, self._entered = self.session, self._draw(), 0

    def check(self, order: Order) -> None:
        """Raises CommandRefused: it is not of now, or does not prove it."""
        if order.session is not None and order.session not in (self.session, self._before):
            raise CommandRefused("it is for an earlier session; the retained topic remote has the present one")
        if order.session is None and order.at_s is not None and self._clock.synchronized():
            self._check_time(order.at_s)
        elif order.session is None and self._proof:
            self._ask_for_proof(order)

    def _check_time(self, at_s: float) -> None:
        age_s = self._clock.wall() - at_s
        if abs(age_s) > self._window_s:
            when = f"{age_s:.0f} s ago" if age_s > 0 else f"{-age_s:.0f} s from now"
            raise CommandRefused(
                f"it was sent {when} by its at, and {self._window_s:g} s are allowed; sign it again, or set the "
                "sender's clock"
            )

    def _ask_for_proof(self, order: Order) -> None:
        if order.at_s is None:
            raise CommandRefused("a signed command needs at, the time of sending, or session")
        raise CommandRefused(
            "this device's clock is not synchronised, so at proves nothing; give session, as the retained topic remote "
            "has it"
        )
