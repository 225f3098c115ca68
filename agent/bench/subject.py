"""What is measured: one engine as the YAML file describes it, and the pictures it gets. No state."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from agent import package, plugins
from agent.config import Config
from agent.engines import _files
from agent.errors import ConfigError
from agent.flow import Route
from agent.options import Options
from agent.shelf import MODELS
from agent.words import printable

RUNTIMES: Final = {ending: types[0] for ending, types in _files.TYPES.items()}
"""Which engine runs a model file, by its ending."""
LOCAL_WARM_UP: Final = 5
CLOUD_WARM_UP: Final = 2
"""The first frames are not measured: caches are cold, connections are opened, a hosted model may have to load."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One row of the table."""

    name: str
    """What the person called it: a model, or an engine of the configuration."""
    route: Route
    options: Mapping[str, Any]
    """Of the engine, as JSON has them; secrets by reference."""
    base_dir: Path
    """Relative paths in the options start here."""
    state_dir: Path
    frames: int
    """How many are measured in one run."""
    source: Path | None = None
    """A video, or a folder of pictures; None: the drawn scene."""
    trouble: str = ""
    """Why it cannot be measured at all."""

    @property
    def warm_up(self) -> int:
        """How many frames come before those that are measured."""
        return CLOUD_WARM_UP if self.route is Route.CLOUD else LOCAL_WARM_UP

    @property
    def title(self) -> str:
        """For people; the same with any number of threads."""
        return f"{self.options.get('type', '')} {self.name}".strip()

    @property
    def title_with_threads(self) -> str:
        """The same with the number of threads, where one was asked for."""
        threads = self.options.get("threads")
        return self.title if threads is None else f"{self.title}, {threads} thread" + ("s" if threads > 1 else "")

    def as_json(self) -> dict[str, Any]:
        """For the process that measures it."""
        paths = {"base_dir": str(self.base_dir), "state_dir": str(self.state_dir)}
        return {**asdict(self), "route": self.route.value, **paths, "source": self.source and str(self.source)}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "Subject":
        """What `as_json` made."""
        paths = {name: Path(told[name]) for name in ("base_dir", "state_dir")}
        return cls(
            **{**told, **paths, "route": Route(told["route"]), "source": told["source"] and Path(told["source"])}
        )


@dataclass(frozen=True, slots=True)
class Setting:
    """What all subjects of one command have in common."""

    state_dir: Path
    frames: int
    source: Path | None = None


def of_model(model: str, setting: Setting, *, variant: str | None = None, base_dir: Path | None = None) -> Subject:
    """A model file, a package folder, or the name of a package.

    Raises ConfigError: there is none, or no engine of this build runs it.
    """
    base_dir = base_dir or Path.cwd()
    found = package.find(model, base_dir=base_dir, variant=variant, shelf=setting.state_dir / MODELS)
    runtime = RUNTIMES.get(found.file.suffix.lower())
    if runtime is None or runtime not in plugins.names("engines"):
        endings = ", ".join(ending for ending, name in RUNTIMES.items() if name in plugins.names("engines"))
        raise ConfigError(f"{found.file}: no engine runs such a file; those that can be run end in {endings}")
    if printable(found.file.name) != found.file.name:
        raise ConfigError(f"{found.file}: the name of this file has signs that no runtime opens; rename it")
    options = {"type": runtime, "model": model, **({} if variant is None else {"variant": variant})}
    name = f"{found.name}@{found.version}" if found.version else found.name
    name = name if variant is None else f"{name} {variant}"
    return Subject(name, Route.LOCAL, options, base_dir, setting.state_dir, setting.frames, setting.source)


def of_models(models: Sequence[str], setting: Setting) -> list[Subject]:
    """Each model as `of_model` has it; one that cannot be measured says so where another can.

    Raises ConfigError: none can.
    """
    found = [_tried(model, setting) for model in models]
    if found and all(each.trouble for each in found):
        raise ConfigError(*(each.trouble for each in found))
    return found


def _tried(model: str, setting: Setting) -> Subject:
    try:
        return of_model(model, setting)
    except ConfigError as error:
        lost = Subject(model, Route.LOCAL, {}, Path.cwd(), setting.state_dir, setting.frames, setting.source)
        return replace(lost, trouble="; ".join(error.problems))


def of_config(config: Config, base_dir: Path, setting: Setting, *, calls: int) -> list[Subject]:
    """The engines of a configuration; the hosted one only where `calls` is not 0."""
    found = []
    if config.engines.local is not None:
        found.append(_configured(config.engines.local, base_dir, setting))
    if config.engines.cloud is not None and calls:
        cloud = _configured(config.engines.cloud, base_dir, setting)
        found.append(replace(cloud, route=Route.CLOUD, frames=calls))
    return found


def _configured(options: Options, base_dir: Path, setting: Setting) -> Subject:
    told = options.model_dump(mode="json", exclude_unset=True)
    name = str(told.get("model") or told.get("workflow") or plugins.type_of(options))
    return Subject(name, Route.LOCAL, told, base_dir, setting.state_dir, setting.frames, setting.source)


def with_threads(subjects: Sequence[Subject], threads: Sequence[int]) -> list[Subject]:
    """Each on-device engine that can be told so, once with each number of CPU threads."""
    found = []
    for subject in subjects:
        if subject.trouble:
            found.append(subject)
            continue
        kind = engine_options(subject.options["type"])
        if threads and subject.route is Route.LOCAL and "threads" in kind.model_fields:
            found += [replace(subject, options={**subject.options, "threads": count}) for count in threads]
        else:
            found.append(subject)
    return found


def engine_options(name: str) -> type[Options]:
    """The Options of an engine's plugin."""
    return next(kind for kind in plugins.options_of("engines") if name in str(kind.model_fields["type"].annotation))
