"""How many agents does one broker serve, and how soon does a command come back?

Starts one Mosquitto on this machine's loopback and a fleet of simulated agents: the real MQTT sink and the real remote
control of each (two connections), without cameras, in a few processes. For a while each delivers results at QoS 1 and
is sent commands; two readers share a subscription to all results, as a stream engine's do. Broker, agents and readers
share this machine's cores, so the broker alone would do more. The exit code is 1 where a result was not delivered, or a
command not answered.
"""

import argparse
import contextlib
import json
import math
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from agent.demo import free_port  # noqa: E402 - the checkout goes first on the path

BROKER = """
listener {port} 127.0.0.1
allow_anonymous true
max_queued_messages 100000
max_inflight_messages 100
set_tcp_nodelay true
persistence false
log_type error
"""
SETTLE_S = 5.0
"""For what is still on its way at the end."""
OPERATOR = "operators/bench"


@dataclass
class Usage:
    """What a process has used by now."""

    cpu_s: float
    peak_mb: float
    now_mb: float

    @classmethod
    def of(cls, pid: int) -> "Usage":
        """From /proc (proc(5))."""
        times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        ticks = int(times[11]) + int(times[12])
        peak, now = (int(status[name].split()[0]) / 1000 for name in ("VmHWM", "VmRSS"))
        return cls(ticks / os.sysconf("SC_CLK_TCK"), peak, now)


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[tuple[int, int]]:
    """Its port and its process."""
    port = free_port()
    settings = folder / "mosquitto.conf"
    settings.write_text(BROKER.format(port=port))
    program = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin")
    if program is None:
        sys.exit("mosquitto is not installed (Debian: apt install mosquitto)")
    with subprocess.Popen([program, "-c", settings], stderr=subprocess.DEVNULL) as process:
        try:
            time.sleep(0.5)
            yield port, process.pid
        finally:
            process.terminate()


def client(port: int, name: str) -> Client:
    """Connected, with a network thread of its own."""
    made = Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTv5)
    made.connect("127.0.0.1", port, clean_start=True)
    made.loop_start()
    return made


