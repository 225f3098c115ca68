"""A real Mosquitto for tests: its own port, certificates and users; started, stopped, killed and suspended at will.

Needs the programs mosquitto, mosquitto_sub, mosquitto_passwd and openssl (Debian: mosquitto mosquitto-clients openssl).
"""

import getpass
import json
import os
import shutil
import signal
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Debian keeps daemons out of an ordinary user's PATH.
_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
_PROGRAMS = ("mosquitto", "mosquitto_sub", "mosquitto_passwd", "openssl")
_LIMIT_S = 15.0

MISSING = [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]
REASON = f"not installed: {' '.join(MISSING)} (Debian: apt install mosquitto mosquitto-clients openssl)"


def wait_until(true: Callable[[], bool], what: str, *, limit_s: float = _LIMIT_S) -> None:
    """Poll until `true`; fails with `what` after the limit."""
    give_up_s = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < give_up_s, f"waited {limit_s} s for: {what}"
        time.sleep(0.01)


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    """Whether something listens on that port of the loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _run(*command: str | Path) -> None:
    program = shutil.which(str(command[0]), path=_PATH)
    assert program is not None
    subprocess.run([program, *command[1:]], check=True, capture_output=True)


@dataclass(frozen=True)
class Certificates:
    """A CA, and a certificate that it gave to a broker."""

    ca: Path
    certificate: Path
    key: Path
    ca_key: Path

    def issue(self, name: str, *, password: str | None = None) -> "Certificates":
        """A client's certificate of the same CA; with `password` its key is encrypted."""
        folder = self.ca.parent
        made = Certificates(self.ca, folder / f"{name}.crt", folder / f"{name}.key", self.ca_key)
        request = folder / f"{name}.csr"
        secrecy = ("-nodes",) if password is None else ("-passout", f"pass:{password}")
        _run("openssl", "req", *_NEW_KEY, *secrecy, "-keyout", made.key, "-out", request, "-subj", f"/CN={name}")
        signer = ("-CA", made.ca, "-CAkey", made.ca_key, "-CAcreateserial")
        _run("openssl", "x509", "-req", "-in", request, *signer, "-days", "2", "-out", made.certificate)
        return made


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


def make_certificates(folder: Path, *, name: str = "DNS:localhost", days: int = 2) -> Certificates:
    """A new CA and a server certificate for `name` (a subjectAltName); negative `days` make it an expired one."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Certificates(folder / "ca.crt", folder / "server.crt", folder / "server.key", folder / "ca.key")
    ca_key, request = made.ca_key, folder / "server.csr"
    new_key = (*_NEW_KEY, "-nodes")
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    _run(
        "openssl", "req", "-x509", *new_key, "-days", "2", "-keyout", ca_key, "-out", made.ca, "-subj", "/CN=A", *usage
    )
    names = ("-addext", f"subjectAltName={name}")
    _run("openssl", "req", *new_key, "-keyout", made.key, "-out", request, "-subj", "/CN=broker", *names)
    signer = ("-CA", made.ca, "-CAkey", ca_key, "-CAcreateserial", "-copy_extensions", "copy")
    _run("openssl", "x509", "-req", "-in", request, *signer, "-days", str(days), "-out", made.certificate)
    return made


class Broker:
    """One Mosquitto process at a time, always on the same port of the loopback."""

    def __init__(
        self,
        folder: Path,
        *,
        certificates: Certificates | None = None,
        demands: Certificates | None = None,
        users: dict[str, str] | None = None,
        access: str | None = None,
        settings: tuple[str, ...] = (),
    ) -> None:
        """`demands`: only clients with a certificate of its CA are let in; a subscriber shows this one."""
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.demands = demands
        self.certificates = certificates
        self.users = users or {}
        self._folder = folder
        self._more_ports = [int(line.split()[1]) for line in settings if line.startswith("listener ")]
        self._log_file = folder / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._subscribers = 0
        (folder / "mosquitto.conf").write_text("\n".join([*self._settings(access), *settings, ""]))

    def _settings(self, access: str | None) -> Iterator[str]:
        # Mosquitto started by root would become a user who may not read the test's folder.
        yield f"user {getpass.getuser()}"
        yield f"listener {self.port} 127.0.0.1"
        yield "log_dest stderr"
        yield "log_type all"
        yield f"allow_anonymous {'false' if self.users else 'true'}"
        if self.users:
            passwords = self._folder / "passwords"
            passwords.touch(mode=0o600)
            for name, password in self.users.items():
                _run("mosquitto_passwd", "-b", passwords, name, password)
            yield f"password_file {passwords}"
        if access is not None:
            (self._folder / "access").write_text(access)
            (self._folder / "access").chmod(0o600)
            yield f"acl_file {self._folder / 'access'}"
        if self.certificates is not None:
            yield f"certfile {self.certificates.certificate}"
            yield f"keyfile {self.certificates.key}"
        if self.demands is not None:
            yield f"cafile {self.demands.ca}"
            yield "require_certificate true"

    def start(self) -> "Broker":
        """Start it and wait until it listens."""
        program = shutil.which("mosquitto", path=_PATH)
        assert program is not None
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen([program, "-c", self._folder / "mosquitto.conf"], stderr=log)
        wait_until(self._listens, f"the broker to listen; it says: {self.log()[-500:]}")
        return self

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        return all(map(answers, (self.port, *self._more_ports)))

    def stop(self) -> None:
        """End it as a service would be ended; nothing happens when it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it without a word, as a power cut would."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.send_signal(signal.SIGCONT)
            process.wait(_LIMIT_S)

    def suspend(self) -> None:
        """From now on connections stay open and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `suspend`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def log(self) -> str:
        """What Mosquitto has said since the first start."""
        return self._log_file.read_text(errors="replace") if self._log_file.exists() else ""

    def publish(self, topic: str, text: str, *, retained: bool = False) -> None:
        """Say something, as another client would."""
        retain = ("-r",) if retained else ()
        _run("mosquitto_pub", "-h", "localhost", "-p", str(self.port), "-q", "1", "-t", topic, "-m", text, *retain)

    @contextmanager
    def subscribe(self, topic: str) -> Iterator["Subscriber"]:
        """An independent mosquitto_sub, subscribed when the block begins."""
        self._subscribers += 1
        subscriber = Subscriber(self, self._folder / f"subscriber-{self._subscribers}", topic)
        try:
            wait_until(subscriber.subscribed, "the subscription")
            yield subscriber
        finally:
            subscriber.close()


@dataclass(frozen=True)
class Message:
    """What a subscriber got."""

    topic: str
    text: str
    qos: int
    retained: bool
    properties: dict[str, Any]
    """Of MQTT 5, by mosquitto_sub's names."""


