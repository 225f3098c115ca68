"""Commands from afar, up to the broker: hostile messages, signatures, replays, and what each command does."""

import base64
import hashlib
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from fakes import PICTURE, FakeClock, an_answer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.test_doubt import a_result

from agent import app
from agent.controls import Controls
from agent.errors import CommandRefused, ConfigError
from agent.flow import Frame, Reason, Result, Route
from agent.page.gallery import Gallery
from agent.record import Identity
from agent.remote import freshness, ledger
from agent.remote.audit import Audit
from agent.remote.command import Command, Outcome, Steps
from agent.remote.commands.fps import Fps
from agent.remote.commands.log_level import LogLevel
from agent.remote.commands.pause import Pause, Resume
from agent.remote.commands.restart import Restart
from agent.remote.commands.route import Route as RouteCommand
from agent.remote.commands.snapshot import Snapshot
from agent.remote.desk import Desk, Gate, Reply, _may_answer_to
from agent.remote.envelope import LARGEST_BYTES, Reader
from agent.remote.freshness import Freshness
from agent.remote.ledger import REMEMBERED, Ledger
from agent.remote.order import Answer, Letter, Order, Return
from agent.remote.rate import BURST, Rate
from agent.remote.signature import Key, keys_of, signed
from agent.remote.words import Status, Word
from agent.router import Mode, Prefer

ANSWERS = "vedette/yard/answer"
KEY = Key("alice", "k" * 40)
CAMERAS = ["gate", "yard"]


class Slow:
    """A command that takes as many steps as the test wants."""

    alone = True

    def __init__(self, word: Word = Word.MODEL_INSTALL) -> None:
        self.word = word
        self.closed = False
        self.runs = 0

    def run(self, order: Order) -> Steps:
        self.runs += 1
        try:
            while not order.fields.get("at_once"):
                yield f"step of {order.id}"
        finally:
            self.closed = True
        return Outcome({"fine": True})


class Broken(Slow):
    def run(self, order: Order) -> Outcome:  # type: ignore[override]
        raise RuntimeError(f"no way to {order.id}")


class World:
    """A desk with every command, and what is around it."""

    def __init__(self, folder: Path, *, keys: tuple[Key, ...] = (), allow: tuple[Word, ...] = tuple(Word)) -> None:
        self.clock, self.controls, self.gallery, self.restarts = FakeClock(), Controls(), Gallery(), list[bool]()
        self.folder, self.slow = folder, Slow()
        self.sessions = iter(["now", *map(str, range(9))])
        gate = Gate(
            Rate(600, self.clock, burst=100),
            Rate(60, self.clock),
            Rate(60, self.clock),
            Reader("yard", allow, keys),
            Freshness(120.0, self.clock, proof=bool(keys), draw=lambda: next(self.sessions)),
            Ledger(folder / "seen.jsonl", self.clock),
        )
        self.desk = Desk(
            gate, self._commands(), Audit(folder / "audit.jsonl", self.clock), answers_below=ANSWERS, clock=self.clock
        )

    def _commands(self) -> dict[Word, Command]:
        commands: list[Command] = [
            Snapshot(
                CAMERAS,
                self.gallery,
                lambda _pixels, found, comment, px: f"{len(found)} {comment} {px}".encode(),
                identity=Identity("yard", "boot"),
                clock=self.clock,
            ),
            Pause(CAMERAS, self.controls),
            Resume(CAMERAS, self.controls),
            Fps(CAMERAS, self.controls),
            RouteCommand(set(Route), self.controls),
            LogLevel("info"),
            Restart(lambda: self.restarts.append(True)),
            self.slow,
            Broken(Word.CONFIG_APPLY),
        ]
        return {command.word: command for command in commands}

    def take(self, name: str, body: Any, **more: Any) -> list[Reply]:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.clock.advance(1)
        return self.desk.take(Letter(name, text, **more))

    def said(self, name: str, body: Any, **more: Any) -> dict[str, Any]:
        (reply,) = self.take(name, body, **more)
        said: dict[str, Any] = json.loads(reply.answer.body("yard"))
        return said

    def refusal(self, name: str, body: Any, **more: Any) -> str:
        said = self.said(name, body, **more)
        assert said["status"] == "refused", said
        return str(said["reason"])

    @property
    def audit(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "audit.jsonl").read_text().splitlines()]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def sealed(tmp_path: Path) -> World:
    return World(tmp_path, keys=(KEY, Key("bob", "b" * 40)))


