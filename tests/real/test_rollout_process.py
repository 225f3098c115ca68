"""New versions of a model as their users have them: an agent process that runs, a shelf, and versions good and bad."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from real.agent_process import REPOSITORY, environment, records

from agent.rollout import mark
from agent.shelf import Event, Shelf, Standing

CONFIG: dict[str, Any] = {
    "agent": "yard",
    "cameras": [{"name": "gate", "source": {"type": "synthetic", "width": 320, "height": 240, "fps": 30}}],
    "engines": {
        "local": {"type": "acting", "model": "cars"},
        "rollout": {"frames": 3, "every_s": 0.1, "probation_s": 1.0},
    },
    "sinks": [{"type": "jsonl", "path": "results.jsonl"}],
}
GOOD = {"finds": "car"}


class Device:
    """A folder in which an agent runs, is killed, and runs again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state" / "vedette"
        self.shelf = Shelf(self.state / "models")
        self.process: subprocess.Popen[bytes] | None = None

    def configure(self, slower: float = 8.0, **local: Any) -> None:
        engines = {
            "local": local or CONFIG["engines"]["local"],
            "rollout": {**CONFIG["engines"]["rollout"], "slower": slower},
        }
        (self.folder / "vedette.yaml").write_text(yaml.safe_dump({**CONFIG, "engines": engines}), encoding="utf-8")

    def start(self) -> None:
        script = REPOSITORY / "tests" / "real" / "acting_agent.py"
        with (self.folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(script), "run", "vedette.yaml"],
                cwd=self.folder,
                env=environment(self.folder),
                stdout=log,
                stderr=log,
            )

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        process, self.process = self.process, None
        process.send_signal(number)
        return process.wait(20)

    def install(self, name: str, files: dict[str, bytes], manifest: dict[str, Any]) -> str:
        with self.shelf.stage() as staged:
            for file, data in files.items():
                (staged / file).write_bytes(data)
            (staged / "model.yaml").write_text(yaml.safe_dump({"name": name, **manifest}), encoding="utf-8")
            return self.shelf.install(staged, name)

    def add(self, acts: dict[str, Any]) -> str:
        return self.install("cars", {"acts.json": json.dumps(acts).encode()}, {"file": "acts.json"})

    def await_event(self, version: str, standing: Standing, *, name: str = "cars", about: str = "") -> Event:
        found: list[Event] = []

        def is_there() -> bool:
            found[:] = [e for e in self.shelf.history(name) if e.version == version and e.standing is standing]
            return any(about in event.reason for event in found)

        self.wait_until(is_there, f"{name}@{version} {standing.value} {about}")
        return found[-1]

    def await_answer(self, model: str) -> None:
        path = self.folder / "results.jsonl"
        had = len(self.models()) if path.exists() else 0
        self.wait_until(lambda: path.exists() and model in self.models()[had:], f"an answer of {model}")

    def models(self) -> list[str]:
        """Who answered, one for each result."""
        whole = (self.folder / "results.jsonl").read_bytes().rpartition(b"\n")[0]
        return [json.loads(line)["model"] for line in whole.splitlines()]

    def wait_until(self, done: Callable[[], bool], what: str, limit_s: float = 40.0) -> None:
        until_s = time.monotonic() + limit_s
        while not done():
            assert self.process is None or self.process.poll() is None, self.log()
            assert time.monotonic() < until_s, f"{what} never came:\n{self.log()}"
            time.sleep(0.02)

    def log(self) -> str:
        return (self.folder / "log.txt").read_text(encoding="utf-8")


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    made = Device(tmp_path)
    yield made
    if made.process is not None:
        made.process.kill()
        made.process.wait(20)


def turns(models: list[str]) -> list[str]:
    """Who answered, runs of the same one being one turn."""
    return [model for number, model in enumerate(models) if number == 0 or models[number - 1] != model]


