"""Whether this is a moment to send what nobody waits for: the link is good, idle, and cheap. Pure; no state."""

from typing import Final

from agent.budget import CREDITS_PER_CALL
from agent.case import shut
from agent.evidence import LinkView
from agent.flow import Prices

RECENT_S: Final = 30.0
"""Without an answer for so long the link is not known to be good."""
WIRE_SHARE: Final = 0.5
"""An upload may take so much of a frame's deadline: a live frame that waits behind it can still be in time."""
ROOM: Final = 2
"""So many live requests may yet begin beside it before too many are without an answer."""
MOST_COST: Final = 0.1
"""In units of accuracy: a third of what a live upload usually gains. Above it the budget is for live frames alone."""
RESERVE_S: Final = 900.0
"""A quarter of an hour's allowance stays for live frames."""


def wire_s(size_bytes: int, view: LinkView) -> float | None:
    """Seconds that `size_bytes` will be on the wire, usually; None while nothing is known."""
    outlook = view.outlook(size_bytes)
    return None if outlook is None else outlook.upload_s


def is_good(size_bytes: int, view: LinkView, deadline_s: float) -> bool:
    """Whether the link answers, and a picture of `size_bytes` would be on the wire for a short time only."""
    taken_s = wire_s(size_bytes, view)
    if shut(view) is not None or taken_s is None or view.now_s - view.answered_s > RECENT_S:
        return False
    return taken_s <= WIRE_SHARE * deadline_s


def is_idle(view: LinkView, in_flight_limit: int) -> bool:
    """Whether no upload is under way, and few requests wait for the server: of `in_flight_limit` some stay free."""
    return view.unacked_bytes == 0 and view.in_flight + ROOM <= in_flight_limit


def is_affordable(size_bytes: int, prices: Prices | None, *, credits_: bool = True) -> bool:
    """Whether live frames leave so much of the budget. `credits_`: it costs some, too."""
    if prices is None:
        return True
    cost = prices.per_mb * size_bytes / 1e6 + (prices.per_call if credits_ else 0.0)
    data_left = prices.data_left_bytes - size_bytes >= _reserve(prices.data_left_bytes, prices.data_bytes_s)
    credits_left = prices.credits_left - CREDITS_PER_CALL >= _reserve(prices.credits_left, prices.credits_s)
    return cost <= MOST_COST and data_left and (credits_left or not credits_)


def _reserve(left: float, per_s: float) -> float:
    """What must stay; nothing where there is no cap."""
    return 0.0 if left == float("inf") else RESERVE_S * per_s
