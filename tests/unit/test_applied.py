"""Configurations from afar: what they may not change, when they are used, confirmed and taken back."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import FakeClock

from agent import applied, config
from agent.clerk import Clerk
from agent.config import Config
from agent.controls import Controls
from agent.doctor import afar
from agent.errors import CommandRefused, ConfigError
from agent.reload import OVERTAKEN, STOPPING, StopSign
from agent.remote.audit import Audit
from agent.remote.commands.configuration import Validate
from agent.remote.drafts import Draft, Drafts, Stage
from agent.remote.order import Answer, Order, Return
from agent.remote.trial import HOLD_S, Trial
from agent.remote.vitals import Vitals
from agent.remote.words import Status, Word

REMOTE = "remote: {allow: [config_apply, config_revert, pause]}\n"
OWN = """
agent: yard
cameras:
  - {name: gate, source: {type: rtsp, url: "rtsp://10.0.0.9/a", username: u, password: {env: CAMERA}}}
engines:
  local: {type: tflite, model: shapes}
  cloud: {type: roboflow, model: yard/3, api_key: {env: API_KEY}}
sinks:
  - {type: mqtt, host: broker, username: yard, password: {file: mqtt.txt}, tls: {}}
  - {type: webhook, url: "https://hooks.example/a", headers: {authorization: {env: TOKEN}}}
