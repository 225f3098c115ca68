"""Plugins: a file is a plugin, and what every plugin file holds."""

import importlib
import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest
from fakes import FakeClock

from agent import config, document, plugins
from agent.errors import ConfigError
from agent.flow import Route
from agent.options import Options
from agent.ports import Context, Project

EVERY = [(kind, name) for kind in ("sources", "engines", "sinks") for name in plugins.names(kind)]


def module_of(kind: str, name: str) -> object:
    return importlib.import_module(f"agent.{kind}.{name}")


def test_the_files_of_a_folder_are_its_plugins_except_those_that_begin_with_an_underscore() -> None:
    for kind in ("sources", "engines", "sinks"):
        folder = Path(plugins.__file__).parent / kind
        assert plugins.names(kind) == sorted(path.stem for path in folder.glob("[!_]*.py"))
        assert plugins.names(kind)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_the_type_in_the_configuration_is_the_name_of_the_file(kind: str, name: str) -> None:
    options = module_of(kind, name).Options  # type: ignore[attr-defined]
    assert issubclass(options, Options)
    assert get_args(options.model_fields["type"].annotation) == (name,)
    assert options in plugins.options_of(kind)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_every_key_of_a_plugin_says_what_it_means(kind: str, name: str) -> None:
    options = module_of(kind, name).Options  # type: ignore[attr-defined]
    unexplained = [key for key, field in options.model_fields.items() if not field.description and key != "type"]
    assert unexplained == []


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_plugin_file_says_how_to_try_it_and_who_owns_its_state(kind: str, name: str) -> None:
    text = " ".join((inspect.getdoc(module_of(kind, name)) or "").lower().split())
    assert "try it" in text or "check --probe" in text
    assert "thread" in text or "state" in text


def test_every_engine_serves_one_route_and_both_routes_have_one() -> None:
    by_route = {route: plugins.options_of("engines", route=route) for route in Route}
    assert all(by_route.values())
    assert sum(map(len, by_route.values())) == len(plugins.names("engines"))


def test_a_plugin_is_built_from_its_options(tmp_path: Path) -> None:
    context = Context("test", FakeClock(), tmp_path, tmp_path)
    synthetic = next(o for o in plugins.options_of("sources") if o.__module__.endswith("synthetic"))
    source = plugins.build_source(synthetic(type="synthetic", fps=7), context)  # type: ignore[call-arg]
    assert source.pace_fps == 7
    roboflow = plugins.options_of("engines", route=Route.CLOUD)[0]
    given = {"type": "roboflow", "model": "coco/7", "api_key": {"env": "KEY"}}
    assert plugins.build_cloud_engine(roboflow.model_validate(given), context, width=3).width == 3
    jsonl = next(o for o in plugins.options_of("sinks") if o.__module__.endswith("jsonl"))
    assert "JsonLines" in repr(plugins.build_sink(jsonl(type="jsonl"), context))  # type: ignore[call-arg]


def test_reading_a_configuration_imports_no_heavy_library() -> None:
    heavy = ("httpx", "paho", "ai_edge_litert", "tflite_runtime", "starlette", "uvicorn")
    code = f"import sys, agent.config as c; c.json_schema(); sys.exit(str([m for m in {heavy} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False)
    assert done.stderr.strip() == "[]"


def test_an_engine_without_training_images_says_so(tmp_path: Path) -> None:
    options = module_of("engines", "tflite").Options(type="tflite", model="m")  # type: ignore[attr-defined]
    context = Context("agent", FakeClock(), tmp_path, tmp_path)
    with pytest.raises(ConfigError, match="of type tflite takes no training images; remove contribute"):
        plugins.build_contributor(options, context, Project("http://127.0.0.1:9", "yard", "batch"))


# Of other packages

