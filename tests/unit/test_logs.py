"""Log lines: what is struck out, how values look, and how repeats are damped."""

import io
import json
import logging
import math
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import FakeClock

from agent import logs


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_HIDDEN", set())


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream, root = io.StringIO(), logging.getLogger()
    before = root.handlers[:], root.level
    logs.setup(stream, level="info", with_time=False)
    yield stream
    root.handlers[:], root.level = before


# Redaction


def test_a_hidden_secret_is_struck_out_everywhere() -> None:
    logs.hide("hunter2")
    assert logs.redact("hunter2 and xhunter2x") == "*** and x***x"


def test_a_hidden_secret_is_struck_out_as_a_url_has_it() -> None:
    logs.hide("p@ss w/rd")
    assert logs.redact("GET /x?q=p%40ss%20w%2Frd") == "GET /x?q=***"


def test_a_secret_that_holds_another_is_struck_out_whole() -> None:
    logs.hide("hunter")
    logs.hide("hunter2")
    assert logs.redact("hunter2") == "***"


def test_a_secret_of_one_letter_does_not_make_the_log_unreadable() -> None:
    logs.hide("k")
    assert logs.redact("the broker took k, and k=k") == "the broker took ***, and ***=***"


def test_an_empty_secret_strikes_nothing_out() -> None:
    logs.hide("")
    assert logs.redact("words") == "words"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("open rtsp://viewer:hunter2@192.0.2.1:554/s failed", "open rtsp://***@192.0.2.1:554/s failed"),
        ("rtsp://viewer:p@ss@h/s", "rtsp://***@h/s"),
        ("rtsp://viewer:pa/ss@h/s", "rtsp://***@h/s"),
        ("rtsp://:hunter2@h/s", "rtsp://***@h/s"),
        ("http://a:b@h and mqtt+tls://c:d@i", "http://***@h and mqtt+tls://***@i"),
        ("http://h/x?api_key=hunter2&size=1", "http://h/x?api_key=***&size=1"),
        ("http://h/x?user=u&PASSWORD=hunter2", "http://h/x?user=u&PASSWORD=***"),
        ("?usr=u&pwd=hunter2 ?access_token=hunter2", "?usr=u&pwd=*** ?access_token=***"),
    ],
)
def test_passwords_in_addresses_are_struck_out(text: str, shown: str) -> None:
    assert logs.redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "http://192.0.2.1:8080/path",
        "camera gate: 640x480, 10.0/s (local 3 cloud 4)",
        "mail a@b.example: rtsp://h/s",
        '{"url": "http://h:80/x", "by": "a@b"}',
        "tokens=5 monkey=3",
    ],
)
def test_text_without_secrets_stays_as_it_is(text: str) -> None:
    assert logs.redact(text) == text


def test_secrets_in_arguments_and_tracebacks_are_struck_out(log: io.StringIO) -> None:
    logs.hide("hunter2")
    try:
        {}["rtsp://u:sesame@h refused hunter2"]
    except KeyError:
        logging.getLogger("agent.x").exception("lost %s", "hunter2")
    text = log.getvalue()
    assert "hunter2" not in text
    assert "sesame" not in text
    assert "Traceback" in text
    assert "KeyError: 'rtsp://***@h refused ***'" in text


def test_lines_of_other_libraries_are_struck_out_too(log: io.StringIO) -> None:
    logs.hide("hunter2")
    logging.getLogger("httpx").warning("Authorization: Bearer hunter2")
    assert log.getvalue() == "WARNING httpx: Authorization: Bearer ***\n"


