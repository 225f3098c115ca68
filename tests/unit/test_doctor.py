"""The doctor over drawn-up trees of a Raspberry Pi and a Jetson, over this machine, and over what hangs."""

import ast
import json
import os
import re
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from real.agent_process import vedette

from agent import config, document
from agent.check import Finding
from agent.clock import SystemClock
from agent.doctor import (
    heat,
    medium,
    memory,
    names,
    permissions,
    storage,
    subject,
    system,
    timekeeping,
    unit,
    versions,
)
from agent.doctor.finding import fine
from agent.doctor.machine import Interpreter, Machine
from agent.doctor.medium import Speed
from agent.doctor.patience import Patience

REPOSITORY = Path(__file__).resolve().parents[2]
QUICK = Speed("", 1.5, 8.0, 90.0)
PI_OS = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'
NOW_S = 1_790_000_000.0
"""September 2026."""


def tree(folder: Path, files: dict[str, str]) -> Machine:
    """A machine with these files; those in a bin folder are programs."""
    for name, text in files.items():
        path = folder / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if "bin/" in name:
            path.chmod(0o755)
    return Machine(folder)


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., Machine]:
    return lambda **files: tree(tmp_path, files)


def pi(folder: Path, throttled: str = "0", **more: str) -> Machine:
    return tree(
        folder,
        {
            "/proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
            "/etc/os-release": PI_OS,
            "/sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "/sys/class/thermal/thermal_zone0/temp": "48312\n",
            "/sys/devices/platform/soc/soc:firmware/get_throttled": throttled + "\n",
            **more,
        },
    )


def jetson(folder: Path, **more: str) -> Machine:
    return tree(
        folder,
        {
            "/proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
            "/etc/os-release": 'PRETTY_NAME="Ubuntu 22.04.5 LTS"\nID=ubuntu\nVERSION_ID="22.04"\n',
            "/etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n",
            "/sys/class/thermal/thermal_zone0/type": "cpu-thermal",
            "/sys/class/thermal/thermal_zone0/temp": "51000",
            "/sys/class/thermal/thermal_zone1/type": "PMIC-Die",
            "/sys/class/thermal/thermal_zone1/temp": "100000",
            "/sys/class/thermal/thermal_zone2/type": "tj-thermal",
            "/sys/class/thermal/thermal_zone2/temp": "52500",
            "/usr/sbin/nvpmodel": "#!/bin/sh\necho 'NV Power Mode: 15W'\necho 0\n",
            **more,
        },
    )


def words(findings: Iterable[Finding]) -> list[str]:
    """As they are printed; each fits on a line."""
    said = [str(finding) for finding in findings]
    assert not any("\n" in line for line in said)
    return said


def one(findings: Iterable[Finding], text: str) -> str:
    """The verdict of the only finding that says `text`."""
    said = words(findings)
    hits = [line for line in said if text in line]
    assert len(hits) == 1, said
    return hits[0].split()[0]


def amiss(findings: Iterable[Finding]) -> list[str]:
    return [line for line in words(findings) if not line.startswith("ok")]


PYTHON = Interpreter((3, 11, 2), 64, "aarch64", "2.36")

# The system


def test_a_raspberry_pi_and_a_jetson_are_named_and_nothing_is_amiss(tmp_path: Path) -> None:
    here = words(system.findings(pi(tmp_path / "pi"), PYTHON))
    assert here == [
        "ok    system: Raspberry Pi 4 Model B Rev 1.4, Debian GNU/Linux 12 (bookworm), aarch64, Python 3.11.2"
    ]
    there = words(system.findings(jetson(tmp_path / "jetson"), Interpreter((3, 10, 12), 64, "aarch64", "2.35")))
    assert there == ["ok    system: NVIDIA Jetson Orin Nano Developer Kit, Ubuntu 22.04.5 LTS, aarch64, Python 3.10.12"]


def test_a_32_bit_userland_on_a_64_bit_kernel_fails(tmp_path: Path) -> None:
    found = list(system.findings(pi(tmp_path), Interpreter((3, 11, 2), 32, "aarch64", "2.36")))
    assert one(found, "32 bits here (the kernel is aarch64)") == "FAIL"