class Subscriber:
    """mosquitto_sub, writing everything it gets into a file."""

    def __init__(self, broker: Broker, file: Path, topic: str) -> None:
        self._file = file
        self._broker = broker
        self._name = file.name
        program = shutil.which("mosquitto_sub", path=_PATH)
        assert program is not None
        command: list[Any] = [program, "-h", "localhost", "-p", str(broker.port), "-V", "5", "-F", "%j"]
        command += ["-i", self._name, "-q", "1", "-t", topic]
        if broker.certificates is not None:
            command += ["--cafile", broker.certificates.ca]
        if broker.demands is not None:
            command += ["--cert", broker.demands.certificate, "--key", broker.demands.key]
        for name, password in list(broker.users.items())[:1]:
            command += ["-u", name, "-P", password]
        with file.open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)

    def subscribed(self) -> bool:
        """Whether the broker has confirmed the subscription."""
        assert self._process.poll() is None, self._file.read_text()
        return f"Sending SUBACK to {self._name}\n" in self._broker.log()

    def messages(self) -> list[Message]:
        """Everything that has come so far, in order."""
        lines = self._file.read_text().split("\n")[:-1]
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [_message(each) for each in found]

    def on(self, topic: str) -> list[Message]:
        """What came on `topic`."""
        return [message for message in self.messages() if message.topic == topic]

    def texts(self, topic: str) -> list[str]:
        """The bodies that came on `topic`."""
        return [message.text for message in self.on(topic)]

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(_LIMIT_S)


def _message(line: dict[str, Any]) -> Message:
    return Message(
        topic=line["topic"],
        text=line.get("payload") or "",
        qos=line["qos"],
        retained=bool(line["retain"]),
        properties=line.get("properties", {}),
    )


class _Gate(socketserver.BaseRequestHandler):
    """Refuses MQTT 5 at the door and lets everything else through."""

    server: "_GateServer"

    def handle(self) -> None:
        self.server.connections += 1
        hello = self.request.recv(4096)
        if hello[hello.index(b"MQTT") + 4] == 5 and self.server.refusal is not None:
            self.request.sendall(self.server.refusal)
            return
        with socket.create_connection(("127.0.0.1", self.server.broker_port)) as broker:
            broker.sendall(hello)
            back = threading.Thread(target=_pump, args=(broker, self.request), daemon=True)
            back.start()
            _pump(self.request, broker)
            back.join(_LIMIT_S)


class _GateServer(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, broker_port: int, refusal: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Gate)
        self.broker_port = broker_port
        self.refusal: bytes | None = refusal
        """None: MQTT 5 is let through, as after an update of the broker."""
        self.connections = 0

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


@contextmanager
def without_mqtt5(broker: Broker, refusal: bytes) -> Iterator[_GateServer]:
    """A gate in front of `broker` that answers an MQTT 5 CONNECT with `refusal`."""
    with _GateServer(broker.port, refusal) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(_LIMIT_S)


def listening() -> socket.socket:
    """A socket of the loopback that takes connections."""
    return socket.create_server(("127.0.0.1", 0))


@contextmanager
def silent_port() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with listening() as listener:
        yield int(listener.getsockname()[1])
