"""`type: mqtt` under `sinks:` means agent/sinks/mqtt.py, or the module that an installed package has under that name.

A package names its modules by entry points of the groups vedette.sources, vedette.engines and vedette.sinks, as
docs/plugins.md shows. One that cannot be loaded is a mistake where the configuration names it, and nowhere else: no
agent stops for a plugin that it does not use. A name of this build is never another's. No state but the list of what
is installed, which is read once.
"""

import importlib
import pkgutil
from functools import cache
from importlib import metadata
from types import ModuleType
from typing import Any, Final, get_args

from agent import engines, sinks, sources
from agent.errors import AgentError, ConfigError
from agent.flow import Route
from agent.options import Options, SinkOptions, unusable
from agent.ports import CloudEngine, Context, Contributor, Engine, Project, Sink, Source

_FOLDERS: Final[dict[str, ModuleType]] = {"sources": sources, "engines": engines, "sinks": sinks}
_BASES: Final[dict[str, type[Options]]] = {"sources": Options, "engines": Options, "sinks": SinkOptions}


def names(kind: str) -> list[str]:
    """The plugins that are here; `kind` is sources, engines or sinks."""
    return sorted([*_own(kind), *_others(kind)])


def options_of(kind: str, *, route: Route | None = None) -> tuple[type[Options], ...]:
    """The Options of each plugin; with `route`, of the engines that serve it."""
    found = (_options(kind, name, route) for name in names(kind))
    return tuple(options for options in found if options is not None)


def build_source(options: Options, context: Context) -> Source:
    """The source that `options` describe."""
    source: Source = _built("sources", options, context)
    return source


def build_engine(options: Options, context: Context) -> Engine:
    """The on-device engine that `options` describe."""
    engine: Engine = _built("engines", options, context)
    return engine


def build_cloud_engine(options: Options, context: Context, *, width: int) -> CloudEngine:
    """The hosted engine that `options` describe; `width`: how many requests may be under way at once."""
    engine: CloudEngine = _built("engines", options, context, width=width)
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
    sink: Sink = _built("sinks", options, context)
    return sink


def target_of(options: SinkOptions) -> str:
    """Where results go. Raises ValueError: another's plugin fails to say it."""
    try:
        return options.target
    except Exception as error:  # as in _built
        name = type_of(options)
        if name not in _others("sinks"):
            raise
        raise ValueError(f"{_who('sinks', name)} does not say its target ({type(error).__name__}: {error})") from error


def type_of(options: Options) -> str:
    """The plugin's name: what stands at `type:`."""
    return str(getattr(options, "type"))  # noqa: B009 - every plugin's Options has it; the base has not


def _built(kind: str, options: Options, context: Context, **more: Any) -> Any:  # noqa: ANN401 - by the kind of plugin
    """Raises ConfigError: it says that it cannot be built or, being another's, it fails."""
    name = type_of(options)
    module = _module(kind, name)
    try:
        return module.build(options, context, **more)
    except AgentError:
        raise
    except Exception as error:  # what another's module does is not ours to know
        if name not in _others(kind):
            raise
        raise ConfigError(f"{_who(kind, name)} cannot be built ({type(error).__name__}: {error}); mend it") from error


def _own(kind: str) -> set[str]:
    """This build's: a file each."""
    modules = pkgutil.iter_modules(_FOLDERS[kind].__path__)
    return {module.name for module in modules if not module.name.startswith("_")}


@cache
def _others(kind: str) -> dict[str, metadata.EntryPoint]:
    """What installed packages bring, by name."""
    own = _own(kind)
    return {point.name: point for point in metadata.entry_points(group=f"vedette.{kind}") if point.name not in own}


def _options(kind: str, name: str, route: Route | None) -> type[Options] | None:
    """A plugin's Options; None: it serves another route. Those of one that cannot be used say why."""
    try:
        module = _module(kind, name)
    except ConfigError as error:
        return unusable(_BASES[kind], name, str(error))
    options: type[Options] = module.Options
    return options if route is None or module.ROUTE is route else None


def _module(kind: str, name: str) -> ModuleType:
    """The plugin's module. Raises ConfigError: it is another's, and cannot be used."""
    point = _others(kind).get(name)
    if point is None:
        return importlib.import_module(f"agent.{kind}.{name}")
    who = _who(kind, name)
    try:
        module: Any = point.load()
    except (Exception, SystemExit) as error:  # what another's module does when it is imported is not ours to know
        why = f"{type(error).__name__}: {error}"
        raise ConfigError(f"{who} cannot be loaded ({why}); mend it, or uninstall it") from error
    lack = _lack(kind, name, module)
    if lack:
        raise ConfigError(f"{who} {lack}; install a version of it that is for this agent")
    plugin: ModuleType = module
    return plugin


def _who(kind: str, name: str) -> str:
    point = _others(kind)[name]
    return f"the plugin {name}" + (f" of the package {point.dist.name}" if point.dist else "")


def _lack(kind: str, name: str, module: Any) -> str:  # noqa: ANN401 - anything may stand at an entry point
    """What another's module lacks of a plugin; empty: nothing."""
    base, options = _BASES[kind], getattr(module, "Options", None)
    if not (isinstance(options, type) and issubclass(options, base)):
        return f"has no class Options that is derived from agent.options.{base.__name__}"
    if "type" not in options.model_fields or get_args(options.model_fields["type"].annotation) != (name,):
        return f'has no type: Literal["{name}"] in its Options'
    if kind == "sinks" and getattr(options, "target", None) is SinkOptions.target:
        return "has no target in its Options"
    if kind == "engines" and not isinstance(getattr(module, "ROUTE", None), Route):
        return "has no ROUTE of agent.flow.Route"
    return "" if callable(getattr(module, "build", None)) else "has no function build"
