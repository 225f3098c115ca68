"""No secret shows, whatever letters it is made of: not in what the redactor lets through, nor in what the agent leaves.

The agent runs as its users run it, with a secret wherever there may be one, among peers that refuse it and repeat what
they were told (refusing_world). tests/canary.py looks for secrets over the rest of the test run.
"""

import base64
import html
import http.client
import json
import logging
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus, urlencode

import httpx
import pytest
from canary import MARK, Lookout, secret, traces
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from real.agent_process import start_vedette, vedette
from real.broker import free_port, wait_until
from real.refusing_world import ended, refusing
from real.test_listening import listening

from agent import cli, logs

PRINTABLE = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=40)
NASTY = "p/a@s%s:w\"o'r\\d?#&=+ <ü>😀"
"""Every letter that is special somewhere."""
WRITERS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "python": repr,
    "python, beside quotes": lambda text: repr({'it\'s "here"': [text, f"'{text}\""]}),
    "python, in ASCII": lambda text: ascii(f"'\"{text}"),
    "python, as bytes": lambda text: repr(text.encode()),
    "json": json.dumps,
    "json, not in ASCII": lambda text: json.dumps([text], ensure_ascii=False),
    "json in json": lambda text: json.dumps(json.dumps({"key": text})),
    "a path": quote,
    "a query": lambda text: urlencode({"q": text}),
    "a form": quote_plus,
    "httpx": lambda text: str(httpx.URL("http://h/x", params={"q": text})),
    "a URL in json": lambda text: json.dumps({"url": f"rtsp://user:{quote(text, safe='')}@host/x?p={quote(text)}"}),
    "a web page": html.escape,
    "a field of a line": lambda text: logs.fields(a=f'{text} "b"'),
    "basic authentication": lambda text: base64.b64encode(f"user:{text}".encode()).decode(),
    "a line of what is many": lambda text: " ".join(f"{text}\n and more".split()),
}
PAGES = ("", "state.json", "metrics", "readyz", "livez", "live/scene.jpg", "live/nobody.jpg", "nothing")


@pytest.mark.parametrize("writer", WRITERS)
@settings(max_examples=40)
@given(PRINTABLE)
@example(NASTY)
def test_the_redactor_knows_a_secret_in_whatever_form_it_shows(writer: str, text: str) -> None:
    known = set(logs._HIDDEN)
    logs.hide(secret(text).strip())
    shown = f"GET /x: {WRITERS[writer](secret(text))}; try again"
    told = logs.redact(shown)
    logs._HIDDEN.intersection_update(known)
    assert traces(shown.encode()), "there is something to strike out"
    assert not traces(told.encode()), told
    assert told.startswith("GET /x: ")
    assert told.endswith("; try again")


@settings(max_examples=50)
@given(PRINTABLE, st.sampled_from(list(logs.Format)))
@example(NASTY, logs.Format.KEYVALUE)
def test_a_log_line_in_any_format_is_without_secrets_and_still_a_line(text: str, form: logs.Format) -> None:
    known = set(logs._HIDDEN)
    logs.hide(secret(text))
    formatter = logs.RedactingFormatter("%(message)s") if form is logs.Format.TEXT else logs.RecordFormatter(form)
    arguments = (secret(text), logs.fields(url=f'"{secret(text)}"', key=quote(secret(text))))
    record = logging.LogRecord("agent.x", logging.WARNING, "x.py", 1, "lost %s %s", arguments, None)
    line = formatter.format(record)
    logs._HIDDEN.intersection_update(known)
    assert not traces(line.encode()), line
    assert "lost ***" in line
    assert len(line.splitlines()) == 1


def test_half_a_key_at_the_end_of_what_a_server_says_is_not_shown_either(lookout: Lookout) -> None:
    from agent.engines._http import Reply
    from agent.engines._replies import message

    logs.hide(secret("key"))
    for before in range(270, 305):
        body = json.dumps({"message": "x" * before + secret("key")}).encode()
        said = message(Reply(401, {}, body, connect_s=0, upload_s=None, server_s=None, metered_bytes=0))
        assert MARK[:3] not in said
    assert not lookout.found


def test_a_fault_that_nobody_catches_is_told_without_secrets_in_whatever_thread(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(place: object) -> None:
        raise RuntimeError(f"{place}: {secret('x')}")

    def run(_: object) -> None:
        thread = threading.Thread(target=fail, args=("a thread",))
        thread.start()
        thread.join()
        fail("the main thread")

    logs.hide(secret("x"))
    monkeypatch.setattr(cli, "_version", run)
    hook = threading.excepthook
    assert cli.main(["version"]) == 1
    assert threading.excepthook is hook
    told = capsys.readouterr().err
    assert "Traceback" in told
    for place in ("a thread", "the main thread"):
        assert f"RuntimeError: {place}: ***" in told
    assert not traces(told.encode())


@settings(max_examples=1, phases=[Phase.explicit, Phase.generate], database=None)
@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=12, max_size=40), st.just("json"))
@example(NASTY, "text")
def test_an_agent_among_peers_that_repeat_what_they_are_told_shows_no_secret(text: str, form: str) -> None:
    with tempfile.TemporaryDirectory() as name, refusing(Path(name), text) as world:
        folder, port, lookout = Path(name), free_port(), Lookout()
        file, env = world.configure(form=form, page=port)
        with ended(start_vedette("run", file, folder=folder, **env)) as agent:
            _await_refusals(folder)
            assert listening(agent.pid) == {f"tcp 127.0.0.1:{port}"}
            lookout.look_at_process(agent.pid)
            for path in PAGES:
                lookout.look(f"the page's /{path}", _fetched(port, path, (folder / "token").read_text("utf-8")))
        if form == "text":
            done = vedette("check", "--probe", file, folder=folder, **env)
            lookout.look("check --probe", (done.stdout + done.stderr).encode())
            assert "refuses user or password" in done.stdout + done.stderr
        for given in ("password", "auth", "sign", "api", "token", "url"):
            (folder / given).unlink()
        lookout.look_at_files(folder)
        assert not lookout.found
        written = {path.suffix for path in folder.rglob("*") if path.is_file()}
        assert written >= {".jsonl", ".csv", ".db", ".jpg", ".txt"}


def _await_refusals(folder: Path) -> None:
    """Until everybody has said no, and there are results."""

    def said() -> str:
        return (folder / "stderr.txt").read_text()

    for word in ("capture-rtsp", "capture-mjpeg", "capture-query", "sink-mqtt-1", "sink-webhook-1", "cloud engine"):
        wait_until(lambda word=word: word in said().replace("rtsp: no result", ""), f"{word}\n{said()[-3000:]}")
    wait_until(lambda: (folder / "results.jsonl").stat().st_size > 0, "results")


def _fetched(port: int, path: str, token: str) -> bytes:
    """What the page answers, by a header that holds the token; for people and for machines."""
    answers = b""
    for accept in ("text/html", "application/openmetrics-text"):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", f"/{path}", headers={"Authorization": f"Bearer {token}", "Accept": accept})
        answer = connection.getresponse()
        assert answer.status != http.client.UNAUTHORIZED
        answers += str(answer.headers).encode() + answer.read()
        connection.close()
    return answers
