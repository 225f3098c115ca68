"""`type: mqtt` under `sinks:` means agent/sinks/mqtt.py. Nothing else, and no registration. No state."""

import importlib
import pkgutil
from types import ModuleType

from agent import engines, sinks, sources
from agent.errors import ConfigError
from agent.flow import Route
from agent.options import Options
from agent.ports import CloudEngine, Context, Contributor, Engine, Project, Sink, Source

_FOLDERS: dict[str, ModuleType] = {"sources": sources, "engines": engines, "sinks": sinks}


def names(kind: str) -> list[str]:
    """The plugins of this build; `kind` is sources, engines or sinks."""
    modules = pkgutil.iter_modules(_FOLDERS[kind].__path__)
    return sorted(module.name for module in modules if not module.name.startswith("_"))


def options_of(kind: str, *, route: Route | None = None) -> tuple[type[Options], ...]:
    """The Options of each plugin; with `route`, of the engines that serve it."""
    modules = [_module(kind, name) for name in names(kind)]
    return tuple(module.Options for module in modules if route is None or module.ROUTE is route)


def build_source(options: Options, context: Context) -> Source:
    """The source that `options` describe."""
    source: Source = _module("sources", type_of(options)).build(options, context)
    return source


def build_engine(options: Options, context: Context) -> Engine:
    """The on-device engine that `options` describe."""
    engine: Engine = _module("engines", type_of(options)).build(options, context)
    return engine


def build_cloud_engine(options: Options, context: Context, *, width: int) -> CloudEngine:
    """The hosted engine that `options` describe; `width`: how many requests may be under way at once."""
    engine: CloudEngine = _module("engines", type_of(options)).build(options, context, width=width)
    return engine


def build_contributor(options: Options, context: Context, project: Project) -> Contributor:
    """The way to training images that belongs to the hosted engine of `options`.

    Raises ConfigError: it has none.
    """
    build = getattr(_module("engines", type_of(options)), "build_contributor", None)
    if build is None:
        raise ConfigError(f"engines.cloud of type {type_of(options)} takes no training images; remove contribute")
    contributor: Contributor = build(options, context, project)
    return contributor


def build_sink(options: Options, context: Context) -> Sink:
    """The sink that `options` describe."""
    sink: Sink = _module("sinks", type_of(options)).build(options, context)
    return sink


def type_of(options: Options) -> str:
    """The plugin's name: what stands at `type:`."""
    return str(getattr(options, "type"))  # noqa: B009 - every plugin's Options has it; the base has not


def _module(kind: str, name: str) -> ModuleType:
    return importlib.import_module(f"agent.{kind}.{name}")
