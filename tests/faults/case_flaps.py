"""A broker that flaps: refuses, is half-open, deaf, suspended, taken over, has an expired certificate, starts anew.

A real Mosquitto over TLS, the agent's real MQTT sink, and a gate between them. Flaps come and go whatever the agent is
doing, so they meet its pauses too. The clock of supervisor and outbox may go faster than the machine's (`speed`): then
the pauses do, and the minute in which attempts are counted is as much shorter; sockets and timeouts stay as they are.
"""

import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from faults.driven import Running, Scene
from faults.gate import Gate
from faults.oracle import Ledger, Receipt, most_in_a_minute
from faults.receiver import Receiver
from faults.table import Row, World
from real.broker import _PATH, Broker, Certificates, make_certificates, wait_until

KINDS = (
    "refused",
    "half-open",
    "deaf",
    "suspended",
    "taken over",
    "expired",
    "restarted",
    "restarted with persistence",
)
_MOST_A_MINUTE = 6
_MINUTE_S = 59.0
"""An attempt is seen a little after the agent has decided on it."""
_SETTINGS = ("max_inflight_messages 0", "max_queued_messages 0", "set_tcp_nodelay true")
"""The receiver gets everything at once, so that nothing is with the broker alone when that dies."""


class Flaps:
    """Broker, gate and receiver, and each way to fail and to come back."""

    def __init__(self, folder: Path) -> None:
        self.good = make_certificates(folder / "good")
        self.served = make_certificates(folder / "served")
        self._expired = _expired(self.good, folder)
        self._copy(self.good)
        self._conf = folder / "broker" / "mosquitto.conf"
        self.broker = Broker(folder / "broker", certificates=self.served, settings=_SETTINGS).start()
        self._plain = self._conf.read_text()
        self._kept = f"{self._plain}persistence true\npersistence_location {folder / 'broker'}/\n"
        self.receiver = Receiver(self.broker, folder)
        self.receiver.start()
        self.gate = Gate(self.broker.port)
        self._rival: subprocess.Popen[bytes] | None = None

    def _copy(self, certificates: Certificates) -> None:
        for name in ("ca", "certificate", "key"):
            shutil.copy(getattr(certificates, name), getattr(self.served, name))

    def begin(self, kind: str, draw: random.Random) -> Callable[[], None]:
        """Fail; what is returned brings it back."""
        begin: dict[str, Callable[[], Any]] = {
            "refused": self.gate.refuse,
            "half-open": lambda: self.gate.listen("silent"),
            "deaf": lambda: self.gate.listen("deaf"),
            "suspended": self.broker.suspend,
            "taken over": self._take_over,
            "expired": self._expire,
            "restarted": lambda: self._end(draw, self._plain),
            "restarted with persistence": lambda: self._end(draw, self._kept),
        }
        begin[kind]()
        end = {"suspended": self.broker.resume, "taken over": self._give_back, "expired": self._renew}
        return end.get(kind, self._come_back)

    def _come_back(self) -> None:
        """The receiver is there before the agent may be."""
        if not self.broker_runs:
            self._copy(self.good)
            self.broker.start()
            self.receiver.start()
        self.gate.listen()

    @property
    def broker_runs(self) -> bool:
        """Whether it runs, and with a certificate that is good."""
        return self.broker._process is not None

    def _end(self, draw: random.Random, conf: str) -> None:
        self.gate.refuse()
        draw.choice((self.broker.stop, self.broker.kill))()
        self.receiver.stop()
        self._conf.write_text(conf)

    def _expire(self) -> None:
        self.gate.refuse()
        self.broker.stop()
        self.receiver.stop()
        self._copy(self._expired)
        self.broker.start()
        self.gate.listen()
        self._rival = None

    def _renew(self) -> None:
        """The good certificate again, which the broker takes up when it starts."""
        self.gate.refuse()
        self.broker.stop()
        self._come_back()

    def _take_over(self) -> None:
        """Another client with the agent's id, which comes back whenever it is thrown off."""
        program = shutil.which("mosquitto_sub", path=_PATH)
        assert program is not None
        command = [
            program,
            "-h",
            "localhost",
            "-p",
            str(self.broker.port),
            "-V",
            "5",
            "-i",
            "vedette-faults",
            "-t",
            "x",
        ]
        self._rival = subprocess.Popen(
            [*command, "--cafile", str(self.served.ca)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def _give_back(self) -> None:
        rival, self._rival = self._rival, None
        if rival is not None:
            rival.terminate()
            rival.wait(15)

    def close(self) -> None:
        """End all of it."""
        self._give_back()
        self.gate.close()
        self.receiver.stop()
        self.broker.stop()


def _expired(good: Certificates, folder: Path) -> Certificates:
    """The same CA and key, but yesterday was the last day."""
    home, made = good.ca.parent, folder / "expired.crt"
    signer = ("-CA", good.ca, "-CAkey", home / "ca.key", "-CAcreateserial", "-copy_extensions", "copy")
    command = ["openssl", "x509", "-req", "-in", home / "server.csr", *signer, "-days", "-1", "-out", made]
    subprocess.run(command, check=True, capture_output=True)
    return replace(good, certificate=made)


class FlapScene(Scene):
    """A scene whose receiver is at the broker."""

    def __init__(self, flaps: Flaps, *where: Any, **job: Any) -> None:
        self.flaps = flaps
        sink = {"type": "mqtt", "host": "localhost", "port": flaps.gate.port, "tls": {"ca_file": str(flaps.good.ca)}}
        super().__init__(*where, sinks=[{**sink, **job.pop("options", {})}], **job)

    def receipts(self) -> list[Receipt]:
        return self.flaps.receiver.receipts()

    def ended_well(self) -> set[int]:
        return set()


def run(
    world: World, *, flaps: int, speed: float = 1.0, down_s: float = 20.0, up_s: float = 12.0, **options: Any
) -> Row:
    """So many flaps, each down and then up for a drawn time; options are the sink's."""
    row, draw = Row("broker flaps"), random.Random(f"{world.seed}/flaps")  # noqa: S311 - not a secret
    folder = world.subfolder("flaps")
    them = Flaps(folder)
    try:
        scene = FlapScene(
            them, folder / "scene", world.drivers, speed=speed, rate_hz=10.0 * speed**0.5, options=options
        )
        process = scene.start(count=10_000_000, limit_s=7200.0)
        wait_until(lambda: bool(scene.receipts()), "the first result")
        kinds = [KINDS[number % len(KINDS)] for number in range(flaps)]
        draw.shuffle(kinds)
        done = _flap(them, process, ((kind, down_s, up_s) for kind in kinds), draw)
        _quiet(scene, process, speed)
        row.add(scene.verdict(), scene.faults(), f"after {done} flaps", rounds=done)
        _count_attempts(row, scene, speed)
    finally:
        them.close()
    return row


def _flap(them: Flaps, process: Running, kinds: Iterable[tuple[str, float, float]], draw: random.Random) -> int:
    """How many there were until the process ended, which it should not."""
    done = 0
    for kind, down_s, up_s in kinds:
        come_back = them.begin(kind, draw)
        ended = process.ended_within(down_s * draw.uniform(0.02, 1))
        come_back()
        if ended or process.ended_within(up_s * draw.uniform(0.05, 1)):
            break
        done += 1
    return done


def _quiet(scene: FlapScene, process: Running, speed: float) -> None:
    """No more flaps; one fresh result, and all of it has to come."""
    scene.switch("enough", on=True)
    scene.note_end(process.end(20.0 + 120.0 / speed))
    owed = {each.id for each in Ledger.read(scene.folder / "ledger").obligations}
    give_up_s = time.monotonic() + 10
    while not owed <= {each.id for each in scene.receipts()} and time.monotonic() < give_up_s:
        time.sleep(0.1)


def _count_attempts(row: Row, scene: FlapScene, speed: float) -> None:
    tries = Ledger.read(scene.folder / "ledger").opens
    counts = [most_in_a_minute(times, window_s=_MINUTE_S / speed) for times in (tries, scene.flaps.gate.knocks)]
    row.most_a_minute = max(counts)
    row.notes.append(f"{len(tries)} tries, {len(scene.flaps.gate.knocks)} of them came to a listening gate")
    if row.most_a_minute > _MOST_A_MINUTE:
        row.faults.append(f"{row.most_a_minute} attempts in a minute")
