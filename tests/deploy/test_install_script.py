"""The installer's judgement of a machine, over drawn-up trees; `scripts/installs` runs all of it for real."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "scripts" / "install.sh"
SHELL_SCRIPTS = [
    path for path in sorted((REPOSITORY / "scripts").iterdir()) if path.read_bytes().startswith(b"#!/usr/bin/env bash")
]
ELF = b"\x7fELF"


def tree(folder: Path, release: str, *, bits: int = 64, board: str = "", l4t: str = "") -> Path:
    """A system's root: its release, the class of its programs, and what the board is called."""
    for name in ("etc", "bin", "proc/device-tree"):
        (folder / name).mkdir(parents=True)
    system, _, version = release.partition(" ")
    (folder / "etc/os-release").write_text(f'PRETTY_NAME="x"\nID={system}\nVERSION_ID="{version}"\nID_LIKE=debian\n')
    (folder / "bin/sh").write_bytes(ELF + bytes([bits // 32]) + bytes(11))
    if board:
        (folder / "proc/device-tree/model").write_text(board + "\0")
    if l4t:
        (folder / "etc/nv_tegra_release").write_text(f"# {l4t} (release), REVISION: 4.0, GCID: 1, BOARD: generic\n")
    return folder


def call(command: str, *arguments: str | Path) -> str:
    """What one of the script's functions prints."""
    shell = f'. "$1"; shift; {command} "$@"'
    done = subprocess.run(
        ["bash", "-c", shell, "bash", SCRIPT, *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    return (done.stdout + done.stderr).strip()


@pytest.mark.parametrize(
    ("release", "facts", "told"),
    [
        ("debian 12", {"board": "Raspberry Pi 4 Model B Rev 1.4"}, "pi"),
        ("debian 13", {"board": "Raspberry Pi 5 Model B Rev 1.0"}, "pi"),
        ("ubuntu 22.04", {"l4t": "R36"}, "jetson"),
        ("ubuntu 24.04", {"l4t": "R38"}, "jetson"),
        ("ubuntu 24.04", {}, "other"),
    ],
)
def test_the_systems_it_was_made_for_meet_no_obstacle(
    tmp_path: Path, release: str, facts: dict[str, Any], told: str
) -> None:
    root = tree(tmp_path / "root", release, **facts)
    assert call("system_of", root) == release
    assert call("board_of", root) == told
    assert call("obstacle_of", root) == ""
    assert call("is_known", root) == ""


@pytest.mark.parametrize(
    ("release", "facts", "said"),
    [
        ("debian 12", {"bits": 32}, "32 bits"),
        ("debian 11", {}, "Python that is too old"),
        ("ubuntu 20.04", {}, "Python that is too old"),
        ("ubuntu 22.04", {"l4t": "R35"}, "install JetPack 6 or 7"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(
    tmp_path: Path, release: str, facts: dict[str, Any], said: str
) -> None:
    assert said in call("obstacle_of", tree(tmp_path / "root", release, **facts))


def test_this_machine_is_of_64_bits() -> None:
    assert call("bits_of", "/") == "64"


def test_the_source_is_the_checkout_around_it_unless_another_is_named(tmp_path: Path) -> None:
    show = 'parse "$@"; find_source "$FROM"; echo "$SOURCE"; version_of "$SOURCE"; #'
    version = re.search(r'__version__ = "(.*)"', (REPOSITORY / "agent/__init__.py").read_text())
    assert version is not None
    assert call(show).splitlines() == [str(REPOSITORY), version[1]]
    for name in ("vedette-0.9.0-py3-none-any.whl", "vedette-0.10.0-py3-none-any.whl", "numpy-3-x.whl"):
        (tmp_path / name).write_bytes(b"")
    newest = tmp_path / "vedette-0.10.0-py3-none-any.whl"
    assert call(show, "--from", tmp_path).splitlines() == [str(newest), "0.10.0"]
    (tmp_path / "empty").mkdir()
    assert "is no checkout, no wheel" in call(show, "--from", tmp_path / "empty")


def test_what_an_installation_is_made_of_has_one_stamp(tmp_path: Path) -> None:
    wheel = tmp_path / "vedette-1-py3-none-any.whl"
    wheel.write_bytes(b"one")
    stamp = 'PYTHON=python3 EXTRAS=$2; stamp_of "$1"; #'
    first = call(stamp, wheel, "")
    assert first == call(stamp, wheel, "")
    assert first != call(stamp, wheel, "onnx")
    wheel.write_bytes(b"two")
    assert first != call(stamp, wheel, "")


def test_a_plugins_wheel_is_part_of_what_is_installed(tmp_path: Path) -> None:
    source, wheel = tmp_path / "vedette-1-py3-none-any.whl", tmp_path / "plugins" / "vedette_loud-1-py3-none-any.whl"
    source.write_bytes(b"one")
    wheel.parent.mkdir()
    python = tmp_path / "python"  # makes a virtual environment with itself in it, and prints what else it is asked
    python.write_text('#!/bin/sh\n[ "$2" != venv ] && echo "$@" || install -D "$0" "$3/bin/python"\n')
    python.chmod(0o755)
    given = "PYTHON=$1/python SOURCE=$1/vedette-1-py3-none-any.whl CONFIG_DIR=$1 EXTRAS= WHEELHOUSE=;"
    without = call(f'{given} stamp_of "$SOURCE"; #', tmp_path)
    wheel.write_bytes(b"plugin")
    assert call(f'{given} stamp_of "$SOURCE"; #', tmp_path) != without
    assert f" {source} {wheel}" in call(f'{given} build "$1/new"; #', tmp_path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--purge"], "--purge goes with --uninstall"),
        (["--extra", "cuda"], "--extra is onnx or tflite-runtime, not 'cuda'"),
        (["--wait", "soon"], "not 'soon'"),
        (["--fast"], "there is no option --fast"),
    ],
)
def test_a_wrong_option_is_named(arguments: list[str], said: str) -> None:
    assert said in call("parse", *arguments)


def test_every_option_is_in_the_help_and_on_the_page() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    options = set(re.findall(r"^        (--[a-z-]+)\)", text, re.MULTILINE))
    assert len(options) == 7
    page = (REPOSITORY / "docs/install.md").read_text(encoding="utf-8")
    shown = call("usage")
    assert [option for option in sorted(options) if option not in shown or option not in page] == []


def test_a_half_built_version_goes_and_the_last_two_stay(tmp_path: Path) -> None:
    for name in ("1.0.0-1", "1.0.0-2", "1.1.0-1", "1.2.0-1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vedette-installed").write_text("stamp")
    (tmp_path / "1.0.0-2/vedette-installed").unlink()
    assert call("VERSIONS=$1; clear_ruins; next_folder 1.0.0; #", tmp_path) == str(tmp_path / "1.0.0-2")
    call('VERSIONS=$1; keep_two "$1/1.2.0-1" "$1/1.1.0-1"; #', tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.1.0-1", "1.2.0-1"]


def test_the_link_to_the_version_in_use_is_replaced_in_one_step(tmp_path: Path) -> None:
    for name in ("versions/1", "versions/2"):
        (tmp_path / name).mkdir(parents=True)
        assert call(f"HOME_DIR=$1; point_to {name}; current; #", tmp_path) == str(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["current", "versions"]


@pytest.mark.parametrize("path", SHELL_SCRIPTS, ids=lambda path: path.name)
def test_bash_understands_every_script(path: Path) -> None:
    subprocess.run(["bash", "-n", path], check=True, timeout=10)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs shellcheck (Debian: shellcheck)")
def test_shellcheck_has_nothing_to_say_against_the_installer() -> None:
    done = subprocess.run(["shellcheck", SCRIPT], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == ""
