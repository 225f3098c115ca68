"""Plugins: a file is a plugin, and what every plugin file holds."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from fakes import FakeClock

from agent import plugins
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
