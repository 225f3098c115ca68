"""What docs/hosted.md shows works: each engine that it puts at a server on this machine is asked there."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from canary import secret
from unit.emulator_engine import emulating

from agent import check, config, document
from agent.emulator import keys
from agent.emulator.flavour import Flavour

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "hosted.md").read_text(encoding="utf-8")
AROUND: dict[str, Any] = {"cameras": [{"name": "cam", "source": {"type": "synthetic"}}], "sinks": [{"type": "stdout"}]}
ENGINES = [yaml.safe_load(text)["engines"]["cloud"] for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
HERE = [engine for engine in ENGINES if "127.0.0.1" in engine.get("url", "")]


def test_the_page_shows_every_flavour() -> None:
    assert {engine.get("api", "v2") for engine in ENGINES} == {flavour.value for flavour in Flavour}
    assert any("workflow" in engine for engine in ENGINES)
    assert len(HERE) == 2


@pytest.mark.parametrize("engine", HERE, ids=lambda engine: engine.get("api", "workflow"))
def test_an_engine_at_a_server_on_this_machine_answers_the_probe(
    engine: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOFLOW_API_KEY", secret("emulator-key"))
    with emulating(api=Flavour(engine.get("api", "v2")), keys=keys.parse([secret("emulator-key")])) as emulator:
        shown = {**AROUND, "engines": {"cloud": engine | {"url": emulator.url}}}
        settings = config.validate(document.parse(yaml.safe_dump(shown), name="page"))
        findings = {each.part: each for each in check.probe(settings, base_dir=tmp_path, state_dir=tmp_path)}
    assert findings["engine cloud"].fine, findings["engine cloud"]
