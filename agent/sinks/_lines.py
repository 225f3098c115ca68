"""Deliveries as JSON lines. No state."""

from collections.abc import Sequence

from agent.flow import Delivery


def line(delivery: Delivery) -> bytes:
    """The delivery's body as exactly one line. A raw newline in JSON is white space, so a blank says the same."""
    return delivery.body.replace(b"\n", b" ") + b"\n"


def lines(batch: Sequence[Delivery]) -> bytes:
    """One line for each delivery, in order."""
    return b"".join(map(line, batch))
