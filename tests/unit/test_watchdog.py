"""A loop that hangs: systemd is told no more that all is well, and which loop it is."""

import contextlib
import os
import re
import socket
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
from unit.whole_agent import LIMIT_S, Feed, Model, a_world, configured, eventually, running

from agent.clock import SystemClock
from agent.demo import free_port
from agent.flow import Pixels
from agent.heat import Thermometer
from agent.page_options import PageConfig


def test_a_loop_that_hangs_stands_in_the_status_line_and_the_log_and_feeds_no_watchdog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    goes_on = threading.Event()

    def hang(_: Feed) -> Pixels | None:
        goes_on.wait(LIMIT_S)
        return None

    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setattr("agent.supervisor.HANG_LIMIT_S", 1.0)
    monkeypatch.setattr(Feed, "read", hang)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, a_world(tmp_path) as world:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(LIMIT_S)
        with running(world, configured()):
            word = ""
            while not ("no progress" in word and {"capture-gate", "capture-yard"} <= set(re.findall(r"[\w-]+", word))):
                word = manager.recv(65536).decode()
                assert not word.startswith("STOPPING")
            manager.settimeout(0.5)
            heard = [word]
            with contextlib.suppress(TimeoutError):
                while True:
                    heard.append(manager.recv(65536).decode())
            assert all(each.startswith("STATUS=") for each in heard), "the watchdog is fed no more"
            goes_on.set()
    assert "capture-gate makes no progress; systemd will restart the agent" in caplog.messages


def spend(seconds: float) -> None:
    """Longer than a hang may last here."""
    SystemClock().wait(threading.Event(), seconds)


def test_an_engine_may_take_its_time_to_open_and_no_run_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opens, runs = threading.Event(), threading.Event()
    monkeypatch.setattr("agent.supervisor.HANG_LIMIT_S", 0.2)
    monkeypatch.setattr(Model, "open", lambda _: opens.wait(LIMIT_S))
    with a_world(tmp_path) as world, running(world, configured()) as service:
        spend(0.5)
        assert "local-1" not in service.agent.supervisor.stuck()
        monkeypatch.setattr(Model, "infer", lambda *_: runs.wait(LIMIT_S))
        opens.set()
        assert eventually(lambda: "local-1" in service.agent.supervisor.stuck())
        runs.set()


@pytest.fixture
def sensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A thermal zone that hangs whoever reads it."""
    zone = tmp_path / "sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True)
    os.mkfifo(zone / "temp")
    monkeypatch.setattr(Thermometer.__init__, "__defaults__", (tmp_path / "sys",))
    yield zone / "temp"
    with contextlib.suppress(OSError):
        os.close(os.open(zone / "temp", os.O_WRONLY | os.O_NONBLOCK))


def answers(url: str) -> bool:
    with contextlib.suppress(httpx.ConnectError):
        return httpx.get(url, timeout=5).status_code == httpx.codes.OK
    return False


def test_a_sensor_that_hangs_keeps_neither_the_page_from_answering_nor_the_watchdog_from_its_food(
    tmp_path: Path, sensor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.supervisor.HANG_LIMIT_S", 2.0)
    page = PageConfig(port=free_port())
    with a_world(tmp_path) as world, running(world, configured().model_copy(update={"page": page})) as service:
        for path in ("readyz", "state.json", "metrics"):
            assert eventually(partial(answers, f"http://127.0.0.1:{page.port}/{path}")), path
        spend(2.5)
        assert service.agent.supervisor.stuck() == []
        assert not service.agent.supervisor.ended("care")
        os.close(os.open(sensor, os.O_WRONLY | os.O_NONBLOCK))  # fails unless somebody waits there
