"""Who may import what, beyond the contracts in pyproject.toml: a third-party library has one home."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = sorted(path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.glob("agent/**/*.py"))
FAMILIES = ("sources", "engines", "sinks")
PLUGIN = re.compile(rf"agent/({'|'.join(FAMILIES)})/[a-z]\w*\.py")
PYPROJECT = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
"""Read as text: Python 3.10 has no tomllib."""
ABOVE_THE_CORE = {
    "__init__",
    "__main__",
    "cli",
    "console",
    "doctor",
    "app",
    "check",
    "demo",
    "config",
    "plugins",
    "mistakes",
    "service",
    "reload",
}
ABOVE_THE_CORE |= {"backlog", "bench", "explain", "model", "chart", "history", "backfilling", "rollouts", "outboxes"}
ABOVE_THE_CORE |= {"remotes", "remote_options", "snapshot_options", "caring", "clerk", "applied"}
ABOVE_THE_CORE |= {"pages", "page_options", "pipelines", "metrics"}
CORE_PACKAGES = {"backfill", "care", "isolation", "rollout", "snapshots", "tracking", "view"}
BESIDE_THE_CORE = {"camera_options", "tracking_options", "rollout_options", "imaging", "canvas", "options", "document"}
BESIDE_THE_CORE |= {"package", "sdnotify", "signals", "trust", "care_options", "web"}
"""Each the home of a library or of a system's interface."""


class Home(NamedTuple):
    """Where a library may be imported, and the distribution that brings it; None: the system does."""

    files: tuple[str, ...]
    distribution: str | None


_PLUGINS = tuple(f"agent/{family}/[a-z]*.py" for family in FAMILIES)
_DECLARES = (
    "agent/options.py",
    "agent/config.py",
    "agent/camera_options.py",
    "agent/care_options.py",
    "agent/tracking_options.py",
    "agent/rollout_options.py",
    "agent/page_options.py",
    "agent/remote_options.py",
    "agent/snapshot_options.py",
    "agent/remote/client.py",
    "agent/remote/command.py",
    "agent/remote/commands/*.py",
    "agent/package.py",
    "agent/engines/_local.py",  # those that every on-device engine has
    "agent/sinks/_file_options.py",  # those that every sink with a file has
    "agent/sources/_live_options.py",  # and every camera
    "agent/sources/_address_options.py",
    *_PLUGINS,
)
"""The keys of the YAML files are declared with pydantic, a plugin's in the plugin."""
_EXPLAINS = ("agent/options.py", "agent/sources/_address_options.py", "agent/config.py", "agent/mistakes.py", *_PLUGINS)
"""Mistakes in them have pydantic's own types, which its public package does not give."""
_COMPUTES = (
    "agent/flow.py",  # a picture's type is part of the vocabulary
    "agent/imaging.py",
    "agent/canvas.py",
    "agent/isolation/channel.py",  # pixels in a shared memory
    "agent/engines/*.py",
    "agent/sources/*.py",
    "agent/view/motion.py",  # a small grey picture
    "agent/tracking/*.py",  # distances between many boxes
    "agent/check.py",  # makes the picture of a probe
    "agent/model/trial.py",  # and of a trial
    "agent/model/metrics.py",  # the judge's tables
    "agent/emulator/selection.py",  # boxes that overlap
    "agent/history/*.py",
    "agent/explain/*.py",
    "agent/chart/*.py",
    "agent/simulator/*.py",
)
_TALKS_HTTP = ("agent/engines/_http.py", "agent/sinks/_webhook_http.py")
"""Two homes: kinds of plugin may not share a file, and what a shared one would hold is little. An upload is measured,
given up and metered byte by byte; a webhook only needs its deadline. Downloads, which have no deadline and go on where
they ended, use httpx as it is."""
_SERVES = ("agent/emulator/api.py", "agent/page/site.py")
"""Two homes: the emulator plays another's server, faults included, and the page is the agent's own."""
HOMES = {
    "ai_edge_litert": Home(("agent/engines/tflite.py",), "ai-edge-litert"),
    "av": Home(("agent/sources/_stream_reader.py",), "av"),
    "certifi": Home(("agent/engines/_http.py", "agent/model/download.py"), "certifi"),
    "cv2": Home(("agent/imaging.py", "agent/canvas.py"), "opencv-python-headless"),
    "httpcore": Home(_TALKS_HTTP, "httpcore"),
    "matplotlib": Home(("agent/chart/*.py",), "matplotlib"),
    "httpx": Home((*_TALKS_HTTP, "agent/model/download.py"), "httpx"),
    "numpy": Home(_COMPUTES, "numpy"),
    "onnxruntime": Home(("agent/engines/onnx.py",), "onnxruntime"),
    "paho": Home(("agent/sinks/_mqtt_session.py",), "paho-mqtt"),
    "pycocotools": Home(("agent/model/metrics.py",), "pycocotools"),
    "picamera2": Home(("agent/sources/_picamera_reader.py",), None),
    "pydantic": Home(_DECLARES, "pydantic"),
    "pydantic_core": Home(_EXPLAINS, "pydantic-core"),
    "prometheus_client": Home(("agent/metrics.py",), "prometheus-client"),
    "starlette": Home(_SERVES, "starlette"),
    "tensorrt": Home(("agent/engines/_tensorrt_library.py",), None),
    "tflite_runtime": Home(("agent/engines/tflite.py",), "tflite-runtime"),
    "uvicorn": Home(("agent/web.py",), "uvicorn"),
    "yaml": Home(("agent/document.py",), "pyyaml"),
}