@pytest.fixture(autouse=True)
def _level() -> Iterator[None]:
    logger = logging.getLogger("agent")
    level = logger.level
    yield
    logger.setLevel(level)


def envelope_of(body: dict[str, Any], *, key: str = KEY.value, agent: str = "yard", command: str = "pause") -> Any:
    text = json.dumps(body)
    return {"signed": text, "signature": signed(text, key, agent=agent, command=command)}


# What each command does


def test_pause_and_resume_act_on_one_camera_or_all(world: World) -> None:
    assert world.said("pause", {"id": "1", "camera": "gate"})["result"] == {"cameras": ["gate"]}
    assert [world.controls.paused(name) for name in CAMERAS] == [True, False]
    assert world.said("pause", {"id": "2"})["result"] == {"cameras": CAMERAS}
    assert world.said("resume", {"id": "3", "camera": "yard"})["status"] == "done"
    assert [world.controls.paused(name) for name in CAMERAS] == [True, False]


def test_fps_sets_a_limit_and_takes_it_away(world: World) -> None:
    world.said("fps", {"id": "1", "camera": "gate", "fps": 2})
    assert world.controls.most_fps("gate") == 2
    world.said("fps", {"id": "2", "fps": None})
    assert world.controls.most_fps("gate") is None
    assert "fps: should be greater than 0" in world.refusal("fps", {"id": "3", "fps": 0})


def test_route_states_the_whole_policy(world: World) -> None:
    assert world.said("route", {"id": "1", "mode": "local_only", "prefer": "cost"})["result"]["mode"] == "local_only"
    assert (world.controls.mode, world.controls.prefer) == (Mode.LOCAL_ONLY, Prefer.COST)
    world.said("route", {"id": "2"})
    assert (world.controls.mode, world.controls.prefer) == (None, None)
    assert "did you mean local_only?" in world.refusal("route", {"id": "3", "mode": "localonly"})


def test_an_agent_with_one_engine_has_no_mode_to_choose() -> None:
    command, controls = RouteCommand({Route.LOCAL}, Controls()), Controls()
    with pytest.raises(CommandRefused, match="no other engine than local"):
        command.run(Order("1", Word.ROUTE, {"mode": "cloud_only"}, "d"))
    assert controls.mode is None


def test_log_level_holds_until_it_is_taken_back(world: World) -> None:
    world.said("log_level", {"id": "1", "level": "debug"})
    assert logging.getLogger("agent").level == logging.DEBUG
    assert world.said("log_level", {"id": "2", "level": None})["result"] == {"level": "info"}
    assert logging.getLogger("agent").level == logging.INFO


def test_a_restart_begins_once_its_answer_was_delivered(world: World) -> None:
    (reply,) = world.take("restart", {"id": "1"})
    assert reply.answer.status is Status.DONE
    assert world.restarts == []
    assert reply.then is not None
    reply.then()
    assert world.restarts == [True]


def a_frame(world: World, camera: str = "gate") -> tuple[Frame, Result]:
    now_s = world.clock.now()
    result = replace(a_result(Reason.LOCAL_ONLY, an_answer(), seq=7, at_s=now_s), camera=camera)
    return Frame(camera, 7, now_s, world.clock.wall(), clock_synchronized=True, pixels=PICTURE), result


