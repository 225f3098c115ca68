"""The pages that are made from the code are those of this code, and what they show is what happens."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from agent import config, document, plugins
from agent.errors import ConfigError
from agent.options import Secret

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "scripts" / "configuration_doc.py"
PAGE = (REPOSITORY / "docs" / "configuration.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("configuration_doc", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_configuration_page_is_that_of_this_build(generator: ModuleType) -> None:
    assert generator.page() == PAGE, "the options have changed: run python scripts/configuration_doc.py"


def test_the_script_writes_the_page(tmp_path: Path) -> None:
    copy = tmp_path / "scripts" / SCRIPT.name
    copy.parent.mkdir()
    (tmp_path / "docs").mkdir()
    copy.write_bytes(SCRIPT.read_bytes())
    subprocess.run(
        [sys.executable, copy], check=True, timeout=50, capture_output=True, env={"PYTHONPATH": str(REPOSITORY)}
    )
    assert (tmp_path / "docs" / "configuration.md").read_text(encoding="utf-8") == PAGE


def test_the_page_has_a_row_for_every_key_of_every_plugin() -> None:
    for kind in ("sources", "engines", "sinks"):
        for options in plugins.options_of(kind):
            name = options.__module__.rpartition(".")[2]
            section = PAGE.partition(f"### `type: {name}`")[2].partition("\n#")[0]
            keys = set(re.findall(r"^\| `([\w.]+)` \|", section, re.MULTILINE))
            assert keys >= set(options.model_fields) - {"type"}, name


def test_every_row_says_what_its_key_means() -> None:
    rows = re.findall(r"^\| `.*$", PAGE, re.MULTILINE)
    assert len(rows) > 60
    assert [row for row in rows if len(re.split(r"(?<!\\)\|", row)[-2].strip()) < 5] == []


def test_the_mistakes_that_the_page_shows_are_those_that_are_made() -> None:
    shown = re.findall(r"^vedette\.yaml:\d+: .*$", PAGE, re.MULTILINE)
    text = """\
cameras: [{name: gate, source: {type: synthetic}}]
engines:
  local: {type: tflite, model: m}
  cloud: {type: roboflow, model: coco/7,
          api_key: hunter2}
routing:
  deadline_ms: 5
  mode: atuo
sinks: [{type: stdout}]
"""
    with pytest.raises(ConfigError) as caught:
        config.validate(document.parse(text, name="vedette.yaml"))
    assert list(caught.value.problems) == shown


def test_the_page_names_every_way_to_a_secret() -> None:
    section = PAGE.partition("## Secrets")[2].partition("\n## ")[0]
    assert all(f"| `{way}` |" in section for way in Secret.model_fields)
