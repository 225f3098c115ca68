"""`vedette remote`: send a command to an agent, signed if there is a key, and print its answers. Main thread."""

import argparse
import base64
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from agent.clock import Clock, SystemClock
from agent.errors import AgentError
from agent.ports import Context
from agent.remote.signature import Key, keys_of, signed
from agent.remote.words import Status, Word
from agent.sinks import mqtt
from agent.sinks._mqtt_dial import Dialer
from agent.sinks._mqtt_packet import Message, News, Properties
from agent.sinks._mqtt_session import Session

_STATE_S: Final = 5.0
"""What is retained comes at once, if at all."""
_LOOK_S: Final = 0.2
_LAST: Final = frozenset(status.value for status in Status if status.final)


def add_arguments(parser: argparse.ArgumentParser, say: Callable[[str], None]) -> None:
    """Its arguments. `say` prints an answer."""
    parser.description = (
        "Send a command to an agent by way of its broker, and print its answers, a JSON object each, until the last. "
        "Exit code 0: done; 1: refused, failed, or no answer."
    )
    add = parser.add_argument
    add("agent", metavar="AGENT", help="the agent's name")
    add("word", metavar="COMMAND", choices=[word.value for word in Word], help=", ".join(word.value for word in Word))
    add("fields", metavar="FIELD=VALUE", nargs="*", help="such as camera=gate; VALUE is JSON, or text; @FILE: a file's")
    add("--broker", required=True, metavar="HOST[:PORT]", help="the broker; port 1883, with TLS 8883")
    add("--tls", action="store_true", help="encrypted, with the system's CAs")
    add("--ca-file", type=Path, metavar="PATH", help="encrypted, with this CA")
    add("--username", metavar="NAME", help="user at the broker")
    add("--password-file", type=Path, metavar="PATH", help="file with the password and nothing else")
    add("--key-file", type=Path, metavar="PATH", help="file with the key to sign with, as KEY or NAME KEY")
    add("--prefix", metavar="TOPIC", help="what the agent's topics begin with (vedette/AGENT)")
    add("--wait", type=float, default=300.0, metavar="S", help="seconds for the last answer (default %(default)g)")
    add("--save", type=Path, metavar="FILE", help="write a snapshot's picture there, and not into the output")
    parser.set_defaults(command=lambda options: run(options, say))


_OURS: Final = frozenset({"id", "session"})