"""
SENT = OWN.replace("model: yard/3", "model: yard/4")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "vedette.yaml"
    path.write_text(OWN + REMOTE)
    return path


def model_of(config: Config) -> str:
    return str(getattr(config.engines.cloud, "model", None))


# What may be changed


def test_a_document_has_the_remote_section_of_the_device(own: Path) -> None:
    for text in (SENT, SENT + REMOTE):
        merged = applied.merged(own, text)
        assert model_of(merged) == "yard/4"
        assert merged.remote is not None
        assert [word.value for word in merged.remote.allow] == ["config_apply", "config_revert", "pause"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("username: u,", "username: u, next_frame_s: 9,"),
        ("model: yard/3,", "model: yard/3, confidence: 0.7,"),
        ("  local: {type: tflite, model: shapes}\n", ""),
        ("tls: {}}\n", "tls: {}, states: false, outbox: {max_mb: 10}}\n  - {type: jsonl, path: r.jsonl}\n"),
        ("headers: {authorization: {env: TOKEN}}", ""),
        ('  - {type: webhook, url: "https://hooks.example/a", headers: {authorization: {env: TOKEN}}}\n', ""),
        ("- {name: gate, source", "- {name: shed, source: {type: synthetic}}\n  - {name: gate, fps: 2, source"),
    ],
)
def test_what_takes_no_secret_elsewhere_may_be_changed(own: Path, old: str, new: str) -> None:
    assert old in OWN
    assert applied.merged(own, OWN.replace(old, new)).remote is not None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("agent: yard\n", "agent: hall\n", "agent: must be yard"),
        ("agent: yard\n", "", "agent: must be yard"),
        ("host: broker", "host: elsewhere", "the first of type mqtt carries these commands"),
        ("tls: {}", "tls: {verify: false}", "the first of type mqtt carries"),
        ("tls: {}", "tls: {}, topic_prefix: a/b", "the first of type mqtt carries"),
        ("model: yard/3,", "model: yard/3, url: 'https://evil.example',", "engines.cloud: uses a secret"),
        ("model: yard/3,", "model: yard/3, api: v1,", "engines.cloud: uses a secret"),
        ("{env: API_KEY}", "{file: /etc/shadow}", "engines.cloud: uses a secret"),
        ("rtsp://10.0.0.9/a", "rtsp://10.6.6.6/a", "cameras[0].source: uses a secret"),
        ("password: {env: CAMERA}", "password: {env: API_KEY}", "cameras[0].source: uses a secret"),
        ("https://hooks.example/a", "https://evil.example/a", "sinks[1]: uses a secret"),
        ("headers: {authorization: {env: TOKEN}}", "secret: {env: API_KEY}", "sinks[1]: uses a secret"),
        ("sinks:\n", "page: {host: 0.0.0.0, token: {env: API_KEY}}\nsinks:\n", "page: uses a secret"),
        ("sinks:\n", "remote: {allow: [restart]}\nsinks:\n", "remote: what may be commanded is said on the device"),
        (
            "sinks:\n",
            "backfill: {contribute: {project: p, url: 'https://evil.example'}}\nsinks:\n",
            "backfill.contribute: gets the key",
        ),
        ("model: yard/3", "modle: yard/3", "did you mean model?"),
    ],
)
def test_nothing_is_widened_and_no_secret_goes_elsewhere(own: Path, old: str, new: str, said: str) -> None:
    assert old in OWN
    with pytest.raises(ConfigError) as caught:
        applied.merged(own, OWN.replace(old, new))
    assert said in str(caught.value)
    assert applied.NAME in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1]", "a: &a [*a]", "\x00", "agent: yard"])
def test_a_document_that_is_none_is_refused(own: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        applied.merged(own, text)


# What is used at a start


def a_draft(own: Path, document: str | None = SENT, **more: Any) -> Draft:
    return Draft(document, applied.sha256(own), "c1", "config_apply", "alice", "ops/7", "6337", **more)


def drafts_of(own: Path) -> Drafts:
    return Drafts(own.parent / "state" / "remote" / "yard")


def started(own: Path) -> Config:
    return applied.in_force(own, own.parent / "state")


def test_nothing_applied_means_the_file(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert model_of(started(own)) == "yard/3"
    assert caplog.messages == []


def test_a_confirmed_one_is_used_and_said_in_one_line(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    drafts = drafts_of(own)
    drafts.begin(a_draft(own))
    drafts.confirm()
    assert model_of(started(own)) == "yard/4"
    assert [line.split(",")[0] for line in caplog.messages] == ["the configuration applied from afar as c1 is used"]


def test_one_that_was_not_confirmed_is_not_used_and_its_sender_will_hear(
    own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    drafts = drafts_of(own)
    drafts.begin(a_draft(own))
    drafts.move(Stage.RUNNING)
    assert model_of(started(own)) == "yard/3"
    assert drafts.trial is not None
    assert (drafts.trial.stage, drafts.trial.reason) == (Stage.FAILED, applied.RESTARTED)
    assert "is taken back" in caplog.text


def test_a_file_that_was_changed_since_is_used_again_and_for_good(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    drafts = drafts_of(own)
    drafts.begin(a_draft(own))
    drafts.confirm()
    before = own.read_text()
    own.write_text(before.replace("yard/3", "yard/9"))
    assert model_of(started(own)) == "yard/9"
    assert "was changed since" in caplog.text
    own.write_text(before)
    assert model_of(started(own)) == "yard/3"


def test_where_it_is_not_allowed_any_more_it_is_not_used(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    drafts = drafts_of(own)
    drafts.begin(a_draft(own))
    drafts.confirm()
    own.write_text(OWN)
    assert model_of(started(own)) == "yard/3"
    assert "remote.allow has not config_apply" in caplog.text


def test_one_that_this_version_does_not_take_gives_way_to_the_file(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    drafts = drafts_of(own)
    drafts.begin(a_draft(own, SENT.replace("sinks:", "snks:")))
    drafts.confirm()
    assert model_of(started(own)) == "yard/3"
    assert "cannot be used" in caplog.text


@pytest.mark.parametrize("content", [b"", b"{}", b'{"document": 5', b"\xff", b"[]"])
def test_a_damaged_file_in_the_state_folder_is_as_none(own: Path, content: bytes) -> None:
    folder = own.parent / "state" / "remote" / "yard"
    folder.mkdir(parents=True)
    for name in ("confirmed.json", "trial.json"):
        (folder / name).write_bytes(content)
    assert model_of(started(own)) == "yard/3"


def test_a_confirmed_return_to_the_file_leaves_nothing(own: Path) -> None:
    drafts = drafts_of(own)
    drafts.begin(a_draft(own))
    drafts.confirm()
    drafts.begin(a_draft(own, None))
    assert model_of(started(own)) == "yard/4"
    drafts.begin(a_draft(own, None))
    drafts.confirm()
    assert (drafts.trial, drafts.confirmed) == (None, None)
    assert model_of(started(own)) == "yard/3"


def test_the_doctor_tells_of_one_that_is_used_instead_of_the_file(own: Path) -> None:
    def told() -> list[str]:
        return [str(finding) for finding in afar.findings(config.load(own), own.parent / "state")]

    assert len(told()) == 1
    assert "commands without a signature" in told()[0]
    drafts = drafts_of(own)
    drafts.begin(a_draft(own))
    drafts.confirm()
    assert "applied from afar as c1 is used instead of the file" in told()[1]
    own.write_text(OWN)
    assert told() == []


# Whether it is well


class Seen:
    """Stands in for all that is watched."""

    def __init__(self) -> None:
        self.online, self.resting, self.connected, self.reachable = True, False, True, True

    def vitals(self) -> Vitals:
        status = SimpleNamespace(online=self.online, fates={}, openings=1)
        camera = SimpleNamespace(camera="gate", resting=self.resting, telemetry=SimpleNamespace(status=lambda: status))
        shed = SimpleNamespace(camera="shed", resting=True, telemetry=SimpleNamespace(status=lambda: status))
        outbox = SimpleNamespace(status=lambda: SimpleNamespace(waiting=0, dropped=0, exposed=0))
        sink = SimpleNamespace(name="mqtt-1", connected=self.connected, outbox=outbox)
        away = SimpleNamespace(name="webhook-1", connected=False, outbox=outbox)
        watched: Any = SimpleNamespace(
            clock=FakeClock(),
            pipelines=[camera, shed],
            couriers=[sink, away],
            lanes={},
            uplink=None,
            stuck=list,
            trouble=lambda _: None,
            heat=lambda: SimpleNamespace(throttled={}),
            controls=Controls(),
        )
        return Vitals(watched, lambda: self.reachable)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, []),
        ({"online": False}, ["camera gate gives no frames any more"]),
        ({"online": False, "resting": True}, []),
        ({"connected": False}, ["the sink mqtt-1 has no connection to its broker"]),
        ({"reachable": False}, ["there is no connection to the broker for commands"]),
    ],
)
def test_what_was_there_before_must_be_there_again(own: Path, changed: dict[str, bool], said: list[str]) -> None:
    seen = Seen()
    for name, value in changed.items():
        setattr(seen, name, value)
    assert seen.vitals().amiss(a_draft(own, online=("gate", "gone"))) == said


# The swap, and the trial


class Sight:
    """A clerk and a trial, with a main thread that is the test."""

    def __init__(self, own: Path) -> None:
        self.drafts, self.stop, self.clock = drafts_of(own), StopSign(), FakeClock()
        self.wrong: list[str] = []
        self.answers: list[Answer] = []
        self.clerk = Clerk(own, own.parent / "state", self.drafts, stop=self.stop, online=lambda: ["gate"])
        self.audit = own.parent / "audit.jsonl"
        self.trial = Trial(
            self.drafts,
            amiss=lambda _: self.wrong,
            take_back=self.clerk.take_back,
            tell=self.answers.append,
            audit=Audit(self.audit, self.clock),
            clock=self.clock,
        )

    def send(self, text: str | None, name: str = "c1") -> None:
        word = Word.CONFIG_REVERT if text is None else Word.CONFIG_APPLY
        self.clerk.begin(Order(name, word, {}, "d", "alice", to=Return("ops/7", b"c7")), text)()

    def swap(self, refusal: str | None = None) -> Config:
        """The main thread's turn."""
        wish = self.stop.take()
        assert wish is not None
        config = wish.load()
        wish.told(refusal)
        return config

    def look(self, seconds: float = 0.0) -> None:
        self.clock.advance(seconds)
        self.trial.step(60.0)