@dataclass
class Reader:
    """One of those that share the results."""

    ids: list[str] = field(default_factory=list)

    def start(self, port: int, name: str) -> Client:
        """Subscribe."""
        made = client(port, name)
        made.on_message = self._note
        made.subscribe("$share/engine/vedette/+/+/results", qos=1)
        return made

    def _note(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        properties = message.properties
        told = dict(properties.UserProperty) if properties is not None else {}  # type: ignore[attr-defined]
        self.ids.append(told["id"])


class Commander:
    """Sends commands to agents drawn by chance, and notes how long each answer takes."""

    def __init__(self, port: int, agents: int) -> None:
        self.took_s: list[float] = []
        self.sent = 0
        self._agents = agents
        self._sent_s: dict[bytes, float] = {}
        self._client = client(port, "bench-commander")
        self._client.on_message = self._note
        self._client.subscribe(OPERATOR, qos=1)
        self._draw = random.Random(7)

    def _note(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        correlation = message.properties.CorrelationData  # type: ignore[union-attr]
        began_s = self._sent_s.pop(correlation, None)
        if began_s is not None and json.loads(message.payload)["status"] == "done":
            self.took_s.append(time.monotonic() - began_s)

    def run(self, a_second: float, seconds: float) -> None:
        """For so long."""
        for number in range(round(a_second * seconds)):
            began_s = time.monotonic()
            self._send(number)
            time.sleep(max(0.0, 1 / a_second - (time.monotonic() - began_s)))

    def _send(self, number: int) -> None:
        correlation = str(number).encode()
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ResponseTopic, properties.CorrelationData = OPERATOR, correlation
        agent = f"fleet-{self._draw.randrange(self._agents):04d}"
        body = json.dumps({"id": f"bench-{number}", "camera": "gate", "fps": 5})
        self._sent_s[correlation] = time.monotonic()
        self._client.publish(f"vedette/{agent}/command/fps", body, qos=1, properties=properties)
        self.sent += 1


@contextlib.contextmanager
def fleet(options: argparse.Namespace, port: int, folder: Path) -> Iterator[list["subprocess.Popen[str]"]]:
    """Processes of agents, all connected."""
    script = str(REPOSITORY / "scripts" / "bench_fleet_agents.py")
    each, more = divmod(options.agents, options.processes)
    counts = [each + (number < more) for number in range(options.processes)]
    with contextlib.ExitStack() as stack:
        processes = []
        for number, count in enumerate(counts):
            what = {"port": port, "first": sum(counts[:number]), "count": count, "rate": options.rate}
            what |= {"seconds": options.seconds, "folder": folder}
            command = [sys.executable, script, *(f"--{name}={value}" for name, value in what.items())]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            processes.append(stack.enter_context(subprocess.Popen(command, **pipes)))  # type: ignore[call-overload]
            stack.callback(processes[-1].kill)
        for process in processes:
            if process.stdout.readline() != "ready\n":
                sys.exit("a process of agents has failed")
        yield processes


def tell(processes: Sequence["subprocess.Popen[str]"]) -> None:
    """A line for each."""
    for process in processes:
        print(file=process.stdin, flush=True)


def measured(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """One run."""
    readers = [Reader(), Reader()]
    with broker(folder) as (port, pid):
        clients = [reader.start(port, f"bench-reader-{n}") for n, reader in enumerate(readers)]
        commander = Commander(port, options.agents)
        began_s = time.monotonic()
        with fleet(options, port, folder) as processes:
            connect_s, idle = time.monotonic() - began_s, Usage.of(pid)
            tell(processes)
            begun_s = time.monotonic()
            commander.run(options.commands, options.seconds)
            time.sleep(max(0.0, begun_s + options.seconds - time.monotonic()) + SETTLE_S)
            took_s, busy = time.monotonic() - begun_s, Usage.of(pid)
            tell(processes)
            told = [json.loads(process.stdout.readline()) for process in processes if process.stdout is not None]
        for each in clients:
            each.disconnect()
    return {
        "agents": options.agents,
        "connections": 2 * options.agents,
        "connect_s": connect_s,
        **delivered(told, readers),
        **commanded(commander),
        "broker_cpu_cores": (busy.cpu_s - idle.cpu_s) / took_s,
        "broker_idle_mb": idle.now_mb,
        "broker_peak_mb": busy.peak_mb,
    }


def delivered(told: list[dict[str, float]], readers: list[Reader]) -> dict[str, float]:
    """What agents sent, and readers got."""
    ids = [name for reader in readers for name in reader.ids]
    accepted = sum(each["accepted"] for each in told)
    return {
        "results_a_second": accepted / max(each["took_s"] for each in told),
        "result_bytes": max(each["size_bytes"] for each in told),
        "sent": accepted,
        "kept": sum(each["kept"] for each in told),
        "delivered": len(set(ids)),
        "twice": len(ids) - len(set(ids)),
        "least_share": min(len(reader.ids) for reader in readers) / max(1, len(ids)),
        "slowest_ack_ms": 1000 * max(each["longest_s"] for each in told),
    }


def commanded(commander: Commander) -> dict[str, float]:
    """What became of the commands."""
    took = sorted(commander.took_s) or [math.nan]
    return {
        "commands": commander.sent,
        "answered": len(commander.took_s),
        "command_p50_ms": 1000 * took[len(took) // 2],
        "command_p99_ms": 1000 * took[int(0.99 * len(took))],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=500, help="how many (default %(default)s)")
    parser.add_argument("--rate", type=float, default=1.0, help="results a second of each (default %(default)s)")
    parser.add_argument("--commands", type=float, default=20.0, help="commands a second to all (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default %(default)s)")
    parser.add_argument("--processes", type=int, default=4, help="processes of agents (default %(default)s)")
    options = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # the broker has one for each connection
    with tempfile.TemporaryDirectory() as folder:
        figures = measured(options, Path(folder))
    for name, value in figures.items():
        print(f"{name:18} {value:.6g}")
    lost = figures["delivered"] != figures["sent"] or figures["answered"] != figures["commands"]
    sys.exit(1 if lost or figures["kept"] else 0)


if __name__ == "__main__":
    main()
