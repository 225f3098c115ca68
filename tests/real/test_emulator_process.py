"""`vedette emulate` as its users run it: a process, a port, a real model, and signals."""

import base64
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from real.agent_process import environment, vedette

from agent import app, imaging, package
from agent.clock import SystemClock
from agent.engines import tflite
from agent.flow import Frame, Prediction
from agent.ports import Context

_READY = re.compile(
    r"emulating shapes/1 on (http://127\.0\.0\.1:\d+) \(key: (\S+)\); control at (\S+)/emulator/state\n"
)
_LIMIT_S = 20.0
_PICTURE = "media/images/zidane.jpg"


@dataclass(frozen=True)
class Running:
    process: subprocess.Popen[str]
    url: str
    key: str
    control_url: str

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", int(self.url.rsplit(":", 1)[1])), timeout=_LIMIT_S)

    def state(self) -> dict[str, object]:
        answer: dict[str, object] = httpx.get(f"{self.control_url}/emulator/state", timeout=_LIMIT_S).json()
        return answer


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    """The shipped model, or a real one from the test data while there is none."""
    if package.shipped("models", "shapes", "model.yaml").is_file():
        return "shapes"
    return str(request.getfixturevalue("shared") / "models/yolov8n_224_full_int8.tflite")


@contextlib.contextmanager
def emulator(folder: Path, model: str, *words: str) -> Iterator[Running]:
    command = [sys.executable, "-m", "agent", "emulate", "--port", "0", "--model", model, *words]
    with (folder / "stderr.txt").open("w") as errors:
        process = subprocess.Popen(
            command, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=errors, text=True
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        match = _READY.fullmatch(line)
        assert match is not None, f"{line!r}, and on stderr: {(folder / 'stderr.txt').read_text()}"
        yield Running(process, *match.groups())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def cpu_s(process: subprocess.Popen[str]) -> float:
    """Processor time that the process has used."""
    fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def until(running: Running, name: str, count: int) -> None:
    """Wait until the emulator has counted so many of `name`."""
    end_s = time.monotonic() + _LIMIT_S
    while int(str(running.state()[name])) < count:
        assert time.monotonic() < end_s, running.state()
        time.sleep(0.02)


def test_a_real_picture_is_answered_as_the_engine_itself_answers(tmp_path: Path, shared: Path) -> None:
    file = shared / "models/yolov8n_320_full_int8_nhwc.tflite"
    picture = (shared / _PICTURE).read_bytes()
    options = tflite.Options(type="tflite", model=str(file), confidence=0.4, overlap=0.3)
    clock = SystemClock()
    engine = tflite.build(options, Context("tester", clock, tmp_path, tmp_path))
    engine.open()
    frame = Frame("a", 1, clock.now(), clock.wall(), clock_synchronized=False, pixels=imaging.decode_image(picture))
    own = engine.infer(frame, clock.now() + 60).predictions
    engine.close()
    with emulator(tmp_path, str(file), "--cold-start-s", "0") as running:
        answer = httpx.post(
            f"{running.url}/shapes/1",
            params={"api_key": running.key, "confidence": 40, "overlap": 30},
            content=base64.b64encode(picture),
            headers={"content-type": "application/x-www-form-urlencoded"},
            timeout=_LIMIT_S,
        ).json()
    assert answer["image"] == {"width": frame.width, "height": frame.height}
    assert len(own) >= 2
    assert [(one["class"], one["confidence"]) for one in answer["predictions"]] == [
        (prediction.class_name, prediction.confidence) for prediction in own
    ]
    for one, prediction in zip(answer["predictions"], own, strict=True):
        assert near(one, prediction)


def near(one: dict[str, float], prediction: Prediction) -> bool:
    """Within the rounding of corners to whole pixels."""
    return (
        abs(one["x"] - prediction.x) <= 0.51
        and abs(one["y"] - prediction.y) <= 0.51
        and abs(one["width"] - prediction.width) <= 1.01
        and abs(one["height"] - prediction.height) <= 1.01
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_within_two_seconds_with_clients_hanging(
    tmp_path: Path, model: str, number: signal.Signals
) -> None:
    with emulator(tmp_path, model, "--fault", "blackhole") as running, contextlib.ExitStack() as stack:
        hanging = [stack.enter_context(running.connect()) for _ in range(5)]
        for client in hanging[:2]:  # answers that never come; two idle connections; half a request
            client.sendall(b"GET /info HTTP/1.1\r\nHost: x\r\n\r\n")
        hanging[4].sendall(b"POST /shapes/1?api_key=x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
        until(running, "requests", 3)
        begun_s = time.monotonic()
        running.process.send_signal(number)
        assert running.process.wait(10) == 0
        assert time.monotonic() - begun_s < 2
        for client in hanging[:2]:
            with pytest.raises(ConnectionResetError):
                client.recv(16)
    assert "Traceback" not in (tmp_path / "stderr.txt").read_text()


def test_a_signal_ends_it_in_an_outage_and_with_the_control_port_in_use(tmp_path: Path, model: str) -> None:
    with emulator(tmp_path, model, "--link", "dead") as running, running.connect() as client:
        client.sendall(b"GET /info HTTP/1.1\r\nHost: x\r\n\r\n")
        control = running.control_url.rsplit(":", 1)[1]
        httpx.put(f"{running.control_url}/emulator/fault", json={"kind": "blackhole"})
        with socket.create_connection(("127.0.0.1", int(control)), timeout=_LIMIT_S) as direct:
            direct.sendall(b"GET /info HTTP/1.1\r\nHost: x\r\n\r\n")
            until(running, "requests", 1)
            begun_s = time.monotonic()
            running.process.terminate()
            assert running.process.wait(10) == 0
            assert time.monotonic() - begun_s < 2
    assert "Traceback" not in (tmp_path / "stderr.txt").read_text()


def test_a_cold_model_is_waited_for_once(tmp_path: Path, model: str) -> None:
    picture = base64.b64encode(imaging.encode_jpeg(np.full((240, 320, 3), 90, dtype=np.uint8), 80))
    with emulator(tmp_path, model, "--key", "one", "--cold-start-s", "0.4", "--server-ms", "50") as running:
        assert running.key == "one"
        ask: dict[str, Any] = {
            "content": picture,
            "headers": {"content-type": "text/plain", "authorization": "Bearer one"},
        }
        answers = [httpx.post(f"{running.url}/shapes/1", timeout=_LIMIT_S, **ask) for _ in range(2)]
    assert [answer.headers["x-model-cold-start"] for answer in answers] == ["true", "false"]
    assert float(answers[0].headers["x-processing-time"]) >= 0.4


def test_it_rests_when_nobody_asks(tmp_path: Path, model: str) -> None:
    with emulator(tmp_path, model, "--link", "good") as running, running.connect():
        before_s = cpu_s(running.process)
        time.sleep(1.5)
        used_s = cpu_s(running.process) - before_s
    # Ten times a second the web server looks at its clock; a link that pumps would use far more.
    assert used_s <= 0.15


def test_a_bad_value_is_a_sentence_and_the_exit_code_of_a_wrong_configuration(tmp_path: Path) -> None:
    ended = vedette("emulate", "--fault", "explode", folder=tmp_path)
    assert ended.returncode == app.EXIT_CONFIG
    assert ended.stderr.startswith("there is no fault 'explode'; there are delay, drip, reset")
    assert ended.stdout == ""
