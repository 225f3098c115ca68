"""`scripts/install.sh` in a Debian of its own with a real systemd, without a network. Run by `scripts/installs`.

The steps are one story, in order: install, a plugin, again, upgrade, a version that crashes, uninstall, purge.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from real.systemd_box import CHECKOUT, Box, wait_until

STOCK = Path(os.environ.get("VEDETTE_INSTALLS", ""))
"""What `scripts/installs` has prepared: `debian`, a tree, and `wheels`, all that the agent needs."""
COMMAND = "/usr/local/bin/vedette"
CONFIG = "/etc/vedette/vedette.yaml"
RESULTS = "/var/lib/vedette/results.jsonl"
DATABASE = "/var/lib/vedette/results.db"
"""What the plugin of docs/plugins.md writes."""
COUNT = """
import sqlite3, sys
print(*sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True).execute("SELECT count(*) FROM results").fetchone())
"""
READY = 'self._send("READY=1")'
CRASH = 'raise RuntimeError("planted: this version crashes at its start")'
STEP_S = 400.0

pytestmark = [
    pytest.mark.skipif(not (STOCK / "debian" / "etc").is_dir(), reason="run scripts/installs, which prepares it"),
    pytest.mark.timeout(900),
]


def wheel_of(folder: Path, version: str, *, crashes: bool = False) -> None:
    """This checkout's wheel, under another version; `crashes`: when it is started, not when it is checked."""
    source = folder / f"source-{version}"
    for name in ("agent", "models", "systemd", "config"):
        shutil.copytree(CHECKOUT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, source)
    about = source / "agent" / "__init__.py"
    about.write_text(re.sub(r'__version__ = ".*"', f'__version__ = "{version}"', about.read_text()))
    if crashes:
        notifier = source / "agent" / "sdnotify.py"
        assert READY in notifier.read_text()
        notifier.write_text(notifier.read_text().replace(READY, CRASH))
    build_wheel(source, folder / "wheels")


def plugin_wheel(folder: Path) -> None:
    """The plugin whose two files are in docs/plugins.md."""
    source = folder / "plugin"
    source.mkdir()
    page = (CHECKOUT / "docs" / "plugins.md").read_text(encoding="utf-8")
    for language, name in (("python", "vedette_sqlite.py"), ("toml", "pyproject.toml")):
        (text,) = re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
        (source / name).write_text(text, encoding="utf-8")
    build_wheel(source, folder / "plugins")


