"""Another configuration takes over while frames come: none is lost, none is told of twice, or the old one stays."""

import json
import logging
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from unit.whole_agent import LIMIT_S, World, a_world, configured, eventually, running

from agent.app import EXIT_DONE, Agent, Handover
from agent.cli import main
from agent.clock import SystemClock
from agent.config import Config
from agent.errors import ConfigError
from agent.flow import Fate
from agent.reload import OVERTAKEN, STOPPING
from agent.service import Service


class Told:
    """Waits for how a reload ends."""

    def __init__(self) -> None:
        self.words = list[str | None]()

    def __call__(self, reason: str | None) -> None:
        self.words.append(reason)

    def last(self) -> str | None:
        assert eventually(lambda: bool(self.words)), "nothing was told"
        (word,) = self.words
        return word


def refused() -> Config:
    raise ConfigError("box.yaml:3: one", "box.yaml:5: another")


GOOD = ("same", "deadline", "source")
LOADS: dict[str, Callable[[], Config]] = {
    "same": configured,
    "deadline": partial(configured, deadline_ms=700),
    "source": partial(configured, width=320),
    "broken file": refused,
    "broken model": partial(configured, model="bad"),
    "broken sink": partial(configured, path="folder"),
}
FRAMES = st.tuples(st.sampled_from(["gate", "yard"]), st.integers(1, 4))
RELOADS = st.tuples(st.sampled_from(list(LOADS)), st.booleans())
TROUBLES = st.sampled_from(["sink_is_there", "disk_works"])


@settings(
    max_examples=12, phases=(Phase.explicit, Phase.reuse, Phase.generate), suppress_health_check=[HealthCheck.too_slow]
)
@given(st.lists(st.one_of(FRAMES, RELOADS, TROUBLES), min_size=3, max_size=8))
def test_whatever_is_reloaded_when_each_frame_has_one_fate_and_its_result_comes_once(steps: list[Any]) -> None:
    with TemporaryDirectory() as folder, a_world(Path(folder)) as world:
        with running(world, configured()) as service:
            for step in steps:
                match step:
                    case ("gate" | "yard" as camera, count):
                        world.wanted[camera] += count
                    case (name, waits):
                        told = Told()
                        service.agent.stop.reload(LOADS[name], told)
                        if waits:
                            assert (told.last() is None) == (name in GOOD)
                    case trouble:
                        setattr(world, trouble, not getattr(world, trouble))
            world.sink_is_there = world.disk_works = True
            service.agent.stop.reload(configured, told := Told())
            assert told.last() is None
            assert eventually(lambda: world.fates.total() == world.wanted.total()), "a frame is not taken"
            done = world.fates[Fate.DONE]
            assert eventually(lambda: len({each.id for each in tuple(world.sent)}) >= done), "a result is missing"
        assert all(status.captured == sum(status.fates.values()) for status in world.statuses)
        came = Counter(each.id for each in world.sent)
        assert len(came) == world.fates[Fate.DONE], "none is lost"
        if "disk_works" not in steps:  # a disk that fails cannot forget what a sink has taken
            assert max(came.values()) == 1
        if not any(step[0] == "broken model" for step in steps):  # what it took, nothing could answer
            assert world.fates == {Fate.DONE: world.read.total()}
        for camera, count in world.read.items():
            numbers = {json.loads(each.body)["seq"] for each in world.sent if each.camera == camera}
            assert max(numbers) - min(numbers) < count, "they go on where they were"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path) as made:
        yield made


