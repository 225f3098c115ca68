"""The shipped unit, unchanged, under a real systemd; a test's drop-in only shortens waits or adds what it looks at."""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import yaml
from real import systemd_box
from real.systemd_box import CHECKOUT, PROGRAM, PYTHON, Box, wait_until

SHIPPED = CHECKOUT / "systemd"
UNIT = (SHIPPED / "vedette.service").read_text()
SHAPES = CHECKOUT / "models" / "shapes" / "model.yaml"
OTHER_MODEL = CHECKOUT.parent / "shared" / "models" / "yolov8n_320_full_int8_nhwc.tflite"
BOX_MODELS = "/opt/vedette/models"
CONFIG = "/etc/vedette/vedette.yaml"
STATE = "/var/lib/vedette"
RESULTS = f"{STATE}/results.jsonl"
CREDENTIAL = "/etc/vedette/credentials/roboflow_api_key"
PORT = 21883
MICROSECONDS = 1e-6
DYNAMIC_USERS = range(61184, 65520)
"""systemd's documentation, "Users, Groups, UIDs and GIDs on systemd Systems"."""
QUICK = "[Service]\nWatchdogSec=2\nRestartSec=100ms\n"

pytestmark = [
    pytest.mark.skipif(bool(systemd_box.REASON), reason=systemd_box.REASON),
    pytest.mark.skipif(
        not SHAPES.is_file() and not OTHER_MODEL.is_file(),
        reason=f"needs the model package models/shapes, or {OTHER_MODEL.name} of the shared test data",
    ),
    pytest.mark.timeout(180),
]


def config(*more_sinks: dict[str, Any], source: dict[str, Any] | None = None) -> str:
    """A configuration that needs no network and no camera."""
    model = "shapes" if SHAPES.is_file() else f"{BOX_MODELS}/{OTHER_MODEL.name}"
    source = source or {"type": "synthetic", "width": 320, "height": 240, "fps": 10}
    return yaml.safe_dump(
        {
            "agent": "box",
            "cameras": [{"name": "door", "source": source}],
            "engines": {"local": {"type": "tflite", "model": model, "threads": 1}},
            "sinks": [{"type": "jsonl", "path": RESULTS}, *more_sinks],
        }
    )


class Service:
    """One installed unit."""

    def __init__(self, box: Box, name: str = "vedette") -> None:
        self.box = box
        self.name = name
        self._begun = ""

    def install(self, text: str, *, drop_in: str = "", config_path: str = CONFIG) -> "Service":
        """Put the configuration, the shipped unit and a test's drop-in in place."""
        self.box.write(config_path, text)
        self.box.write(f"/etc/systemd/system/{self.name}.service", UNIT)
        self.box.write(f"/etc/systemd/system/{self.name}.service.d/test.conf", drop_in)
        self.box.run("systemctl", "daemon-reload")
        self._begun = self.box.run("journalctl", "--lines=0", "--show-cursor").split("cursor: ")[1].strip()
        return self

    def start(self, *, check: bool = True) -> "Service":
        """Returns when systemd calls it active, or done if it is no notify service."""
        self.box.run("systemctl", "start", self.name, check=False)
        assert not check or self.show("Result") == {"Result": "success"}, self.journal()
        return self

    def reload(self, text: str) -> None:
        """Let it read another configuration; returns at once."""
        self.box.write(CONFIG, text)
        self.box.run("systemctl", "reload", self.name)

    def await_journal(self, line: str) -> None:
        """Wait until the journal has it."""
        wait_until(lambda: line in self.journal(), line)

    def stop(self) -> None:
        """Returns when systemd calls it inactive."""
        self.box.run("systemctl", "stop", self.name)

    def show(self, *properties: str) -> dict[str, str]:
        """Properties as systemd has them."""
        said = self.box.run("systemctl", "show", self.name, *(f"-p{name}" for name in properties))
        return dict(line.split("=", 1) for line in said.splitlines())

    def ready_s(self) -> float:
        """Seconds from its start until it said that it is ready."""
        times = self.show("InactiveExitTimestampMonotonic", "ActiveEnterTimestampMonotonic")
        began, ready = (int(value) * MICROSECONDS for value in times.values())
        return ready - began

    def await_state(self, wanted: Mapping[str, str], limit_s: float = 30.0) -> None:
        """Wait until all of `wanted` hold at once."""
        wait_until(lambda: self.show(*wanted) == wanted, f"{self.name} {wanted}", limit_s)

    def signal(self, name: str) -> str:
        """Send a signal to the main process; its number."""
        pid = self.show("MainPID")["MainPID"]
        self.box.run("kill", f"-{name}", pid)
        return pid

    def journal(self) -> str:
        """What the unit, and systemd about it, have said since `install`."""
        self.box.run("journalctl", "--sync")
        since = f"--after-cursor={self._begun}"
        return self.box.run("journalctl", "--unit", self.name, since, "--output=cat", "--no-pager")

    def await_results(self, count: int = 5) -> None:
        """Wait until there are `count` more results than now."""
        have = self.box.read(RESULTS).count("\n")
        wait_until(lambda: self.box.read(RESULTS).count("\n") >= have + count, f"{count} results")

    def remove(self) -> None:
        """Leave the box as it was."""
        self.stop()
        self.box.run("systemctl", "reset-failed", self.name, check=False)
        self.box.run("systemctl", "clean", "--what=state", self.name)
        self.box.run("rm", "-r", f"/etc/systemd/system/{self.name}.service.d", "/etc/vedette")