def test_a_snapshot_is_the_next_frame_with_its_boxes(world: World) -> None:
    assert world.said("snapshot", {"id": "1", "camera": "gate", "longest_px": 320})["status"] == "accepted"
    assert world.desk.step() == []
    world.clock.advance(0.1)
    world.gallery.see(*a_frame(world))
    (reply,) = world.desk.step()
    result = reply.answer.result
    assert base64.b64decode(result["base64"]) == f"1 {result['of']} 320".encode()
    assert result["camera"] == "gate"


def test_a_frame_from_before_the_question_is_no_snapshot(world: World) -> None:
    world.gallery.watch("gate", world.clock.now())
    world.gallery.see(*a_frame(world))
    world.clock.advance(1)
    assert world.said("snapshot", {"id": "1", "camera": "gate"})["status"] == "accepted"
    assert world.desk.step() == []


def test_a_camera_that_gives_no_frame_is_said_to(world: World) -> None:
    world.said("snapshot", {"id": "1", "camera": "gate"})
    world.clock.advance(11)
    (reply,) = world.desk.step()
    assert (reply.answer.status, "gave no frame within 10 s" in reply.answer.reason) == (Status.FAILED, True)
    assert world.desk.step() == []


def test_a_snapshot_of_several_cameras_asks_which(world: World) -> None:
    assert "which camera? There are: gate, yard" in world.refusal("snapshot", {"id": "1"})


# Hostile messages


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "it is no JSON"),
        (b"\xff\xfe", "it is no JSON"),
        (b"[1]", "it is no JSON object"),
        (b"{" * 100_000, "nested more than 8 deep"),
        (b'{"id": "1", "x": [' + b"1, []," * 2000 + b"1]}", "more than 1000 parts"),
        (b'"\\' * 130_000, "it is no JSON"),
        (b'{"id":' + b"[" * 9 + b"]" * 9 + b"}", "nested more than 8 deep"),
        (b'{"id": "1", "id": "2"}', "'id' stands twice"),
        (b'{"id": "1", "at": NaN}', "NaN is no number"),
        (b'{"id": "1", "at": 1e999}', "at should be a number"),
        (b'{"id": "1", "at": 1' + b"0" * 400 + b"}", "at should be a number"),
        (b'{"id": "1", "at": true}', "at should be a number"),
        (rb'{"id": "1", "camera": "\ud800"}', r"\ud800 stands in it alone"),
        (rb'{"id": "1", "\uDFFF": 1}', r"\udfff stands in it alone"),
        (rb'{"id": "\ud83d"}', r"\ud83d stands in it alone"),
        (b'{"id": "1", "session": 5}', "session should be text"),
        (b'{"id": "1", "at": ' + b"9" * 5000 + b"}", "it is no JSON"),
        (b"{}", "needs an id"),
        (b'{"id": 5}', "needs an id"),
        (b'{"id": "a/b"}', "needs an id"),
        (b'{"id": "' + b"x" * 65 + b'"}', "needs an id"),
        (b'{"id": "1", "camra": "gate"}', "camra: there is no such key here; did you mean camera?"),
        (b'{"id": "1", "camera": ["gate"]}', "camera: should be text"),
        (b'{"id": "1", "camera": "gat"}', "no camera is called 'gat'; did you mean gate?"),
        (b'{"id": "1", "signature": "aa"}', "this agent has no remote.signature_key"),
        (b'{"id": "1", "camera": "' + b"x" * LARGEST_BYTES + b'"}', "bytes; at most"),
    ],
    ids=range(26),
)
def test_what_cannot_be_meant_is_refused_with_the_reason(world: World, body: bytes, said: str) -> None:
    assert said in world.refusal("pause", body)
    assert not world.controls.reasons()


@pytest.mark.parametrize(
    ("name", "said"),
    [("pauze", "did you mean pause?"), ("", "there is no command ''"), ("restart", "is not among remote.allow")],
)
def test_a_command_that_is_not_taken_is_refused_by_name(tmp_path: Path, name: str, said: str) -> None:
    world = World(tmp_path, allow=(Word.PAUSE, Word.RESUME))
    assert said in world.refusal(name, {"id": "1"})
    assert world.restarts == []


