"""From the configuration to the rollout of new versions, for an on-device model that is an installed package. No state.

What `engines.local.model` names as a path, or with @VERSION, stays as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Final

from agent import plugins
from agent.config import Config
from agent.flow import Route
from agent.lanes import Lane
from agent.loop import Loop, Stage
from agent.options import Options
from agent.ports import Context, Engine
from agent.rollout.book import Book
from agent.rollout.comparison import Comparison
from agent.rollout.opening import Build, Progress
from agent.rollout.references import References
from agent.rollout.rollout import Plan, Rollout
from agent.rollout.switch import Switch, Version
from agent.router import Mode
from agent.shelf import MODELS, Shelf, is_name
from agent.stamp import boot_id

STOP_S: Final = 1.0
"""How long its part of a stop may take."""


@dataclass(frozen=True, slots=True)
class Following:
    """The parts that the lane and the cameras need, before there is a rollout."""

    package: str
    switch: Switch
    book: Book
    references: References


def prepare(config: Config, context: Context) -> Following | None:
    """The engine that can be changed, and the witness; what an earlier run left unsettled is settled first.

    None: the on-device model is no installed package, or is pinned to one version.
    """
    options = config.engines.local
    shelf = Shelf(context.state_dir / MODELS, context.clock)
    package = None if options is None else _followed(options, shelf, context)
    if options is None or package is None:
        return None
    book = Book(shelf, package, context.state_dir / f"trial-{context.agent}.json", boot_id())
    book.recover()
    version = shelf.current(package)
    if version is None:
        return None
    engine = _builder(options, package, context)(version, context.progress)
    rollout = config.engines.rollout
    switch = Switch(Version(package, version, engine), context.clock)
    return Following(package, switch, book, References(rollout.frames, rollout.every_s))


def _followed(options: Options, shelf: Shelf, context: Context) -> str | None:
    """The package whose newest version is wanted. A file or folder of that name goes first, as in package.find."""
    model = str(getattr(options, "model", ""))
    path = context.base_dir / model
    if not is_name(model) or path.is_file() or (path / "model.yaml").is_file():
        return None
    return model if shelf.current(model) is not None else None


def stages(config: Config, context: Context, following: Following | None, lanes: Mapping[Route, Lane]) -> list[Stage]:
    """The loop that follows the package, if one is followed. It stops before the lanes do.

    A model may take as long as it likes to open: that holds up nothing.
    """
    options = config.engines.local
    if options is None or following is None:
        return []
    rollout = Rollout(
        following.switch,
        following.book,
        Comparison(following.references, lanes[Route.LOCAL], context.clock),
        build=_builder(options, following.package, context),
        plan=Plan(config.engines.rollout.terms, config.engines.rollout.probation_s, hosted=config.mode is Mode.AUTO),
        clock=context.clock,
    )
    return [Stage("rollout", (Loop("rollout", rollout.run, inf),), STOP_S, on_stop=rollout.stop)]


def _builder(options: Options, package: str, context: Context) -> Build:
    def build_version(version: str, progress: Progress) -> Engine:
        pinned = options.model_copy(update={"model": f"{package}@{version}"})
        return plugins.build_engine(pinned, replace(context, progress=progress))

    return build_version
