"""SIGHUP to an agent that runs: its file is read again, or the terminal it was started from is gone."""

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from contract.test_sources import write_video
from real.agent_process import environment, records, start_vedette, vedette
from real.broker import wait_until

# A file gives every frame, however busy this machine is.
CONFIG = """
agent: box
cameras:
  - name: {camera}
    source: {{type: video_file, path: door.avi, loop: true}}
engines:
  local: {{type: tflite, model: shapes, threads: 1}}
routing: {{deadline_ms: 8000}}
sinks:
  - {{type: jsonl, path: results.jsonl}}
log: {{format: {form}}}
"""
WRONG = CONFIG.replace("threads: 1", "thread: 1").replace("type: jsonl", "type: json")


def write(folder: Path, text: str = CONFIG, *, camera: str = "door", form: str = "text") -> None:
    if not (folder / "door.avi").exists():
        write_video(folder / "door.avi", 12)
    (folder / "vedette.yaml").write_text(text.format(camera=camera, form=form))


def said(folder: Path) -> str:
    return (folder / "stderr.txt").read_text()


def count(folder: Path) -> int:
    path = folder / "results.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def test_the_file_is_read_again_and_no_frame_is_lost_in_between(tmp_path: Path) -> None:
    write(tmp_path)
    process = start_vedette("run", "vedette.yaml", folder=tmp_path)
    wait_until(lambda: count(tmp_path) > 5, "results")

    write(tmp_path, WRONG)
    process.send_signal(signal.SIGHUP)
    problems = vedette("check", "vedette.yaml", folder=tmp_path).stderr.splitlines()
    assert len(problems) == 2
    wait_until(lambda: all(f"not reloaded: {problem}\n" in said(tmp_path) for problem in problems), "the problems")

    write(tmp_path, form="json")
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: '"message": "the new configuration runs"' in said(tmp_path), "the new configuration")
    have = count(tmp_path)
    wait_until(lambda: count(tmp_path) > have + 5, "results under the new configuration")

    write(tmp_path, camera="yard")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: '"camera":"yard"' in (tmp_path / "results.jsonl").read_text(), "results of the new camera")
    process.terminate()
    assert process.wait(20) == 0

    found = records(tmp_path / "results.jsonl")
    assert len({record["id"] for record in found}) == len(found)
    numbers = [record["seq"] for record in found if record["camera"] == "door"]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    runs = [line for line in said(tmp_path).splitlines() if line.startswith("{") and "configuration runs" in line]
    assert json.loads(runs[0])["cameras"] == 1


def test_an_agent_whose_terminal_is_gone_stops(tmp_path: Path) -> None:
    write(tmp_path)
    far, near = pty.openpty()
    command = ["setsid", "--ctty", sys.executable, "-m", "agent", "run", "vedette.yaml"]
    with (tmp_path / "stderr.txt").open("w") as err:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment(tmp_path), stdin=near, stdout=subprocess.DEVNULL, stderr=err
        )
    os.close(near)
    wait_until(lambda: count(tmp_path) > 0, "results")
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: "the new configuration runs" in said(tmp_path), "a reload, for the terminal is there")
    os.close(far)
    assert process.wait(20) == 0
    assert "stopped: " in said(tmp_path)


IMPORTS, BUILDS = "pydantic_core", "litert"
"""Libraries that a start has loaded once it is so far."""


def start_up_to(folder: Path, library: str) -> subprocess.Popen[str]:
    """An agent that starts, as soon as it has loaded this library."""
    write(folder)
    process = start_vedette("run", "vedette.yaml", folder=folder)
    maps = Path(f"/proc/{process.pid}/maps")
    wait_until(lambda: process.poll() is not None or library in maps.read_text(), f"{library} in {maps}")
    return process


@pytest.mark.parametrize("library", [IMPORTS, "cv2", BUILDS])
def test_sighup_while_it_starts_makes_it_run_by_the_newest_file(tmp_path: Path, library: str) -> None:
    process = start_up_to(tmp_path, library)
    write(tmp_path, camera="yard")
    process.send_signal(signal.SIGHUP)
    wait_until(
        lambda: process.poll() is not None or (count(tmp_path) and "yard" in (tmp_path / "results.jsonl").read_text()),
        "results of the camera in the newest file",
    )
    assert process.poll() is None, said(tmp_path)
    process.terminate()
    assert process.wait(20) == 0


@pytest.mark.parametrize(("library", "codes"), [(IMPORTS, {0, -signal.SIGTERM}), (BUILDS, {0})])
def test_sigterm_while_it_starts_ends_it_in_order(tmp_path: Path, library: str, codes: set[int]) -> None:
    process = start_up_to(tmp_path, library)
    process.terminate()
    assert process.wait(20) in codes
    assert "Traceback" not in said(tmp_path)
