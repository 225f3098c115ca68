"""The classes that were told of outlast a restart, so that a count that a broker has retained is put right."""

import json
import logging
import os
from pathlib import Path

import pytest
from canary import secret
from fakes import FakeClock
from test_presence import seen

from agent import app, config, document
from agent.classes import MOST_CLASSES, Classes
from agent.states import State, States, Subject


class Run:
    """One run of an agent with the cameras door and gate."""

    def __init__(self, path: Path, *, cameras: tuple[str, ...] = ("door", "gate")) -> None:
        self.clock, self.states = FakeClock(), States()
        self.classes = Classes(path, cameras, self.states, self.clock)

    def tell(self, camera: str, *names: str, count: int = 1) -> None:
        for name in names:
            self.states.put(State(Subject.COUNT, str(count).encode(), camera, name))
        self.classes.note()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "classes-porch.json"


def test_what_was_told_is_known_after_a_kill(path: Path) -> None:
    run = Run(path)
    run.tell("door", "person", "car")
    run.tell("gate", "dög/+#")
    again = Run(path)
    assert again.classes.of("door") == ["person", "car"]
    assert again.classes.of("gate") == ["dög/+#"]
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_the_file_is_written_when_a_class_is_new_and_not_when_a_count_changes(path: Path) -> None:
    run = Run(path)
    run.tell("door", "person")
    written = path.stat().st_ino
    run.tell("door", "person", count=2)
    run.tell("door", "person", count=0)
    assert path.stat().st_ino == written
    run.tell("door", "car")
    assert path.stat().st_ino != written


def test_other_states_are_no_classes(path: Path) -> None:
    run = Run(path)
    run.states.put(State(Subject.CAMERA, b"online", "door"))
    run.states.put(State(Subject.HEALTH, b"{}"))
    run.classes.note()
    assert not path.exists()


def test_a_missing_file_is_no_trouble(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert Run(path).classes.of("door") == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"[" * 100_000,
        b'{"schema": "vedette.classes/1", "cameras": {"door": [1]}}',
        b'{"schema": "vedette.classes/1", "cameras": {"door": "person"}}',
        b'{"schema": "vedette.classes/1", "cameras": {"door": ["per',
        b'{"schema": "vedette.classes/9", "cameras": {"door": ["person"]}}',
    ],
    ids=["empty", "no text", "a list", "deep", "numbers", "a word", "torn", "of another version"],
)
def test_a_damaged_file_is_said_and_written_anew(path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    run = Run(path)
    assert run.classes.of("door") == []
    assert caplog.text.count("is damaged; begun anew") == 1
    run.tell("door", "person")
    assert Run(path).classes.of("door") == ["person"]


def test_a_disk_that_fails_is_said_once_and_tried_again_in_a_while(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.parent.mkdir()
    tries = list[int]()

    def full(_: int) -> None:
        tries.append(1)
        raise OSError(28, "No space left on device")

    run = Run(path)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        run.tell("door", "person")
        run.tell("door", "car")
        assert len(tries) == 1
        run.clock.advance(60)
        run.tell("door")
        assert len(tries) == 2
    assert caplog.text.count("No space left on device; counts may be out of date after a restart") == 1
    assert not path.exists()
    run.clock.advance(60)
    run.tell("door")
    assert Run(path).classes.of("door") == ["person", "car"]


def test_a_file_that_cannot_be_read_is_said(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.mkdir(parents=True)
    assert Run(path).classes.of("door") == []
    assert "cannot be read" in caplog.text


def test_of_a_camera_so_many_classes_are_remembered_and_the_oldest_give_way(path: Path) -> None:
    Run(path).tell("door", *(f"class {number}" for number in range(MOST_CLASSES + 5)))
    again = Run(path)
    assert len(again.classes.of("door")) == MOST_CLASSES
    assert again.classes.of("door")[0] == "class 5"
    assert len(json.loads(path.read_bytes())["cameras"]["door"]) == MOST_CLASSES


def test_a_camera_that_is_gone_from_the_configuration_is_forgotten_with_the_next_class(path: Path) -> None:
    Run(path).tell("gate", "person")
    Run(path, cameras=("door",)).tell("door", "car")
    assert Run(path).classes.of("gate") == []


# In the agent


CONFIG = """
agent: porch
cameras: [{name: door, source: {type: synthetic}}]
engines: {cloud: {type: roboflow, url: "http://127.0.0.1:1", model: people/1, api_key: {file: key}}}
sinks: [{type: jsonl, path: results.jsonl}]
"""


def started(folder: Path, *, durable: bool = True) -> app.Agent:
    (folder / "key").write_text(secret())
    settings = config.validate(document.parse(CONFIG, name="test"))
    agent = app.build(settings, base_dir=folder, state_dir=folder / "state", clock=FakeClock(), durable=durable)
    assert agent.uplink is not None
    agent.uplink.budget.close()
    return agent


def test_a_restarted_agent_with_an_empty_yard_tells_that_nobody_is_there(tmp_path: Path) -> None:
    first = started(tmp_path)
    for state in first.pipelines[0]._reporter.note(seen(1, "person", "person")).states:
        first.pipelines[0]._shared.states.put(state)
    assert first.classes is not None
    first.classes.note()
    again = started(tmp_path).pipelines[0]._reporter
    assert again.note(seen(2)).states == (State(Subject.COUNT, b"0", "door", "person"),)


def test_the_trial_remembers_nothing(tmp_path: Path) -> None:
    assert started(tmp_path, durable=False).classes is None
    assert not list(tmp_path.glob("state/classes*"))