def test_an_old_jetpack_glibc_or_system_is_told(tmp_path: Path) -> None:
    old = jetson(tmp_path / "a", **{"/etc/nv_tegra_release": "# R35 (release), REVISION: 5.0"})
    assert one(system.findings(old, PYTHON), "install JetPack 6 or 7") == "FAIL"
    assert (
        one(system.findings(pi(tmp_path / "b"), Interpreter((3, 11, 2), 64, "aarch64", "2.27")), "glibc 2.27") == "FAIL"
    )
    assert one(system.findings(pi(tmp_path / "c"), Interpreter((3, 11, 2), 64, "aarch64", "")), "not glibc") == "warn"
    other = tree(tmp_path / "d", {"/etc/os-release": "ID=fedora\nVERSION_ID=43\n"})
    assert one(system.findings(other, PYTHON), "fedora 43 is not one") == "warn"


def test_this_machine_is_looked_at_by_the_same_functions() -> None:
    assert words(system.findings(Machine(), Interpreter.own()))[0].startswith("ok    system: ")
    assert words(memory.findings(Machine(), 0))[0].split()[0] in ("ok", "warn", "FAIL")
    assert amiss(heat.findings(Machine())) == amiss(heat.findings(Machine()))


# Versions


def of_versions(found: dict[str, str], opencv: str = "OpenCV 5.0.0 with FFmpeg", **facts: Any) -> list[Finding]:
    given = {"jetson": False, "tensorrt": False, "pip_says": "No broken requirements found.", **facts}
    return list(versions.findings({"numpy": "2.4.6", **found}, opencv, **given))


def test_a_good_set_is_one_line() -> None:
    assert words(of_versions({"ai-edge-litert": "2.3.0"})) == [
        "ok    versions: numpy 2.4.6, ai-edge-litert 2.3.0, OpenCV 5.0.0 with FFmpeg"
    ]


def test_tflite_runtime_beside_numpy_2_fails_unless_litert_is_there() -> None:
    assert one(of_versions({"tflite-runtime": "2.14.0"}), "made for numpy 1") == "FAIL"
    assert amiss(of_versions({"tflite-runtime": "2.14.0", "ai-edge-litert": "2.3.0"})) == []
    assert amiss(of_versions({"tflite-runtime": "2.14.0", "numpy": "1.26.4"})) == []


def test_two_opencvs_an_old_one_and_what_pip_finds_are_told() -> None:
    both = {"opencv-python": "4.11.0.86", "opencv-python-headless": "5.0.0.93"}
    assert one(of_versions(both), "write into the same folder") == "warn"
    assert one(of_versions({}, "OpenCV 4.6.0 with GStreamer"), "OpenCV 4.6 is none that it works with") == "FAIL"
    assert amiss(of_versions({}, "OpenCV 4.8.1 with GStreamer")) == []
    said = (
        "vedette 0.1.0 has requirement pydantic<3,>=2.11, but you have pydantic 2.5.\nother 1 requires x, which is not"
    )
    (line,) = amiss(of_versions({}, pip_says=said))
    assert line.startswith(
        "FAIL  versions: vedette 0.1.0 has requirement pydantic<3,>=2.11, but you have pydantic 2.5; "
    )


def test_a_jetson_whose_tensorrt_is_out_of_sight_is_told() -> None:
    assert one(of_versions({}, jetson=True), "does not see JetPack's TensorRT") == "warn"
    assert amiss(of_versions({}, jetson=True, tensorrt=True)) == []


def test_what_is_installed_here_is_found_by_its_plain_name() -> None:
    found = versions.installed()
    assert {"numpy", "pydantic-core", "pyyaml"} <= set(found)
    assert versions.has("cv2")
    assert not versions.has("no_such_module_here")


# Temperature and power


def test_a_cool_pi_is_fine(tmp_path: Path) -> None:
    assert words(heat.findings(pi(tmp_path))) == [
        "ok    temperature: 48 °C at cpu-thermal, the warmest of 1",
        "ok    power: neither throttled nor short of voltage since the boot",
    ]


