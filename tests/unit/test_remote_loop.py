"""The remote thread between its line to the broker and its desk: what is retained, sent, and sent again."""

import json
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from fakes import FakeClock
from unit.test_remote import KEY, World, envelope_of

from agent.errors import AgentError, SinkUnavailable
from agent.loop import Pulse
from agent.remote import client
from agent.remote.desk import Reply
from agent.remote.ledger import REMEMBERED
from agent.remote.line import Line
from agent.remote.order import Answer, Letter
from agent.remote.remote import Remote, Terms
from agent.remote.words import Word
from agent.sinks._mqtt_packet import News


class Wire:
    """A broker: gives each round's letters, and is lost where the test wants it."""

    connected = True

    def __init__(self, then: Callable[[], None]) -> None:
        self.rounds = deque[list[Letter]]()
        self.lost = False
        self.said: list[tuple[str, Any]] = []
        self._then = then

    def open(self, state: bytes) -> None:
        self.tell(state)

    def tell(self, state: bytes) -> None:
        self.said.append(("state", json.loads(state)["session"] if state else None))

    def letters(self, _wait_s: float) -> Iterator[Letter]:
        yield from self.rounds.popleft() if self.rounds else []
        if not self.rounds:
            self._then()

    def send(self, answer: Answer, _agent: str) -> None:
        if self.lost:
            raise SinkUnavailable("the broker is lost")
        self.said.append(("answer", answer.id))

    def close(self) -> None:
        self.said.append(("closed", None))


class Thread:
    """The remote loop on the test's own thread, until the wire has nothing more."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder, keys=(KEY,))
        self.wire = Wire(self._stop)
        self.pulse = Pulse(FakeClock())
        terms = Terms("yard", list(Word), signed=True, window_s=120.0)
        self.remote = Remote(cast("Line", self.wire), self.world.desk, terms)

    def _stop(self) -> None:
        self.pulse.stopping.set()

    def run(self, *letters: Letter) -> list[tuple[str, Any]]:
        self.wire.rounds.append(list(letters))
        self.pulse.stopping.clear()
        self.remote.run(self.pulse)
        return self.wire.said


@pytest.fixture
def thread(tmp_path: Path) -> Thread:
    return Thread(tmp_path)


def a_letter(name: str, session: str = "now") -> Letter:
    return Letter("resume", json.dumps(envelope_of({"id": name, "session": session}, command="resume")).encode())


def test_what_is_taken_is_retained_while_it_is_and_no_longer(thread: Thread) -> None:
    assert thread.run(a_letter("1")) == [("state", "now"), ("answer", "1"), ("state", None), ("closed", None)]


def test_a_new_session_is_retained_before_the_answer_to_the_command_after_which_it_was_drawn(thread: Thread) -> None:
    for _ in range(REMEMBERED // 2 - 1):
        thread.world.desk._gate.freshness.note_entered()
    said = thread.run(a_letter("1"), a_letter("2", "0"))
    assert said[:4] == [("state", "now"), ("state", "0"), ("answer", "1"), ("answer", "2")]


def test_what_follows_an_answer_is_done_once_though_the_broker_was_lost_before_it_had_that(thread: Thread) -> None:
    done: list[bool] = []
    reply = Reply(
        thread.world.take("pause", envelope_of({"id": "1", "session": "now"}))[0].answer, lambda: done.append(True)
    )
    thread.remote.say(reply)
    thread.wire.lost = True
    with pytest.raises(SinkUnavailable):
        thread.run()
    assert done == [True]
    thread.wire.lost = False
    assert ("answer", "1") in thread.run()
    assert done == [True]


class Broker:
    """What a session hears of an agent's two topics."""

    ended = False

    def __init__(self, **bodies: bytes) -> None:
        self._news = deque(News(f"vedette/yard/{name}", body) for name, body in bodies.items())

    def subscribe(self, topic: str) -> None: ...

    def wait_for_news(self, _timeout_s: float) -> None: ...

    def news(self) -> News | None:
        return self._news.popleft() if self._news else None


@pytest.mark.parametrize(
    ("bodies", "said"),
    [
        ({"available": b"stopped"}, "the agent is stopped"),
        ({"remote": b"", "available": b"stopped"}, "the agent is stopped"),
        ({"available": b"online"}, "it takes no commands"),
        ({"remote": b"", "available": b"online"}, "it takes no commands"),
        ({"remote": b"5", "available": b"online"}, "is not of an agent"),
    ],
)
def test_the_client_says_why_no_command_would_reach_the_agent(bodies: dict[str, bytes], said: str) -> None:
    class Passing(FakeClock):
        def now(self) -> float:
            self.advance(1)
            return super().now()

    with pytest.raises(AgentError, match=said):
        client._state(cast("Any", Broker(**bodies)), "vedette/yard", Passing())
