"""`scripts/Containerfile`, built and run by podman, without a registry of images. Run by `scripts/containers`.

The steps are one story, in order: build, check, run, reload, stop, start again.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from real.systemd_box import CHECKOUT, wait_until

import agent

STOCK = Path(os.environ.get("VEDETTE_CONTAINERS", ""))
"""What `scripts/containers` has prepared: `debian.tar`, the base image, and `wheels`, all that the agent needs."""
BASE = "docker.io/library/debian:13-slim"
PIP = "[global]\nno-index = true\nfind-links = /srv/wheels\n"
CONFIG = "/etc/vedette/vedette.yaml"
RESULTS = "/var/lib/vedette/results.jsonl"
HOST = "gate-1"
RUN_RESULTS = 40
"""Of 20 seconds, at the 2 pictures a second that the configuration asks for."""
STOP_S = 35
"""As long as the unit gives it: `TimeoutStopSec=`."""
MOST_MB = 800
BUILD_S = 800.0

pytestmark = [
    pytest.mark.skipif(not (STOCK / "debian.tar").is_file(), reason="run scripts/containers, which prepares it"),
    pytest.mark.timeout(900),
]


class Engine:
    """podman with a store of its own."""

    def __init__(self, store: Path) -> None:
        # Debian 12's crun refuses a machine with both kinds of cgroups, which runc does not.
        self._podman = ["podman", f"--root={store / 'root'}", f"--runroot={store / 'run'}", "--runtime=runc"]

    def tried(self, *arguments: str | Path, limit_s: float = 60.0) -> "subprocess.CompletedProcess[str]":
        """A command of podman's; how it went."""
        done = subprocess.run([*self._podman, *arguments], capture_output=True, text=True, timeout=limit_s, check=False)
        print(done.stdout[-3000:], done.stderr[-3000:])
        return done

    def do(self, *arguments: str | Path, limit_s: float = 60.0) -> str:
        """Likewise; what it printed. Raises AssertionError when it failed."""
        done = self.tried(*arguments, limit_s=limit_s)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def once(self, *command: str, options: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
        """A container of the image for one command of the agent's."""
        return self.tried("run", "--rm", *CONFINED, *options, "vedette", *command)


CONFINED = ("--network=none", "--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096")
"""The limits are podman's own but for their height, to which a sandbox may not raise them."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    store = tmp_path_factory.mktemp("podman")
    made = Engine(store)
    try:
        made.do("import", STOCK / "debian.tar", BASE)
        yield made
    finally:
        made.tried("rm", "--all", "--force")
        shutil.rmtree(store)


class Gate:
    """A container that runs as docs/install.md says."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        """`folder`: with its configuration."""
        self.engine, self.folder = engine, folder
        how = ("-d", "--name=gate", f"--hostname={HOST}", f"--stop-timeout={STOP_S}", *CONFINED)
        mounts = (f"--volume={folder}:/etc/vedette:ro", "--volume=vedette:/var/lib/vedette")
        engine.do("run", *how, *mounts, "vedette")

    def results(self) -> list[str]:
        """The lines written so far."""
        return self.engine.do("exec", "gate", "sh", "-c", f"test ! -e {RESULTS} || cat {RESULTS}").splitlines()

    def log(self) -> str:
        """All that the agent has said."""
        told = self.engine.tried("logs", "gate")
        return told.stdout + told.stderr


@pytest.fixture(scope="module")
def gate(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Gate:
    folder = tmp_path_factory.mktemp("gate")
    folder.chmod(0o755)
    shutil.copy(CHECKOUT / "config" / "vedette.start.yaml", folder / "vedette.yaml")
    return Gate(engine, folder)


def test_the_image_is_built(engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pip.conf").write_text(PIP)
    mounts = (f"--volume={tmp_path / 'pip.conf'}:/etc/pip.conf:ro", f"--volume={STOCK / 'wheels'}:/srv/wheels:ro")
    how = ("--pull=never", "--isolation=chroot", "--network=host", *mounts)
    engine.do("build", *how, "-f", "scripts/Containerfile", "-t", "vedette", CHECKOUT, limit_s=BUILD_S)
    size_mb = int(engine.do("image", "inspect", "vedette", "--format={{.Size}}")) / 1e6
    with capsys.disabled():
        print(f"the image has {size_mb:.0f} MB")
    assert size_mb < MOST_MB


def test_it_knows_its_version_and_accepts_the_configuration_it_comes_with(engine: Engine) -> None:
    assert engine.once("version").stdout == f"vedette {agent.__version__}\n"
    checked = engine.once("check", CONFIG)
    assert checked.returncode == 0
    assert f"ok    {CONFIG}: 1 camera(s)" in checked.stdout


def test_it_is_nobody_who_may_see_cameras(engine: Engine) -> None:
    who = engine.once("-Gn", options=("--entrypoint=id",))
    assert who.stdout.split() == ["vedette", "video"]
    changed = engine.once("/opt/vedette/current/bin/vedette", options=("--entrypoint=rm",))
    assert "Permission denied" in changed.stderr


def test_it_runs_and_gives_results(gate: Gate) -> None:
    wait_until(lambda: len(gate.results()) >= RUN_RESULTS, "results", limit_s=60)
    lines = [json.loads(line) for line in gate.results()]
    assert {line["agent"] for line in lines} == {HOST}
    assert {line["route"]["published"] for line in lines} == {"local"}


def test_a_changed_configuration_is_taken_over_without_a_restart(gate: Gate) -> None:
    file = gate.folder / "vedette.yaml"
    new = gate.folder / "new.yaml"
    new.write_text(file.read_text().replace("fps: 2", "fps: 5"))
    new.replace(file)  # as an editor does it: another file under the same name
    gate.engine.do("kill", "--signal=HUP", "gate")
    wait_until(lambda: "the new configuration runs" in gate.log(), "the new configuration")


def test_it_ends_in_order_when_it_is_stopped(gate: Gate) -> None:
    begun_s = time.monotonic()
    gate.engine.do("stop", "gate")
    assert time.monotonic() - begun_s < STOP_S
    assert gate.engine.do("inspect", "gate", "--format={{.State.ExitCode}}") == "0\n"
    assert "agent.cli: stopped: " in gate.log()


def test_results_outlast_it(gate: Gate) -> None:
    gate.engine.do("start", "gate")
    before = len(gate.results())
    assert before >= RUN_RESULTS
    wait_until(lambda: len(gate.results()) > before + 2, "more results")
    gate.engine.do("stop", "gate")
