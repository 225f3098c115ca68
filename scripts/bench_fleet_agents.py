"""Some agents of a simulated fleet in one process: the real MQTT sink and the real remote control of each, no camera.

Each agent has its two connections to the broker. One thread delivers for all of them in turn, a result at a time; each
takes its commands on a thread of its own, as an agent does. Speaks with `bench_fleet` by lines: `ready` when all are
connected, a line to begin, a line to end, and then a JSON object with what was accepted.
"""

import argparse
import json
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from agent import config, document, remotes  # noqa: E402 - the checkout goes first on the path
from agent.clock import SystemClock  # noqa: E402
from agent.config import Config  # noqa: E402
from agent.controls import Controls  # noqa: E402
from agent.flow import (  # noqa: E402
    Answer,
    Decision,
    Delivery,
    Fate,
    Outcome,
    Prediction,
    Reason,
    Result,
    Route,
    Timings,
)
from agent.loop import Pulse  # noqa: E402
from agent.ports import Context  # noqa: E402
from agent.record import Identity, delivery_of  # noqa: E402
from agent.remote.audit import Audit  # noqa: E402
from agent.remote.commands.fps import Fps  # noqa: E402
from agent.remote_options import RemoteConfig  # noqa: E402
from agent.sinks import mqtt  # noqa: E402
from agent.stamp import boot_id  # noqa: E402
from agent.states import State, Subject  # noqa: E402

CAMERA = "gate"
AGENT = """
agent: fleet
cameras: [{{name: gate, source: {{type: synthetic}}}}]
engines: {{local: {{type: tflite, model: shapes}}}}
sinks: [{{type: mqtt, host: 127.0.0.1, port: {port}, ack_timeout_s: 20}}]
remote: {{allow: [fps], per_minute: 60}}
"""
FOUND = tuple(
    Prediction(320.5 + 10 * n, 240.25, 81.5, 120.75, 0.87 - n / 10, label, n)
    for n, label in enumerate(("person", "car", "bicycle"))
)
CLOCK = SystemClock()


@dataclass
class Member:
    """One agent."""

    identity: Identity
    sink: mqtt.Mqtt
    pulse: Pulse
    seq: int = 0

    def result(self) -> Delivery:
        """The record of its next frame: three objects, as the device answers it."""
        self.seq += 1
        now_s, wall_s = CLOCK.now(), CLOCK.wall()
        decision = Decision(Route.LOCAL, Reason.LOCAL_ONLY, now_s + 0.5, None)
        answer = Answer(FOUND, "shapes", "tflite", Timings(0.001, 0.02, 0.001))
        seen = (CAMERA, self.seq, 0, now_s, wall_s, True, 1280, 720, decision, Fate.DONE, Route.LOCAL, answer, False)
        return delivery_of(Result(*seen, now_s + 0.001, now_s + 0.02), self.identity)


def member(settings: Config, number: int, folder: Path) -> Member:
    """Agent `number`, connected and taking commands."""
    named = settings.model_copy(update={"agent": f"fleet-{number:04d}"})
    context = Context(named.agent, CLOCK, folder, folder)
    options, remote = cast("mqtt.Options", named.sinks[0]), cast("RemoteConfig", named.remote)
    sink, pulse = mqtt.Mqtt(options, context), Pulse(CLOCK)
    sink.open()
    health = json.dumps({"schema": "vedette.health/1", "agent": named.agent, "uptime_s": 0, "cameras": {}})
    sink.show([State(Subject.CAMERA, b"online", CAMERA), State(Subject.HEALTH, health.encode())])
    audit = Audit(folder / "remote" / named.agent / "audit.jsonl", CLOCK)
    loop = remotes.remote_of(named, remote, context, [Fps([CAMERA], Controls())], audit=audit)
    threading.Thread(target=loop.run, args=(pulse,), name=named.agent, daemon=True).start()
    while not loop.connected:
        time.sleep(0.005)
    return Member(Identity(named.agent, boot_id()), sink, pulse)


def deliver(members: list[Member], rate: float, seconds: float) -> dict[str, float]:
    """`rate` results a second from each of them, evenly spread, for so long."""
    accepted = kept = 0
    longest_s, size_bytes = 0.0, 0
    began_s = CLOCK.now()
    for number in range(round(len(members) * rate * seconds)):
        due_s = began_s + number / (len(members) * rate)
        time.sleep(max(0.0, due_s - CLOCK.now()))
        each = members[number % len(members)]
        delivery = each.result()
        sent_s = CLOCK.now()
        (outcome,) = each.sink.send([delivery])
        longest_s, size_bytes = max(longest_s, CLOCK.now() - sent_s), len(delivery.body)
        accepted += outcome is Outcome.ACCEPTED
        kept += outcome is not Outcome.ACCEPTED
    took_s = CLOCK.now() - began_s
    return {"accepted": accepted, "kept": kept, "took_s": took_s, "longest_s": longest_s, "size_bytes": size_bytes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, kind in (("port", int), ("first", int), ("count", int), ("rate", float), ("seconds", float)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    settings = config.validate(document.parse(AGENT.format(port=options.port), name="fleet"))
    members = [
        member(settings, number, options.folder) for number in range(options.first, options.first + options.count)
    ]
    print("ready", flush=True)
    sys.stdin.readline()
    told = deliver(members, options.rate, options.seconds)
    sys.stdin.readline()
    for each in members:
        each.pulse.stopping.set()
    print(json.dumps(told), flush=True)
    for each in members:
        each.sink.close()


if __name__ == "__main__":
    main()
