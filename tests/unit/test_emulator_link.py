import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agent.emulator import schedule
from agent.emulator.link import Link, Shape
from agent.emulator.schedule import PRESETS, Phase, Player, Schedule
from agent.errors import ConfigError

_ACKED_BYTES_AT = 120
"""tcpi_bytes_acked in Linux's struct tcp_info."""
_HANGS_S = 0.4
"""How long a test watches that nothing happens."""
_LIMIT_S = 20.0


class Behind:
    """A server behind the link: keeps what it receives, and answers as it is told."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.received = bytearray()
        self.ended: list[str] = []
        self.greeting = b""
        self.echo = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.listener.getsockname()[1])

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.sendall(self.greeting)
                while data := connection.recv(65536):
                    self.received += data
                    if self.echo:
                        connection.sendall(data)
                self.ended.append("closed")
            except (ConnectionResetError, BrokenPipeError):  # a reset, seen by who reads and by who writes
                self.ended.append("reset")


class Linked:
    """A link in an event loop of its own, with a server behind it."""

    def __init__(self, behind: Behind, plan: Schedule | None) -> None:
        self.behind = behind
        self.link = Link()
        self.player = Player(self.link, plan)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self._thread.start()
        assert self._ready.wait(_LIMIT_S)

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self.port = await self.link.open("127.0.0.1", 0, self.behind.address)
        self.player.start()
        self._ready.set()
        await self._stop.wait()
        self.player.stop()
        await self.link.close()

    def ask(self, call: Callable[..., Any], *args: Any) -> Any:
        """`call(*args)` in the link's own loop."""

        async def asked() -> Any:
            return call(*args)

        return asyncio.run_coroutine_threadsafe(asked(), self.loop).result(_LIMIT_S)

    def apply(self, **shape: Any) -> None:
        self.ask(self.link.apply, Shape(**shape))

    def client(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), timeout=_LIMIT_S)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_LIMIT_S)
        assert not self._thread.is_alive()


@contextlib.contextmanager
def linked(plan: Schedule | None = None, **shape: Any) -> Iterator[Linked]:
    behind = Behind()
    session = Linked(behind, plan)
    try:
        if shape:
            session.apply(**shape)
        yield session
    finally:
        session.close()
        behind.listener.close()


def acked_bytes(client: socket.socket) -> int:
    info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return int(struct.unpack_from("<Q", info, _ACKED_BYTES_AT)[0])


def until(true: Callable[[], bool], limit_s: float = _LIMIT_S) -> None:
    end_s = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end_s, "it did not come true in time"
        time.sleep(0.005)


def send_until_refused(client: socket.socket, limit_s: float = _HANGS_S) -> int:
    """Fill the kernel's buffers for a while; how many bytes they took."""
    client.settimeout(0.01)
    taken, end_s = 0, time.monotonic() + limit_s
    while time.monotonic() < end_s:
        with contextlib.suppress(TimeoutError):
            taken += client.send(b"u" * 65536)
    client.settimeout(_LIMIT_S)
    return taken


def rate_mbit_s(size_bytes: int, seconds: float) -> float:
    return size_bytes * 8 / seconds / 1e6


@pytest.mark.alone
@pytest.mark.parametrize(("mbit_s", "size_bytes"), [(0.4, 60_000), (3.0, 500_000), (20.0, 3_000_000)])
def test_an_upload_goes_at_the_links_rate(mbit_s: float, size_bytes: int) -> None:
    with linked(rate_bit_s=mbit_s * 1e6, rtt_s=0.02) as session, session.client() as client:
        begun_s = time.monotonic()
        client.sendall(b"u" * size_bytes)
        until(lambda: len(session.behind.received) >= size_bytes)
        taken_s = time.monotonic() - begun_s - 0.03
    assert rate_mbit_s(size_bytes, taken_s) == pytest.approx(mbit_s, rel=0.2)


