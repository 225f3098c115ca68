"""Two network namespaces joined by a link as bad as a test wants it, and the kernel's own TCP at both ends.

The link is the shaper in the folder of test data (linkshape.py): two TUN devices and a process that queues, delays and
drops between them. Owner: the test that opens it; nothing is left behind. Needs root and /dev/net/tun.
"""

import asyncio
import contextlib
import ctypes
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, TypeAlias, final

from real.agent_process import environment
from real.systemd_box import wait_until

End: TypeAlias = Literal["edge", "cloud"]
_ENDS: Final[tuple[End, End]] = ("edge", "cloud")
EDGE, CLOUD = "10.9.0.1", "10.9.0.2"
"""The addresses of the two ends."""
IP_HEADERS_BYTES, SEGMENT_BYTES = 52, 1448
"""Of 1500 bytes on the link: IPv4 20, TCP 20 and its time stamp 12, and what is left for payload. The shaper's rate
counts whole packets."""
FPS, DEADLINE_MS, SERVER_MS = 10, 500, 100
PORT, BEHIND = 9001, 9002
"""Where the door listens, and where the emulator does, on the cloud's loopback."""
STOP_LIMIT_S = 15.0
"""The agent's own limits add up to less."""
CONFIG = """
agent: tester
cameras:
  - name: street
    source: {{type: video_file, path: {shared}/media/vtest.avi, realtime: true, fps: {fps}, loop: true}}
engines:
  local: {{type: tflite, model: {shared}/models/yolov8n_224_full_int8.tflite, threads: 1}}
  cloud: {{type: roboflow, model: street/1, url: "http://{host}:{port}", api_key: {{file: key}}}}
routing: {{deadline_ms: {deadline_ms}}}
sinks:
  - {{type: jsonl, path: results.jsonl}}
"""
_NAMED_SPACES = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_CAP_NET_ADMIN, _CAP_SYS_ADMIN = 12, 21
_LIMIT_S = 10.0
_POLL_S = 0.05
_QUEUE_BYTES = 256_000
_CONGESTION_CONTROLS = "cubic reno"
"""The first is what Debian, Raspberry Pi OS and JetPack have. A machine that is set to another may not allow it."""