def test_what_was_retained_at_the_broker_is_not_carried_out(world: World) -> None:
    assert "it was retained" in world.refusal("pause", {"id": "1"}, retained=True)


def test_a_letter_in_two_escaped_halves_is_a_letter(world: World) -> None:
    assert "no camera is called '🙂'" in world.refusal("pause", rb'{"id": "1", "camera": "\ud83d\ude42"}')


LETTERS = st.text(st.sampled_from('a1"\\\0\né🙂\ud800\udfff'), max_size=9)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | LETTERS
    | LETTERS.map(lambda t: t * 200),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(LETTERS, inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["at", "session", "camera", "fps", "boxes", "longest_px", "mode", "level", "document", "signed"])
MESSAGES = st.builds(
    lambda named, more: {**more, **named},
    st.fixed_dictionaries({}, optional={"id": st.sampled_from(["1", "2"]) | VALUES, "session": st.just("now")}),
    st.dictionaries(KEYS | LETTERS, VALUES, max_size=4),
)
NAMES = st.sampled_from(["snapshot", "pause", "fps", "route", "log_level", "restart", "model_install"]) | LETTERS
BODIES = st.binary(max_size=200) | (MESSAGES | VALUES).map(lambda value: json.dumps(value).encode())
ENVELOPES = st.builds(lambda *sent: {"signed": sent[0], "signature": sent[1]}, LETTERS | VALUES, LETTERS)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(NAMES, st.lists(BODIES | ENVELOPES.map(lambda value: json.dumps(value).encode()), min_size=1, max_size=4))
def test_whatever_anybody_sends_is_answered_and_the_agent_goes_on(name: str, bodies: list[bytes]) -> None:
    with TemporaryDirectory() as folder:
        for world in (World(Path(folder) / "open"), World(Path(folder) / "sealed", keys=(KEY,))):
            for body in bodies:
                world.clock.advance(60)
                answered(world.desk.take(Letter(name, body)))


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(NAMES.filter(str.isascii), MESSAGES)
def test_whatever_is_signed_is_answered_and_the_agent_goes_on(name: str, message: dict[str, Any]) -> None:
    with TemporaryDirectory() as folder:
        world = World(Path(folder), keys=(KEY,))
        answered(world.desk.take(Letter(name, json.dumps(envelope_of(message, command=name)).encode())))


def answered(replies: list[Reply]) -> None:
    """There is an answer, and it is no fault in the agent."""
    (reply,) = replies
    assert "a fault in the agent" not in json.loads(reply.answer.body("yard").decode()).get("reason", "")


def test_a_fault_in_the_agent_costs_the_message_that_met_it(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Audit, "note", lambda *_: 1 / 0)
        assert world.take("pause", b"?") == []
    assert "ZeroDivisionError" in caplog.text
    assert world.said("pause", {"id": "1"})["status"] == "done"


def test_the_audit_writes_down_what_is_no_text(tmp_path: Path) -> None:
    Audit(tmp_path / "audit.jsonl", FakeClock()).note({"id": "\ud800", "asked": {"a": "\udfff"}})
    assert json.loads((tmp_path / "audit.jsonl").read_text())["id"] == r"\ud800"


def test_an_answer_says_what_is_no_text_as_well_as_it_can() -> None:
    answer = Answer("1", "pause", Status.FAILED, Return("a"), reason="no file \udcff")
    assert json.loads(answer.body("yard"))["reason"] == "no file ?"


def test_of_many_mistakes_the_first_are_said(world: World) -> None:
    reason = world.refusal("pause", {"id": "1", "k" * 2000: 1, **{f"k{number}": 1 for number in range(60)}})
    assert reason.count("there is no such key here") == 19  # the long one's is cut off
    assert reason.endswith("; and 41 more")
    assert len(reason) < 4000


def test_more_commands_than_allowed_are_dropped_and_said_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    letters = [Letter("pause", json.dumps({"id": str(number)}).encode()) for number in range(4 * BURST)]
    answered = [letter for letter in letters if world.desk.take(letter)]
    assert len(answered) == BURST
    assert sum("remote.per_minute" in line for line in caplog.messages) == 1
    world.clock.advance(1)
    assert world.said("pause", {"id": "later"})["status"] == "done"


