"""A courier: results in batches, states beside them, and a failure is passed on."""

from collections.abc import Sequence

import pytest
from fakes import FakeClock

from agent.courier import IN_FLIGHT, Courier
from agent.errors import SinkUnavailable
from agent.flow import Delivery, Kind, Outcome
from agent.loop import Pulse
from agent.outbox import Limits, Outbox
from agent.states import State, States, Subject


class ShowingSink:
    """Takes everything, or raises."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.shown: list[list[State]] = []
        self.error: SinkUnavailable | None = None
        self.opened = self.closed = 0

    def open(self) -> None:
        self.opened += 1

    def send(self, batch: Sequence[Delivery]) -> Sequence[Outcome]:
        if self.error is not None:
            raise self.error
        self.sent += [delivery.id for delivery in batch]
        return [Outcome.ACCEPTED] * len(batch)

    def show(self, states: Sequence[State]) -> None:
        self.shown.append(list(states))

    def close(self) -> None:
        self.closed += 1


class Path:
    def __init__(self, *kinds: Kind) -> None:
        self.clock, self.sink, self.states = FakeClock(), ShowingSink(), States()
        self.outbox = Outbox(None, Limits(), self.clock)
        self.courier = Courier(
            "any-1",
            self.sink,
            self.outbox,
            kinds=frozenset(kinds or {Kind.RESULT}),
            states=self.states,
            clock=self.clock,
        )

    def put(self, name: str, kind: Kind = Kind.RESULT) -> None:
        self.courier.put(Delivery(name, "door", b"{}", kind))


def count(number: int) -> State:
    return State(Subject.COUNT, str(number).encode(), "door", "person")


def test_a_sink_gets_the_kinds_it_wants() -> None:
    path = Path(Kind.EVENT)
    path.put("a result")
    path.put("an event", Kind.EVENT)
    path.courier.step()
    assert path.sink.sent == ["an event"]


def test_a_batch_has_no_more_than_may_come_twice() -> None:
    path = Path()
    for number in range(IN_FLIGHT + 10):
        path.put(str(number))
    path.courier.step()
    assert len(path.sink.sent) == IN_FLIGHT


def test_states_are_shown_when_they_change_and_at_most_once_a_second() -> None:
    path = Path()
    path.states.put(count(1))
    path.courier.step()
    path.put("a")
    path.states.put(count(2))
    path.courier.step()
    path.states.put(count(3))
    path.put("b")
    path.courier.step()
    path.clock.advance(1.0)
    path.put("c")
    path.courier.step()
    assert path.sink.shown == [[count(1)], [count(3)]]


def test_a_new_connection_is_shown_everything_and_results_are_kept_for_it() -> None:
    path = Path()
    path.states.put(count(1))
    path.put("a")
    path.sink.error = SinkUnavailable("down")
    pulse = Pulse(path.clock)
    with pytest.raises(SinkUnavailable):
        path.courier.run(pulse)
    assert (path.sink.opened, path.sink.closed, path.courier.connected) == (1, 1, False)
    path.sink.error = None
    for _ in range(2):
        pulse.stopping.set()
        path.courier.run(pulse)
    assert path.sink.sent == ["a"]
    assert path.sink.shown == [[count(1)], [count(1)]]


def test_a_stop_delivers_for_some_seconds_and_leaves_no_batch_under_way() -> None:
    path = Path()
    for number in range(10_000):
        path.put(str(number))
    took = path.sink.send

    def slow(batch: Sequence[Delivery]) -> Sequence[Outcome]:
        path.clock.advance(0.01 * len(batch))
        return took(batch)

    path.sink.send = slow  # type: ignore[method-assign]
    pulse = Pulse(path.clock)
    pulse.stopping.set()
    began_s = path.clock.now()
    path.courier.run(pulse)
    assert 3.0 <= path.clock.now() - began_s < 3.5
    assert len(path.sink.sent) + path.outbox.status().waiting == 10_000
    assert path.sink.closed == 1
