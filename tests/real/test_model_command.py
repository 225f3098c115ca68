"""`vedette model` as its users run it: processes, kills, and the agent that uses what was installed."""

import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from real.agent_process import environment, records, start_vedette, vedette
from toy_models import classifier

_READY = re.compile(r"emulating toys/3 on (http://\S+) \(key: (\S+)\); control at (http://\S+)/emulator/state\n")
_LIMIT_S = 30.0
_PADDING_BYTES = 2_000_000
CONFIGURATION = """\
agent: yard
cameras: [{name: gate, source: {type: synthetic, width: 64, height: 64, frames: 3, fps: 100}}]
engines: {local: {type: onnx, model: toys}}
sinks: [{type: jsonl, path: results.jsonl}]
"""


@dataclass(frozen=True)
class Hosted:
    url: str
    key: str
    control_url: str

    def put(self, what: str, **values: Any) -> None:
        assert httpx.put(f"{self.control_url}/emulator/{what}", json=values).status_code == 200

    def weights(self) -> dict[str, Any]:
        told: dict[str, Any] = httpx.get(f"{self.control_url}/emulator/state").json()["weights"]
        return told


@contextlib.contextmanager
def hosting(folder: Path, weights: Path) -> Iterator[Hosted]:
    command = [sys.executable, "-m", "agent", "emulate", "--port", "0", "--project", "toys/3", "--weights", weights]
    with (folder / "emulator.txt").open("w") as errors:
        process = subprocess.Popen(
            command, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=errors, text=True
        )
    assert process.stdout is not None
    try:
        found = _READY.fullmatch(process.stdout.readline())
        assert found is not None, (folder / "emulator.txt").read_text()
        yield Hosted(*found.groups())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def until_there(process: "subprocess.Popen[str]", shelf: Path, size_bytes: int) -> Path:
    """Wait until so much of the weights has come; the part."""
    end_s = time.monotonic() + _LIMIT_S
    while time.monotonic() < end_s and process.poll() is None:
        for part in shelf.glob(".staged-*/weights.onnx.*.part"):
            if part.stat().st_size > size_bytes:
                return part
        time.sleep(0.01)
    raise AssertionError("nothing came")


def test_a_pull_that_is_killed_leaves_nothing_half_goes_on_where_it_was_and_is_what_the_agent_uses(
    tmp_path: Path,
) -> None:
    weights = classifier(tmp_path / "toy.onnx", padding_bytes=_PADDING_BYTES)
    shelf = tmp_path / "state" / "vedette" / "models"
    with hosting(tmp_path, weights) as hosted:
        arguments = ("model", "pull", "toys/3", "--url", hosted.url)
        hosted.put("link", rate_mbit_s=4)
        pulling = start_vedette(*arguments, folder=tmp_path, ROBOFLOW_API_KEY=hosted.key)
        until_there(pulling, shelf, 200_000)
        pulling.kill()
        pulling.wait(_LIMIT_S)
        assert not (shelf / "toys").exists()
        hosted.put("link", rate_mbit_s=None, reset=True)
        hosted.put("weights", break_after_bytes=600_000, times=2)
        done = vedette(*arguments, folder=tmp_path, ROBOFLOW_API_KEY=hosted.key)
        assert done.returncode == 0, done.stderr
        assert hosted.weights()["resumed"] >= 1
    assert (shelf / "toys" / "3" / "weights.onnx").read_bytes() == weights.read_bytes()
    assert [path.name for path in shelf.iterdir() if path.name.startswith(".")] == [".lock"]

    (tmp_path / "vedette.yaml").write_text(CONFIGURATION, encoding="utf-8")
    ran = vedette("run", "vedette.yaml", folder=tmp_path)
    assert ran.returncode == 0, ran.stderr
    written = records(tmp_path / "results.jsonl")
    assert {(record["model"], record["task"]) for record in written} == {("toys@3", "classification")}