def run(options: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Send and wait; the exit code. Raises AgentError."""
    clock, prefix = SystemClock(), options.prefix or f"vedette/{options.agent}"
    fields, keys, heard = _fields(options.fields), _keys(options.key_file), False
    session = _connected(options, clock)
    try:
        state = _state(session, prefix, clock)
        name = f"cli-{secrets.token_hex(8)}"
        body = {"id": name, "session": state["session"], **fields}
        session.subscribe(f"{prefix}/answer/{name}")
        text = _message(body, keys, options.agent, options.word)
        session.publish(Message(name, f"{prefix}/command/{options.word}", text.encode()), Properties(b""))
        for answer in _answers(session, f"{prefix}/answer/{name}", options.wait, clock):
            heard = True
            say(json.dumps(_saved(answer, options.save), ensure_ascii=False))
            if answer["status"] in _LAST:
                return 0 if answer["status"] == Status.DONE.value else 1
    finally:
        session.end(politely=True)
    why = "it is still at work: --wait longer" if heard else f"may this user publish on {prefix}/command?"
    raise AgentError(f"no last answer came within {options.wait:g} s; {why}")


def _fields(words: list[str]) -> dict[str, Any]:
    """What FIELD=VALUE say. Raises AgentError."""
    found: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise AgentError(f"{word}: should be FIELD=VALUE, such as camera=gate")
        if name in _OURS:
            raise AgentError(f"{word}: {name} is given by this program, and tells which answer is meant for it")
        found[name] = _file(Path(value[1:])) if value.startswith("@") else _value(value)
    return found


def _value(text: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    try:
        return json.loads(text)
    except ValueError:
        return text


def _file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AgentError(f"{path} cannot be read: {error}") from error


def _keys(path: Path | None) -> tuple[Key, ...]:
    return () if path is None else keys_of(_file(path))


def _connected(options: argparse.Namespace, clock: Clock) -> Session:
    """Raises AgentError: the broker cannot be reached, or does not want us."""
    host, sign, port = options.broker.rpartition(":") if options.broker.count(":") == 1 else (options.broker, "", "")
    told: dict[str, Any] = {"type": "mqtt", "host": host, "username": options.username}
    told |= {"port": int(port)} if sign and port.isdecimal() else {}
    told |= {"password": {"file": options.password_file}} if options.password_file else {}
    told |= {"tls": {"ca_file": options.ca_file} if options.ca_file else {}} if options.ca_file or options.tls else {}
    try:
        settings = mqtt.Options.model_validate(told)
    except ValidationError as error:
        raise AgentError(f"--broker {options.broker}: {error.errors()[0]['msg']}") from error
    context = Context("remote", clock, Path.cwd(), Path.cwd())
    broker = replace(
        mqtt.broker_of(settings, context), client_id=f"vedette-cli-{secrets.token_hex(4)}", will_topic=None, inbox=64
    )
    return Dialer(settings.protocol, clock).dial(broker, mqtt.where_of(settings))


def _state(session: Session, prefix: str, clock: Clock) -> Mapping[str, Any]:
    """What the agent says that it takes. Raises AgentError: nothing, or it is not there."""
    session.subscribe(f"{prefix}/available")
    session.subscribe(f"{prefix}/remote")
    state: Mapping[str, Any] | None = None
    there = b""
    for news in _news(session, _STATE_S, clock):
        if news.topic.endswith("/available"):
            there = news.body
        else:
            state = _read(news) if news.body else None
        if state is not None and there:
            break
    if there in (b"offline", b"stopped"):
        raise AgentError(f"the agent is {there.decode()}, by {prefix}/available; a command would not reach it")
    if state is None:
        raise AgentError(
            f"nothing is retained on {prefix}/remote: it takes no commands, or this user may not read that"
        )
    return state


def _answers(session: Session, topic: str, wait_s: float, clock: Clock) -> Iterator[Mapping[str, Any]]:
    yield from (_read(news) for news in _news(session, wait_s, clock) if news.topic == topic)


def _read(news: News) -> Mapping[str, Any]:
    """Raises AgentError: an agent does not speak like this."""
    try:
        said: Mapping[str, Any] = {"status": "", "session": "", **json.loads(news.body)}
    except (ValueError, TypeError) as error:
        raise AgentError(f"what stands on {news.topic} is not of an agent") from error
    return said


def _news(session: Session, wait_s: float, clock: Clock) -> Iterator[News]:
    """What comes within that time. Raises AgentError: the connection is lost."""
    until_s = clock.now() + wait_s
    while (left_s := until_s - clock.now()) > 0:
        session.wait_for_news(min(left_s, _LOOK_S))
        while (news := session.news()) is not None:
            yield news
        if session.ended:
            raise AgentError("the connection to the broker is lost")


def _message(body: Mapping[str, Any], keys: tuple[Key, ...], agent: str, word: str) -> str:
    text = json.dumps(body, ensure_ascii=False)
    if not keys:
        return text
    return json.dumps({"signed": text, "signature": signed(text, keys[0].value, agent=agent, command=word)})


def _saved(answer: Mapping[str, Any], path: Path | None) -> Mapping[str, Any]:
    """The answer, its picture in a file where one is wanted. Raises AgentError."""
    result = dict(answer.get("result", {}))
    if path is None or "base64" not in result:
        return answer
    try:
        path.write_bytes(base64.b64decode(result.pop("base64")))
    except OSError as error:
        raise AgentError(f"{path} cannot be written: {error.strerror}") from error
    return {**answer, "result": {**result, "file": str(path)}}
