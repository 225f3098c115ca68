"""Each sink behind its outbox, and where outboxes lie: STATE/outbox/AGENT/SINK.db. No state.

A sink is known by its type and its place among the sinks of that type: mqtt-1 is the first of `type: mqtt`.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from agent import logs, plugins
from agent.courier import Courier
from agent.flow import Delivery
from agent.options import OutboxOptions, SinkOptions
from agent.outbox import Outbox
from agent.ports import Context
from agent.room import Limits
from agent.states import States
from agent.store import Store

_log = logging.getLogger(__name__)


def folder(state_dir: Path, agent: str) -> Path:
    """Where the outboxes of `agent` lie."""
    return state_dir / "outbox" / agent


def couriers(
    sinks: Sequence[SinkOptions], context: Context, *, states: States, boot_id: str, durable: bool
) -> list[Courier]:
    """A courier for each sink; without `durable`, what waits is in memory alone."""
    made: list[Courier] = []
    home = folder(context.state_dir, context.agent)
    for options in sinks:
        type_ = plugins.type_of(options)
        name = f"{type_}-{1 + sum(courier.name.startswith(f'{type_}-') for courier in made)}"
        store = Store(home / f"{name}.db", context.clock, boot_id) if durable else None
        outbox = Outbox(store, limits(options.outbox), context.clock)
        sink = plugins.build_sink(options, context)
        made.append(Courier(name, sink, outbox, kinds=options.kinds, states=states, clock=context.clock))
    if durable:
        _warn_of_orphans(home, {courier.name for courier in made})
    return made


def take(couriers: Sequence[Courier], undelivered: Mapping[str, Sequence[Delivery]]) -> None:
    """Let results wait again that were in memory alone, by the sink they are for; one that is gone loses them."""
    names = {courier.name for courier in couriers}
    for courier in couriers:
        for delivery in undelivered.get(courier.name, ()):
            courier.outbox.put(delivery)
    for name, deliveries in undelivered.items():
        if deliveries and name not in names:
            tail = logs.fields(sink=name, count=len(deliveries))
            _log.error("undelivered results are lost with their sink, which is not configured any more %s", tail)


def limits(options: OutboxOptions) -> Limits:
    """What the configuration allows, in the units of the outbox."""
    return Limits(
        commit_interval_s=options.commit_interval_ms / 1000,
        max_bytes=options.max_mb * 1e6,
        max_age_s=options.max_age_hours * 3600 or float("inf"),
        when_full=options.when_full,
        keep_free_bytes=options.keep_free_mb * 1e6,
    )


def _warn_of_orphans(home: Path, names: set[str]) -> None:
    """Results that wait for a sink which the configuration no longer has are left where they are."""
    for path in sorted(home.glob("*.db")):
        if path.stem not in names:
            _log.warning(
                "%s may hold results for a sink that is not configured any more; `vedette outbox list` tells", path
            )
