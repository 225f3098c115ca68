"""What holds for now outlives a reload only as long as somebody can take it back."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.whole_agent import TEXT, Drain, World, a_world, configured, eventually, running

from agent import config, document
from agent.config import Config
from agent.router import Mode
from agent.service import Service


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path) as made:
        yield made


def reloaded(service: Service, text: str) -> str | None:
    """Why it is not; None: it is."""
    told = list[str | None]()
    service.agent.stop.reload(lambda: validated(text), told.append)
    assert eventually(lambda: bool(told)), "nothing was told"
    return told[0]


def validated(text: str) -> Config:
    return config.validate(document.parse(text, name="box.yaml"))


def written(template: str = TEXT) -> str:
    return template.format(model="good", path="results", deadline_ms=500, width=640)


def test_what_was_wanted_from_afar_ends_where_nobody_there_can_take_it_back(world: World) -> None:
    with running(world, configured()) as service:
        controls = service.agent.left.controls
        controls.pause("gate", by="remote")
        controls.steer(Mode.LOCAL_ONLY, None, by="remote")
        assert reloaded(service, "agent: box") is not None
        assert controls.paused("gate")
        assert reloaded(service, written()) is None
        assert controls.reasons() == ()


def test_what_was_wanted_of_a_camera_ends_with_it_and_the_rest_goes_on_where_commands_are_taken(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.plugins.build_sink", lambda *_: Drain(world, "results"))
    taking = TEXT.replace("sinks: [", "sinks: [{{type: mqtt, host: 127.0.0.1, port: 9}}, ")
    both = written(taking + "remote: {{allow: [pause, resume]}}\n")
    one = "\n".join(line for line in both.splitlines() if "name: gate" not in line)
    with running(world, validated(both)) as service:
        controls = service.agent.left.controls
        for camera in ("gate", "yard"):
            controls.pause(camera, by="remote")
            controls.limit_fps(camera, 2.0, by="remote")
        assert reloaded(service, one) is None
        assert [(wish.what, wish.camera) for wish in controls.reasons()] == [("paused", "yard"), ("most_fps", "yard")]