def test_who_has_no_key_uses_up_nothing_of_those_who_have_one(sealed: World) -> None:
    answers = [sealed.desk.take(Letter("pause", b'{"id": "x"}')) for _ in range(50)]
    assert sum(map(bool, answers)) == BURST
    assert sealed.said("pause", envelope_of({"id": "1", "at": sealed.clock.wall() + 1}))["status"] == "done"


def test_a_flood_is_not_even_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Letter] = []
    order = Reader.order
    monkeypatch.setattr(Reader, "order", lambda reader, letter: read.append(letter) or order(reader, letter))
    for _ in range(300):
        world.desk.take(Letter("pause", b""))
    assert len(read) == 100
    world.clock.advance(10)
    for _ in range(30):
        world.desk.take(Letter("pause", b"x" * LARGEST_BYTES))
    assert len(read) == 105


@pytest.mark.parametrize(
    ("topic", "allowed"),
    [
        ("clients/7/replies", True),
        ("vedette/yard/answer/mine", True),
        ("vedette/yard2/x", True),
        ("", False),
        ("vedette/yard/available", False),
        ("vedette/yard", False),
        ("vedette/hall/command/restart", False),
        ("vedette/hall/remote", False),
        ("homeassistant/device/yard/config", False),
        ("a/+/b", False),
        ("a/#", False),
        ("$SYS/x", False),
    ],
)
def test_an_answer_goes_nowhere_where_it_could_do_harm(topic: str, allowed: bool) -> None:
    assert _may_answer_to(topic, ANSWERS) is allowed


# Where answers go


def test_an_answer_goes_to_its_response_topic_with_its_correlation(world: World) -> None:
    (reply,) = world.take("pause", {"id": "1"}, response_topic="me/answers", correlation=b"c7")
    assert (reply.answer.to.topic, reply.answer.to.correlation) == ("me/answers", b"c7")
    (reply,) = world.take("pause", {"id": "2"})
    assert reply.answer.to.topic == "vedette/yard/answer/2"
    (reply,) = world.take("pause", b"?")
    assert (reply.answer.to.topic, reply.answer.id) == ("vedette/yard/answer/unknown", None)


def test_without_a_key_nobody_has_an_answer_sent_where_he_likes(sealed: World) -> None:
    old = envelope_of({"id": "1", "at": sealed.clock.wall() - 1000})
    for body in (b"?", {"id": "1"}, envelope_of({"id": "1", "session": "now"}, key="x" * 40), old):
        (reply,) = sealed.take("pause", body, response_topic="hall/siren", correlation=b"c7")
        assert (reply.answer.status, reply.answer.to.correlation) == (Status.REFUSED, b"c7")
        assert reply.answer.to.topic in ("vedette/yard/answer/1", "vedette/yard/answer/unknown")
    (reply,) = sealed.take("pause", envelope_of({"id": "1", "session": "now"}), response_topic="hall/siren")
    assert (reply.answer.status, reply.answer.to.topic) == (Status.DONE, "hall/siren")


def test_a_recorded_command_is_answered_where_the_first_one_was(tmp_path: Path) -> None:
    for keys in ((), (KEY,)):
        world = World(tmp_path / str(len(keys)), keys=keys)
        body = envelope_of({"id": "1", "session": "now"}) if keys else {"id": "1"}
        world.take("pause", body, response_topic="me/answers")
        (reply,) = world.take("pause", body, response_topic="thief/inbox")
        assert reply.answer.to.topic == "me/answers"
    (reply,) = World(tmp_path / "1", keys=(KEY,)).take("pause", body, response_topic="thief/inbox")
    assert reply.answer.to.topic == "vedette/yard/answer/1"


# Once


