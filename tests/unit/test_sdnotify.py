import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from agent.sdnotify import Notifier


class Manager:
    """The service manager's end of the socket."""

    def __init__(self, address: str) -> None:
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._channel.bind(address)
        self._channel.setblocking(False)

    def heard(self) -> list[str]:
        """What has come since the last call, one entry for each datagram."""
        messages: list[str] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                messages.append(self._channel.recv(65536).decode())
        return messages

    def close(self) -> None:
        """Stop listening."""
        self._channel.close()


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    address = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    made = Manager(address)
    yield made
    made.close()


def say_everything(notifier: Notifier) -> None:
    notifier.ready()
    notifier.alive()
    notifier.status("door: 3 results")
    notifier.stopping()


EVERYTHING = ["READY=1", "WATCHDOG=1", "STATUS=door: 3 results", "STOPPING=1"]


def test_systemd_hears_every_word_in_order_each_in_a_datagram_of_its_own(manager: Manager) -> None:
    say_everything(Notifier())
    assert manager.heard() == EVERYTHING


def test_systemd_hears_it_on_an_abstract_socket_too(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"vedette-test-{uuid4()}"
    manager = Manager("\0" + name)
    monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
    say_everything(Notifier())
    assert manager.heard() == EVERYTHING
    manager.close()


def test_a_start_that_goes_on_is_granted_more_time(manager: Manager) -> None:
    Notifier().extend(30.0)
    assert manager.heard() == ["EXTEND_TIMEOUT_USEC=30000000"]


def test_a_status_is_said_again_only_when_it_changes(manager: Manager) -> None:
    notifier = Notifier()
    for text in ("", "one", "one", "two", "one"):
        notifier.status(text)
    assert manager.heard() == ["STATUS=one", "STATUS=two", "STATUS=one"]


def test_a_status_cannot_smuggle_in_a_second_word(manager: Manager) -> None:
    Notifier().status("fine\nREADY=1")
    assert manager.heard() == ["STATUS=fine READY=1"]


def test_text_that_is_no_unicode_is_said_as_far_as_it_is(manager: Manager) -> None:
    Notifier().status("door \udcff open")
    assert manager.heard() == ["STATUS=door ? open"]


def test_without_systemd_no_socket_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was made although nobody listens")

    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notifier = Notifier()
    monkeypatch.setattr(socket, "socket", refuse)
    say_everything(notifier)


def test_a_manager_that_has_gone_does_not_hurt(manager: Manager, tmp_path: Path) -> None:
    notifier = Notifier()
    manager.close()
    say_everything(notifier)
    (tmp_path / "notify").unlink()
    say_everything(notifier)


def test_an_address_of_an_unknown_kind_does_not_hurt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "vsock:2:1234")
    say_everything(Notifier())


def fill(notifier: Notifier) -> int:
    """Ping until the manager's queue takes no more; how often that was."""
    pings = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text()) + 5
    for _ in range(pings):
        notifier.alive()
    return pings


def test_a_manager_that_listens_no_more_holds_the_agent_up_for_a_moment_only(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.sdnotify._WAIT_S", 0.01)
    pings = fill(Notifier())
    heard = manager.heard()
    assert set(heard) == {"WATCHDOG=1"}
    assert len(heard) < pings, "the queue was never full, so nothing was shown"


def test_ready_is_not_lost_on_a_manager_that_is_busy(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    notifier = Notifier()
    monkeypatch.setattr("agent.sdnotify._WAIT_S", 0.01)
    fill(notifier)
    monkeypatch.setattr("agent.sdnotify._WAIT_S", 30.0)
    speaker = threading.Thread(target=notifier.ready)
    speaker.start()
    speaker.join(0.2)
    assert speaker.is_alive(), "the queue was not full, so nothing was shown"
    heard = manager.heard()
    speaker.join(30.0)
    heard += manager.heard()
    assert heard[-1] == "READY=1"
