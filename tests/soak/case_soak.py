"""A soak of seconds: it strikes, samples and judges, and a leak that was planted is found out, of about its size."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from soak import surroundings
from soak.leaking_agent import MB_PER_HOUR

pytestmark = [pytest.mark.alone, pytest.mark.timeout(120)]
COMMAND = Path(__file__).resolve().parents[2] / "scripts" / "soak_command.py"
LEAKING = Path(__file__).with_name("leaking_agent.py")
SECONDS = 15.0


@pytest.fixture(scope="module")
def soaked(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, Any]]:
    if reason := surroundings.lacks():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("soak")
    command = [sys.executable, COMMAND, f"--hours={SECONDS / 3600}", "--seed=3", f"--json={folder / 'soak.json'}"]
    command += [f"--picture={folder / 'soak.png'}", f"--agent={sys.executable} {LEAKING}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert (folder / "soak.png").read_bytes().startswith(b"\x89PNG"), done.stdout + done.stderr
    return done.returncode, json.loads((folder / "soak.json").read_text())


def line(soaked: tuple[int, dict[str, Any]], what: str) -> dict[str, Any]:
    (found,) = (line for line in soaked[1]["lines"] if line["what"] == what)
    assert isinstance(found, dict)
    return found


def test_leaks_that_were_planted_fail_the_run(soaked: tuple[int, dict[str, Any]]) -> None:
    assert soaked[0] == 1
    for what in ("RSS of the agent", "anonymous memory of the agent", "threads"):
        assert line(soaked, what)["standing"] == "FAILED", line(soaked, what)


def test_the_slope_is_about_that_of_the_leak(soaked: tuple[int, dict[str, Any]]) -> None:
    slope = float(line(soaked, "anonymous memory of the agent")["measured"].split()[0])
    assert 0.6 * MB_PER_HOUR < slope < 1.6 * MB_PER_HOUR


def test_what_does_not_leak_is_not_accused(soaked: tuple[int, dict[str, Any]]) -> None:
    for what in ("results", "frames", "children", "pictures on disk", "state on disk"):
        assert line(soaked, what)["standing"] == "held", line(soaked, what)
    assert soaked[1]["accepted"] > 50


def test_faults_have_struck(soaked: tuple[int, dict[str, Any]]) -> None:
    struck = [slot["fault"] for slot in soaked[1]["timetable"]["slots"] if slot["fault"]]
    assert len(set(struck)) >= 2
    assert not all(sample["calm"] for sample in soaked[1]["samples"])