def test_a_secret_hidden_while_other_threads_log_is_struck_out_at_once(log: io.StringIO) -> None:
    threads = [threading.Thread(target=_hide_and_log, args=(f"secret-{number}-",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert "secret-" not in log.getvalue()
    assert log.getvalue().count("***") == 8 * 50


def _hide_and_log(prefix: str) -> None:
    for number in range(50):
        logs.hide(f"{prefix}{number}.")
        logging.getLogger("agent.x").warning("%s%s.", prefix, number)


# Lines


def test_the_level_is_the_agent_s_alone(log: io.StringIO) -> None:
    logging.getLogger("agent.x").debug("too fine")
    logging.getLogger("agent.x").info("fine")
    logging.getLogger("paho").info("of no concern")
    assert log.getvalue() == "INFO    agent.x: fine\n"


def test_terminals_get_the_time_of_day() -> None:
    stream, root = io.StringIO(), logging.getLogger()
    before = root.handlers[:], root.level
    logs.setup(stream, level="info", with_time=True)
    logging.getLogger("agent.x").info("fine")
    root.handlers[:], root.level = before
    assert stream.getvalue()[2] == stream.getvalue()[5] == ":"
    assert stream.getvalue()[8:] == " INFO    agent.x: fine\n"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (5, "a=5"),
        (0.123456, "a=0.123"),
        ("word", "a=word"),
        ("two words", 'a="two words"'),
        ("", 'a=""'),
        ("k=v", 'a="k=v"'),
        ('say "hi"', "a=\"say 'hi'\""),
        (None, "a=None"),
    ],
)
def test_fields_can_be_read_back(value: object, shown: str) -> None:
    assert logs.fields(a=value) == shown


def test_a_field_never_begins_a_line_of_its_own() -> None:
    line = logs.fields(a="x\nERROR agent.y: all is lost\r\x1b[2J\x00")
    assert line == 'a="x\\nERROR agent.y: all is lost\\r\\x1b[2J\\x00"'


# Damper


def said_by(damper_clock: FakeClock, *, interval_s: float = 10.0) -> tuple[logs.Damper, list[str]]:
    said: list[str] = []
    return logs.Damper(said.append, damper_clock.now, interval_s=interval_s), said


def test_a_repeated_event_is_said_once_per_interval_with_the_count_of_the_others() -> None:
    clock = FakeClock()
    damper, said = said_by(clock)
    for number in range(5):
        damper.note("lost", f"lost {number}")
        clock.advance(1.0)
    assert said == ["lost 0"]
    clock.advance(5.0)
    damper.note("lost", "lost 5")
    assert said == ["lost 0", "lost 5 (and 4 more like it)"]
    clock.advance(10.0)
    damper.note("lost", "lost 6")
    assert said[2:] == ["lost 6"]


def test_an_event_that_goes_on_is_said_ever_more_rarely_and_anew_after_a_pause() -> None:
    clock = FakeClock()
    damper, said = said_by(clock)
    for _ in range(3600):
        damper.note("lost", "lost")
        clock.advance(1)
    assert len(said) == 11, "after 0, 10, 30, 70, 150, 310, 630, 1230, 1830, 2430 and 3030 s"
    clock.advance(700)
    damper.note("lost", "lost")
    clock.advance(15)
    damper.note("lost", "lost once more, after a pause")
    assert said[-1] == "lost once more, after a pause"


def test_different_events_do_not_damp_each_other() -> None:
    damper, said = said_by(FakeClock())
    for event in ("a", "b", "a", "b"):
        damper.note(event, event)
    assert said == ["a", "b"]


def test_ever_new_events_do_not_fill_the_memory() -> None:
    damper, said = said_by(FakeClock())
    for number in range(5000):
        damper.note(f"event {number}", "x")
    assert len(said) == 5000
    assert len(damper._seen) == 100


def test_a_frequent_event_stays_damped_among_many_rare_ones() -> None:
    damper, said = said_by(FakeClock())
    for number in range(500):
        damper.note("frequent", "frequent")
        damper.note(f"rare {number}", "rare")
    assert said.count("frequent") == 1


def test_threads_together_say_a_repeated_event_once() -> None:
    damper, said = said_by(FakeClock())
    threads = [threading.Thread(target=lambda: [damper.note("a", "a") for _ in range(200)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert said == ["a"]
    assert damper._seen["a"][1] == 8 * 200 - 1


def test_in_the_journal_every_line_has_its_level() -> None:
    stream, root = io.StringIO(), logging.getLogger()
    before = root.handlers[:], root.level
    logs.setup(stream, level="debug", with_time=False, journal=True)
    logs.hide("hunter2")
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        logging.getLogger("agent.x").log(level, "a hunter2\nb")
    root.handlers[:], root.level = before
    lines = stream.getvalue().splitlines()
    assert [line[:3] for line in lines] == [f"<{number}>" for number in (7, 7, 6, 6, 4, 4, 3, 3, 3, 3)]
    assert lines[0] == "<7>DEBUG   agent.x: a ***"


# Lines for collectors


def collected(form: logs.Format, *, journal: bool = False) -> tuple[logging.Logger, io.StringIO]:
    stream = io.StringIO()
    logs.setup(stream, level="info", with_time=False, journal=journal, form=form)
    return logging.getLogger("agent.test"), stream


def test_a_json_line_has_its_parts_and_the_fields_behind_the_message(log: io.StringIO) -> None:  # noqa: ARG001 - undoes
    logger, stream = collected(logs.Format.JSON)
    logger.warning("results wait %s", logs.fields(count=3, path=Path("/x y"), share=math.inf))
    found = json.loads(stream.getvalue())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
    assert found == {
        "level": "warning",
        "logger": "agent.test",
        "message": "results wait",
        "count": 3,
        "path": "/x y",
        "share": "inf",
    }


def test_a_line_names_the_camera_or_the_sink_whose_thread_it_is_of(log: io.StringIO) -> None:  # noqa: ARG001 - undoes
    logger, stream = collected(logs.Format.JSON)
    for name in ("capture-gate", "emit-gate", "sink-mqtt-1", "admit"):
        thread = threading.Thread(target=logger.warning, args=("words",), name=name)
        thread.start()
        thread.join()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line.get("camera"), line.get("sink")) for line in lines] == [
        ("gate", None),
        ("gate", None),
        (None, "mqtt-1"),
        (None, None),
    ]


@pytest.mark.parametrize("form", [logs.Format.JSON, logs.Format.KEYVALUE])
def test_every_line_for_collectors_is_one_line_without_secrets(form: logs.Format, log: io.StringIO) -> None:  # noqa: ARG001
    logger, stream = collected(form, journal=True)
    logs.hide('p"w d\\')
    try:
        int('token=p"w d\\\nand rtsp://u:hunter2@h/x')
    except ValueError:
        logger.exception('a "word" p"w d\\ %s', logs.fields(url="http://u:hunter2@h", key='api_key=abc"'))
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("<3>")
    assert "hunter2" not in line
    assert "w d" not in line
    assert "abc" not in line
    assert "ValueError" in line
    if form is logs.Format.JSON:
        assert json.loads(line[3:])["message"] == 'a "word" ***'


def test_a_keyvalue_line_can_be_taken_apart(log: io.StringIO) -> None:  # noqa: ARG001 - undoes
    logger, stream = collected(logs.Format.KEYVALUE)
    logger.info("two words %s", logs.fields(level="own", a="b c"))
    assert re.fullmatch(
        r'time=\S+Z level=info logger=agent\.test message="two words" level_=own a="b c"\n', stream.getvalue()
    )