@pytest.mark.alone
def test_a_download_goes_at_the_links_rate() -> None:
    with linked(rate_bit_s=4e6) as session:
        session.behind.greeting = b"d" * 600_000
        with session.client() as client:
            begun_s, size_bytes = time.monotonic(), 0
            while size_bytes < 600_000:
                size_bytes += len(client.recv(65536))
            taken_s = time.monotonic() - begun_s
    assert rate_mbit_s(size_bytes, taken_s) == pytest.approx(4, rel=0.2)


@pytest.mark.alone
def test_the_senders_kernel_sees_bytes_acknowledged_at_the_links_rate() -> None:
    with linked(rate_bit_s=2e6) as session, session.client() as client:
        push = threading.Thread(target=client.sendall, args=(b"u" * 400_000,))
        push.start()
        until(lambda: acked_bytes(client) > 20_000)
        begun_s, before = time.monotonic(), acked_bytes(client)
        until(lambda: acked_bytes(client) > before + 250_000)
        taken_s = time.monotonic() - begun_s
        ahead_bytes = acked_bytes(client) - len(session.behind.received)
        push.join()
    assert rate_mbit_s(250_000, taken_s) == pytest.approx(2, rel=0.2)
    assert ahead_bytes < 20_000


def test_connections_share_the_rate_of_their_direction() -> None:
    with linked(rate_bit_s=8e6) as session, session.client() as first, session.client() as second:
        begun_s = time.monotonic()
        pushes = [threading.Thread(target=client.sendall, args=(b"u" * 500_000,)) for client in (first, second)]
        for push in pushes:
            push.start()
        until(lambda: len(session.behind.received) >= 1_000_000)
        taken_s = time.monotonic() - begun_s
        for push in pushes:
            push.join()
    assert rate_mbit_s(1_000_000, taken_s) == pytest.approx(8, rel=0.2)


def test_up_and_down_do_not_share_their_rate() -> None:
    with linked(rate_bit_s=4e6) as session:
        session.behind.greeting = b"d" * 500_000
        with session.client() as client:
            begun_s, size_bytes = time.monotonic(), 0
            push = threading.Thread(target=client.sendall, args=(b"u" * 500_000,))
            push.start()
            while size_bytes < 500_000:
                size_bytes += len(client.recv(65536))
            push.join()
            until(lambda: len(session.behind.received) >= 500_000)
            taken_s = time.monotonic() - begun_s
    # The server reads after it has written, and 500 kB do not fit any buffer: shared, they would need 2 s.
    assert taken_s < 1.8


def test_a_round_trip_takes_the_links_time_and_a_new_connection_one_more() -> None:
    with linked(rtt_s=0.3) as session:
        session.behind.echo = True
        begun_s = time.monotonic()
        with session.client() as client:
            client.sendall(b"first")
            assert client.recv(16) == b"first"
            first_s = time.monotonic() - begun_s
            client.sendall(b"second")
            assert client.recv(16) == b"second"
            second_s = time.monotonic() - begun_s - first_s
    assert first_s >= 0.6
    assert 0.3 <= second_s < 0.6


def test_without_a_shape_nothing_is_slowed_or_changed() -> None:
    payload = bytes(range(256)) * 20_000
    with linked() as session:
        session.behind.greeting = payload
        with session.client() as client:
            got = bytearray()
            while len(got) < len(payload):
                got += client.recv(65536)
            client.sendall(payload)
            client.shutdown(socket.SHUT_WR)
            assert client.recv(16) == b""
        assert bytes(got) == payload
        assert bytes(session.behind.received) == payload
        assert session.behind.ended == ["closed"]
        assert session.link.state()["bytes_up"] == len(payload)
        assert session.link.state()["bytes_down"] == len(payload)