def test_a_message_that_comes_twice_is_carried_out_once_and_answered_twice(world: World) -> None:
    first = world.said("model_install", {"id": "1", "at_once": True})
    second = world.said("model_install", {"id": "1", "at_once": True})
    assert (first, world.slow.runs) == (second, 1)
    assert first["status"] == "done"


def test_a_message_that_comes_again_while_it_is_carried_out_hears_so(world: World) -> None:
    world.take("model_install", {"id": "1"})
    assert world.said("model_install", {"id": "1"})["status"] == "progress"
    assert world.slow.runs == 1


def test_another_command_with_the_same_id_is_refused(world: World) -> None:
    world.take("pause", {"id": "1", "camera": "gate"})
    assert "another command had this id" in world.refusal("pause", {"id": "1", "camera": "yard"})
    assert "another command had this id" in world.refusal("resume", {"id": "1", "camera": "gate"})
    assert world.controls.paused("gate")


def test_a_command_of_before_the_last_start_is_not_carried_out_again(tmp_path: Path) -> None:
    (reply,) = World(tmp_path).take("restart", {"id": "1"})
    assert reply.then is not None
    later = World(tmp_path)
    assert "it came before" in later.refusal("restart", {"id": "1"})


def test_a_picture_is_not_kept_to_be_sent_again(world: World) -> None:
    big = Answer("1", "snapshot", Status.DONE, Return("a"), result={"base64": "x" * 100_000})
    book = Ledger(world.folder / "other.jsonl", world.clock)
    for number in range(150):
        book.note(replace(big, id=str(number)))
        book.note(replace(big, id=f"{number}-small", result={"fps": number}))
    kept = book.answer("149")
    assert kept is not None
    assert (kept.status, kept.result) == (Status.DONE, {})
    assert "too large to be kept" in kept.reason
    small = book.answer("149-small")
    assert small is not None
    assert small.result == {"fps": 149}
    assert book.answer("1") is None


def test_a_torn_line_costs_no_other_its_memory(tmp_path: Path) -> None:
    path = tmp_path / "seen.jsonl"
    book = Ledger(path, FakeClock())
    book.enter("1", "a")
    path.write_bytes(path.read_bytes() + b'\n["2", "b')
    book = Ledger(path, FakeClock())
    book.enter("3", "c")
    assert [Ledger(path, FakeClock()).digest(name) for name in "123"] == ["a", None, "c"]


def test_the_ledger_does_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger.os, "fsync", lambda _: None)
    path = tmp_path / "seen.jsonl"
    book = Ledger(path, FakeClock())
    for number in range(2 * REMEMBERED + 10):
        book.enter(str(number), "d")
    assert len(path.read_text().splitlines()) < 2 * REMEMBERED
    again = Ledger(path, FakeClock())
    assert again.digest(str(2 * REMEMBERED + 9)) == "d"
    assert again.digest("9") is None


def test_a_disk_that_fails_costs_no_command(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    world = World(tmp_path / "file")
    assert world.said("pause", {"id": "1"})["status"] == "done"
    assert "another command had this id" in world.refusal("resume", {"id": "1"})
    assert any("carried out again" in line for line in caplog.messages)


# Under way


def test_one_command_of_a_kind_is_under_way_and_a_stop_ends_it_with_an_answer(world: World) -> None:
    assert world.said("model_install", {"id": "1"})["reason"] == "step of 1"
    assert "model_install 1 is under way" in world.refusal("model_install", {"id": "2"})
    (reply,) = world.desk.step()
    assert (reply.answer.status, reply.answer.reason) == (Status.PROGRESS, "step of 1")
    (reply,) = world.desk.close()
    assert (reply.answer.status, world.slow.closed) == (Status.FAILED, True)
    assert world.desk.step() == []


def test_a_fault_in_a_command_costs_that_command(world: World) -> None:
    said = world.said("config_apply", {"id": "1"})
    assert (said["status"], "RuntimeError: no way to 1" in said["reason"]) == ("failed", True)
    assert world.said("pause", {"id": "2"})["status"] == "done"


# Signatures


def test_a_signed_command_is_carried_out_and_its_signer_known(sealed: World) -> None:
    at = sealed.clock.wall()
    assert sealed.said("pause", envelope_of({"id": "1", "at": at, "camera": "gate"}))["status"] == "done"
    assert sealed.said("pause", envelope_of({"id": "2", "at": at}, key="b" * 40))["status"] == "done"
    assert [line["by"] for line in sealed.audit] == ["alice", "bob"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": "x" * 40},
        {"agent": "hall"},
        {"command": "resume"},
    ],
)
def test_a_signature_is_worth_nothing_elsewhere(sealed: World, wrong: dict[str, str]) -> None:
    body = envelope_of({"id": "1", "at": sealed.clock.wall()}, **wrong)
    assert "the signature is not one of this agent's keys" in sealed.refusal("pause", body)
    assert not sealed.controls.reasons()
    assert sealed.said("pause", envelope_of({"id": "1", "at": sealed.clock.wall()}))["status"] == "done"


