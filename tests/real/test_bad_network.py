"""The agent against what a network does besides being slow, with the kernel's own TCP: every frame is answered in time.

The cloud is the same for all tests; each has its own agent at the edge. "Used again" is measured from the moment that
the fault is over until the cloud's answer to a frame captured after it is published.
"""

import contextlib
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, final

import pytest
from real.shaped_link import (
    BEHIND,
    CLOUD,
    EDGE,
    PORT,
    REASON,
    Door,
    ShapedLink,
    Site,
    overdue,
    unanswered,
)
from real.systemd_box import wait_until

pytestmark = [pytest.mark.skipif(bool(REASON), reason=REASON), pytest.mark.alone]
RETURN_S = 5.0
"""From the end of the fault until the cloud is used again, at most."""
RATE_BIT_S, RTT_S = 8e6, 0.060
NARROW_PORT: Final = 9003
"""Of the door that takes in little for a reader that does not read."""
NARROW_BYTES: Final = 16 * 1024
NAME, NAME_SERVER_PORT = "api.example", 53
ANOTHER_EDGE = "10.9.0.77"
HASTY = "options timeout:1 attempts:2\n"
"""What the documentation advises."""


@dataclass(frozen=True, slots=True)
class Cloud:
    """What is the same for all tests."""

    link: ShapedLink
    door: Door