def test_the_shipped_model_in_float32_takes_over_from_int8_and_one_with_mixed_up_labels_is_refused(
    device: Device,
) -> None:
    shapes = REPOSITORY / "models" / "shapes"
    card = yaml.safe_load((shapes / "model.yaml").read_text(encoding="utf-8"))
    files = {name: (shapes / file).read_bytes() for name, file in card["variants"].items()}
    manifest = {"file": "m.tflite", "labels": card["labels"], "input": card["input"]}
    device.install("shapes", {"m.tflite": files["int8"]}, manifest)
    device.configure(type="tflite", model="shapes", threads=1, slower=20.0)
    device.start()
    device.await_answer("shapes@1")
    device.install("shapes", {"m.tflite": files["float32"]}, manifest)
    event = device.await_event("2", Standing.CONFIRMED, name="shapes")
    device.install("shapes", {"m.tflite": files["int8"]}, {**manifest, "labels": [*card["labels"][1:], "circle"]})
    refused = device.await_event("3", Standing.REJECTED, name="shapes")
    assert "agreement 0" in refused.reason
    assert device.end() == 0, device.log()
    assert turns(device.models()) == ["shapes@1", "shapes@2"]
    assert device.shelf.current("shapes") == "2"
    gate = device.await_event("2", Standing.ON_TRIAL, name="shapes", about="answers from now on")
    assert gate.measurements["agreement"] >= 0.8
    assert event.measurements["failed_share"] == 0
    seqs = [record["seq"] for record in records(device.folder / "results.jsonl")]
    assert seqs == sorted(set(seqs))
    assert "got no answer" not in device.log()


def test_a_version_that_fails_or_stalls_on_trial_is_taken_back_and_no_frame_fails(device: Device) -> None:
    device.add(GOOD)
    device.configure()
    device.start()
    device.await_answer("cars@1")
    device.add({**GOOD, "after": 20, "then": "fail"})
    failed = device.await_event("2", Standing.REJECTED)
    assert "runs failed; cars@1 answers again" in failed.reason
    device.add({**GOOD, "after": 8, "then": "stall"})
    slow = device.await_event("3", Standing.REJECTED)
    assert ", those of the version before it" in slow.reason
    device.await_answer("cars@1")
    assert device.end() == 0, device.log()
    assert {"cars@1", "cars@2", "cars@3"} == set(device.models())
    assert "got no answer" not in device.log()
    assert device.shelf.current("cars") == "1"


def test_after_a_crash_or_a_kill_during_a_trial_the_version_before_it_is_used_and_that_one_never_again(
    device: Device,
) -> None:
    device.add(GOOD)
    device.add({**GOOD, "after": 10, "then": "exit"})
    device.configure()
    device.start()
    assert device.process is not None
    assert device.process.wait(40) == 139, device.log()
    device.start()
    assert device.await_event("2", Standing.REJECTED).reason.startswith("the agent ended during its trial")
    device.await_answer("cars@1")
    device.add(GOOD)
    device.await_event("3", Standing.ON_TRIAL, about="answers from now on")
    device.end(signal.SIGKILL)
    assert mark.read(device.state / "trial-yard.json") is not None
    device.start()
    assert device.await_event("3", Standing.REJECTED).reason.startswith("the agent ended during its trial")
    device.await_answer("cars@1")
    assert device.end() == 0
    assert mark.read(device.state / "trial-yard.json") is None
    assert device.shelf.current("cars") == "1"


def test_a_stop_in_good_order_during_a_trial_is_nobody_s_fault(device: Device) -> None:
    device.add(GOOD)
    device.add(GOOD)
    device.configure()
    device.start()
    device.await_event("2", Standing.ON_TRIAL, about="answers from now on")
    assert device.end() == 0, device.log()
    device.await_event("2", Standing.INSTALLED, about="the agent was stopped during its trial")
    assert mark.read(device.state / "trial-yard.json") is None