@pytest.fixture
def sight(own: Path) -> Sight:
    return Sight(own)


def test_one_that_is_well_for_a_while_is_confirmed_and_answered(sight: Sight) -> None:
    sight.send(SENT)
    sight.look()
    assert model_of(sight.swap()) == "yard/4"
    sight.look()
    sight.look(HOLD_S - 1)
    assert sight.answers == []
    sight.look(1)
    (answer,) = sight.answers
    assert (answer.id, answer.status, answer.to) == ("c1", Status.DONE, Return("ops/7", b"c7"))
    assert sight.drafts.trial is None
    assert sight.drafts.confirmed is not None
    assert [json.loads(line)["by"] for line in sight.audit.read_text().splitlines()] == ["alice"]


def test_ten_good_seconds_must_be_in_a_row(sight: Sight) -> None:
    sight.send(SENT)
    sight.swap()
    for seconds, wrong in ((0, []), (8, ["gate is away"]), (1, []), (9, [])):
        sight.wrong = wrong
        sight.look(seconds)
    assert sight.answers == []
    sight.look(2)
    assert [answer.status for answer in sight.answers] == [Status.DONE]


def test_one_that_is_not_well_in_time_is_taken_back_and_answered(sight: Sight) -> None:
    sight.send(SENT)
    sight.swap()
    sight.wrong = ["camera gate gives no frames any more"]
    sight.look()
    sight.look(59)
    assert sight.stop.take() is None
    sight.look(1)
    sight.wrong = []
    sight.look(1)
    sight.look(HOLD_S)
    assert model_of(sight.swap()) == "yard/3"
    assert sight.stop.take() is None
    sight.look()
    (answer,) = sight.answers
    assert answer.status is Status.FAILED
    assert "not well within 60 s: camera gate gives no frames any more; the one before it" in answer.reason
    assert (sight.drafts.trial, sight.drafts.confirmed) == (None, None)


