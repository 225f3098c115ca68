"""Commands from afar through a real Mosquitto with access lists, as docs/remote.md has them."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from real import broker as world
from real.agent_process import vedette
from real.broker import Subscriber, wait_until
from real.remote_yard import EXAMPLES, KEY, PAGE, SECTIONS, USERS, Yard, started

from agent import app, imaging
from agent.clock import SystemClock
from agent.remote.signature import signed

pytestmark = [
    pytest.mark.skipif(bool(world.MISSING), reason=world.REASON),
    pytest.mark.timeout(120),
]


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    made = started(tmp_path_factory.mktemp("yard"), SECTIONS[0])
    yield made
    made.close()


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    made = started(tmp_path_factory.mktemp("sealed"), SECTIONS[1])
    yield made
    made.close()


def audit(yard: Yard) -> list[dict[str, Any]]:
    text = (yard.folder / "state/vedette/remote/yard/audit.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def results(subscriber: Subscriber) -> int:
    return len(subscriber.on("vedette/yard/gate/results"))


def test_the_examples_of_the_page_do_what_it_says(yard: Yard) -> None:
    shown = re.search(r'^\{"schema":"vedette\.answer/1".*$', PAGE, re.MULTILINE)
    assert shown is not None
    assert json.loads(yard.run(EXAMPLES[0])) == json.loads(shown[0])
    yard.run(EXAMPLES[1])
    assert (yard.folder / "gate.jpg").read_bytes().startswith(b"\xff\xd8")
    first, last = map(json.loads, (yard.folder / "answers.jsonl").read_text().splitlines())
    assert [first["status"], last["status"], last["id"]] == ["accepted", "done", "op7-2"]


def test_the_signed_example_of_the_page_is_taken(sealed: Yard) -> None:
    said = json.loads(sealed.run(EXAMPLES[2]))
    assert (said["status"], said["id"]) == ("done", "op7-3")
    line = audit(sealed)[-1]
    shown = re.search(r'^\{"at": .*"alice".*$', PAGE, re.MULTILINE)
    assert shown is not None
    assert line.keys() == json.loads(shown[0]).keys()
    assert line["by"] == "alice"
    assert "takes signed commands only" in refusal(sealed, "pause", '{"id": "unsigned"}')
    assert KEY not in sealed.said


def refusal(yard: Yard, command: str, text: str) -> str:
    """What is said below the agent's own topic, whatever response topic is asked for."""
    (yard.folder / "message").write_text(text)
    with yard.broker.subscribe("vedette/yard/answer/#") as subscriber:
        yard.run(
            f'mosquitto_pub -V 5 -q 1 -t vedette/yard/command/{command} -m "$(cat message)" '
            "-D publish response-topic operators/7"
        )
        wait_until(lambda: bool(subscriber.messages()), "the answer")
        said = json.loads(subscriber.messages()[0].text)
    assert said["status"] == "refused"
    return str(said["reason"])