def whole_lines(text: str) -> list[dict[str, Any]]:
    """Every line as a record; fails on a torn one."""
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def ids(text: str) -> list[str]:
    return [record["id"] for record in whole_lines(text)]


def begin_to_hang(box: Box) -> Service:
    """A second agent whose camera blocks for ever in open(2), as on a server that is gone: its picture is a pipe."""
    box.run("mkdir", "-p", "/srv/pictures")
    box.run("mkfifo", "--mode=644", "/srv/pictures/stuck.png")
    drop_in = (
        f"[Service]\nExecStart=\nExecStart={PROGRAM} run /srv/hanging.yaml\nEnvironment=HOME=/tmp\n"
        f"StateDirectory=\nStateDirectory=hanging\n{QUICK}"
    )
    text = config(source={"type": "image_folder", "path": "/srv/pictures"}).replace(STATE, "/var/lib/hanging")
    return Service(box, "hanging").install(text, drop_in=drop_in, config_path="/srv/hanging.yaml").start()


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    folder = tmp_path_factory.mktemp("box")
    models = folder / "models"
    models.mkdir()
    if not SHAPES.is_file():
        shutil.copy(OTHER_MODEL, models)
    made = Box(folder, bind={models: BOX_MODELS})
    try:
        made.boot()
        # systemd forgets a unit that is stopped and that nobody mentions, and with it how it ended.
        made.run("systemd-run", "--unit=keeper", "--property=After=vedette.service", "sleep", "infinity")
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module", autouse=True)
def hanging(box: Box) -> Service:
    """Begun before everything else and looked at last: a hang is seen after 30 s."""
    return begin_to_hang(box)


@pytest.fixture
def service(box: Box) -> Iterator[Service]:
    made = Service(box)
    yield made
    made.remove()


def test_without_network_camera_and_broker_it_is_ready_in_seconds_and_says_what_is_away(service: Service) -> None:
    assert service.box.run("ls", "/sys/class/net").split() == ["lo"]
    settings = yaml.safe_load(config({"type": "mqtt", "host": "broker.example"}))
    settings["cameras"] += [
        {"name": "pole", "source": {"type": "rtsp", "url": "rtsp://192.0.2.1/stream"}},
        {"name": "stick", "source": {"type": "v4l2", "device": "/dev/video0"}},
    ]
    cloud = {"type": "roboflow", "model": "yard/1", "api_key": {"credential": "roboflow_api_key"}}
    settings["engines"]["cloud"] = cloud
    service.box.write(CREDENTIAL, "a-key\n", mode=0o600)
    service.install(yaml.safe_dump(settings)).start()
    assert 0 < service.ready_s() < 10
    service.await_results()
    parts = ("door: local", "pole: no result yet", "stick: no result yet", "link: ", "jsonl-1 ", "waiting (away)")
    wait_until(lambda: all(part in service.show("StatusText")["StatusText"] for part in parts), "the status line")


def test_it_runs_as_a_passing_user_without_any_right(service: Service) -> None:
    service.install(config()).start().await_results()
    pid = service.show("MainPID")["MainPID"]
    status = dict(re.findall(r"^(\w+):\s*(.*)$", service.box.read(f"/proc/{pid}/status"), re.MULTILINE))
    assert {int(uid) for uid in status["Uid"].split()} <= set(DYNAMIC_USERS)
    assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert service.box.run("stat", "--format=%a %u", RESULTS).split() == ["600", status["Uid"].split()[0]]


