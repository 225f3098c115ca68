"""What the README and the pages beside it show is true."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from agent import config, document, plugins
from agent.flow import Fate, Reason

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("*/*.md")])
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
AROUND: dict[str, Any] = {
    "cameras": [{"name": "cam", "source": {"type": "synthetic"}}],
    "engines": {
        "local": {"type": "tflite", "model": "shapes"},
        "cloud": {"type": "roboflow", "model": "coco/7", "api_key": {"env": "KEY"}},
    },
    "sinks": [{"type": "stdout"}],
}
"""What a page's excerpt needs around it to be a whole configuration."""


def blocks(language: str) -> list[tuple[str, str]]:
    pattern = re.compile(rf"```{language}\n(.*?)```", re.DOTALL)
    return [(str(page.relative_to(REPOSITORY)), text) for page in PAGES for text in pattern.findall(page.read_text())]


@pytest.mark.parametrize(("page", "text"), blocks("yaml"))
def test_every_configuration_shown_is_accepted(page: str, text: str) -> None:
    shown = yaml.safe_load(text) or {}
    assert set(shown) <= set(config.Config.model_fields), f"{page} shows something else as YAML"
    config.validate(document.parse(yaml.safe_dump({**AROUND, **shown}), name=page))


def test_the_scripts_that_are_named_exist_and_can_be_run() -> None:
    named = set(re.findall(r"\bscripts/[a-z0-9_-]+(?:\.(?:py|sh|txt))?", " ".join(page.read_text() for page in PAGES)))
    assert {"scripts/try", "scripts/test"} <= named
    assert [name for name in sorted(named) if not (REPOSITORY / name).is_file()] == []


def test_links_between_the_pages_lead_somewhere() -> None:
    for page in PAGES:
        targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        assert [target for target in targets if not (page.parent / target).exists()] == [], page


def test_ci_runs_the_readmes_test_command() -> None:
    assert "\nscripts/test\n" in README
    assert "\nscripts/test\n" in (REPOSITORY / ".ci/run").read_text()


def test_the_benchmarks_options_are_those_the_readme_shows() -> None:
    options = re.search(r"scripts/bench ((?:--\w+ \S+ ?)+)`", README)
    assert options is not None
    usage = subprocess.run(
        [sys.executable, REPOSITORY / "scripts/bench.py", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert [name for name in re.findall(r"--\w+", options[1]) if name not in usage] == []


def test_the_architecture_page_knows_every_reason_fate_and_plugin() -> None:
    page = (REPOSITORY / "docs/architecture.md").read_text(encoding="utf-8")
    assert [word.value for word in (*Reason, *Fate) if f"`{word.value}`" not in page] == []
    everywhere = page + README + (REPOSITORY / "docs/configuration.md").read_text(encoding="utf-8")
    assert [n for kind in ("sources", "engines", "sinks") for n in plugins.names(kind) if n not in everywhere] == []


def test_the_result_shown_has_the_fields_of_the_schema() -> None:
    ((_, text),) = [block for block in blocks("json") if block[0] == "README.md"]
    schema = json.loads((REPOSITORY / "docs/result.schema.json").read_text(encoding="utf-8"))
    shown = json.loads(text)
    jsonschema.validate(shown, schema)
