"""`model_install`: the process that fetches, its progress and its end, and the rollout's verdict."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeClock

from agent.errors import CommandFailed, CommandRefused
from agent.remote.command import Outcome
from agent.remote.commands.model_install import ModelInstall
from agent.remote.order import Order
from agent.remote.words import Word
from agent.shelf import Shelf, Standing

SCRIPT = """
import sys, time
from pathlib import Path
from agent.shelf import Shelf
print("fetching weights.onnx (12 MB)", file=sys.stderr, flush=True)
command, model = sys.argv[1:3]
if model == "hangs":
    Path(sys.argv[-1], "pid").write_text(str(__import__("os").getpid()))
    time.sleep(60)
while model == "slow/2" and not Path(sys.argv[-1], "seen").exists():
    time.sleep(0.01)
if model == "absent":
    sys.exit("absent: there is no such model here")
shelf = Shelf(Path(sys.argv[-1]) / "models")
if model != "there":
    with shelf.stage() as staged:
        (staged / "model.yaml").write_text("name: birds")
        shelf.install(staged, "birds", "2")
print(" ".join(sys.argv[1:-1]))
"""


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "models")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def command(tmp_path: Path, shelf: Shelf, clock: FakeClock) -> Callable[..., ModelInstall]:
    script = tmp_path / "program.py"
    script.write_text(SCRIPT)

    def make(followed: str | None = None) -> ModelInstall:
        program = (sys.executable, str(script))
        return ModelInstall(tmp_path / "v.yaml", tmp_path, shelf, followed=followed, clock=clock, program=program)

    return make


def order(**fields: Any) -> Order:
    return Order("1", Word.MODEL_INSTALL, fields, "d")


def advanced(steps: Any, until: Callable[[str], bool] = lambda _: False) -> tuple[list[str], Outcome | None]:
    """Its progress, until it ends or says what is waited for."""
    said: list[str] = []
    give_up_s = time.monotonic() + 20
    while time.monotonic() < give_up_s:
        try:
            words = next(steps)
        except StopIteration as end:
            return said, end.value
        if words:
            said.append(words)
            if until(words):
                return said, None
        time.sleep(0.01)
    raise AssertionError(said)


def test_what_was_installed_is_told_with_what_the_program_said(
    command: Callable[..., ModelInstall], tmp_path: Path
) -> None:
    steps = command().run(order(pull="slow/2", name="birds"))
    said, _ = advanced(steps, lambda _: True)
    assert said == ["fetching weights.onnx (12 MB)"]
    (tmp_path / "seen").touch()
    _, outcome = advanced(steps)
    assert outcome is not None
    assert outcome.result["installed"] == "birds@2"
    assert "pull slow/2 --config" in outcome.result["said"]
    assert "does not follow" in outcome.result["note"]


def test_what_is_there_already_is_no_new_version(command: Callable[..., ModelInstall]) -> None:
    _, outcome = advanced(command().run(order(get="there", accept_licence="AGPL-3.0")))
    assert outcome is not None
    assert set(outcome.result) == {"said"}
    assert "get there --accept-licence AGPL-3.0" in outcome.result["said"]


def test_a_refusal_of_the_program_is_the_answer(command: Callable[..., ModelInstall]) -> None:
    with pytest.raises(CommandFailed, match="there is no such model here"):
        advanced(command().run(order(get="absent")))


@pytest.mark.parametrize("verdict", [(Standing.CONFIRMED, ""), (Standing.REJECTED, "it agrees in 0.1 of the objects")])
def test_where_the_package_is_followed_the_verdict_is_waited_for(
    command: Callable[..., ModelInstall], shelf: Shelf, clock: FakeClock, verdict: tuple[Standing, str]
) -> None:
    standing, reason = verdict
    steps = command("birds").run(order(pull="birds/2"))
    advanced(steps, lambda words: words == "birds@2 is installed")
    assert next(steps) is None
    clock.advance(2)
    assert next(steps) == "birds@2: installed"
    shelf.note("birds", "2", Standing.ON_TRIAL, reason="waits for reference frames")
    clock.advance(2)
    assert next(steps) == "birds@2: waits for reference frames"
    clock.advance(2)
    assert next(steps) is None
    shelf.note("birds", "2", standing, reason=reason, measurements={"p95_ms": 12.0})
    clock.advance(2)
    if standing is Standing.REJECTED:
        with pytest.raises(CommandFailed, match="was rejected: it agrees in"):
            next(steps)
    else:
        with pytest.raises(StopIteration) as end:
            next(steps)
        assert end.value.value.result["measured"] == {"p95_ms": 12.0}


def test_no_verdict_within_an_hour_is_said(command: Callable[..., ModelInstall], clock: FakeClock) -> None:
    steps = command("birds").run(order(pull="birds/2"))
    advanced(steps, lambda words: words == "birds@2 is installed")
    assert next(steps) is None
    clock.advance(4000)
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert "the rollout goes on" in end.value.value.result["note"]


def test_a_program_that_hangs_ends_with_the_command(
    command: Callable[..., ModelInstall], tmp_path: Path, clock: FakeClock
) -> None:
    for way in ("close", "time"):
        steps = command().run(order(get="hangs"))
        advanced(steps, lambda words: words.startswith("fetching"))
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.01)
        process = int((tmp_path / "pid").read_text())
        (tmp_path / "pid").unlink()
        if way == "close":
            steps.close()
        else:
            clock.advance(4000)
            with pytest.raises(CommandFailed, match="not done within 3600 s"):
                next(steps)
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "give pull or get"),
        ({"pull": "a/1", "get": "b"}, "give pull or get"),
        ({"pull": "a/1", "accept_licence": "MIT"}, "accept_licence goes with get"),
        ({"get": "a", "name": "b"}, "name goes with pull"),
        ({"get": "--help"}, "get: "),
        ({"pull": "../../etc"}, "pull: "),
        ({"get": "a", "accept_licence": "--url=x"}, "accept_licence: "),
        ({"pull": "a/1", "name": "--url"}, "name: "),
        ({"pull": "a/1", "url": "https://evil.example"}, "url: there is no such key here"),
    ],
)
def test_no_word_becomes_an_option_of_the_program(
    command: Callable[..., ModelInstall], fields: dict[str, str], said: str
) -> None:
    with pytest.raises(CommandRefused, match=said):
        next(command().run(order(**fields)))
