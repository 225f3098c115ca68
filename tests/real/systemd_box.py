"""A real systemd: PID 1 of a container with this machine's tree, read-only beneath a layer in memory, and no network.

Or with another tree, such as a debootstrapped Debian's.

Owner: the test that boots it. It needs root and systemd-nspawn, and leaves nothing behind, mounts included.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Mapping
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
PROGRAM = "/opt/vedette/bin/vedette"
"""Where the unit expects the agent."""
PYTHON = "/opt/vedette/bin/python"
"""The interpreter that can import the agent."""
_PYTHON, _PACKAGES, _SOURCE = "/opt/vedette/python", "/opt/vedette/packages", "/opt/vedette/source"
_TOOLS = ("systemd-nspawn", "nsenter", "unshare", "setpriv")
_CAP_SYS_ADMIN = 21
_BOOT_LIMIT_S = 60.0
_STOP_LIMIT_S = 20.0
_POWER_OFF = signal.SIGRTMIN + 4
"""systemd(1): PID 1 takes it as a wish for an orderly power-off."""


def _why_not() -> str:
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        return f"needs {', '.join(missing)} (Debian: systemd-container, util-linux)"
    effective = re.search(r"^CapEff:\s*(\w+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert effective is not None
    may_mount = int(effective[1], 16) >> _CAP_SYS_ADMIN & 1
    return "" if os.getuid() == 0 and may_mount else "needs root with CAP_SYS_ADMIN, to boot a systemd of its own"


REASON = _why_not()
"""Why no box can be had; empty when one can."""


def wait_until(done: Callable[[], bool], what: str, limit_s: float = 30.0) -> None:
    """Ask `done` until it is true. Raises AssertionError after `limit_s`."""
    until_s = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < until_s, f"{what} did not come within {limit_s:.0f} s"
        time.sleep(0.1)


class Box:
    """One booted system with this checkout's agent in the place where the unit looks for it."""

    def __init__(self, folder: Path, *, bind: Mapping[Path, str], tree: Path = Path("/")) -> None:
        """Nothing runs yet. `bind`: folders of this machine, read-only, by the paths under which the box has them.

        Another `tree` than this machine's gets nothing that it does not have itself: no agent, no interpreter.
        """
        self._folder = folder
        self._console = folder / "console"
        self._tree = tree
        own = {
            Path(sys.base_prefix): _PYTHON,
            Path(sysconfig.get_paths()["purelib"]): _PACKAGES,
            CHECKOUT: _SOURCE,
        }
        self._bind = {**(own if tree == Path("/") else {}), **bind}
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def boot(self) -> None:
        """Returns when systemd is up, within seconds. `stop` it, also after a failure."""
        self._start()
        if self._tree == Path("/"):
            self._install()

    def _start(self) -> None:
        root = self._folder / "root"
        root.mkdir()
        notify = self._folder / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel, self._console.open("wb") as console:
            channel.bind(str(notify))
            channel.settimeout(0.2)
            environment = {**os.environ, "NOTIFY_SOCKET": str(notify), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
            self._process = subprocess.Popen(
                self._command(root), stdin=subprocess.DEVNULL, stdout=console, stderr=console, env=environment
            )
            self._await_boot(channel)

    def _command(self, root: Path) -> list[str]:
        # nspawn refuses / itself. The mount lives in a namespace of its own and ends with it, whatever happens here.
        mount = f'mount --bind -o ro "{self._tree}" "{root}" && exec "$@"'
        nspawn = ["systemd-nspawn", "--quiet", f"--directory={root}", "--volatile=overlay", "--register=no"]
        nspawn += ["--keep-unit", "--private-network", "--notify-ready=yes", "--console=pipe"]
        # bpf: DeviceAllow= is a BPF program. adjtimex: the box may read the clock's state; setting it stays refused.
        nspawn += ["--system-call-filter=bpf adjtimex clock_adjtime"]
        nspawn += [f"--bind-ro={host}:{inside}" for host, inside in self._bind.items()]
        # basic.target: none of this machine's own services.
        nspawn += ["--boot", "--", "--unit=basic.target"]
        shell = ["unshare", "--mount", "--propagation=private", "sh", "-c", mount, "sh"]
        return ["setpriv", "--pdeathsig=KILL", *shell, *nspawn]

    def _await_boot(self, channel: socket.socket) -> None:
        until_s, said = time.monotonic() + _BOOT_LIMIT_S, ""
        while "READY=1" not in said.splitlines():
            assert self._process is not None
            failed = self._process.poll() is not None or time.monotonic() > until_s
            assert not failed, "no boot: " + self._console.read_text(errors="replace")[-3000:]
            said = _next_word(channel)
            leader = re.search(r"X_NSPAWN_LEADER_PID=(\d+)", said)
            self._leader = int(leader[1]) if leader else self._leader

    def _install(self) -> None:
        # The interpreter of this test run, at a path that the unit's sandbox does not hide; its shared library, if it
        # has one, is looked for where it was built.
        python = f"{_PYTHON}/bin/python{sys.version_info.major}.{sys.version_info.minor}"
        world = f"LD_LIBRARY_PATH={_PYTHON}/lib PYTHONPATH={_SOURCE}:{_PACKAGES}"
        self.write(PROGRAM, f'#!/bin/sh\n{world} exec {python} -m agent "$@"\n', mode=0o755)
        self.write(PYTHON, f'#!/bin/sh\n{world} exec {python} "$@"\n', mode=0o755)

    def run(self, *command: str, text: str | None = None, check: bool = True, limit_s: float = 60.0) -> str:
        """Run `command` in the box as root, `text` on its input; what it printed."""
        done = self.tried(*command, text=text, limit_s=limit_s)
        assert done.returncode == 0 or not check, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def tried(
        self, *command: str, text: str | None = None, limit_s: float = 60.0
    ) -> "subprocess.CompletedProcess[str]":
        """Run `command` likewise; how it went."""
        enter = ["nsenter", f"--target={self._leader}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--"]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        return subprocess.run(
            [*enter, *command],
            input=text,
            capture_output=True,
            text=True,
            env=environment,
            check=False,
            timeout=limit_s,
        )

    def write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Make the file `path`, and its folders."""
        self.run("install", "-D", "-m", f"{mode:o}", "/dev/stdin", path, text=text)

    def read(self, path: str) -> str:
        """The text of a file; empty when it is absent."""
        return self.run("sh", "-c", f"test ! -e {path} || cat {path}")

    def stop(self) -> None:
        """Power off, in order if it can be had."""
        if self._process is None:
            return
        if self._process.poll() is None and self._leader:
            os.kill(self._leader, _POWER_OFF)
        try:
            self._process.wait(_STOP_LIMIT_S if self._leader else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _next_word(channel: socket.socket) -> str:
    try:
        return channel.recv(65536).decode()
    except TimeoutError:
        return ""