def operator(yard: Yard, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """`vedette remote`, as an operator runs it."""
    (yard.folder / "operator.txt").write_text(USERS["operator"])
    access = ("--broker", f"localhost:{yard.broker.port}", "--username", "operator", "--password-file", "operator.txt")
    return vedette("remote", *access, *arguments, folder=yard.folder)


def test_the_client_signs_and_waits_for_the_last_answer(sealed: Yard) -> None:
    done = operator(sealed, "--key-file", "keys.txt", "yard", "resume", "camera=gate")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["result"] == {"cameras": ["gate"]}
    assert audit(sealed)[-1]["by"] == "alice"
    refused = operator(sealed, "yard", "resume")
    assert refused.returncode == 1
    assert "takes signed commands only" in json.loads(refused.stdout)["reason"]


def test_the_client_saves_a_picture_and_says_what_is_wrong(yard: Yard) -> None:
    done = operator(yard, "--save", "yard.jpg", "yard", "snapshot", "longest_px=160")
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == ["accepted", "done"], done.stderr
    assert imaging.read_image(yard.folder / "yard.jpg").shape == (120, 160, 3)
    nobody = operator(yard, "hall", "restart")
    assert (nobody.returncode, "nothing is retained on vedette/hall/remote" in nobody.stderr) == (1, True)
    assert "should be FIELD=VALUE" in operator(yard, "yard", "pause", "gate").stderr


def test_a_signed_time_counts_only_where_the_device_s_clock_is_right(sealed: Yard) -> None:
    text = json.dumps({"id": "timed", "at": time.time()})
    message = json.dumps({"signed": text, "signature": signed(text, KEY, agent="yard", command="pause")})
    if SystemClock().synchronized():
        assert sealed.ask("pause", message)["status"] == "done"
    else:
        assert "this device's clock is not synchronised" in refusal(sealed, "pause", message)


def test_a_paused_camera_gives_no_results_until_it_is_resumed(yard: Yard) -> None:
    assert yard.ask("pause", '{"id": "p1", "camera": "gate"}')["status"] == "done"
    with yard.broker.subscribe("vedette/yard/gate/#") as subscriber:
        wait_until(lambda: subscriber.texts("vedette/yard/gate/status")[-1:] == ["offline"], "the camera to be closed")
        assert yard.ask("resume", '{"id": "p2"}')["status"] == "done"
        before = results(subscriber)
        wait_until(lambda: results(subscriber) > before, "results")


def test_what_is_taken_is_retained_at_the_broker(yard: Yard) -> None:
    with yard.broker.subscribe("vedette/yard/remote") as subscriber:
        wait_until(lambda: bool(subscriber.messages()), "the state")
        state = json.loads(subscriber.messages()[0].text)
    assert state["commands"] == ["snapshot", "pause", "resume", "fps", "route", "log_level", "restart"]
    assert state["signed"] is False


def test_the_access_list_keeps_others_out(yard: Yard) -> None:
    """Mosquitto acknowledges what it drops for its access list: nothing happens, and nobody is told."""
    before = len(audit(yard))
    publish = 'mosquitto_pub -V 311 -q 1 -t vedette/hall/command/restart -m \'{"id": "x1"}\''
    yard.run(publish, user="yard")
    yard.ask("log_level", '{"id": "x2", "level": null}')
    assert [line["id"] for line in audit(yard)[before:]] == ["x2"]


def test_commands_are_taken_again_after_the_broker_was_away(yard: Yard) -> None:
    times = yard.said.count("commands are taken")
    yard.broker.kill()
    yard.broker.start()
    wait_until(lambda: yard.said.count("commands are taken") > times, "the connection", limit_s=40)
    assert yard.ask("route", '{"id": "b1", "prefer": "cost"}')["status"] == "done"


def test_an_answer_to_a_forbidden_topic_goes_below_the_agent_s_own(yard: Yard) -> None:
    with yard.broker.subscribe("vedette/yard/answer/#") as subscriber:
        yard.run(
            'mosquitto_pub -V 5 -q 1 -t vedette/yard/command/fps -m \'{"id": "f1", "fps": null}\' '
            "-D publish response-topic vedette/hall/command/restart -D publish correlation-data c7"
        )
        wait_until(lambda: bool(subscriber.messages()), "the answer")
        (answer,) = subscriber.messages()
        assert answer.topic == "vedette/yard/answer/f1"
        assert answer.properties["correlation-data"] == "c7"


def test_a_restart_is_answered_before_the_agent_stops_with_the_code_for_another_start(tmp_path: Path) -> None:
    yard = started(tmp_path / "yard", SECTIONS[0])
    try:
        with yard.broker.subscribe("vedette/yard/remote") as taken:
            assert yard.ask("restart", '{"id": "r1"}')["status"] == "done"
            assert yard.process.wait(30) == app.EXIT_RESTART
            wait_until(lambda: taken.texts("vedette/yard/remote")[1:] == [""], "what was retained to be cleared")
        assert "stopped:" in yard.said
        with yard.broker.subscribe("vedette/yard/available") as subscriber:
            wait_until(lambda: subscriber.texts("vedette/yard/available") == ["stopped"], "the last word")
    finally:
        yard.close()