def _why_not() -> str:
    if not Path("/dev/net/tun").exists() or shutil.which("ip") is None:
        return "needs /dev/net/tun and the program ip (Debian: iproute2)"
    effective = re.search(r"^CapEff:\s*(\w+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert effective is not None
    held = int(effective[1], 16)
    may = held >> _CAP_SYS_ADMIN & held >> _CAP_NET_ADMIN & 1
    return "" if os.getuid() == 0 and may else "needs root with CAP_NET_ADMIN and CAP_SYS_ADMIN, for network namespaces"


REASON = _why_not()
"""Why no shaped link can be had; empty when one can."""


@final
class ShapedLink:
    """`with ShapedLink(shared, "name") as link:` an edge and a cloud, and the link between them."""

    def __init__(self, shared: Path, name: str, *, seed: int = 1) -> None:
        """Nothing runs yet. `seed`: of the shaper's losses."""
        self.name = f"{name}-{secrets.token_hex(3)}"
        self._shaper = shared / "testkit" / "linkshape.py"
        self._seed = seed
        self._process: subprocess.Popen[str] | None = None
        self._started: list[subprocess.Popen[str]] = []

    def __enter__(self) -> "ShapedLink":
        command = [sys.executable, str(self._shaper), self.name, "--seed", str(self._seed)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            self._close()
            raise AssertionError(f"{self._shaper} did not become ready")
        for end in _ENDS:
            control = "/proc/sys/net/ipv4/tcp_congestion_control"
            choose = f"for name in {_CONGESTION_CONTROLS}; do echo $name > {control} && exit; done; exit 1"
            if subprocess.run(self.command(end, "sh", "-c", choose), stderr=subprocess.DEVNULL, check=False).returncode:
                self._close()
                raise AssertionError(f"none of {_CONGESTION_CONTROLS} is allowed here")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def space(self, end: End) -> str:
        """The network namespace of that end."""
        return f"{self.name}-{end}"

    def set(
        self, *, rate_bit_s: float = 0, rtt_s: float = 0.0, loss: float = 0.0, outage: Literal["", "drop", "hold"] = ""
    ) -> None:
        """From now on the link is like this, both ways alike.

        Args:
            rate_bit_s: of whole packets; 0: no limit.
            rtt_s: half of it each way.
            loss: share of the packets that get lost each way, 0..1.
            outage: "drop": no packet gets through; "hold": none does until it is over.
        """
        shape = {"rate": rate_bit_s, "delay": rtt_s / 2, "loss": loss, "outage": outage, "queue": _QUEUE_BYTES}
        self._ask({"both": shape})

    def stats(self) -> dict[str, dict[str, int]]:
        """Packets since the start by what became of them, each way, and bytes that came out."""
        answer: dict[str, dict[str, int]] = json.loads(self._ask({"stats": 1}))
        return answer

    def _ask(self, step: Mapping[str, object]) -> bytes:
        """Returns when the shaper has taken it."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as control:
            control.bind(f"\0{self.name}-{secrets.token_hex(4)}")
            control.settimeout(_LIMIT_S)
            control.sendto(json.dumps(step).encode(), f"/run/linkshape-{self.name}.sock")
            return control.recv(65536)

    def command(self, end: End, *words: str | Path) -> list[str]:
        """The command line that runs `words` at that end."""
        return ["ip", "netns", "exec", self.space(end), *map(str, words)]

    def start_vedette(self, end: End, *arguments: str | Path, folder: Path) -> subprocess.Popen[str]:
        """Start `vedette ARGUMENTS` at that end; its output goes to files in `folder`, named after its command."""
        command = self.command(end, sys.executable, "-m", "agent", *arguments)
        with (folder / f"{arguments[0]}.txt").open("a") as log:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
            )
        self._started.append(process)
        return process

    def ip(self, end: End, *words: str) -> str:
        """Run `ip WORDS` on the network of that end; what it printed."""
        command = ["ip", "-n", self.space(end), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def device(self, end: End) -> str:
        """Name of the end's network device."""
        found = re.search(r"^\d+: (l[ec]\d+)", self.ip(end, "-o", "link"), re.MULTILINE)
        assert found is not None
        return found[1]

    def processes(self, end: End) -> list[int]:
        """The processes that live at that end."""
        found = subprocess.run(["ip", "netns", "pids", self.space(end)], check=False, capture_output=True, text=True)
        return [int(pid) for pid in found.stdout.split()]

    def socket(self, end: End, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
        """An IPv4 socket on the network of that end, for this process to use."""
        made: list[socket.socket] = []

        def make() -> None:
            with (_NAMED_SPACES / self.space(end)).open() as space:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(space.fileno(), _CLONE_NEWNET) == 0:
                    made.append(socket.socket(socket.AF_INET, kind))

        # A namespace is entered by the thread, which ends here, and not by the process.
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        assert made, f"cannot enter the network namespace {self.space(end)}"
        return made[0]

    def _close(self) -> None:
        for end in _ENDS:
            for pid in self.processes(end):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for process in self._started:
            process.kill()
            process.wait()
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_LIMIT_S)
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
        for end in _ENDS:
            subprocess.run(["ip", "netns", "del", self.space(end)], check=False, capture_output=True)
        Path(f"/run/linkshape-{self.name}.sock").unlink(missing_ok=True)


@final
class Door:
    """The way into the cloud: forwards connections to a port of that end's loopback, and is as bad as a test wants it.

    The emulator's own port will not do for this: its buffers are small on purpose, so that it can play a slow link.
    State is owned by the event loop of its thread; a test turns `drips` and `reads`.
    """

    def __init__(self, link: ShapedLink, port: int, behind: int, *, buffer_bytes: int | None = None) -> None:
        """Nothing listens yet. `buffer_bytes`: about what the kernel takes in for a reader that does not read."""
        self.drips = False
        """Answers come at a byte a second."""
        self.reads = True
        """False: connections are taken, and nothing on them is."""
        self.taken = 0
        """How many connections were ever made."""
        self._link = link
        self._address = CLOUD, port
        self._behind = behind
        self._buffer_bytes = buffer_bytes
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._carrying: set[asyncio.Task[None]] = set()

    def __enter__(self) -> "Door":
        self._listener = self._link.socket("cloud")
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._buffer_bytes is not None:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer_bytes)
        self._listener.bind(self._address)
        self._listener.listen()
        self._listener.setblocking(False)
        self._accepting = self._loop.create_task(self._accept())
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def drop(self) -> None:
        """Break off all connections."""
        self._do(self._drop())

    def _do(self, work: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_LIMIT_S)

    async def _drop(self) -> None:
        for task in self._carrying:
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)

    async def _close(self) -> None:
        self._accepting.cancel()
        await asyncio.gather(self._accepting, return_exceptions=True)
        self._listener.close()
        await self._drop()

    async def _accept(self) -> None:
        while True:
            client, _ = await self._loop.sock_accept(self._listener)
            self.taken += 1
            task = self._loop.create_task(self._carry(client))
            self._carrying.add(task)
            task.add_done_callback(self._carrying.discard)

    async def _carry(self, client: socket.socket) -> None:
        """One connection, until either side ends it."""
        with client, self._link.socket("cloud") as server:
            server.setblocking(False)
            with contextlib.suppress(OSError):
                await self._loop.sock_connect(server, ("127.0.0.1", self._behind))
                copies = [
                    self._loop.create_task(work) for work in (self._up(client, server), self._down(server, client))
                ]
                try:
                    await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for copy in copies:
                        copy.cancel()
                    await asyncio.gather(*copies, return_exceptions=True)

    async def _up(self, client: socket.socket, server: socket.socket) -> None:
        while True:
            await self._readable(client)
            if not self.reads:
                await asyncio.sleep(_POLL_S)
                continue
            data = client.recv(65536)
            if not data:
                return
            await self._loop.sock_sendall(server, data)

    async def _down(self, server: socket.socket, client: socket.socket) -> None:
        while data := await self._loop.sock_recv(server, 65536):
            for at in range(0, len(data), step := 1 if self.drips else len(data)):
                await self._loop.sock_sendall(client, data[at : at + step])
                await asyncio.sleep(1.0 if self.drips else 0.0)

    async def _readable(self, end: socket.socket) -> None:
        """Return when `end` has bytes or has ended; takes nothing from it."""
        ready = asyncio.Event()
        self._loop.add_reader(end, ready.set)
        try:
            await ready.wait()
        finally:
            self._loop.remove_reader(end)