def test_one_letter_changed_undoes_the_signature(sealed: World) -> None:
    body = envelope_of({"id": "1", "at": sealed.clock.wall(), "camera": "gate"})
    body["signed"] = body["signed"].replace("gate", "yard")
    assert "the signature is not" in sealed.refusal("pause", body)


def test_where_keys_are_given_nothing_unsigned_is_taken(sealed: World) -> None:
    assert "takes signed commands only" in sealed.refusal("pause", {"id": "1"})
    body = {**envelope_of({"id": "1", "at": sealed.clock.wall()}), "camera": "gate"}
    assert "and nothing else" in sealed.refusal("pause", body)


@pytest.mark.parametrize("age_s", [-121, 121, 86_400])
def test_a_signed_command_of_another_time_is_refused(sealed: World, age_s: float) -> None:
    body = envelope_of({"id": "1", "at": sealed.clock.wall() - age_s})
    assert "and 120 s are allowed" in sealed.refusal("pause", body)


def test_a_recorded_command_is_worth_nothing(sealed: World, tmp_path: Path) -> None:
    body = envelope_of({"id": "1", "at": sealed.clock.wall()}, command="restart")
    assert [reply.then is None for reply in sealed.take("restart", body)] == [False]
    assert [reply.then is None for reply in sealed.take("restart", body)] == [True]
    again = World(tmp_path, keys=(KEY,))
    assert "it came before" in again.refusal("restart", body)
    again.clock.wall_s += 1000
    assert again.refusal("restart", body)


def test_a_recorded_command_is_worth_nothing_however_many_came_since(
    sealed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger.os, "fsync", lambda _: None)
    for module in (ledger, freshness):
        monkeypatch.setattr(module, "REMEMBERED", 100)
    recorded = envelope_of({"id": "recorded", "session": "now"})
    assert sealed.said("pause", recorded)["status"] == "done"
    sessions = {"now"}
    for number in range(110):
        body = envelope_of({"id": str(number), "session": sealed.desk.session}, command="resume")
        assert sealed.said("resume", body)["status"] == "done"
        if number % 10 == 0:
            assert sealed.take("pause", recorded)[0].then is None
            assert not sealed.controls.reasons()
        sessions.add(sealed.desk.session)
    assert len(sessions) == 3
    assert "for an earlier session" in sealed.refusal("pause", recorded)
    assert not sealed.controls.reasons()