@pytest.fixture(scope="module")
def cloud(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with ShapedLink(shared, "network") as link, Door(link, PORT, BEHIND) as door:
        link.set(rate_bit_s=RATE_BIT_S, rtt_s=RTT_S)
        Site(link, tmp_path_factory.mktemp("cloud"), shared).start_cloud()
        yield Cloud(link, door)


@pytest.fixture
def site(cloud: Cloud, shared: Path, tmp_path: Path) -> Iterator[Site]:
    it = Site(cloud.link, tmp_path, shared)
    yield it
    cloud.door.drips = False
    if cloud.link.processes("edge"):
        it.stop()


@final
class NameServer:
    """Knows one name, at the cloud's end; says what address it has, or nothing at all. Its thread owns the socket."""

    def __init__(self, link: ShapedLink) -> None:
        self.answers = True
        self.asked = 0
        """How often, answered or not."""
        self._socket = link.socket("cloud", socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> "NameServer":
        self._socket.bind((CLOUD, NAME_SERVER_PORT))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # not connected; it ends the wait all the same
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            query, client = self._socket.recvfrom(512)
            if not query:
                return
            self.asked += 1
            if self.answers:
                self._socket.sendto(_answer(query), client)


def _answer(query: bytes) -> bytes:
    """The address of whatever was asked for; for other kinds than A, that there is none (RFC 1035, section 4.1)."""
    end = query.index(0, 12) + 5
    is_a = query[end - 4 : end - 2] == b"\0\1"
    head = query[:2] + b"\x81\x80" + b"\0\1" + (b"\0\1" if is_a else b"\0\0") + bytes(4)
    record = b"\xc0\x0c" + b"\0\1\0\1" + (1).to_bytes(4, "big") + b"\0\4" + socket.inet_aton(CLOUD)
    return head + query[12:end] + (record if is_a else b"")


@contextlib.contextmanager
def name_server(link: ShapedLink, options: str = "") -> Iterator[NameServer]:
    """A name server in the cloud, and an edge that asks it, with these options of resolv.conf."""
    folder = Path("/etc/netns") / link.space("edge")  # `ip netns exec` puts what is in it over /etc
    folder.mkdir(parents=True)
    try:
        (folder / "resolv.conf").write_text(f"nameserver {CLOUD}\n{options}")
        with NameServer(link) as server:
            yield server
    finally:
        shutil.rmtree(folder)
        with contextlib.suppress(OSError):  # others may have theirs in it
            folder.parent.rmdir()


def move(link: ShapedLink, before: str, after: str) -> None:
    """The edge has another address from now on: what it sends from the one before does not even leave it."""
    link.ip("edge", "addr", "del", before, "peer", CLOUD, "dev", link.device("edge"))
    link.ip("edge", "addr", "add", after, "peer", CLOUD, "dev", link.device("edge"))
    link.ip("cloud", "route", "replace", after, "dev", link.device("cloud"))


def divert(link: ShapedLink, before: str, after: str) -> None:
    """As behind a router whose own address changes: the edge notices nothing, but nobody answers what was open."""
    edge, cloud = link.device("edge"), link.device("cloud")
    link.ip("edge", "addr", "replace", f"{after}/32", "dev", edge)
    link.ip("edge", "route", "replace", CLOUD, "dev", edge, "src", after)
    link.ip("cloud", "route", "replace", "blackhole", before)
    link.ip("cloud", "route", "replace", after, "dev", cloud)


def until_on_cloud(site: Site) -> None:
    """Return when the agent has been started and the cloud serves it."""
    site.wait_for("cloud", 20, since_s=0.0)


def after_fault_s(site: Site) -> float:
    """The fault is over: how long it takes until the cloud is used again."""
    return site.wait_for("cloud", 1, since_s=time.monotonic())


def assert_all_answered(site: Site) -> None:
    """In time, and none left out, since the agent was started."""
    records = site.records()
    assert overdue(records) == [], site.log()
    assert unanswered(records) == [], site.log()


def test_answers_that_drip_in_a_byte_a_second_delay_no_frame(cloud: Cloud, site: Site) -> None:
    site.start_agent()
    until_on_cloud(site)
    begun_s = time.monotonic()
    cloud.door.drips = True
    site.wait_for("local", 100, since_s=begun_s)  # longer than the agent waits for an answer
    cloud.door.drips = False
    returned_s = after_fault_s(site)
    cloud.door.drips = True
    site.wait_for("local", 10, since_s=time.monotonic())
    site.stop()
    assert_all_answered(site)
    assert returned_s <= RETURN_S


def test_a_server_that_takes_connections_and_never_reads_delays_no_frame(cloud: Cloud, site: Site) -> None:
    with Door(cloud.link, NARROW_PORT, BEHIND, buffer_bytes=NARROW_BYTES) as door:
        site.start_agent(port=NARROW_PORT)
        until_on_cloud(site)
        begun_s = time.monotonic()
        door.reads = False
        taken = door.taken
        site.wait_for("local", 60, since_s=begun_s)
        assert door.taken > taken, "the agent has not tried again"
        door.reads = True
        returned_s = after_fault_s(site)
        door.reads = False
        site.wait_for("local", 10, since_s=time.monotonic())
        site.stop()
    assert_all_answered(site)
    assert returned_s <= RETURN_S


def test_while_no_name_server_answers_every_frame_is_answered_on_the_device(cloud: Cloud, site: Site) -> None:
    with name_server(cloud.link, HASTY) as names:
        names.answers = False
        site.start_agent(host=NAME)
        site.wait_for("local", 60, since_s=0.0)
        wait_until(lambda: "cannot be resolved" in site.log(), "the fault's name in the log")
        names.answers = True
        returned_s = after_fault_s(site)
        site.stop()
    assert_all_answered(site)
    assert returned_s <= RETURN_S


def test_a_look_up_that_hangs_does_not_keep_the_agent_from_ending(cloud: Cloud, site: Site) -> None:
    with name_server(cloud.link) as names:
        names.answers = False
        site.start_agent(host=NAME)
        site.wait_for("local", 20, since_s=0.0)
        assert names.asked > 0
        site.stop()
    assert_all_answered(site)


def test_an_address_that_served_goes_on_being_used_when_the_name_server_dies(cloud: Cloud, site: Site) -> None:
    with name_server(cloud.link) as names:
        site.start_agent(host=NAME)
        until_on_cloud(site)
        names.answers, asked, taken = False, names.asked, cloud.door.taken
        cloud.door.drop()
        returned_s = after_fault_s(site)
        site.wait_for("cloud", 20, since_s=time.monotonic())
        site.stop()
    assert_all_answered(site)
    assert returned_s <= RETURN_S
    assert cloud.door.taken > taken
    assert names.asked == asked


@pytest.mark.parametrize("change", [move, divert])
def test_connections_that_lead_nowhere_after_a_change_of_address_are_replaced(
    cloud: Cloud, site: Site, change: Callable[[ShapedLink, str, str], None]
) -> None:
    site.start_agent()
    until_on_cloud(site)
    taken = cloud.door.taken
    change(cloud.link, EDGE, ANOTHER_EDGE)
    returned_s = after_fault_s(site)
    change(cloud.link, ANOTHER_EDGE, EDGE)
    returned_again_s = after_fault_s(site)
    site.stop()
    assert_all_answered(site)
    assert max(returned_s, returned_again_s) <= RETURN_S
    assert cloud.door.taken >= taken + 2