def imported(source: str) -> Iterator[str]:
    """Every module that is imported anywhere in the text, in functions and for types alike; `from a import b`: a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide who imports whom"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
            name = node.args[0]
            yield str(name.value) if isinstance(name, ast.Constant) else "agent"


def libraries(source: str) -> set[str]:
    return {name.split(".")[0] for name in imported(source)} - sys.stdlib_module_names - {"agent"}


def foreign(path: str, source: str) -> set[str]:
    """Libraries that have no home in this file."""
    return {
        library
        for library in libraries(source)
        if library not in HOMES or not any(fnmatchcase(path, pattern) for pattern in HOMES[library].files)
    }


def trespasses(path: str, source: str) -> set[str]:
    """What a file of a plugin family imports of its own or another family, but for its own family's helpers."""
    family = path.split("/")[1]
    own_helper = re.compile(rf"agent\.{family}\._\w+(\.\w+)?")
    near = {name for name in imported(source) if re.match(rf"agent\.({'|'.join(FAMILIES)})\b", name)}
    return {name for name in near if not own_helper.fullmatch(name)}


def text(path: str) -> str:
    return (REPOSITORY / path).read_text(encoding="utf-8")


def listed(contract: str, key: str) -> set[str]:
    """The modules that a contract of pyproject.toml names under a key, without `agent.`."""
    section = PYPROJECT.split(f'name = "{contract}"', maxsplit=1)[1].split("[[", maxsplit=1)[0]
    found = re.search(rf"^{key} = \[(.*?)^\]", section, re.MULTILINE | re.DOTALL)
    assert found is not None
    return set(re.findall(r'"agent\.([\w.]+)"', found[1]))


# Libraries


@pytest.mark.parametrize("path", MODULES)
def test_a_library_is_imported_in_its_home_only(path: str) -> None:
    assert foreign(path, text(path)) == set()


@pytest.mark.parametrize(
    ("path", "planted", "found"),
    [
        ("agent/sinks/jsonl.py", "import cv2, httpx", {"cv2", "httpx"}),
        ("agent/router.py", "import httpcore", {"httpcore"}),
        ("agent/router.py", "def f():\n    from pydantic_core import core_schema", {"pydantic_core"}),
        ("agent/sinks/_lines.py", "import pydantic.fields", {"pydantic"}),
        ("agent/link.py", "if TYPE_CHECKING:\n    import numpy.typing", {"numpy"}),
        ("agent/demo.py", "importlib.import_module('yaml.nodes')", {"yaml"}),
        ("agent/imaging.py", "import cv2, torch", {"torch"}),
    ],
)
def test_that_check_finds_a_library_away_from_home(path: str, planted: str, found: set[str]) -> None:
    assert foreign(path, planted) == found


