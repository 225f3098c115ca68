"""Nobody can connect to the agent: no port is open unless the configuration has a page, and then as it says."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from canary import family
from real.agent_process import start_vedette
from real.broker import wait_until
from real.refusing_world import ended, refusing

_LISTENS = "0A"
_TABLES = ("tcp", "tcp6", "udp", "udp6")


def listening(pid: int) -> set[str]:
    """`tcp 127.0.0.1:80` for each socket that a process or what it has started takes connections or datagrams by.

    A UDP socket that has a peer takes datagrams of that peer alone, as that of a question to a DNS server does.
    """
    pids = family(pid)
    inodes = {inode for each in pids for inode in _sockets(each)}
    return {f"{table} {place}" for table in _TABLES for place, inode in _waiting(pid, table) if inode in inodes}


def _sockets(pid: int) -> Iterator[str]:
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found = re.fullmatch(r"socket:\[(\d+)\]", str(entry.readlink()))
        except OSError:
            continue
        if found:
            yield found[1]


def _waiting(pid: int, table: str) -> Iterator[tuple[str, str]]:
    for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
        _, local, remote, state, *rest = line.split()
        if state == _LISTENS if table.startswith("tcp") else remote.endswith(":0000"):
            yield _readable(local), rest[5]


def _readable(place: str) -> str:
    address, port = place.split(":")
    number = ".".join(str(byte) for byte in reversed(bytes.fromhex(address))) if len(address) == 8 else address
    return f"{number}:{int(port, 16)}"


def said(folder: Path) -> str:
    return (folder / "stderr.txt").read_text()


def test_a_configuration_with_everything_but_a_page_opens_no_port(tmp_path: Path) -> None:
    with refusing(tmp_path, "a plain one") as world:
        file, env = world.configure(form="text", page=None)
        with ended(start_vedette("run", file, folder=tmp_path, **env)) as agent:
            for word in ("capture-rtsp: ", "capture-mjpeg: ", "sink-mqtt-1: ", "sink-webhook-1: "):
                wait_until(lambda word=word: word in said(tmp_path), f"{word}\n{said(tmp_path)[-2000:]}")
            wait_until(lambda: (tmp_path / "results.jsonl").stat().st_size > 0, "results")
            assert len(family(agent.pid)) > 1, "the cameras are read in processes of their own"
            assert listening(agent.pid) == set()


def test_the_demonstration_opens_ports_of_the_loopback_alone(tmp_path: Path) -> None:
    with ended(start_vedette("run", folder=tmp_path)) as agent:
        wait_until(lambda: any("tcp " in place for place in listening(agent.pid)), "the emulated API")
        wait_until(lambda: "cloud" in said(tmp_path), f"a summary\n{said(tmp_path)}", limit_s=30)
        assert {place.split(":")[0] for place in listening(agent.pid)} == {"tcp 127.0.0.1"}


@pytest.mark.parametrize("table", _TABLES)
def test_what_listens_is_found(table: str) -> None:
    import socket

    family_ = socket.AF_INET6 if table.endswith("6") else socket.AF_INET
    kind = socket.SOCK_STREAM if table.startswith("tcp") else socket.SOCK_DGRAM
    with socket.socket(family_, kind) as taken:
        taken.bind(("::1" if table.endswith("6") else "127.0.0.1", 0))
        if kind is socket.SOCK_STREAM:
            assert not any(place.endswith(f":{taken.getsockname()[1]}") for place in listening(os.getpid()))
            taken.listen()
        assert any(
            place.startswith(f"{table} ") and place.endswith(f":{taken.getsockname()[1]}")
            for place in listening(os.getpid())
        )
