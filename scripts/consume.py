#!/usr/bin/env python3
"""Prints Vedette's results as JSON lines, each once and in order: an example to copy and to build upon.

    scripts/consume.py --host broker.example                  from MQTT; needs paho-mqtt 2 and nothing else
    scripts/consume.py --stdin < vedette-results.jsonl        from JSON lines

A result that comes twice (its id says so) is printed once. The results of each camera are put into order; gaps are
normal, for frames that were skipped have no result, so what may still be preceded is held back for a moment. Each
printed record has one field more, "consumer": {"late": …, "correction": …}. Late is what comes after a later one of its
camera was printed; it is printed all the same. A correction replaces the result that it names in "supersedes".

From MQTT nothing is missed: the session outlives the connection and this program, and a result is acknowledged to the
broker when it has been printed. A crash in between prints a result again.
"""

import argparse
import heapq
import json
import os
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
    from paho.mqtt.reasoncodes import ReasonCode

SCHEMA = "vedette.result/1"
FIELDS = {"id": str, "agent": str, "camera": str, "boot_id": str, "seq": int, "revision": int}
"""What is read of a result, besides `supersedes`; see docs/result.schema.json."""
TICK_S = 0.1
RECONNECT_S = 2.0
Record: TypeAlias = dict[str, Any]
Place: TypeAlias = tuple[int, int, int]
"""Of a result among those of its camera: boot by rank, sequence number, revision."""


@dataclass
class Camera:
    """What is known of one camera's results."""

    held: dict[Place, Record] = field(default_factory=dict)
    first: list[Place] = field(default_factory=list)
    """The places in `held`, as a heap."""
    printed: Place = (-1, -1, -1)
    """The furthest place that was let go."""
    boots: dict[str, int] = field(default_factory=dict)
    """Rank of each boot. Boot ids are random, so boots are in the order in which they are first heard of."""

    def place(self, record: Record) -> Place:
        """Where `record` belongs."""
        if record["boot_id"] not in self.boots:
            self.boots[record["boot_id"]] = 1 + max(self.boots.values(), default=0)
            if len(self.boots) > 16:  # noqa: PLR2004 - older ones are long gone
                del self.boots[next(iter(self.boots))]
        return self.boots[record["boot_id"]], record["seq"], record["revision"]

    def let_go(self) -> Record:
        """The held result that comes first."""
        self.printed = max(self.printed, heapq.heappop(self.first))
        return self.held.pop(self.printed)


class Sequence:
    """Each result once, those of each camera in order. Knows no clock: the caller says what time it is."""

    def __init__(self, *, hold_s: float, hold_most: int, remember: int) -> None:
        """Hold back for `hold_s` at most, `hold_most` results at most; know the last `remember` ids again."""
        self.duplicates = 0
        self._hold_s = hold_s
        self._hold_most = hold_most
        self._remember = remember
        self._known: dict[str, None] = {}
        self._cameras: dict[tuple[str, str], Camera] = {}
        self._arrivals: deque[tuple[float, Camera, Place]] = deque()
        self._late: list[Record] = []
        self._unprinted: set[str] = set()

    def take(self, record: Record, now_s: float) -> bool:
        """A result has come; False: it is known already."""
        if record["id"] in self._known:
            self.duplicates += 1
            return False
        self._remember_id(record["id"])
        camera = self._cameras.setdefault((record["agent"], record["camera"]), Camera())
        place = camera.place(record)
        if place <= camera.printed or place in camera.held:
            self._late.append(record)
        else:
            camera.held[place] = record
            heapq.heappush(camera.first, place)
            self._arrivals.append((now_s, camera, place))
        self._unprinted.add(record["id"])
        return True

    def _remember_id(self, name: str) -> None:
        self._known[name] = None
        if len(self._known) > self._remember:
            del self._known[next(iter(self._known))]

    def is_unprinted(self, name: str) -> bool:
        """Whether the result with this id has come, and is not due yet."""
        return name in self._unprinted

    def due(self, now_s: float) -> list[Record]:
        """What is to be printed now, marked."""
        found = [_marked(record, late=True) for record in self._late]
        self._late.clear()
        while self._arrivals:
            came_s, camera, place = self._arrivals[0]
            held = len(self._unprinted) - len(found)
            if place not in camera.held:
                self._arrivals.popleft()
            elif now_s - came_s >= self._hold_s or held > self._hold_most:
                found.append(_marked(camera.let_go(), late=False))
            else:
                break
        self._unprinted.difference_update(record["id"] for record in found)
        return found

    def rest(self) -> list[Record]:
        """All that is held back: nothing more will come."""
        return self.due(float("inf"))


def _marked(record: Record, *, late: bool) -> Record:
    return {**record, "consumer": {"late": late, "correction": record.get("supersedes") is not None}}


