"""The agent as its users run it: a process of its own, with a configuration file and results on disk."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]


def environment(folder: Path, **more: str) -> dict[str, str]:
    """An environment in which the agent of this checkout runs and keeps its state under `folder`."""
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "XDG_STATE_HOME": str(folder / "state"), **more}


def vedette(
    *arguments: str | Path, folder: Path, timeout_s: float = 50, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run `vedette ARGUMENTS` to its end."""
    command = [sys.executable, "-m", "agent", *map(str, arguments)]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(folder, **env),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def start_vedette(*arguments: str | Path, folder: Path, **env: str) -> subprocess.Popen[str]:
    """Start `vedette ARGUMENTS`; its output goes to files in `folder`."""
    command = [sys.executable, "-m", "agent", *map(str, arguments)]
    with (folder / "stdout.txt").open("a") as out, (folder / "stderr.txt").open("a") as err:
        return subprocess.Popen(command, cwd=folder, env=environment(folder, **env), stdout=out, stderr=err, text=True)


def records(path: Path) -> list[dict[str, Any]]:
    """The results in a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