@pytest.mark.parametrize(
    ("throttled", "expected"),
    [
        ("50005", ["power: the voltage is too low now", "temperature: the processor is throttled now"]),
        ("50000", ["power: the voltage was too low since", "temperature: the processor was throttled since"]),
        ("80008", ["temperature: the soft temperature limit slows it down now"]),
        ("e0002", ["clock is capped now", "processor was throttled since", "limit slowed it down since"]),
    ],
)
def test_every_bit_of_a_pis_firmware_is_told_once(tmp_path: Path, throttled: str, expected: list[str]) -> None:
    found = amiss(heat.findings(pi(tmp_path, throttled)))
    assert len(found) == len(expected)
    assert all(text in line for text, line in zip(expected, found, strict=True)), found


def test_a_pi_without_that_file_is_asked_by_vcgencmd(tmp_path: Path) -> None:
    machine = pi(tmp_path, "", **{"/usr/bin/vcgencmd": "#!/bin/sh\necho throttled=0x1\n"})
    assert one(heat.findings(machine), "the voltage is too low now") == "warn"
    alarm = tree(tmp_path / "other", {"/sys/class/hwmon/hwmon1/in0_lcrit_alarm": "1\n"})
    assert one(heat.findings(alarm), "the kernel has seen too low a voltage") == "warn"


def test_a_jetson_tells_its_power_mode_and_a_sensor_that_always_says_100_is_left_out(tmp_path: Path) -> None:
    found = words(heat.findings(jetson(tmp_path)))
    assert found[0] == "ok    temperature: 52 °C at tj-thermal, the warmest of 2"
    assert found[1].startswith("ok    power: power mode 15W")


def test_a_jetson_that_slows_down_for_heat_or_current_is_told(tmp_path: Path) -> None:
    machine = jetson(
        tmp_path,
        **{
            "/sys/class/thermal/thermal_zone2/temp": "96000",
            "/sys/class/thermal/thermal_zone2/trip_point_0_type": "critical",
            "/sys/class/thermal/thermal_zone2/trip_point_0_temp": "104500",
            "/sys/class/thermal/thermal_zone2/trip_point_1_type": "passive",
            "/sys/class/thermal/thermal_zone2/trip_point_1_temp": "99000",
            "/sys/class/thermal/cooling_device0/type": "cpu-throttle-alert",
            "/sys/class/thermal/cooling_device0/cur_state": "1",
            "/sys/class/thermal/cooling_device1/type": "pwm-fan",
            "/sys/class/thermal/cooling_device1/cur_state": "4",
            "/sys/class/hwmon/hwmon3/oc1_event_cnt": "0",
            "/sys/class/hwmon/hwmon3/oc3_event_cnt": "17",
        },
    )
    found = amiss(heat.findings(machine))
    assert len(found) == 3
    assert "96 °C at tj-thermal, the warmest of 2; from 99 °C on it slows down" in found[0]
    assert "(cpu-throttle-alert)" in found[1]
    assert "throttled 17 times since the boot" in found[2]


def test_a_machine_without_sensors_says_so(tmp_path: Path) -> None:
    assert words(heat.findings(Machine(tmp_path))) == ["ok    temperature: this machine shows no sensor"]


# Memory


def meminfo(free_mb: int, *, swap: tuple[int, int] = (0, 0)) -> str:
    rows = {
        "MemTotal": 1_900_000,
        "MemAvailable": free_mb * 1024,
        "SwapTotal": swap[0] * 1024,
        "SwapFree": swap[1] * 1024,
    }
    return "".join(f"{name}:      {kb} kB\n" for name, kb in rows.items())


@pytest.mark.parametrize(("free_mb", "verdict"), [(900, "ok"), (200, "warn"), (90, "FAIL")])
def test_memory_is_held_against_what_the_cameras_need(tmp_path: Path, free_mb: int, verdict: str) -> None:
    machine = tree(tmp_path, {"/proc/meminfo": meminfo(free_mb)})
    assert one(memory.findings(machine, 1), f"{free_mb} of 1855 MB are free") == verdict