def test_an_outage_stops_acknowledgements_and_loses_nothing() -> None:
    with linked(rate_bit_s=20e6) as session, session.client() as client:
        client.sendall(b"before")
        until(lambda: bytes(session.behind.received) == b"before")
        session.apply(outage=True)
        taken = send_until_refused(client)
        assert bytes(session.behind.received) == b"before"
        assert acked_bytes(client) < 10_000
        session.apply(rate_bit_s=50e6)
        until(lambda: len(session.behind.received) == len(b"before") + taken)
        assert session.behind.received[6:] == b"u" * taken


def test_an_outage_holds_answers_too() -> None:
    with linked() as session, session.client() as client:
        session.behind.echo = True
        client.sendall(b"one")
        assert client.recv(16) == b"one"
        session.apply(rtt_s=0.2)
        client.sendall(b"two")
        until(lambda: session.behind.received.endswith(b"two"))
        session.apply(outage=True)
        client.settimeout(_HANGS_S)
        with pytest.raises(TimeoutError):
            client.recv(16)
        session.apply()
        client.settimeout(_LIMIT_S)
        assert client.recv(16) == b"two"


def test_a_connection_made_in_an_outage_hangs_and_then_goes_on() -> None:
    with linked(outage=True) as session, session.client() as client:
        session.behind.echo = True
        client.sendall(b"hello")
        client.settimeout(_HANGS_S)
        with pytest.raises(TimeoutError):
            client.recv(16)
        assert session.link.state()["connections_accepted"] == 0
        session.apply()
        client.settimeout(_LIMIT_S)
        assert client.recv(16) == b"hello"


def test_a_reset_of_all_connections_reaches_both_sides_as_a_reset() -> None:
    with linked() as session, session.client() as client:
        client.sendall(b"hello")
        until(lambda: bytes(session.behind.received) == b"hello")
        session.ask(session.link.reset_all)
        with pytest.raises(ConnectionResetError):
            client.recv(16)
        until(lambda: session.behind.ended == ["reset"])
        with session.client() as other:
            other.sendall(b"again")
            until(lambda: session.behind.received.endswith(b"again"))


def test_a_client_that_breaks_off_is_a_reset_for_the_server() -> None:
    with linked() as session:
        client = session.client()
        client.sendall(b"hello")
        until(lambda: bytes(session.behind.received) == b"hello")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        until(lambda: session.behind.ended == ["reset"])
        until(lambda: session.link.state()["connections"] == 0)


def test_with_nobody_behind_it_a_connection_is_reset() -> None:
    with linked() as session:
        session.behind.listener.shutdown(socket.SHUT_RDWR)
        with pytest.raises(ConnectionResetError), session.client() as client:
            client.recv(16)


def test_a_dripping_link_lets_one_byte_through_at_a_time() -> None:
    with linked(drip_s=0.03) as session:
        session.behind.greeting = b"0123456789"
        with session.client() as client:
            begun_s = time.monotonic()
            pieces = [client.recv(16) for _ in range(10)]
            taken_s = time.monotonic() - begun_s
    assert pieces == [bytes([digit]) for digit in b"0123456789"]
    assert taken_s >= 0.27


def test_a_receiver_that_does_not_read_holds_the_sender_up() -> None:
    with linked() as session:
        session.behind.greeting = b"d" * 100_000_000
        with session.client() as client:
            client.recv(1)
            until(lambda: session.link.down.passed_bytes > 0)

            def stands_still() -> bool:
                before = session.link.down.passed_bytes
                time.sleep(0.2)
                return session.link.down.passed_bytes == before

            until(stands_still)
            assert session.link.down.passed_bytes < 50_000_000


def test_nothing_runs_on_a_timer_while_the_link_is_idle() -> None:
    with linked(rate_bit_s=1e6, rtt_s=0.01) as session, session.client() as client:
        session.behind.echo = True
        client.sendall(b"hello")
        assert client.recv(16) == b"hello"
        loop: Any = session.loop
        until(lambda: [timer for timer in loop._scheduled if not timer.cancelled()] == [])