def test_a_file_with_mistakes_changes_nothing_and_each_of_them_is_a_line(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    with running(world, configured()) as service:
        before = service.agent
        before.stop.reload(refused, told := Told())
        assert told.last() == "box.yaml:3: one\nbox.yaml:5: another"
        assert service.agent is before
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert said == ["not reloaded: box.yaml:3: one", "not reloaded: box.yaml:5: another"]


@pytest.mark.parametrize(
    ("name", "reason"), [("broken model", "bad.tflite is no model"), ("broken sink", "folder.jsonl is a folder")]
)
def test_a_configuration_that_cannot_run_gives_way_to_the_one_before_it(
    world: World, caplog: pytest.LogCaptureFixture, name: str, reason: str
) -> None:
    first = configured(deadline_ms=700)
    with running(world, first) as service:
        service.agent.stop.reload(LOADS[name], told := Told())
        assert told.last() == reason
        assert service.agent.config == first
        world.wanted["gate"] += 1
        assert eventually(lambda: service.agent.pipelines[0].telemetry.status().fates == {Fate.DONE: 2})
    assert f"not reloaded, for the new configuration cannot run: {reason}" in caplog.messages


def test_an_agent_whose_old_configuration_cannot_run_any_more_either_ends_with_the_reason(world: World) -> None:
    made = list[Config]()

    def once(settings: Config, left: Handover) -> Agent:
        made.append(settings)
        if len(made) == 3:
            raise ConfigError("its password file is gone")
        return world.make(settings, left)

    service, ends = Service(configured(), once), list[str]()

    def run() -> None:
        with pytest.raises(ConfigError) as error:
            service.run()
        ends.append(str(error.value))

    thread = threading.Thread(target=run)
    thread.start()
    service.agent.stop.reload(LOADS["broken model"], told := Told())
    thread.join(LIMIT_S)
    assert ends == ["its password file is gone"]
    assert told.last() == "bad.tflite is no model"


def test_of_several_wishes_the_last_holds(world: World) -> None:
    with running(world, configured()) as service:
        stop = service.agent.stop
        asked = threading.Event()

        def slow() -> Config:
            asked.wait(LIMIT_S)
            return configured(deadline_ms=600)

        stop.reload(slow, first := Told())
        stop.reload(configured, second := Told())
        stop.reload(partial(configured, deadline_ms=900), third := Told())
        asked.set()
        assert third.last() is None
        assert second.last() == OVERTAKEN
        assert first.last() in {OVERTAKEN, None}
        assert service.agent.config.routing.deadline_ms == 900


def test_an_agent_that_stops_says_so_to_whoever_wanted_another_configuration(world: World) -> None:
    with running(world, configured()) as service:
        service.agent.stop.ask()
        service.agent.stop.reload(configured, told := Told())
    assert told.last() == STOPPING


def test_what_holds_for_now_and_cameras_that_are_as_before_are_kept(world: World) -> None:
    with running(world, configured()) as service:
        old = service.agent
        old.stop.reload(partial(configured, width=320), told := Told())
        assert told.last() is None
        assert service.agent.left.controls is old.left.controls
        gate, yard = service.agent.pipelines
        assert gate.source is not old.pipelines[0].source
        assert yard.source is old.pipelines[1].source


def test_systemd_hears_that_it_reloads_and_when_it_is_ready_again(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(LIMIT_S)

        def heard(wanted: str) -> str:
            while not (word := manager.recv(65536).decode()).startswith(wanted):
                assert word != "READY=1"
            return word

        with running(world, configured()) as service:
            heard("READY=1")
            for name in ("same", "broken file", "broken model"):
                service.agent.stop.reload(LOADS[name])
                reloading = heard("RELOADING=1").splitlines()[1]
                assert 0 <= SystemClock().now() - int(reloading.removeprefix("MONOTONIC_USEC=")) / 1e6 < LIMIT_S
                heard("READY=1")
        heard("STOPPING=1")


def test_reloads_leave_no_thread_and_no_file_open_behind(world: World) -> None:
    def open_now() -> tuple[int, int]:
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    with running(world, configured()) as service:
        counts = list[tuple[int, int]]()
        for _ in range(6):
            service.agent.stop.reload(configured, told := Told())
            assert told.last() is None
            counts.append(open_now())
    assert counts[1] == counts[-1]


def test_what_waits_under_the_agents_old_name_is_told_of_with_what_sends_it_under_the_new_one(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.sink_is_there = False
    with running(world, configured()) as service:
        outbox = service.agent.couriers[0].outbox
        assert eventually(lambda: outbox.kept == 2)
        service.agent.stop.reload(lambda: configured().model_copy(update={"agent": "crate"}), told := Told())
        assert told.last() is None
        assert not any("next start" in message for message in caplog.messages), "it goes on"
        (said,) = (message for message in caplog.messages if "stay behind under the agent's old name" in message)
        assert "count=2" in said
        (command,) = re.findall("`vedette (.+?)`", said)
        assert main([*command.split(), "--state", str(world.folder / "state")]) == EXIT_DONE
        world.sink_is_there = True
        assert eventually(lambda: len({each.id for each in tuple(world.sent)}) == 4)


def test_a_stop_says_what_is_kept_and_a_reload_does_not(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.sink_is_there = False
    with running(world, configured()) as service:
        assert eventually(lambda: service.agent.couriers[0].outbox.kept == 2)
        service.agent.stop.reload(configured, told := Told())
        assert told.last() is None
        assert not any("undelivered" in message for message in caplog.messages)
        outbox = service.agent.couriers[0].outbox
        assert eventually(lambda: outbox.kept == 4)
    assert "undelivered results are kept, and sent at the next start count=4 sink=jsonl-1" in caplog.messages