class Site:
    """The agent at the edge with a street's video, the emulated API in the cloud, and the door between them."""

    def __init__(self, link: ShapedLink, folder: Path, shared: Path) -> None:
        """Nothing runs yet. `shared`: the folder of models and media."""
        self.link = link
        self.folder = folder
        self._shared = shared
        self._agent: subprocess.Popen[str] | None = None
        (folder / "key").write_text("k")

    def start_cloud(self) -> None:
        """Start the emulator, and return when it serves at port `BEHIND` of the cloud's loopback."""
        model = self._shared / "models" / "yolov8n_320_full_int8_nhwc.tflite"
        options = ("--port", "0", "--control-port", str(BEHIND), "--key-file", "key", "--server-ms", str(SERVER_MS))
        self.link.start_vedette(
            "cloud", "emulate", *options, "--project", "street/1", "--model", model, folder=self.folder
        )
        log = self.folder / "emulate.txt"
        wait_until(lambda: log.exists() and "emulating" in log.read_text(), "the emulator")

    def start_agent(self, *, host: str = CLOUD, port: int = PORT) -> None:
        """Start the agent; `host` and `port`: where it thinks the API is."""
        text = CONFIG.format(shared=self._shared, fps=FPS, deadline_ms=DEADLINE_MS, host=host, port=port)
        (self.folder / "vedette.yaml").write_text(text)
        self._agent = self.link.start_vedette("edge", "run", "vedette.yaml", folder=self.folder)

    def records(self, since_s: float = 0.0) -> list[dict[str, Any]]:
        """First answers to the frames captured since the monotonic time `since_s`, in order of capture."""
        path = self.folder / "results.jsonl"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        lines = text.splitlines(keepends=True)
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        return [record for record in found if record["revision"] == 0 and record["captured_monotonic_s"] >= since_s]

    def wait_for(self, route: str, count: int, *, since_s: float, limit_s: float = 30.0) -> float:
        """Wait until `count` frames captured since then were answered by `route`; how long after then the last was."""

        def answered_s() -> list[float]:
            found = [record for record in self.records(since_s) if record["route"]["published"] == route]
            return [record["captured_monotonic_s"] + record["latency_ms"]["total"] / 1000 for record in found]

        wait_until(lambda: len(answered_s()) >= count, f"{count} answers of {route}", limit_s)
        return answered_s()[count - 1] - since_s

    def stop(self) -> float:
        """Ask the agent to end; the seconds until it did, with exit code 0 and no process left behind."""
        assert self._agent is not None
        asked_s = time.monotonic()
        self._agent.send_signal(signal.SIGTERM)
        code = self._agent.wait(STOP_LIMIT_S)
        took_s = time.monotonic() - asked_s
        assert code == 0, self.log()
        assert self.link.processes("edge") == []
        return took_s

    def log(self) -> str:
        """What the agent has logged."""
        return (self.folder / "run.txt").read_text(encoding="utf-8")


def unanswered(records: list[dict[str, Any]]) -> list[int]:
    """The sequence numbers that are missing between the first and the last."""
    seqs = [record["seq"] for record in records]
    assert seqs == sorted(set(seqs)), "answers are not in order of capture"
    return sorted(set(range(seqs[0], seqs[-1] + 1)) - set(seqs))


def overdue(records: list[dict[str, Any]]) -> list[tuple[int, float]]:
    """Sequence number and milliseconds of the answers that came after the deadline and one frame period."""
    times = [(record["seq"], record["latency_ms"]["total"]) for record in records]
    return [(seq, total_ms) for seq, total_ms in times if total_ms > DEADLINE_MS + 1000 / FPS]
