"""The agent while its engine is built, which takes minutes on a real device: stand-ins for TensorRT and the GPU.

Under a real systemd, the build goes on for longer than the unit's time for a start.
"""

import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from gpu import MISSING, REASON, Gpu
from real import systemd_box
from real.agent_process import start_vedette, vedette
from real.systemd_box import CHECKOUT, PROGRAM, Box

pytestmark = [pytest.mark.skipif(MISSING, reason=REASON), pytest.mark.timeout(120)]
UNIT = (CHECKOUT / "systemd" / "vedette.service").read_text(encoding="utf-8")
MICROSECONDS = 1e-6
SOURCE, GIVEN = "/opt/vedette/source", "/opt/given"
START_S = 6
"""The unit's time for a start, cut short; a busy machine needs some of it for Python alone."""


def configured(model: str, results: str = "results.jsonl") -> str:
    return yaml.safe_dump(
        {
            "agent": "box",
            "cameras": [{"name": "door", "source": {"type": "synthetic", "width": 320, "height": 240, "fps": 5}}],
            "engines": {"local": {"type": "tensorrt", "model": model}},
            "sinks": [{"type": "jsonl", "path": results}],
        }
    )


@pytest.fixture
def folder(tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration whose model has to be built first."""
    gpu = tmp_path / "gpu"
    gpu.mkdir()
    Gpu(gpu, monkeypatch)
    (tmp_path / "agent.yaml").write_text(configured(str(shared / "models" / "yolov8n_320.onnx")), encoding="utf-8")
    return tmp_path


class Manager:
    """The service manager's end of the socket."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "notify")
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._channel.bind(self.address)
        self._channel.settimeout(0.2)
        self.words: list[str] = []

    def hear(self, wanted: str, limit_s: float = 30.0) -> None:
        """Listen until a word begins as wanted."""
        until_s = time.monotonic() + limit_s
        while not any(word.startswith(wanted) for word in self.words):
            assert time.monotonic() < until_s, f"{wanted} did not come: {self.words[-5:]}"
            try:
                self.words.append(self._channel.recv(65536).decode())
            except TimeoutError:
                continue

    def close(self) -> None:
        self._channel.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    yield made
    made.close()


def environment(folder: Path) -> dict[str, str]:
    return {"PYTHONPATH": f"{CHECKOUT}:{os.environ['PYTHONPATH']}", "XDG_STATE_HOME": str(folder / "state")}


def test_a_build_is_told_as_it_goes_and_the_start_is_over_when_it_is(folder: Path, manager: Manager) -> None:
    told = {**environment(folder), "STANDIN_BUILD": "2", "NOTIFY_SOCKET": manager.address}
    agent = start_vedette("run", "agent.yaml", folder=folder, **told)
    try:
        manager.hear("READY=1")
    finally:
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(20) == 0
    before = manager.words[: manager.words.index("READY=1")]
    assert any(word.startswith("EXTEND_TIMEOUT_USEC=") for word in before)
    assert "WATCHDOG=1" in before
    assert any(word.startswith("STATUS=building the TensorRT engine of yolov8n_320.onnx: ") for word in before)
    log = (folder / "stderr.txt").read_text()
    assert "building the TensorRT engine of yolov8n_320.onnx for Orin" in log
    assert "was built in 2 s" in log


def test_a_stop_during_a_build_ends_both_in_time(folder: Path, manager: Manager) -> None:
    told = {**environment(folder), "STANDIN_BUILD": "600", "NOTIFY_SOCKET": manager.address}
    agent = start_vedette("run", "agent.yaml", folder=folder, **told)
    try:
        manager.hear("STATUS=building")
        (child,) = children(agent.pid)
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(10) == 0
    finally:
        agent.kill()
        agent.wait()
    assert not Path(f"/proc/{child}").exists()
    assert "READY=1" not in manager.words
    assert "fault" not in (folder / "stderr.txt").read_text()


def children(pid: int) -> list[str]:
    """Of all of its threads."""
    return [child for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()]


def test_a_check_builds_the_engine_and_says_so(folder: Path) -> None:
    done = vedette("check", "--probe", "agent.yaml", folder=folder, **environment(folder))
    assert "building the TensorRT engine of yolov8n_320.onnx" in done.stderr
    assert "ok    engine local: <tensorrt yolov8n_320" in done.stdout
    assert done.returncode == 0
    assert len(list((folder / "state" / "vedette" / "engines").glob("*.engine"))) == 1


def test_a_build_that_fails_leaves_the_agent_stopped_for_a_person(folder: Path) -> None:
    done = vedette("run", "agent.yaml", folder=folder, **environment(folder), STANDIN_BUILD="fails")
    assert done.returncode == 78, "on which systemd does not start it again"
    assert "cannot be built: Error Code 10: Could not find any implementation for node stem" in done.stderr


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Box]:
    if systemd_box.REASON:
        pytest.skip(systemd_box.REASON)
    folder, patch = tmp_path_factory.mktemp("box"), pytest.MonkeyPatch()
    given = folder / "given"
    given.mkdir()
    Gpu(given, patch)
    patch.undo()
    shutil.copy(shared / "models" / "yolov8n_320.onnx", given)
    made = Box(folder, bind={given: GIVEN})
    try:
        made.boot()
        yield made
    finally:
        made.stop()


def test_systemd_waits_for_a_build_that_takes_longer_than_a_start_may(box: Box) -> None:
    program = box.read(PROGRAM).replace("LD_LIBRARY_PATH=", f"LD_LIBRARY_PATH={GIVEN}:")
    box.write("/opt/on-gpu", program.replace("PYTHONPATH=", f"PYTHONPATH={SOURCE}/tests/standins:"), mode=0o755)
    box.write("/etc/vedette/vedette.yaml", configured(f"{GIVEN}/yolov8n_320.onnx", "/var/lib/vedette/results.jsonl"))
    box.write("/etc/systemd/system/vedette.service", UNIT)
    box.write(
        "/etc/systemd/system/vedette.service.d/test.conf",
        "[Service]\nExecStart=\nExecStart=/opt/on-gpu run /etc/vedette/vedette.yaml\n"
        f"Environment=STANDIN_CUDA={GIVEN}/libcuda.so.1 STANDIN_BUILD={START_S + 1}\nTimeoutStartSec={START_S}\n",
    )
    box.run("systemctl", "daemon-reload")
    box.run("systemctl", "start", "vedette", check=False)
    properties = ("Result", "ActiveState", "InactiveExitTimestampMonotonic", "ActiveEnterTimestampMonotonic")
    shown = box.run("systemctl", "show", "vedette", *(f"-p{name}" for name in properties))
    found = dict(line.split("=", 1) for line in shown.splitlines())
    assert (found["Result"], found["ActiveState"]) == ("success", "active"), box.run("journalctl", "-u", "vedette")
    began, ready = (int(found[f"{name}TimestampMonotonic"]) for name in ("InactiveExit", "ActiveEnter"))
    assert (ready - began) * MICROSECONDS > START_S + 1
    box.run("systemctl", "stop", "vedette")