def test_a_stop_ends_it_cleanly_with_every_result_in_the_file(service: Service) -> None:
    service.install(config()).start().await_results()
    service.stop()
    ended = service.show("Result", "ExecMainCode", "ExecMainStatus", "SubState")
    assert ended == {"Result": "success", "ExecMainCode": "1", "ExecMainStatus": "0", "SubState": "dead"}
    written = ids(service.box.read(RESULTS))
    assert len(set(written)) == len(written)
    sent = re.search(r"stopped: .*sent: jsonl-1 (\d+)$", service.journal(), re.MULTILINE)
    assert sent is not None
    assert int(sent[1]) == len(written)


def test_a_frozen_process_is_killed_by_the_watchdog_and_started_again(service: Service) -> None:
    service.install(config(), drop_in=QUICK).start().await_results()
    frozen = service.signal("STOP")
    service.await_state({"NRestarts": "1", "ActiveState": "active"})
    assert service.show("MainPID")["MainPID"] != frozen
    assert "Watchdog timeout" in service.journal()
    service.await_results()
    assert ids(service.box.read(RESULTS))


def test_a_crashed_or_killed_agent_is_started_again_and_repeats_no_id_and_a_crash_leaves_all_tracebacks(
    service: Service,
) -> None:
    service.install(config(), drop_in=QUICK).start().await_results()
    service.signal("SEGV")
    service.await_state({"NRestarts": "1", "ActiveState": "active"})
    journal = service.journal()
    assert "Fatal Python error: Segmentation fault" in journal
    assert "in emit" in journal
    assert "in capture" in journal
    service.await_results()
    service.signal("KILL")
    service.await_state({"NRestarts": "2", "ActiveState": "active"})
    service.await_results()
    service.stop()
    written = ids(service.box.read(RESULTS))
    assert len(set(written)) == len(written)


def test_a_reload_takes_over_another_configuration_or_keeps_the_one_that_runs_and_says_why(service: Service) -> None:
    service.install(config()).start().await_results()
    pid = service.show("MainPID")

    service.reload(config().replace("threads: 1", "model_threads: 1"))
    problem = service.box.tried(PROGRAM, "check", CONFIG).stderr.strip()
    assert "model_threads" in problem
    service.await_journal(f"not reloaded: {problem}\n")
    service.await_results()

    service.box.write("/srv/broken.tflite", "no model")
    service.reload(re.sub("model: .*", "model: /srv/broken.tflite", config()))
    service.await_journal("not reloaded, for the new configuration cannot run: /srv/broken.tflite")
    service.await_results()

    service.reload(config().replace("name: door", "name: gate"))
    service.await_journal("the new configuration runs cameras=1 paused_ms=")
    wait_until(lambda: '"camera":"gate"' in service.box.read(RESULTS), "results of the new camera")
    assert service.show("MainPID", "NRestarts", "ActiveState") == {**pid, "NRestarts": "0", "ActiveState": "active"}
    service.stop()
    assert service.show("Result") == {"Result": "success"}
    written = ids(service.box.read(RESULTS))
    assert len(set(written)) == len(written)


FAULT = """
import agent.pipeline
from agent import cli

def publish(*_):
    raise ZeroDivisionError("a fault that nobody has thought of")

agent.pipeline.Pipeline._publish = publish
raise SystemExit(cli.main(["run", "/etc/vedette/vedette.yaml"]))
"""


def test_a_fault_in_a_loop_leaves_its_name_and_a_traceback_in_the_journal_and_is_started_again(
    service: Service,
) -> None:
    service.box.write("/srv/fault.py", FAULT)
    service.install(config(), drop_in=f"[Service]\nRestartSec=1h\nExecStart=\nExecStart={PYTHON} /srv/fault.py\n")
    service.start(check=False)
    service.await_state({"ActiveState": "activating", "SubState": "auto-restart", "ExecMainStatus": "1"})
    journal = service.journal()
    assert "emit-door failed; this is a fault in the agent" in journal
    assert re.search(r"Traceback .*in emit_ready\n.*ZeroDivisionError: a fault that nobody", journal, re.DOTALL)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (config().replace("threads: 1", "model_threads: 1"), "model_threads"),
        (
            config(
                {"type": "mqtt", "host": "localhost", "username": "u", "password": {"credential": "no_such_secret"}}
            ),
            "no_such_secret",
        ),
    ],
    ids=["unknown key", "secret that is not there"],
)
def test_a_wrong_configuration_is_said_once_and_not_started_again(service: Service, text: str, said: str) -> None:
    service.install(text, drop_in=QUICK).start(check=False)
    service.await_state({"ActiveState": "failed", "SubState": "failed", "ExecMainStatus": "78", "NRestarts": "0"})
    assert said in service.journal()