def test_no_library_has_a_home_where_it_is_not_imported() -> None:
    used = {(library, path) for path in MODULES for library in libraries(text(path))}
    idle = {
        (library, pattern)
        for library, home in HOMES.items()
        for pattern in home.files
        if not any(name == library and fnmatchcase(path, pattern) for name, path in used)
    }
    # Nothing in today's sources and sinks needs a mistake of its own; those of tomorrow may.
    assert idle <= {("pydantic_core", pattern) for pattern in _PLUGINS}


def test_every_library_that_is_imported_is_declared() -> None:
    project = PYPROJECT.split("[project]", maxsplit=1)[1].split("[project.scripts]", maxsplit=1)[0]
    declared = {name.lower().replace("_", "-") for name in re.findall(r'^    "([\w.-]+)', project, re.MULTILINE)}
    used = {library for path in MODULES for library in libraries(text(path))}
    assert {HOMES[library].distribution for library in used} - declared == {None}, "the system's alone"


# Plugins


@pytest.mark.parametrize("path", [path for path in MODULES if path.split("/")[1] in FAMILIES])
def test_a_plugin_imports_no_other_and_no_helper_of_another_kind(path: str) -> None:
    assert trespasses(path, text(path)) == set()


@pytest.mark.parametrize(
    ("path", "planted"),
    [
        ("agent/sinks/stdout.py", "import agent.sinks.mqtt"),
        ("agent/sinks/stdout.py", "from agent.sinks import mqtt"),
        ("agent/sinks/stdout.py", "from agent.sinks.mqtt import MQTT"),
        ("agent/sinks/_lines.py", "def f():\n    from agent.sinks import jsonl"),
        ("agent/sources/rtsp.py", "from agent.sinks import _lines"),
        ("agent/engines/tflite.py", "from agent.sources._scene import Scene"),
    ],
)
def test_that_check_finds_a_plugin_that_looks_at_another(path: str, planted: str) -> None:
    assert len(trespasses(path, planted)) == 1


def test_the_contract_names_every_plugin() -> None:
    plugins = {path[len("agent/") : -len(".py")].replace("/", ".") for path in MODULES if PLUGIN.fullmatch(path)}
    assert listed("Plugins are blind to each other", "modules") == plugins


# The contracts


def test_the_core_of_the_contract_is_all_that_is_no_edge_and_no_wiring() -> None:
    top = {Path(path).stem for path in MODULES if path.count("/") == 1} | CORE_PACKAGES
    assert listed("The core knows no I/O library", "source_modules") == top - ABOVE_THE_CORE - BESIDE_THE_CORE


def test_the_core_may_reach_no_library_that_has_a_home_but_numpy() -> None:
    section = PYPROJECT.split("forbidden_modules = [", maxsplit=1)[1].split("]", maxsplit=1)[0]
    assert set(HOMES) - {"numpy"} <= set(re.findall(r'"(\w+)"', section))


def lint(folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("path", "planted", "broken"),
    [
        ("agent/sinks/stdout.py", "import agent.sinks.mqtt", "Plugins are blind to each other BROKEN"),
        ("agent/sinks/_lines.py", "import agent.sinks.mqtt", "Plugins are blind to each other BROKEN"),
        ("agent/sinks/stdout.py", "import agent.sources._scene", "Kinds of plugin are blind to each other BROKEN"),
        ("agent/router.py", "import httpcore", "The core knows no I/O library BROKEN"),
        ("agent/flow.py", "import agent.router", "and every module has its place BROKEN"),
        ("agent/link.py", "import json", "0 broken."),
    ],
)
def test_the_contracts_find_what_is_planted(tmp_path: Path, path: str, planted: str, broken: str) -> None:
    pytest.importorskip("importlinter", reason="needs import-linter (the extra dev)")
    shutil.copytree(REPOSITORY / "agent", tmp_path / "agent", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    with (tmp_path / path).open("a", encoding="utf-8") as module:
        module.write(f"\n{planted}\n")
    done = lint(tmp_path)
    assert broken in done.stdout, done.stdout + done.stderr