def test_a_session_counts_for_a_while_after_the_next_was_drawn(sealed: World) -> None:
    read = sealed.desk.session
    for _ in range(REMEMBERED // 2):
        sealed.desk._gate.freshness.note_entered()
    assert sealed.desk.session != read
    assert sealed.said("pause", envelope_of({"id": "1", "session": read}))["status"] == "done"


def test_another_way_to_write_the_envelope_makes_no_new_command(sealed: World) -> None:
    body = envelope_of({"id": "1", "session": "now"})
    sealed.take("pause", body)
    again = {"signature": body["signature"].upper(), "signed": body["signed"]}
    assert sealed.said("pause", again)["status"] == "done"
    assert len(sealed.audit) == 1


def test_what_was_refused_for_now_is_not_carried_out_later(sealed: World) -> None:
    sealed.take("model_install", envelope_of({"id": "1", "session": "now"}, command="model_install"))
    refused = envelope_of({"id": "2", "session": "now"}, command="model_install")
    assert "is under way" in sealed.refusal("model_install", refused)
    sealed.desk.close()
    assert "is under way" in sealed.refusal("model_install", refused)
    assert sealed.slow.runs == 1


def test_a_signed_command_must_prove_that_it_is_of_now(sealed: World) -> None:
    assert "needs at" in sealed.refusal("pause", envelope_of({"id": "1"}))


def test_without_a_synchronised_clock_the_session_proves_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeClock, "synchronized", lambda _: False)
    world = World(tmp_path, keys=(KEY,))
    assert "clock is not synchronised" in world.refusal("pause", envelope_of({"id": "1", "at": world.clock.wall()}))
    assert world.said("pause", envelope_of({"id": "2", "session": "now"}))["status"] == "done"
    assert "for an earlier session" in world.refusal("pause", envelope_of({"id": "3", "session": "then"}))


def test_keys_stand_one_a_line_with_names_if_wanted() -> None:
    fingerprint = hashlib.sha256(b"b" * 64).hexdigest()[:8]
    assert [key.name for key in keys_of(f"alice {'a' * 32}\n\n{'b' * 64}\n")] == ["alice", fingerprint]
    for wrong in ("", "short", f"two names {'a' * 32}", f"na/me {'a' * 32}"):
        with pytest.raises(ConfigError, match="openssl rand -hex 32"):
            keys_of(wrong)


# The audit


def test_every_command_leaves_a_line_with_who_what_and_what_became_of_it(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    world.take("pause", {"id": "1", "camera": "gate"})
    world.take("pause", {"id": "2", "camera": "gat"})
    world.take("pause", b"?")
    assert [(line["id"], line["command"], line["by"], line["outcome"]) for line in world.audit] == [
        ("1", "pause", "-", "done"),
        ("2", "pause", "-", "refused"),
        (None, "pause", "-", "refused"),
    ]
    assert world.audit[0]["asked"] == '{"camera": "gate"}'
    assert sum("remote command" in line for line in caplog.messages) == 3


def test_the_audit_has_no_secret_and_no_long_text(world: World) -> None:
    from agent import logs

    logs.hide("hunter2-hunter2")
    world.take("pause", {"id": "1", "camera": "hunter2-hunter2" + "x" * 5000})
    text = (world.folder / "audit.jsonl").read_text()
    assert "hunter2" not in text
    assert len(text) < 1500


def test_a_configuration_stands_in_the_audit_by_its_hash(world: World) -> None:
    world.take("model_install", {"id": "1", "at_once": True, "document": "agent: yard\n" * 50})
    (line,) = world.audit
    assert "600 letters, sha256 " in line["asked"]
    assert "agent: yard" not in line["asked"]


def test_systemd_starts_an_agent_again_that_was_told_to_restart() -> None:
    unit = (Path(app.__file__).parents[1] / "systemd" / "vedette.service").read_text(encoding="utf-8")
    assert "\nRestart=on-failure\n" in unit
    assert app.EXIT_RESTART != 0
    for key in ("RestartPreventExitStatus", "SuccessExitStatus"):
        assert str(app.EXIT_RESTART) not in re.findall(rf"^{key}=(.*)$", unit, re.MULTILINE)


def test_the_audit_is_bounded(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit.jsonl", FakeClock())
    (tmp_path / "audit.jsonl").write_text("x" * 999_990)
    audit.note({"id": "1", "outcome": "done"})
    audit.note({"id": "2", "outcome": "done"})
    assert {path.name: path.stat().st_size > 999_990 for path in tmp_path.iterdir()} == {
        "audit.jsonl": False,
        "audit.jsonl.1": True,
    }