def test_a_full_swap_and_processes_ended_for_want_of_memory_are_told(tmp_path: Path) -> None:
    files = {"/proc/meminfo": meminfo(900, swap=(100, 20)), "/proc/vmstat": "nr_free_pages 1\noom_kill 2\n"}
    found = amiss(memory.findings(tree(tmp_path, files), 0))
    assert len(found) == 2
    assert "80 of 100 MB of swap" in found[0]
    assert "has ended 2 processes" in found[1]
    assert one(memory.findings(Machine(tmp_path / "none"), 0), "does not tell") == "warn"


# The clock


def of_clock(folder: Path, *files: tuple[str, str], wall_s: float = NOW_S, **facts: Any) -> list[Finding]:
    given = {"synchronized": True, "service_asks_kernel": None, **facts}
    battery = ("/sys/class/rtc/rtc0/since_epoch", "1790000000")
    return list(timekeeping.findings(tree(folder, dict([battery, *files])), wall_s, **given))


TIMESYNCD = ("/proc/312/comm", "systemd-timesyn\n")
CHRONY = ("/proc/313/comm", "chronyd\n")


def test_a_clock_that_is_kept_right_is_fine(tmp_path: Path) -> None:
    assert words(of_clock(tmp_path, TIMESYNCD)) == [
        "ok    clock: 2026-09-21 14:13:20 UTC, kept right by systemd-timesyncd"
    ]


def test_a_clock_that_nobody_sets_is_told_and_one_of_1970_fails(tmp_path: Path) -> None:
    assert one(of_clock(tmp_path / "a", synchronized=False), "sudo apt install systemd-timesyncd") == "warn"
    assert one(of_clock(tmp_path / "b", TIMESYNCD, synchronized=False), "UDP port 123") == "warn"
    assert one(of_clock(tmp_path / "c", wall_s=60.0, synchronized=False), "no certificate is valid yet") == "FAIL"


def test_chrony_is_out_of_the_services_sight_unless_the_drop_in_is_there(tmp_path: Path) -> None:
    assert (
        one(of_clock(tmp_path, CHRONY, service_asks_kernel=False), "kept right by chrony, which the service") == "warn"
    )
    assert amiss(of_clock(tmp_path, CHRONY, service_asks_kernel=True)) == []
    assert amiss(of_clock(tmp_path, CHRONY)) == []


def test_a_board_without_a_clock_or_with_an_empty_battery_is_told(tmp_path: Path) -> None:
    empty = ("/sys/class/rtc/rtc0/since_epoch", "412")
    assert one(of_clock(tmp_path / "a", TIMESYNCD, empty), "its battery is empty") == "warn"
    without = timekeeping.findings(Machine(tmp_path / "b"), NOW_S, synchronized=True, service_asks_kernel=None)
    assert one(without, "no clock with a battery") == "ok"


# Names


def test_a_name_that_is_known_and_one_that_is_not(tmp_path: Path) -> None:
    clock = SystemClock()
    assert one(names.findings(Machine(), "localhost", clock), "found in") == "ok"
    server = tree(tmp_path, {"/etc/resolv.conf": "search lan\nnameserver 192.0.2.53\n"})
    found = words(names.findings(server, "vedette.invalid", clock))
    assert found[0].startswith("FAIL  DNS vedette.invalid: cannot be looked up (")
    assert found[0].endswith("does the DNS server 192.0.2.53 (/etc/resolv.conf) answer?")


def test_the_cure_fits_the_name(tmp_path: Path) -> None:
    assert "libnss-mdns" in names._cure(Machine(tmp_path), "camera.local")
    assert "is the network up?" in names._cure(Machine(tmp_path), "broker.example")


@pytest.mark.parametrize(
    ("host", "number"),
    [("192.0.2.1", True), ("::1", True), ("[fe80::1%eth0]", True), ("broker", False), ("", False)],
)
def test_an_address_needs_no_look_up(host: str, number: bool) -> None:
    assert names.is_address(host) is number


# Disks