SINK = """
from typing import Literal
from agent.options import SinkOptions

class Options(SinkOptions):
    '''A sink of another package.'''
    type: Literal["shout"]

    @property
    def target(self):
        return "the street"

def build(options, context):
    return "built"
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Installs a package with a module and an entry point to it, as pip would."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def install(module: str, text: str, *, kind: str = "sinks", name: str = "shout") -> None:
        (tmp_path / f"{module}.py").write_text(text)
        info = tmp_path / f"vedette_{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vedette-{module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[vedette.{kind}]\n{name} = {module}\n")
        importlib.invalidate_caches()
        plugins._others.cache_clear()

    yield install
    plugins._others.cache_clear()
    for name in set(sys.modules) - before:
        if not name.startswith("agent"):
            del sys.modules[name]


def checked(*, sink: str = "{type: stdout}", local: str = "{type: tflite, model: m}") -> config.Config:
    text = f"""
cameras: [{{name: gate, source: {{type: synthetic}}}}]
engines: {{local: {local}}}
sinks: [{sink}]
"""
    return config.validate(document.parse(text, name="a.yaml"))


def test_a_sink_of_an_installed_package_is_used_by_its_name(package: Callable[..., None], tmp_path: Path) -> None:
    package("loud", SINK)
    assert "shout" in plugins.names("sinks")
    (sink,) = checked(sink="{type: shout, outbox: {max_mb: 5}}").sinks
    assert sink.outbox.max_mb == 5
    assert plugins.build_sink(sink, Context("agent", FakeClock(), tmp_path, tmp_path)) == "built"  # type: ignore[comparison-overlap]
    assert "A sink of another package." in str(config.json_schema())


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("import no_such_library", "sinks", r"cannot be loaded \(ModuleNotFoundError: No module named 'no_such_lib"),
        ("import sys; sys.exit(3)", "sinks", r"cannot be loaded \(SystemExit: 3\); mend it, or uninstall it"),
        ("", "sinks", "has no class Options that is derived from agent.options.SinkOptions; install a version of it"),
        (SINK.replace('"shout"', '"cry"'), "sinks", 'has no type: Literal\\["shout"\\] in its Options'),
        (SINK.replace("def target", "def aim"), "sinks", "has no target in its Options"),
        (SINK.replace("def build", "def make"), "sinks", "has no function build"),
        (SINK, "engines", "has no ROUTE of agent.flow.Route"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_a_mistake_only_where_it_is_named(
    package: Callable[..., None], text: str, kind: str, said: str
) -> None:
    package("broken", text, kind=kind)
    assert checked().sinks
    named = {"sinks": {"sink": "{type: shout, loud: yes}"}, "engines": {"local": "{type: shout}"}}[kind]
    with pytest.raises(ConfigError, match=rf"^a.yaml:\d: .*: the plugin shout of the package vedette-broken {said}"):
        checked(**named)


def test_a_plugin_that_fails_to_be_built_is_an_error_in_words_and_no_agents_end(
    package: Callable[..., None], tmp_path: Path
) -> None:
    package("mute", SINK.replace('"the street"', "1 / 0").replace("shout", "whisper"), name="whisper")
    with pytest.raises(
        ConfigError, match=r"the plugin whisper of the package vedette-mute does not say its target \(Z"
    ):
        checked(sink="{type: whisper}")
    package("broken", SINK.replace('"built"', "1 / 0"))
    (sink,) = checked(sink="{type: shout}").sinks
    with pytest.raises(ConfigError, match=r"^the plugin shout of the package vedette-broken cannot be built \(ZeroDiv"):
        plugins.build_sink(sink, Context("agent", FakeClock(), tmp_path, tmp_path))


def test_a_name_of_this_build_is_never_anothers(package: Callable[..., None]) -> None:
    package("thief", SINK.replace('"shout"', '"stdout"'), name="stdout")
    assert plugins.names("sinks").count("stdout") == 1
    assert type(checked().sinks[0]).__module__ == "agent.sinks.stdout"