def test_closing_the_link_ends_hanging_connections_at_once() -> None:
    with linked(rate_bit_s=1000) as session:
        client = session.client()
        client.sendall(b"u" * 2000)
        until(lambda: session.link.state()["connections"] == 1)
        begun_s = time.monotonic()
        session.close()
        assert time.monotonic() - begun_s < 1
        with pytest.raises(ConnectionResetError):
            client.recv(16)
        client.close()
        session.close = lambda: None  # type: ignore[method-assign]


def test_a_schedule_goes_through_its_phases_and_begins_again() -> None:
    plan = Schedule((Phase("a", Shape(rate_bit_s=1e6), 0.05), Phase("b", Shape(outage=True), 0.05)))
    seen: list[object] = []
    with linked(plan) as session:

        def seen_twice() -> bool:
            phase = session.ask(session.player.state)["phase"]
            if not seen or seen[-1] != phase:
                seen.append(phase)
            return len(seen) >= 4

        until(seen_twice)
    assert seen[:4] in (["a", "b", "a", "b"], ["b", "a", "b", "a"])


def test_a_schedule_played_once_stays_in_its_last_phase() -> None:
    plan = Schedule((Phase("a", Shape(rate_bit_s=1e6), 0.02), Phase("b", Shape(rtt_s=0.5), 0.02)), once=True)
    with linked(plan) as session:
        until(lambda: session.ask(session.player.state)["seconds_left"] is None)
        assert session.ask(session.player.state)["phase"] == "b"
        assert session.link.shape.rtt_s == 0.5


def test_setting_the_link_by_hand_ends_the_schedule_and_keeps_what_is_not_named() -> None:
    plan = schedule.parse("good:0.05,slow:0.05")
    with linked(plan) as session:
        session.ask(session.player.set_by_hand, {"rate_mbit_s": 2, "rtt_ms": 0})
        session.ask(session.player.set_by_hand, {"outage": True})
        time.sleep(0.15)
        state = session.ask(session.player.state)
    assert (state["phase"], state["seconds_left"]) == ("by hand", None)
    assert (state["rate_mbit_s"], state["rtt_ms"], state["outage"]) == (2, 0, True)


@pytest.mark.parametrize(
    "values",
    [{"speed": 1}, {"rate_mbit_s": 0}, {"rate_mbit_s": "2"}, {"rtt_ms": -1}, {"outage": "yes"}, {"drip_s": True}],
)
def test_a_wrong_value_by_hand_is_a_sentence_and_changes_nothing(values: dict[str, object]) -> None:
    player = Player(Link(), None)
    with pytest.raises(ConfigError, match="the link"):
        player.set_by_hand(values)
    assert player._link.shape == Shape()


def test_a_schedule_is_read_from_one_word() -> None:
    plan = schedule.parse("good:15, slow:10,dead:8,hill=2mbit/60ms:1.5,cave=64kbit/600ms:2", once=True)
    assert [(phase.name, phase.seconds) for phase in plan.phases] == [
        ("good", 15),
        ("slow", 10),
        ("dead", 8),
        ("hill", 1.5),
        ("cave", 2),
    ]
    assert plan.phases[0].shape == PRESETS["good"] == Shape(rate_bit_s=20e6, rtt_s=0.04)
    assert plan.phases[2].shape.outage
    assert plan.phases[3].shape == Shape(rate_bit_s=2e6, rtt_s=0.06)
    assert plan.phases[4].shape == Shape(rate_bit_s=64e3, rtt_s=0.6)
    assert plan.once


def test_one_phase_alone_needs_no_seconds() -> None:
    assert schedule.parse("slow").phases == (Phase("slow", PRESETS["slow"], None),)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "neither"),
        ("fast:3", "good, fair, slow, dead"),
        ("good:x", "neither"),
        ("good,slow:3", "no seconds"),
        ("good:0", "0 s"),
        ("own=0mbit/5ms:3", "no rate"),
        ("own=2/5ms:3", "neither"),
    ],
)
def test_a_schedule_that_is_none_says_what_would_be(text: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        schedule.parse(text)