def build_wheel(source: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--find-links", STOCK / "wheels", "--wheel-dir", folder, source], check=True)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    folder = tmp_path_factory.mktemp("install")
    for version, crashes in (("1.0.0", False), ("1.1.0", False), ("1.2.0", True)):
        wheel_of(folder, version, crashes=crashes)
    plugin_wheel(folder)
    (folder / "deb").mkdir()
    built = subprocess.run(
        [CHECKOUT / "scripts" / "build-deb", "--wheelhouse", STOCK / "wheels"],
        capture_output=True,
        text=True,
        check=True,
    )
    shutil.copy(CHECKOUT / built.stdout.strip(), folder / "deb" / "vedette.deb")
    bind = {
        folder / "deb": "/srv/deb",
        folder / "plugins": "/srv/plugins",
        folder / "wheels": "/srv/vedette",
        STOCK / "wheels": "/srv/wheels",
        CHECKOUT / "scripts": "/srv/scripts",
    }
    made = Box(folder, bind=bind, tree=STOCK / "debian")
    try:
        made.boot()
        yield made
    finally:
        made.stop()


def install(box: Box, *arguments: str) -> "subprocess.CompletedProcess[str]":
    done = box.tried("/srv/scripts/install.sh", *arguments, limit_s=STEP_S)
    print(done.stdout, done.stderr)
    return done


def install_version(box: Box, version: str, *more: str) -> "subprocess.CompletedProcess[str]":
    wheel = f"/srv/vedette/vedette-{version}-py3-none-any.whl"
    return install(box, "--from", wheel, "--wheelhouse", "/srv/wheels", *more)


def shown(box: Box, name: str) -> str:
    return box.run("systemctl", "show", "vedette", f"--property={name}", "--value").strip()


def versions(box: Box) -> list[str]:
    return box.run("ls", "/opt/vedette/versions").split()


def rows(box: Box) -> int:
    """How many results the plugin has written; none before it has made its database."""
    return int(box.run("/usr/bin/python3", "-c", COUNT, DATABASE, check=False) or 0)


def version_that_runs(box: Box) -> str:
    assert shown(box, "ActiveState") == "active"
    return box.run(COMMAND, "version").split()[1]


def test_a_fresh_installation_runs_and_gives_results(box: Box) -> None:
    box.run("sh", "-c", "install -D -m 0644 -t /etc/vedette/plugins /srv/plugins/*.whl")
    done = install_version(box, "1.0.0")
    assert done.returncode == 0, done.stderr
    assert version_that_runs(box) == "1.0.0"
    assert shown(box, "UnitFileState") == "enabled"
    wait_until(lambda: box.read(RESULTS).count("\n") > 5, "results")
    assert box.run("stat", "--format=%a", "/etc/vedette/credentials").strip() == "700"


def test_the_doctor_finds_nothing_to_mend(box: Box) -> None:
    done = box.tried(COMMAND, "doctor", limit_s=120)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert "ok    unit: active" in done.stdout
    assert "ok    engine local: " in done.stdout


def test_a_plugin_whose_wheel_lies_beside_the_configuration_can_be_used(box: Box) -> None:
    box.write(CONFIG, box.read(CONFIG) + f"  - {{type: sqlite, path: {DATABASE}}}\n")
    box.run("systemctl", "restart", "vedette")
    wait_until(lambda: rows(box) > 5, "rows")


def test_the_same_again_changes_nothing(box: Box) -> None:
    before = shown(box, "InvocationID")
    box.write(CONFIG, box.read(CONFIG).replace("fps: 2", "fps: 3"))
    done = install_version(box, "1.0.0")
    assert done.returncode == 0
    assert "is installed already: nothing to do" in done.stdout
    assert versions(box) == ["1.0.0-1"]
    assert shown(box, "InvocationID") == before, "it was not restarted"
    assert "fps: 3" in box.read(CONFIG), "what a person wrote stays"


def test_a_good_version_takes_its_place(box: Box) -> None:
    done = install_version(box, "1.1.0")
    assert done.returncode == 0, done.stderr
    assert version_that_runs(box) == "1.1.0"
    assert versions(box) == ["1.0.0-1", "1.1.0-1"]
    before = rows(box)
    wait_until(lambda: rows(box) > before + 2, "rows of the plugin in the new version")


def test_a_version_that_crashes_is_rolled_back_and_the_old_one_runs(box: Box) -> None:
    done = install_version(box, "1.2.0")
    assert done.returncode == 1
    assert "1.2.0-1 did not become healthy" in done.stderr
    assert "planted: this version crashes" in done.stderr, "the journal says why"
    assert "went back to 1.1.0-1, which runs again" in done.stderr
    assert version_that_runs(box) == "1.1.0"
    assert versions(box) == ["1.0.0-1", "1.1.0-1"]


def test_a_configuration_that_the_new_version_refuses_stops_nothing(box: Box) -> None:
    good, before = box.read(CONFIG), shown(box, "InvocationID")
    box.write(CONFIG, good.replace("cameras:", "camera:"))
    done = install_version(box, "1.0.0")
    box.write(CONFIG, good)
    assert done.returncode == 1
    assert "does not accept /etc/vedette/vedette.yaml" in done.stderr
    assert shown(box, "InvocationID") == before


def test_uninstalling_keeps_configuration_and_results(box: Box) -> None:
    assert install(box, "--uninstall").returncode == 0
    assert shown(box, "LoadState") == "not-found"
    assert box.run("sh", "-c", "ls -d /opt/vedette /usr/local/bin/vedette", check=False) == ""
    assert "scene" in box.read(CONFIG)
    assert box.read(RESULTS)


def test_purging_leaves_nothing(box: Box) -> None:
    assert install(box, "--uninstall", "--purge").returncode == 0
    assert box.run("sh", "-c", "ls -d /etc/vedette /var/lib/vedette /var/lib/private/vedette", check=False) == ""


def test_the_debian_package_installs_the_same_without_a_network_and_goes_again(box: Box) -> None:
    done = box.tried("dpkg", "--install", "/srv/deb/vedette.deb", limit_s=STEP_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert version_that_runs(box)
    wait_until(lambda: box.read(RESULTS).count("\n") > 5, "results")
    box.run("dpkg", "--remove", "vedette")
    assert shown(box, "LoadState") == "not-found"
    assert box.read(RESULTS), "results stay"
    box.run("dpkg", "--purge", "vedette")
    assert box.run("sh", "-c", "ls -d /etc/vedette /var/lib/vedette /opt/vedette", check=False) == ""
