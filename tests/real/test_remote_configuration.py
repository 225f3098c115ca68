"""A configuration applied from afar: swapped in, confirmed, used at the next start; or taken back by itself."""

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from real import broker as world
from real.agent_process import start_vedette
from real.broker import wait_until
from real.remote_yard import Yard, started

from agent.remote.words import Status

pytestmark = [
    pytest.mark.skipif(bool(world.MISSING), reason=world.REASON),
    pytest.mark.timeout(180),
]
REMOTE = "remote: {allow: [config_validate, config_apply, config_revert, model_install, pause], confirm_within_s: 10}"
SHED = "  - {name: shed, source: {type: synthetic, width: 320, height: 240, fps: 5, seed: 2}}\n"


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    made = started(tmp_path_factory.mktemp("applied") / "yard", REMOTE)
    yield made
    made.close()


@pytest.fixture(scope="module")
def with_shed(yard: Yard) -> str:
    """The document that was applied and confirmed: a camera more."""
    document = yard.config.read_text().replace(REMOTE, "").replace("engines:", f"{SHED}engines:")
    with final(yard, "c1") as answer:
        assert sent(yard, "config_apply", "c1", document)["status"] == "accepted"
        assert answer()["status"] == "done"
    assert "camera shed gives" in yard.said
    return document


def sent(yard: Yard, command: str, name: str, document: str | None = None, **more: str) -> dict[str, Any]:
    body = {"id": name, **more} if document is None else {"id": name, "document": document}
    return yard.ask(command, json.dumps(body))


@contextmanager
def final(yard: Yard, name: str) -> Iterator[Callable[[], dict[str, Any]]]:
    """Waits for the last answer to a command that is sent within the block."""
    with yard.broker.subscribe("operators/7") as subscriber:

        def found() -> list[dict[str, Any]]:
            told = [json.loads(text) for text in subscriber.texts("operators/7")]
            return [each for each in told if each["id"] == name and Status(each["status"]).final]

        def answer() -> dict[str, Any]:
            wait_until(lambda: bool(found()), f"the end of {name}", limit_s=60)
            return found()[-1]

        yield answer


def killed_and_started(yard: Yard) -> int:
    """Where in its log the new run begins."""
    yard.process.send_signal(signal.SIGKILL)
    yard.process.wait(20)
    began = len(yard.said)
    yard.process = start_vedette("run", yard.config, folder=yard.folder)
    wait_until(lambda: "commands are taken" in yard.said[began:], "the connection", limit_s=40)
    return began


def test_a_mistake_is_named_and_changes_nothing(yard: Yard) -> None:
    own = yard.config.read_text()
    assert "did you mean cameras?" in sent(yard, "config_validate", "v1", own.replace("cameras:", "camras:"))["reason"]
    assert sent(yard, "config_validate", "v2", own)["status"] == "done"
    widened = sent(yard, "config_apply", "v3", own.replace("pause]", "restart]"))
    assert "remote: what may be commanded is said on the device" in widened["reason"]
    assert not (yard.folder / "state/vedette/remote/yard/trial.json").exists()


def test_a_model_is_fetched_by_a_process_of_its_own_and_its_refusal_is_the_answer(yard: Yard) -> None:
    with final(yard, "m1") as answer:
        assert sent(yard, "model_install", "m1", pull="yard/3")["status"] == "accepted"
        assert "has no engines.cloud" in answer()["reason"]


def test_an_applied_configuration_is_used_after_a_kill_and_said(yard: Yard, with_shed: str) -> None:
    assert with_shed
    began = killed_and_started(yard)
    wait_until(lambda: "camera shed gives" in yard.said[began:], "both cameras", limit_s=40)
    assert yard.said[began:].count("applied from afar as c1 is used") == 1


def test_one_whose_camera_gives_nothing_is_taken_back_by_itself(yard: Yard, with_shed: str) -> None:
    camera = SHED[SHED.index("{type") : SHED.index("}}") + 1]
    with final(yard, "c2") as answer:
        sent(yard, "config_apply", "c2", with_shed.replace(camera, "{type: v4l2, device: /dev/video77}"))
        assert answer()["status"] == "failed"
        assert "camera shed gives no frames any more; the one before it is used again" in answer()["reason"]
    back = yard.said.rindex("as c2 is taken back")
    wait_until(lambda: "camera shed gives" in yard.said[back:], "the camera to be back", limit_s=40)


def test_one_that_was_on_trial_when_the_agent_died_is_not_used(yard: Yard, with_shed: str) -> None:
    trial = yard.folder / "state/vedette/remote/yard/trial.json"
    with final(yard, "c3") as answer:
        sent(yard, "config_apply", "c3", with_shed.replace(SHED, ""))
        wait_until(lambda: '"running"' in trial.read_text(), "the swap", limit_s=30)
        began = killed_and_started(yard)
        assert "before it was confirmed; the one before it is used" in answer()["reason"]
    wait_until(lambda: "camera shed gives" in yard.said[began:], "both cameras", limit_s=40)
