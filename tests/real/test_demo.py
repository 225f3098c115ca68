"""`vedette run` without a configuration, as somebody meets it who has just installed it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from real.agent_process import REPOSITORY, environment, records

from agent import demo, errors

RESULTS = demo.RESULTS_FILE
LIMIT_S = 30.0
UNWANTED = ("Traceback", "refused", "ERROR")


@contextlib.contextmanager
def running(folder: Path, *words: str) -> Iterator["subprocess.Popen[bytes]"]:
    """The demonstration, as the leader of a process group."""
    with (folder / "stdout.txt").open("wb") as out, (folder / "stderr.txt").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "agent", "run", *words],
            cwd=folder,
            env=environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        for pid in family(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def family(folder: Path) -> list[int]:
    """All that was started there and lives: by its state folder in the environment, which a process that ended has not.

    See proc(5).
    """
    mark, found = f"XDG_STATE_HOME={folder}/".encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def until(done: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + LIMIT_S
    while not done():
        assert time.monotonic() < end_s, f"waited {LIMIT_S:.0f} s for {what}"
        time.sleep(0.02)


def emulator_in(folder: Path) -> int:
    children = [pid for pid in family(folder) if b"emulate" in command_line(pid)]
    assert len(children) == 1
    return children[0]


def command_line(pid: int) -> list[bytes]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return []


def lines(folder: Path) -> int:
    path = folder / RESULTS
    return path.read_bytes().count(b"\n") if path.exists() else 0


def stderr(folder: Path) -> str:
    return (folder / "stderr.txt").read_text(encoding="utf-8")


def ids(results: list[dict[str, Any]]) -> list[str]:
    return [result["id"] for result in results]


def test_an_empty_folder_shows_both_routes_and_leaves_nothing_running(tmp_path: Path) -> None:
    with running(tmp_path, "--seconds", "15") as process:
        assert process.wait(50) == 0
        assert family(tmp_path) == []
    said, results = stderr(tmp_path), records(tmp_path / RESULTS)
    published = Counter(result["route"]["published"] for result in results)
    assert published["cloud"] >= 20
    assert published["local"] >= 1
    assert ids(records(tmp_path / "stdout.txt")) == ids(results)
    assert not [word for word in UNWANTED if word in said], said
    assert "Results go to" in said.splitlines()[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_ends_agent_and_emulator(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path) as process:
        until(lambda: lines(tmp_path) >= 5, "five results")
        os.killpg(process.pid, number)
        assert process.wait(LIMIT_S) == 0
        assert family(tmp_path) == []
    assert not [word for word in UNWANTED if word in stderr(tmp_path)], stderr(tmp_path)
    assert ids(records(tmp_path / "stdout.txt")) == ids(records(tmp_path / RESULTS))


def test_an_agent_that_is_killed_leaves_no_emulator_behind(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        until(lambda: lines(tmp_path) >= 1, "a result")
        emulator = emulator_in(tmp_path)
        process.kill()
        process.wait()
        until(lambda: emulator not in family(tmp_path), "the emulator to end")


def test_the_key_is_not_to_be_seen_in_the_list_of_processes(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        until(lambda: lines(tmp_path) >= 1, "a result")
        words = command_line(emulator_in(tmp_path))
        assert b"--key" not in words
        key = Path(os.fsdecode(words[words.index(b"--key-file") + 1]))
        assert key.read_bytes() not in b" ".join(words)
        assert (key.stat().st_mode & 0o077, key.parent.stat().st_mode & 0o077) == (0o044, 0)
        process.terminate()
        assert process.wait(LIMIT_S) == 0


def test_an_emulator_that_dies_on_the_way_is_told_of_and_the_agent_goes_on(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        until(lambda: lines(tmp_path) >= 5, "five results")
        os.kill(emulator_in(tmp_path), signal.SIGKILL)
        before = lines(tmp_path)
        until(lambda: lines(tmp_path) >= before + 10, "ten more results")
        process.terminate()
        assert process.wait(LIMIT_S) == 0
    assert "the emulated API had ended before the agent: exit code -9" in stderr(tmp_path)


# The start, in this process


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to start in, from which the agent of this checkout is found."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_emulated_api_answers_as_soon_as_there_is_a_configuration(
    here: Path,
) -> None:
    with demo.defaults(print_results=False) as shown:
        cloud: Any = shown.config.engines.cloud
        assert httpx.get(f"{cloud.url}info", timeout=LIMIT_S).status_code == 200
        assert json.loads(shown.config.model_dump_json())["agent"] == "demo"
    assert demo.results_file() == here / RESULTS


@pytest.mark.usefixtures("here")
def test_an_emulator_that_cannot_start_is_a_sentence_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demo, "LINK", "stormy:3")
    with pytest.raises(errors.AgentError, match=r"could not start: exit code 78, .*stormy") as raised:
        demo.defaults(print_results=False).__enter__()
    assert "Traceback" not in str(raised.value)


@pytest.mark.usefixtures("here")
def test_an_emulator_that_does_not_get_ready_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demo, "START_LIMIT_S", 0.0)
    with pytest.raises(errors.AgentError, match="was not ready within 0 s"):
        demo.defaults(print_results=False).__enter__()
