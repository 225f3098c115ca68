import re
import shutil
import subprocess
from pathlib import Path

import pytest

from agent import app, service, supervisor

SHIPPED = Path(__file__).parents[2] / "systemd"
UNIT = SHIPPED / "vedette.service"
DROP_INS = sorted((SHIPPED / "vedette.service.d").glob("*.conf"))
EXPOSURE_LIMIT = 20
"""Tenths, as --threshold= wants it."""
MARGIN_S = 5.0
"""For the last write to a slow card, and for the interpreter to end."""


def _version() -> int:
    program = shutil.which("systemd-analyze")
    if program is None:
        return 0
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.split()[1].split(".")[0])


VERSION = _version()
needs_verify = pytest.mark.skipif(VERSION == 0, reason="needs systemd-analyze (Debian: systemd)")
needs_offline = pytest.mark.skipif(VERSION < 250, reason="needs systemd-analyze security --offline (systemd 250)")
with_each_drop_in = pytest.mark.parametrize(
    "drop_in", [None, *DROP_INS], ids=lambda path: path.name if path else "none"
)


def settings(file: Path) -> dict[str, list[str]]:
    """The keys of a unit, each with all its values in order."""
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", file.read_text(), re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def seconds(key: str) -> float:
    """A time of the unit; without a suffix systemd means seconds."""
    return float(settings(UNIT)[key][-1])


def copy(folder: Path, drop_in: Path | None, *, extra: str = "") -> Path:
    """The unit with a program that exists, for systemd-analyze looks for it."""
    unit = folder / UNIT.name
    unit.write_text(UNIT.read_text().replace("ExecStart=/opt/vedette/bin/vedette", "ExecStart=/bin/true") + extra)
    if drop_in is not None:
        (folder / drop_in.parent.name).mkdir()
        shutil.copy(drop_in, folder / drop_in.parent.name)
    return unit


def analyze(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = ["systemd-analyze", "--no-pager", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@needs_verify
@with_each_drop_in
def test_systemd_has_nothing_to_say_against_the_unit(tmp_path: Path, drop_in: Path | None) -> None:
    done = analyze("verify", copy(tmp_path, drop_in))
    assert (done.returncode, done.stderr) == (0, "")


@needs_verify
def test_that_check_finds_a_key_systemd_does_not_know(tmp_path: Path) -> None:
    done = analyze("verify", copy(tmp_path, None, extra="[Service]\nWatchdogSecs=3\n"))
    assert "WatchdogSecs" in done.stderr


@needs_offline
@with_each_drop_in
def test_the_exposure_is_two_at_most(tmp_path: Path, drop_in: Path | None) -> None:
    unit = copy(tmp_path, drop_in)
    done = analyze("security", "--offline=yes", f"--threshold={EXPOSURE_LIMIT}", unit)
    assert done.returncode == 0, "\n".join(line for line in done.stdout.splitlines() if not line.startswith("✓"))
    assert "Overall exposure level" in done.stdout


def test_all_stages_of_a_stop_fit_into_the_time_systemd_gives() -> None:
    stages = {name: value for name, value in vars(app).items() if name.endswith("_STOP_S")}
    assert len(stages) >= 5
    longest_s = sum(stages.values()) + service.TICK_S
    assert longest_s + MARGIN_S <= seconds("TimeoutStopSec")


def test_the_watchdog_is_slower_than_the_agent_at_seeing_a_hang_and_not_by_much() -> None:
    assert supervisor.HANG_LIMIT_S < seconds("WatchdogSec") <= 2 * supervisor.HANG_LIMIT_S
    assert seconds("WatchdogSec") > 20 * service.TICK_S, "some late pings must not end a healthy agent"


def test_a_wrong_configuration_waits_for_a_person_and_everything_else_is_started_again() -> None:
    unit = settings(UNIT)
    assert unit["RestartPreventExitStatus"] == [str(app.EXIT_CONFIG)]
    assert unit["Restart"] == ["on-failure"]
    assert unit["StartLimitIntervalSec"] == ["0"]
    assert app.EXIT_DONE == 0, "a run whose last camera has ended is not started again"


def test_it_waits_for_no_network() -> None:
    words = {
        word
        for key in ("After", "Wants", "Requires", "BindsTo")
        for word in " ".join(settings(UNIT).get(key, [])).split()
    }
    assert "network.target" in words
    assert not words & {"network-online.target", "time-sync.target"}


def test_an_absent_credential_keeps_nobody_from_starting() -> None:
    unit = settings(UNIT)
    loaded = {line.split(":")[0] for line in unit["LoadCredential"]}
    assert loaded
    assert loaded == {line.split(":")[0] for line in unit["SetCredential"]}


def test_a_refused_system_call_fails_and_never_kills() -> None:
    assert settings(UNIT)["SystemCallErrorNumber"] == ["EPERM"]


def test_the_jetson_drop_in_undoes_all_that_closes_devices_on_systemd_249() -> None:
    jetson = settings(SHIPPED / "vedette.service.d" / "jetson.conf")
    undone = {key: jetson[key] for key in ("DevicePolicy", "DeviceAllow", "ProtectClock")}
    assert undone == {"DevicePolicy": ["auto"], "DeviceAllow": [""], "ProtectClock": ["no"]}


def test_the_readme_explains_every_line_of_the_sandbox() -> None:
    readme = (SHIPPED / "README.md").read_text()
    sandbox = UNIT.read_text().split("DynamicUser=", maxsplit=1)[1].split("[Install]", maxsplit=1)[0]
    keys = {"DynamicUser", *re.findall(r"^(\w+)=", sandbox, re.MULTILINE)}
    assert sorted(key for key in keys if f"`{key}=" not in readme) == []


def test_the_readme_names_every_drop_in_and_every_credential() -> None:
    readme = (SHIPPED / "README.md").read_text()
    names = [path.name for path in DROP_INS] + [line.split(":")[0] for line in settings(UNIT)["LoadCredential"]]
    assert [name for name in names if name not in readme] == []