@pytest.fixture
def silent_broker(box: Box) -> Iterator[None]:
    """A port on which connections are made and never answered: the slowest way to be unreachable."""
    listen = f"import socket, signal; s = socket.create_server(('127.0.0.1', {PORT})); signal.pause()"
    box.run("systemd-run", "--unit=silent", "--service-type=exec", PYTHON, "-c", listen)
    yield
    box.run("systemctl", "stop", "silent")


MQTT = {"type": "mqtt", "host": "127.0.0.1", "port": PORT}


@pytest.mark.usefixtures("silent_broker")
def test_a_broker_that_does_not_answer_delays_neither_the_start_nor_the_stop_and_loses_nothing(
    service: Service,
) -> None:
    service.install(config(MQTT)).start().await_results()
    service.stop()
    times = service.show("ActiveExitTimestampMonotonic", "InactiveEnterTimestampMonotonic", "TimeoutStopUSec", "Result")
    assert times["Result"] == "success", "SIGKILL after TimeoutStopSec would be `timeout`"
    assert times["TimeoutStopUSec"] == "35s"
    left, gone = (int(times[f"{name}TimestampMonotonic"]) for name in ("ActiveExit", "InactiveEnter"))
    assert 0 < (gone - left) * MICROSECONDS < 35
    assert kept_results(service) == ids(service.box.read(RESULTS))


def test_what_was_kept_is_delivered_after_the_next_start(service: Service) -> None:
    if shutil.which("mosquitto") is None or shutil.which("mosquitto_sub") is None:
        pytest.skip("needs mosquitto and mosquitto_sub (Debian: mosquitto mosquitto-clients)")
    service.install(config(MQTT)).start().await_results()
    service.stop()
    kept = kept_results(service)
    assert kept
    with_broker(service, kept)
    service.stop()
    assert kept_results(service) == [], "what was delivered is kept no longer"


def kept_results(service: Service) -> list[str]:
    """What waits in the outbox of a service that has stopped, events aside."""
    command = [PROGRAM, "outbox", "export", "--state", STATE, "box/mqtt-1"]
    records = [json.loads(line) for line in service.box.run(*command).splitlines()]
    return [record["id"] for record in records if record["schema"] == "vedette.result/1"]


def with_broker(service: Service, kept: list[str]) -> None:
    """Start a broker, a subscriber and the agent; wait until the subscriber has every result in `kept`."""
    box = service.box
    subscribe = ["mosquitto_sub", "-p", str(PORT), "-q", "1", "-t", "vedette/box/door/results"]
    box.run("systemd-run", "--unit=broker", "mosquitto", "-p", str(PORT))
    wait_until(lambda: f":{PORT:04X} " in box.read("/proc/net/tcp"), "the broker")
    box.run("systemd-run", "--unit=subscriber", "--property=StandardOutput=truncate:/run/heard", *subscribe)
    wait_until(lambda: f":{PORT:04X} 01" in _connections(box), "the subscriber")
    service.start()
    wait_until(lambda: set(kept) <= set(ids(box.read("/run/heard") or "{}\n")), "what was kept")


def _connections(box: Box) -> str:
    """Remote end and state of every TCP connection, 01 meaning established (proc(5))."""
    return "\n".join(" ".join(line.split()[2:4]) for line in box.read("/proc/net/tcp").splitlines())


PROBE = """
import errno, json, os, pathlib, socket
from agent import clock

def tried(what):
    try:
        what()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"

credentials = pathlib.Path(os.environ["CREDENTIALS_DIRECTORY"])
findings = {
    "write elsewhere": tried(lambda: open("/srv/for-all/written", "w")),
    "write to its configuration": tried(lambda: open("/etc/vedette/written", "w")),
    "write to shared memory": tried(lambda: open("/dev/shm/written", "w")),
    "write to its state": tried(lambda: open(os.environ["STATE_DIRECTORY"] + "/written", "w")),
    "list /root": tried(lambda: os.listdir("/root")),
    "read the key's own file": tried(lambda: open("CREDENTIAL")),
    "open a foreign device": tried(lambda: os.open("/dev/foreign", os.O_RDONLY)),
    "open a packet socket": tried(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)),
    "open a netlink socket": tried(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    "credentials": {path.name: path.read_text().strip() for path in credentials.iterdir()},
    "clock": clock._kernel_clock_state(),
    "argus": os.path.exists("/tmp/argus_socket"),
    "home": os.path.expanduser("~"),
    "boot id": len(pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()),
}
pathlib.Path(os.environ["STATE_DIRECTORY"], "findings.json").write_text(json.dumps(findings))
""".replace('CREDENTIAL"', f'{CREDENTIAL}"')