MOUNTS = (
    "22 1 179:2 / / rw,noatime shared:1 - ext4 /dev/mmcblk0p2 rw\n"
    "30 22 8:1 / {data} {how},relatime shared:9 - {kind} {device} rw\n"
)


def of_disk(
    folder: Path,
    *,
    how: str = "rw",
    kind: str = "ext4",
    device: str = "/dev/sda1",
    speed: Speed | None = QUICK,
    **more: str,
) -> list[Finding]:
    data = folder / "da ta"
    data.mkdir()
    mounts = MOUNTS.format(data=str(data).replace(" ", "\\040"), how=how, kind=kind, device=device)
    machine = tree(folder / "root", {"/proc/self/mountinfo": mounts, **more})
    return list(storage.findings(machine, [data / "absent" / "state", data], lambda _: speed))


def test_a_quick_disk_with_room_is_two_lines_however_many_folders_lie_on_it(tmp_path: Path) -> None:
    found = of_disk(tmp_path)
    assert amiss(found) == []
    assert len(found) == 2
    assert "safe after 1.5 ms (worst 8), a large file goes at 90 MB/s" in found[1].text


@pytest.mark.parametrize(
    ("case", "said", "verdict"),
    [
        ({"speed": None}, "does not answer within 20 s", "FAIL"),
        ({"how": "ro"}, "is read-only", "FAIL"),
        ({"speed": Speed("", 240.0, 900.0, 9.0)}, "slow: a small write is safe after 240.0 ms", "warn"),
        ({"speed": Speed("", 20.0, 2900.0, 9.0)}, "slow: ", "warn"),
        ({"speed": Speed("", 20.0, 29.0, 0.9)}, "slow: ", "warn"),
        ({"speed": Speed("Permission denied", 0.0, 0.0, 0.0)}, "nothing can be written there: Permission", "FAIL"),
        ({"kind": "tmpfs", "device": "tmpfs"}, "is in memory (tmpfs)", "warn"),
        ({"kind": "overlay", "device": "overlayroot"}, "is in memory (overlay)", "warn"),
        ({"kind": "nfs4", "device": "nas:/export"}, "is on the network (nfs4)", "warn"),
        ({"/sys/fs/ext4/sda1/errors_count": "3"}, "has had 3 errors of its file system", "warn"),
        ({"device": "/dev/mmcblk1p1", "/sys/block/mmcblk1/device/life_time": "0x03 0x0a"}, "0x0a of 0x0a", "warn"),
    ],
)
def test_what_is_wrong_with_a_disk_is_told(tmp_path: Path, case: dict[str, Any], said: str, verdict: str) -> None:
    found = of_disk(tmp_path, **case)
    assert one(found, said) == verdict
    assert len(amiss(found)) == 1


def test_an_sd_card_is_called_one(tmp_path: Path) -> None:
    assert "90 MB/s (an SD card or eMMC)" in of_disk(tmp_path, device="/dev/mmcblk0p3")[1].text


