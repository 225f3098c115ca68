"""`route`: the whole policy by which frames are routed, in place of the configuration's. Until the next start."""

from collections.abc import Collection

from pydantic import Field

from agent.controls import Controls
from agent.errors import CommandRefused
from agent.flow import Route as Where
from agent.options import Options
from agent.remote.command import Outcome, checked
from agent.remote.order import Order
from agent.remote.words import Word
from agent.router import Mode, Prefer

BY = "remote"


class Fields(Options):
    """What may be said of it."""

    mode: Mode | None = Field(None, description="auto, local_only or cloud_only; null: as configured")
    prefer: Prefer | None = Field(None, description="accuracy, latency or cost; null: as configured")


class Route:
    """See Command."""

    word = Word.ROUTE
    alone = False

    def __init__(self, routes: Collection[Where], controls: Controls) -> None:
        """`routes`: those that have an engine."""
        self._routes = routes
        self._controls = controls

    def run(self, order: Order) -> Outcome:
        """See Command."""
        fields = checked(Fields, order)
        if fields.mode is not None and len(self._routes) < len(Where):
            only = ", ".join(sorted(route.value for route in self._routes))
            raise CommandRefused(f"this agent has no other engine than {only}: there is no mode to choose")
        self._controls.steer(fields.mode, fields.prefer, by=BY)
        return Outcome({name: None if value is None else value.value for name, value in fields})
