"""The example of a fleet with a real Mosquitto, and the measurement of one, small."""

import getpass
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from canary import secret
from real import broker as world
from real.broker import Certificates, answers, free_port, make_certificates, wait_until
from real.mqtt_sinks import Sinks, deliveries, health, status

from agent.flow import Outcome

pytestmark = pytest.mark.skipif(bool(world.MISSING), reason=world.REASON)
REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "config" / "fleet"
USERS = {name: secret(name) for name in ("porch", "connect", "telegraf", "operator")}


class Fleet:
    """The broker of config/fleet, with paths and port of a test."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder
        self.certificates: Certificates = make_certificates(folder / "certificates")
        (folder / "passwords").touch(mode=0o600)
        for name, password in USERS.items():
            subprocess.run(["mosquitto_passwd", "-b", folder / "passwords", name, password], check=True)
        (folder / "fleet.acl").write_text((FOLDER / "fleet.acl").read_text())
        (folder / "fleet.acl").chmod(0o600)
        text = (FOLDER / "mosquitto.conf").read_text()
        places = {
            "listener 8883": f"listener {self.port} 127.0.0.1",
            "/etc/mosquitto/certs/server.crt": self.certificates.certificate,
            "/etc/mosquitto/certs/server.key": self.certificates.key,
            "/etc/mosquitto/passwords": folder / "passwords",
            "/etc/mosquitto/fleet.acl": folder / "fleet.acl",
        }
        for old, new in places.items():
            assert len(re.findall(rf"^(?!#).*{re.escape(old)}", text, re.MULTILINE)) == 1
            lines = text.split("\n")
            text = "\n".join(line if line.startswith("#") else line.replace(old, str(new)) for line in lines)
        more = f"\nuser {getpass.getuser()}\npersistence_location {folder}/\nlog_dest stderr\n"
        (folder / "mosquitto.conf").write_text(text + more)
        program = shutil.which("mosquitto", path=world._PATH)
        assert program is not None
        self.process = subprocess.Popen([program, "-c", folder / "mosquitto.conf"])
        wait_until(lambda: answers(self.port), "the broker")

    def read(self, user: str, topic: str, count: int) -> "subprocess.Popen[str]":
        """mosquitto_sub, for so many messages or three seconds."""
        login = ("-u", user, "-P", USERS[user], "--cafile", str(self.certificates.ca))
        command = ["mosquitto_sub", "-V", "5", "-h", "localhost", "-p", str(self.port), *login, "-q", "1"]
        command += ["-t", topic, "-C", str(count), "-W", "3", "-F", "%t %p"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with closing(Fleet(tmp_path_factory.mktemp("fleet"))) as made:
        yield made


def test_an_agent_delivers_and_its_readers_share_what_it_says(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(USERS["porch"])
    login = {"username": "porch", "password": {"file": "password"}, "tls": {"ca_file": str(fleet.certificates.ca)}}
    readers = [fleet.read("connect", "$share/timescale/vedette/+/+/results", 6) for _ in range(2)]
    with Sinks(tmp_path) as make:
        sink = make(fleet.port, **login)
        sink.open()
        time.sleep(0.5)
        sink.show([health(uptime_s=1), status("door")])
        assert sink.send(deliveries(12)) == [Outcome.ACCEPTED] * 12
        told = [reader.communicate(timeout=20)[0].splitlines() for reader in readers]
        assert [len(lines) for lines in told] == [6, 6]
        assert len({line for lines in told for line in lines}) == 12
        (line,) = fleet.read("telegraf", "vedette/+/health", 1).communicate(timeout=20)[0].splitlines()
        assert json.loads(line.split(" ", 1)[1])["uptime_s"] == 1


def test_an_agent_and_a_reader_reach_only_what_is_theirs(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(USERS["porch"])
    login = {"username": "porch", "password": {"file": "password"}, "tls": {"ca_file": str(fleet.certificates.ca)}}
    with Sinks(tmp_path) as make:
        sink = make(fleet.port, topic_prefix="vedette/hall", client_id="other", **login)
        sink.open()
        assert sink.send(deliveries(1)) == [Outcome.KEPT]
        assert fleet.read("telegraf", "vedette/+/+/results", 1).communicate(timeout=20)[0] == ""


@pytest.mark.timeout(120)
def test_the_measurement_of_a_fleet_loses_nothing() -> None:
    command = [REPOSITORY / "scripts" / "bench-fleet", "--agents=4", "--seconds=2", "--processes=1", "--commands=5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = dict(line.split() for line in done.stdout.splitlines())
    assert (figures["sent"], figures["delivered"], figures["twice"]) == ("8", "8", "0")
    assert figures["answered"] == figures["commands"] == "10"