def test_a_disk_that_is_nearly_full_fails_and_one_that_is_getting_full_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(free_blocks: int, free_files: int = 100_000) -> Callable[[Any], os.statvfs_result]:
        return lambda _: os.statvfs_result((4096, 4096, 8_000_000, 0, free_blocks, 500_000, 0, free_files, 0, 255))

    for free_mb, verdict in ((20, "FAIL"), (300, "warn"), (9000, "ok")):
        monkeypatch.setattr(storage.os, "statvfs", told(free_mb * 1_000_000 // 4096 + 1))
        assert one(storage._room("disk", Path("/")), f"{free_mb} MB are free") == verdict
    monkeypatch.setattr(storage.os, "statvfs", told(8_000_000, 12))
    assert one(storage._room("disk", Path("/")), "only 12 more files fit") == "FAIL"


def test_a_real_disk_is_measured_and_nothing_is_left_behind(tmp_path: Path) -> None:
    speed = medium.measured(tmp_path)
    assert speed is not None
    assert speed.error == ""
    assert 0 < speed.commit_ms <= speed.worst_ms
    assert speed.mb_s > 0
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_told_in_the_systems_words(tmp_path: Path) -> None:
    speed = medium.measured(tmp_path / "absent")
    assert speed is not None
    assert speed.error == "No such file or directory"


# The unit


SHIPPED = REPOSITORY / "systemd" / "vedette.service"
GOOD = {
    "LoadState": "loaded",
    "UnitFileState": "enabled",
    "ActiveState": "active",
    "SubState": "running",
    "Result": "success",
    "NRestarts": "0",
    "ExecMainStatus": "0",
    "WatchdogUSec": "45s",
    "NeedDaemonReload": "no",
    "FragmentPath": "/etc/systemd/system/vedette.service",
    "DropInPaths": "/etc/systemd/system/vedette.service.d/own.conf",
    "StatusText": "gate: local 12 ms",
}


def of_unit(folder: Path, text: str | None = None, drop_in: str = "[Service]\n", **changed: str) -> list[Finding]:
    """As systemctl says it: a program in the tree."""
    said = "\n".join(f"{name}={value}" for name, value in {**GOOD, **changed}.items())
    machine = tree(
        folder,
        {
            "/usr/bin/systemctl": f"#!/bin/sh\ncat <<'END'\n{said}\nEND\n",
            GOOD["FragmentPath"]: SHIPPED.read_text() if text is None else text,
            GOOD["DropInPaths"]: drop_in,
        },
    )
    return list(unit.findings(machine, unit.shown(machine), SHIPPED))


def test_a_unit_that_runs_is_one_line_with_its_status(tmp_path: Path) -> None:
    assert words(of_unit(tmp_path)) == ["ok    unit: active: gate: local 12 ms"]


@pytest.mark.parametrize(
    ("changed", "said", "verdict"),
    [
        ({"LoadState": "not-found"}, "is not installed", "warn"),
        ({"LoadState": "masked"}, "is masked", "warn"),
        ({"ActiveState": "failed", "ExecMainStatus": "78"}, "its configuration is wrong", "FAIL"),
        ({"ActiveState": "failed", "Result": "watchdog"}, "failed (watchdog)", "FAIL"),
        ({"ActiveState": "activating", "SubState": "auto-restart"}, "fails at every start", "FAIL"),
        ({"ActiveState": "inactive"}, "does not run", "warn"),
        ({"UnitFileState": "disabled"}, "is not started at boot", "warn"),
        ({"NRestarts": "7"}, "was started again 7 times", "warn"),
        ({"WatchdogUSec": "0"}, "has no watchdog", "warn"),
        ({"NeedDaemonReload": "yes"}, "sudo systemctl daemon-reload", "warn"),
        ({"text": "[Service]\nExecStart=/bin/true\n"}, "is not the unit of this version", "warn"),
        ({"drop_in": "[Service]\nExecStart=\nExecStart=/bin/other\n"}, "has a command of its own", "warn"),
    ],
)
def test_what_is_wrong_with_the_unit_is_told(tmp_path: Path, changed: dict[str, str], said: str, verdict: str) -> None:
    found = of_unit(tmp_path, **changed)
    assert one(found, said) == verdict
    assert len(amiss(found)) == 1


def test_without_systemd_there_is_nothing_amiss(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert unit.shown(machine) is None
    assert one(unit.findings(machine, None, SHIPPED), "no systemd answers here") == "ok"


def test_a_program_that_hangs_is_given_up(tmp_path: Path) -> None:
    machine = tree(tmp_path, {"/usr/bin/systemctl": "#!/bin/sh\nexec sleep 60\n"})
    assert machine.ask("systemctl", "show", limit_s=0.1) is None


# Permissions


GROUPS = f"root:x:0:\nvideo:x:{os.getgid()}:\nrender:x:104:\n"


def with_camera(folder: Path, mode: int) -> Machine:
    machine = tree(folder, {"/etc/group": GROUPS, "/dev/video0": ""})
    (folder / "dev" / "video0").chmod(mode)
    return machine


def test_the_service_opens_devices_of_its_groups_alone(tmp_path: Path) -> None:
    machine = with_camera(tmp_path, 0o660)
    service = permissions.service("video")
    assert amiss(permissions.of_devices(machine, service, cameras=True, gpu=False)) == []
    other = permissions.of_devices(machine, permissions.service("render"), cameras=True, gpu=False)
    assert one(other, "the service may not open /dev/video0; sudo systemctl edit vedette") == "FAIL"


def test_a_user_is_told_to_join_the_group_and_root_needs_none(tmp_path: Path) -> None:
    machine = with_camera(tmp_path, 0o660)
    user = permissions.Actor("you", frozenset({"users"}))
    assert one(permissions.of_devices(machine, user, cameras=True, gpu=False), "usermod -a -G video $USER") == "FAIL"
    root = permissions.Actor("you", frozenset({"root"}), is_root=True)
    assert amiss(permissions.of_devices(machine, root, cameras=True, gpu=False)) == []


def test_a_missing_camera_is_told_only_where_the_configuration_has_one(tmp_path: Path) -> None:
    nobody = permissions.Actor("you", frozenset())
    assert one(permissions.of_devices(Machine(tmp_path), nobody, cameras=True, gpu=False), "no /dev/video*") == "warn"
    assert words(permissions.of_devices(Machine(tmp_path), nobody, cameras=False, gpu=True)) == []


def test_this_user_has_groups(tmp_path: Path) -> None:
    del tmp_path
    me = permissions.myself(Machine())
    assert me.groups
    assert me.is_root is (os.geteuid() == 0)


def secretive(folder: Path, *, key: int = 0o600, where: int = 0o700, page: int = 0o644) -> Machine:
    key_file = f"{permissions.CREDENTIALS}/roboflow_api_key"
    machine = tree(folder, {key_file: "k", permissions.CONFIG: "agent: a\n"})
    machine.path(key_file).chmod(key)
    machine.path(permissions.CREDENTIALS).chmod(where)
    machine.path(permissions.CONFIG).chmod(page)
    return machine


def test_good_modes_are_one_line(tmp_path: Path) -> None:
    found = words(permissions.of_files(secretive(tmp_path), [], is_service=True))
    assert found == ["ok    permissions: configuration and secrets may be read by those alone who need them"]


@pytest.mark.parametrize(
    ("modes", "said", "verdict"),
    [
        ({"key": 0o644}, "roboflow_api_key holds a secret, and other users may read it", "warn"),
        ({"where": 0o755}, "credentials is open to other users", "warn"),
        ({"page": 0o600}, "the service may not read /etc/vedette/vedette.yaml", "FAIL"),
        ({"page": 0o666}, "others than root may change", "warn"),
    ],
)
def test_wrong_modes_are_told(tmp_path: Path, modes: dict[str, int], said: str, verdict: str) -> None:
    found = list(permissions.of_files(secretive(tmp_path, **modes), [], is_service=True))
    assert one(found, said) == verdict
    assert len(found) == 1


def test_a_secret_in_a_file_cannot_be_the_services(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("p")
    file.chmod(0o600)
    assert one(permissions.of_files(Machine(tmp_path), [file], is_service=True), "write {credential: NAME}") == "FAIL"
    assert amiss(permissions.of_files(Machine(tmp_path), [file], is_service=False)) == []


# What a configuration speaks of


PAGE = """
agent: a
cameras:
  - {name: gate, source: {type: rtsp, url: "rtsp://cam.example:554/s", username: u, password: {file: cam.txt}}}
  - {name: yard, source: {type: v4l2, device: 0}}
engines:
  local: {type: tflite, model: shapes}
  cloud: {type: roboflow, model: yolov8n-640, api_key: {env: NO_SUCH_KEY}}
sinks:
  - {type: mqtt, host: broker.example, password: {file: /etc/p}, username: u}
  - {type: webhook, url: "https://hook.example/x"}
  - {type: jsonl, path: /data/results.jsonl}
snapshots: {folder: pictures, rules: [{}]}
"""


def test_hosts_secrets_and_folders_are_found_wherever_they_stand() -> None:
    settings = config.validate(document.parse(PAGE, name="page"))
    found = subject.of_config(settings, Path("/base"), Path("/state"))
    cloud = settings.engines.cloud
    assert set(found.hosts) == {"cam.example", "broker.example", "hook.example", cloud.address.partition("//")[2]}  # type: ignore[union-attr]
    assert set(found.secrets) == {Path("/base/cam.txt"), Path("/etc/p")}
    assert found.folders == (Path("/state"), Path("/data"), Path("/base/pictures"))
    assert (found.live_cameras, found.local_cameras, found.gpu) == (2, {"camera yard"}, False)


# Patience


def test_an_examination_that_hangs_is_left_behind() -> None:
    patience, never = Patience(SystemClock()), threading.Event()

    def hangs() -> list[Finding]:
        never.wait(30)
        return [fine("disk", "late")]

    found = patience.wait("disk", hangs, 0.1)
    never.set()
    assert words(found)[0].startswith("FAIL  disk: gave no answer within 0 s")
    assert patience.exhausted


def test_one_that_makes_progress_may_take_longer_than_its_limit() -> None:
    patience = Patience(SystemClock())
    pause = threading.Event()

    def builds() -> list[Finding]:
        for _ in range(8):
            pause.wait(0.1)
            patience.sign()
        return [fine("engine", "built")]

    assert words(patience.wait("engine", builds, 0.4)) == ["ok    engine: built"]
    assert not patience.exhausted


def test_a_mistake_of_the_doctors_own_is_a_finding_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    def wrong() -> list[Finding]:
        raise ZeroDivisionError

    found = Patience(SystemClock()).wait("memory", wrong, 5.0)
    assert one(found, "by a mistake of this program") == "FAIL"


# The command


def test_a_broken_part_of_a_configuration_is_a_failure_with_its_cure(tmp_path: Path) -> None:
    text = """
agent: a
cameras: [{name: gate, source: {type: image_folder, path: no-such-folder}}]
engines: {local: {type: tflite, model: shapes}}
sinks: [{type: mqtt, host: broker.invalid}]
"""
    (tmp_path / "a.yaml").write_text(text)
    done = vedette("doctor", "a.yaml", folder=tmp_path)
    assert done.returncode == 1
    assert re.search(r"^FAIL  camera gate: .*no-such-folder", done.stdout, re.MULTILINE)
    assert re.search(r"^FAIL  DNS broker\.invalid: cannot be looked up", done.stdout, re.MULTILINE)
    assert re.search(r"^FAIL  sink 1: ", done.stdout, re.MULTILINE)
    assert re.search(r"^ok    engine local: ", done.stdout, re.MULTILINE)
    assert done.stdout.splitlines()[-1].startswith("3 to mend (FAIL)")


def test_a_wrong_configuration_is_told_the_device_is_looked_at_and_the_shipped_model_answers(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("cameras: []\n")
    done = vedette("doctor", "a.yaml", "--json", folder=tmp_path)
    told = json.loads(done.stdout)
    verdicts = {(row["part"], row["verdict"]) for row in told["findings"]}
    assert {("configuration", "fail"), ("system", "ok"), ("engine local", "ok"), ("state folder", "ok")} <= verdicts
    assert "camera built-in" not in {part for part, _ in verdicts}
    assert told["findings"][0]["text"].startswith("a.yaml:1: cameras")
    assert (told["fine"], done.returncode) == (False, 1)


# The page


def sentences() -> list[tuple[str, str]]:
    """Every line that is not `ok`: the file it is in, and the longest piece of it that is always the same."""
    found = []
    for path in sorted((REPOSITORY / "agent" / "doctor").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "id", "") in ("doubt", "fault")
                and len(node.args) == 2
            ):
                pieces = [str(part.value) for part in ast.walk(node.args[1]) if isinstance(part, ast.Constant)]
                found += [(path.name, max(pieces, key=len))] if pieces else []
    return found + [("heat.py", text.partition(";")[0]) for _, text in heat.BITS.values()]


def test_the_page_has_every_line_that_is_not_fine() -> None:
    page = " ".join((REPOSITORY / "docs" / "doctor.md").read_text(encoding="utf-8").split())
    said = sentences()
    assert len(said) > 50
    assert [piece for piece in said if " ".join(piece[1].split()).strip(" ;:") not in page] == []