def test_what_is_taken_back_gives_way_to_the_confirmed_one_before_it(sight: Sight) -> None:
    sight.send(SENT)
    sight.swap()
    sight.look()
    sight.look(HOLD_S)
    sight.send(SENT.replace("yard/4", "yard/5"), "c2")
    assert model_of(sight.swap()) == "yard/5"
    sight.wrong = ["no"]
    sight.look()
    sight.look(60)
    assert model_of(sight.swap()) == "yard/4"


def test_one_that_cannot_run_is_answered_with_why(sight: Sight) -> None:
    sight.send(SENT)
    sight.swap("model yard/4 cannot be loaded")
    sight.look()
    (answer,) = sight.answers
    assert answer.status is Status.FAILED
    assert "model yard/4 cannot be loaded" in answer.reason
    sight.look()
    assert len(sight.answers) == 1


def test_an_end_while_it_is_taken_back_does_not_lose_why(sight: Sight, own: Path) -> None:
    sight.send(SENT)
    sight.swap()
    sight.wrong = ["no"]
    sight.look()
    sight.look(60)
    assert model_of(started(own)) == "yard/3"
    sight.look()
    assert "not well within 60 s: no" in sight.answers[0].reason


def taken_back(sight: Sight) -> None:
    sight.send(SENT)
    sight.swap()
    sight.wrong = ["no"]
    sight.look()
    sight.look(60)


def test_a_reload_that_comes_before_it_is_taken_back_does_that_too(
    sight: Sight, own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    taken_back(sight)
    sight.stop.reload(lambda: started(own))
    assert model_of(sight.swap()) == "yard/3"
    assert sight.stop.take() is None
    sight.look()
    (answer,) = sight.answers
    assert "not well within 60 s: no; the one before it is used again" in answer.reason
    assert "cannot run any more" not in caplog.text


def test_a_reload_that_comes_while_it_is_taken_back_leaves_the_reason(
    sight: Sight, own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    taken_back(sight)
    wish = sight.stop.take()
    assert wish is not None
    wish.load()
    started(own)
    wish.told(OVERTAKEN)
    assert sight.stop.take() is None
    sight.look()
    assert "not well within 60 s: no" in sight.answers[0].reason
    assert "cannot run any more" not in caplog.text


def test_a_file_that_was_broken_meanwhile_ends_it_with_the_reason(sight: Sight, own: Path) -> None:
    taken_back(sight)
    own.write_text("agent: [")
    sight.stop.reload(lambda: started(own))
    wish = sight.stop.take()
    assert wish is not None
    with pytest.raises(ConfigError) as caught:
        wish.load()
    wish.told(str(caught.value))
    sight.look()
    assert "the one before it cannot run any more" in sight.answers[0].reason


def test_a_stop_while_it_is_taken_back_is_no_fault_of_the_one_before_it(
    sight: Sight, own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    taken_back(sight)
    wish = sight.stop.take()
    assert wish is not None
    wish.told(STOPPING)
    assert model_of(started(own)) == "yard/3"
    sight.look()
    assert "not well within 60 s: no" in sight.answers[0].reason
    assert "cannot run any more" not in caplog.text


def test_one_that_was_overtaken_is_not_said_to_be_wrong(sight: Sight) -> None:
    sight.send(SENT)
    sight.swap(OVERTAKEN)
    sight.look()
    assert sight.answers[0].reason == f"it was not tried to the end: {OVERTAKEN}"


def test_a_document_with_thousands_of_mistakes_is_refused_with_the_first(sight: Sight) -> None:
    document = "".join(f"k{number}: 1\n" for number in range(500))
    with pytest.raises(CommandRefused) as caught:
        Validate(sight.clerk).run(Order("1", Word.CONFIG_VALIDATE, {"document": document}, "d"))
    lines = str(caught.value).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "and 483 more"


def test_one_at_a_time_is_on_trial(sight: Sight) -> None:
    sight.send(SENT)
    with pytest.raises(CommandRefused, match="c1 is on trial"):
        sight.send(SENT, "c2")


def test_revert_is_on_trial_too(sight: Sight) -> None:
    sight.send(SENT)
    sight.swap()
    sight.look()
    sight.look(HOLD_S)
    sight.send(None, "c2")
    assert model_of(sight.swap()) == "yard/3"
    sight.look()
    sight.look(HOLD_S)
    assert [answer.name for answer in sight.answers] == ["config_apply", "config_revert"]
    assert sight.drafts.confirmed is None