def parsed(line: bytes | bytearray) -> Record | None:
    """The result that `line` holds; None where it is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        return None
    return record if all(type(record.get(name)) is kind for name, kind in FIELDS.items()) else None


def show(records: Iterable[Record]) -> None:
    """Print, and be sure that it is out before anything is acknowledged."""
    for record in records:
        print(json.dumps(record, ensure_ascii=False, separators=(",", ":")))
    sys.stdout.flush()


def say(words: str) -> None:
    """To the person, not to the reader of results."""
    print(f"consume: {words}", file=sys.stderr, flush=True)


# From standard input


def lines(descriptor: int) -> Iterator[bytes | None]:
    """Each line; None whenever there was none for a moment."""
    rest = b""
    while True:
        if not select.select([descriptor], [], [], TICK_S)[0]:
            yield None
            continue
        data = os.read(descriptor, 65_536)
        if not data:
            yield rest
            return
        *whole, rest = (rest + data).split(b"\n")
        yield from whole


def read_lines(sequence: Sequence) -> None:
    """Results from standard input, until it ends."""
    others = 0
    for line in lines(sys.stdin.fileno()):
        record = parsed(line) if line else None
        others += bool(line) and record is None
        if record is not None:
            sequence.take(record, time.monotonic())
        show(sequence.due(time.monotonic()))
    show(sequence.rest())
    if others:
        say(f"{others} lines are no results, and were left out")


# From MQTT


class ConnectionLost(Exception):
    """The broker is away; the session waits for us there."""


class Broker:
    """A subscription that outlives its connection. One thread: paho does its work inside `work`."""

    def __init__(self, options: argparse.Namespace, sequence: Sequence) -> None:
        from paho.mqtt.client import Client, MQTTv5
        from paho.mqtt.enums import CallbackAPIVersion

        self._options = options
        self._sequence = sequence
        self._waiting: dict[str, list[int]] = {}
        """Result id -> packet ids to acknowledge once it is printed."""
        self._client = Client(
            CallbackAPIVersion.VERSION2, client_id=options.client_id, protocol=MQTTv5, manual_ack=True
        )
        if options.username:
            password = options.password_file.read_text().strip() if options.password_file else None
            self._client.username_pw_set(options.username, password)
        if options.tls:
            self._client.tls_set(options.cafile)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message

    def connect(self) -> None:
        """Take up the session again, or begin one. Raises ConnectionLost."""
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        options, properties = self._options, Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        self._waiting.clear()  # what was not acknowledged comes again, and brings its packet id
        properties.SessionExpiryInterval = int(options.session_hours * 3600)
        try:
            self._client.connect(options.host, options.port, clean_start=False, properties=properties)
        except OSError as error:
            raise ConnectionLost(str(error)) from error

    def _on_connect(
        self, client: "Client", _data: object, flags: "ConnectFlags", reason: "ReasonCode", _more: object
    ) -> None:
        if reason.is_failure:
            say(f"the broker refuses the connection: {reason}")
            sys.exit(1)
        client.subscribe(self._options.topic, qos=1)
        say("connected, and what was missed comes first" if flags.session_present else "connected, in a new session")

    def _on_message(self, client: "Client", _data: object, message: "MQTTMessage") -> None:
        record = parsed(message.payload)
        if record is None:
            say(f"a message on {message.topic} is no result, and was left out")
        elif self._sequence.take(record, time.monotonic()) or self._sequence.is_unprinted(record["id"]):
            self._waiting.setdefault(record["id"], []).append(message.mid)
            return
        client.ack(message.mid, message.qos)

    def work(self) -> None:
        """Receive for a moment, print, acknowledge. Raises ConnectionLost."""
        lost = self._client.loop(timeout=TICK_S)
        records = self._sequence.due(time.monotonic())
        show(records)
        for record in records:
            for packet_id in self._waiting.pop(record["id"], ()):
                self._client.ack(packet_id, 1)
        if lost:
            raise ConnectionLost(lost.name)

    def close(self) -> None:
        """Leave; the broker keeps what comes, and what was not acknowledged."""
        self._client.disconnect()


def read_broker(options: argparse.Namespace, sequence: Sequence) -> None:
    """Results from MQTT, for ever."""
    broker = Broker(options, sequence)
    try:
        while True:
            reason = follow(broker)
            say(f"no connection to {options.host}:{options.port} ({reason}); trying again")
            time.sleep(RECONNECT_S)
    finally:
        broker.close()


def follow(broker: Broker) -> str:
    """Work until the connection is lost; why it was."""
    try:
        broker.connect()
        while True:
            broker.work()
    except ConnectionLost as error:
        return str(error)


# The command


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Prints Vedette's results as JSON lines, each once and in order.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--host", help="the MQTT broker's name or address")
    source.add_argument("--stdin", action="store_true", help="read JSON lines from standard input")
    parser.add_argument("--port", type=int, help="left out: 8883 with --tls, else 1883")
    parser.add_argument("--topic", default="vedette/+/+/results", help="which results (%(default)s)")
    parser.add_argument("--client-id", default="vedette-consume", help="names the session at the broker (%(default)s)")
    parser.add_argument("--session-hours", type=float, default=168.0, help="how long the broker keeps it (%(default)s)")
    parser.add_argument("--username")
    parser.add_argument("--password-file", type=Path, help="holds the password and nothing else")
    parser.add_argument("--tls", action="store_true", help="encrypt; trusts the system's certificates")
    parser.add_argument("--cafile", help="with --tls: trust this certificate instead")
    parser.add_argument("--hold-s", type=float, default=2.0, help="hold back for so many seconds (%(default)s)")
    parser.add_argument("--hold-most", type=int, default=16, help="hold back so many results at most (%(default)s)")
    parser.add_argument("--remember", type=int, default=100_000, help="how many ids to know again (%(default)s)")
    options = parser.parse_args()
    options.port = options.port or (8883 if options.tls else 1883)
    return options


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, _interrupt)
    sequence = Sequence(hold_s=options.hold_s, hold_most=options.hold_most, remember=options.remember)
    try:
        if options.stdin:
            read_lines(sequence)
        else:
            read_broker(options, sequence)
    except KeyboardInterrupt:
        if options.stdin:
            show(sequence.rest())
    except BrokenPipeError:  # nobody reads on; Python is not to try again when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    say(f"{sequence.duplicates} duplicates were left out")
    return 0


if __name__ == "__main__":
    sys.exit(main())
