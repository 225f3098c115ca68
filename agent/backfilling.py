"""From the configuration to the back-fill, and where its pictures lie: STATE/kept/AGENT. No state."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from agent import imaging, plugins
from agent.backfill.inquiry import Inquiry
from agent.backfill.keep import Keep
from agent.backfill.purpose import Purpose
from agent.backfill.quota import Caps, Quota
from agent.backfill.sender import Backfill, Way
from agent.backfill.sieve import Sieve
from agent.backfill.training import Training
from agent.config import BackfillConfig, Config, ContributeConfig
from agent.flow import Result, Route
from agent.pipeline import Pipeline, Shared
from agent.ports import Context, Project
from agent.record import delivery_of
from agent.uplink import Uplink

STEP_S: Final = 60.0
"""One step encodes a picture of each camera, and writes it to a medium that may be slow."""


def folder(state_dir: Path, agent: str) -> Path:
    """Where the kept pictures of `agent` lie."""
    return state_dir / "kept" / agent


def sieve(options: BackfillConfig | None) -> Sieve | None:
    """The witness that picks the frames."""
    return None if options is None else Sieve(options.doubt, options.every_s)


def build(
    config: Config, context: Context, sieve_: Sieve | None, *, shared: Shared, pipelines: Sequence[Pipeline]
) -> Backfill | None:
    """What shows the frames of `sieve_` to the hosted model. Raises ConfigError."""
    options, uplink, cloud = config.backfill, shared.uplink, config.engines.cloud
    if options is None or sieve_ is None or uplink is None or cloud is None:
        return None
    boot_id = shared.identity.boot_id
    place = folder(context.state_dir, context.agent)
    purposes: list[Purpose] = [
        Inquiry(uplink, _publisher(shared, pipelines), deadline_s=shared.deadline_s, boot_id=boot_id)
    ]
    if options.contribute is not None:
        quota = Quota(_caps(options.contribute), place / "quota", clock=context.clock, boot_id=boot_id)
        contributor = plugins.build_contributor(cloud, context, _project(options.contribute))
        purposes.append(Training(uplink, contributor, quota, agent=context.agent))
    longest_px = options.longest_px or uplink.engine.longest_px
    return Backfill(
        sieve_,
        Keep(place, options.limits, clock=context.clock, boot_id=boot_id),
        partial(imaging.encode, longest_px=longest_px, quality=options.jpeg_quality),
        purposes=purposes,
        way=_way(shared, uplink, pipelines),
    )


def _way(shared: Shared, uplink: Uplink, pipelines: Sequence[Pipeline]) -> Way:
    return Way(
        uplink,
        shared.lanes[Route.CLOUD],
        shared.deadline_s,
        wants_wire=lambda: any(pipeline.wants_wire for pipeline in pipelines),
        fps=lambda: sum(pipeline.telemetry.status().rate_fps or 0.0 for pipeline in pipelines),
        may_send=lambda: not shared.controls.spares_data,
    )


def _caps(options: ContributeConfig) -> Caps:
    return Caps(options.per_hour, options.per_day)


def _project(options: ContributeConfig) -> Project:
    return Project(str(options.url), options.project, options.batch, options.tags, options.split)


def _publisher(shared: Shared, pipelines: Sequence[Pipeline]) -> Callable[[Result, str], None]:
    """Takes a correction to every sink. It tells of a frame long past: what is the newest stays so."""
    telemetry = {pipeline.camera: pipeline.telemetry for pipeline in pipelines}

    def publish(result: Result, boot_id: str) -> None:
        if result.camera in telemetry:
            telemetry[result.camera].note_result(result)
        delivery = delivery_of(result, replace(shared.identity, boot_id=boot_id))
        for outbox in shared.outboxes:
            outbox.put(delivery)

    return publish