def test_a_reload_before_python_has_begun_ends_no_service(service: Service) -> None:
    hung_up = f"test -e {STATE}/hung-up || {{ touch {STATE}/hung-up; kill -HUP $$$$; }}"  # systemd makes one of two $
    instead = f"ExecStart=\nExecStart=/bin/sh -c '{hung_up}; exec {PROGRAM} run {CONFIG}'\n"
    service.install(config(), drop_in=f"{QUICK}WatchdogSec=45\n{instead}").start(check=False)
    service.await_state({"ActiveState": "active", "NRestarts": "1"})
    service.await_results()


INSTEAD = f"[Service]\nType=oneshot\nWatchdogSec=0\nExecStart=\nExecStart={PYTHON} /srv/probe.py\n"


@pytest.fixture
def look(service: Service) -> Callable[[str], dict[str, Any]]:
    """What a program sees that runs in the agent's place."""

    def looked(drop_in: str = "") -> dict[str, Any]:
        service.box.write("/srv/probe.py", PROBE)
        service.box.run("install", "-d", "-m", "777", "/srv/for-all")
        service.box.run("sh", "-c", "test -e /dev/foreign || mknod --mode=666 /dev/foreign c 10 229")
        service.install(config(), drop_in=f"{INSTEAD}{drop_in}").start()
        findings: dict[str, Any] = json.loads(service.box.read(f"{STATE}/findings.json"))
        return findings

    return looked


Look = Callable[[str], dict[str, Any]]


def test_the_sandbox_refuses_what_the_agent_has_no_use_for_and_leaves_what_it_needs(look: Look) -> None:
    seen = look("")
    assert seen["write to its state"] == "done"
    assert seen["write elsewhere"] == seen["write to shared memory"] == "EROFS"
    assert seen["write to its configuration"] in {"EACCES", "EROFS"}
    assert seen["list /root"] in {"EACCES", "EPERM"}
    assert seen["open a foreign device"] == "EPERM"
    assert seen["open a packet socket"] == "EAFNOSUPPORT"
    assert seen["clock"] == -1, "adjtimex(2) fails, and does not kill"
    assert seen["open a netlink socket"] == "done"
    assert seen["home"] == STATE
    assert seen["boot id"] == len("01234567-89ab-cdef-0123-456789abcdef")


def test_a_credential_arrives_and_absent_ones_are_empty(look: Look, service: Service) -> None:
    service.box.write(CREDENTIAL, "a-key\n", mode=0o600)
    seen = look("")
    absent = dict.fromkeys(("mqtt_password", "camera_password", "page_token", "remote_key"), "")
    assert seen["credentials"] == {"roboflow_api_key": "a-key", **absent}
    assert seen["read the key's own file"] == "EACCES"


def test_a_device_of_a_named_kind_and_the_video_group_is_open(look: Look, box: Box) -> None:
    box.run("sh", "-c", "rm -f /dev/foreign; mknod --mode=660 /dev/foreign c 10 229; chgrp video /dev/foreign")
    seen = look("DeviceAllow=char-misc rw\n")
    box.run("rm", "/dev/foreign")
    assert seen["open a foreign device"] == "done"


def test_the_jetson_drop_in_opens_all_devices_and_shows_the_argus_socket(look: Look, box: Box) -> None:
    box.run("sh", "-c", "getent group render || groupadd --system render; touch /tmp/argus_socket")
    seen = look((SHIPPED / "vedette.service.d" / "jetson.conf").read_text())
    assert seen["open a foreign device"] == "done"
    assert seen["argus"] is True


def test_the_jetson_drop_in_needs_no_argus(look: Look, box: Box) -> None:
    box.run("sh", "-c", "getent group render || groupadd --system render; rm -f /tmp/argus_socket")
    assert look((SHIPPED / "vedette.service.d" / "jetson.conf").read_text())["argus"] is False


def test_the_readmes_drop_in_for_other_ntp_clients_lets_the_agent_see_the_clock(look: Look) -> None:
    blocks = re.findall(r"^```ini\n(.*?)^```", (SHIPPED / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (drop_in,) = [block for block in blocks if "adjtimex" in block]
    assert look(drop_in)["clock"] in range(6)


def test_a_loop_that_hangs_is_restarted_and_the_journal_shows_where(hanging: Service) -> None:
    wait_until(lambda: int(hanging.show("NRestarts")["NRestarts"]) >= 1, "the restart", 90)
    journal = hanging.journal()
    named, killed = (journal.index(word) for word in ("capture-door makes no progress", "Watchdog timeout"))
    assert named < killed
    assert "in read_image" in journal[killed:], "the traceback of the thread that hung"
