"""The scripts' own conduct: what they leave behind, and what they show."""

import os
import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = [REPOSITORY / "scripts" / name for name in ("try", "test", "check", "environment")]


def quietly(command: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    script = f"set -euo pipefail; . scripts/environment; quietly {command}"
    env = {**os.environ, "TMPDIR": str(folder)}
    return subprocess.run(
        ["bash", "-c", script], cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=30, check=False
    )


def test_a_step_that_succeeds_is_silent_and_leaves_nothing(tmp_path: Path) -> None:
    done = quietly("bash -c 'echo words; echo more >&2'", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_a_step_that_fails_shows_all_it_wrote_and_leaves_nothing(tmp_path: Path) -> None:
    done = quietly("bash -c 'echo words; echo more >&2; exit 7'", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "words\nmore\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_writes_to_a_name_in_tmp_that_anybody_could_have_taken(path: Path) -> None:
    assert re.findall(r"/tmp/\S+", path.read_text(encoding="utf-8")) == []  # noqa: S108 - what must not be there
