"""What is around the agent: broker, camera, hosted API, disk and viewers, all real but the API; and their faults."""

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import pytest
from disks import small_disk
from faults.case_flaps import KINDS, Flaps
from real import broker
from real.agent_process import environment
from real.broker import free_port
from real.rtsp_camera import RtspCamera, needs_rtsp
from soak.subject import FPS, Subject

from agent.sources._scene import Scene

_LINKS: dict[str, dict[str, object]] = {
    "link down": {"outage": True},
    "link slow": {"rate_mbit_s": 0.3, "rtt_ms": 400},
    "link reset": {"reset": True},
}
_GOOD_LINK: dict[str, object] = {"outage": False, "rate_mbit_s": 10, "rtt_ms": 30}
_REPLIES: dict[str, dict[str, object]] = {
    "API 429": {"kind": "status", "status": 429, "retry_after_s": 3},
    "API 500": {"kind": "status", "status": 500},
    "API 401": {"kind": "status", "status": 401},
    "API silent": {"kind": "blackhole"},
    "API a login page": {"kind": "captive_portal"},
}
_CAMERA = ("camera gone", "camera frozen", "camera of another size")
_DISK = "disk nearly full"
_RELOAD = "reload"
_DISK_MB, _LEFT_BYTES = 96, 4_000_000
"""Less is left than outboxes and pictures leave free."""
_CLIP_S = 20
_SIZE = (640, 480)


def lacks() -> str:
    """Why nothing can be soaked here; empty: it can."""
    if broker.MISSING:
        return broker.REASON
    return str(needs_rtsp.mark.kwargs["reason"]) if needs_rtsp.mark.args[0] else ""


def film(path: Path) -> None:
    """A clip of the drawn scene, which the shipped model finds things in."""
    scene = Scene(*_SIZE, seed=3, shapes=5)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, _SIZE)
    for number in range(_CLIP_S * FPS):
        writer.write(scene.render(number))
    writer.release()


class Api:
    """The emulated hosted API behind a link, as a process that ends with its input."""

    def __init__(self, folder: Path) -> None:
        self.port, self._control = free_port(), free_port()
        command = [sys.executable, "-m", "agent", "emulate", "--port", str(self.port), "--key", "k"]
        command += ["--control-port", str(self._control), "--server-ms", "60", "--until-input-ends"]
        self._process = subprocess.Popen(
            command, cwd=folder, env=environment(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline().startswith(b"emulating")
        self.put("link", _GOOD_LINK)

    def put(self, switch: str, values: Mapping[str, object] | None) -> None:
        """Turn `link` or `fault`; None takes the fault away."""
        body, method = (None, "DELETE") if values is None else (json.dumps(values).encode(), "PUT")
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._control}/emulator/{switch}", data=body, method=method
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - likewise
            answer.read()

    def close(self) -> None:
        """End it."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait(20)


class Viewer:
    """Somebody at the page, until `leave`."""

    def __init__(self, port: int, habit: str) -> None:
        self._over = threading.Event()
        path = "/events" if habit == "listening" else "/live/yard.mjpeg"
        arguments = (port, path, habit != "stalled")
        self._thread = threading.Thread(target=self._look, args=arguments, daemon=True)
        self._thread.start()

    def _look(self, port: int, path: str, takes: bool) -> None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as page:
            page.settimeout(0.2)
            page.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            while not self._over.is_set():
                if not takes:
                    self._over.wait()
                with contextlib.suppress(TimeoutError):
                    page.recv(1 << 16)

    def leave(self) -> None:
        """Close the connection."""
        self._over.set()
        self._thread.join(5)


class Surroundings:
    """All of them, within a `with` block; all is well until `begin` is called."""

    def __init__(self, folder: Path, subject: Subject, *, seed: int) -> None:
        """The agent's state is made here, on a disk of its own where that may be."""
        self._folder, self._subject = folder, subject
        self._stack = contextlib.ExitStack()
        self._dice = random.Random(f"{seed}/surroundings")  # noqa: S311 - not a secret

    def __enter__(self) -> "Surroundings":  # noqa: PYI034 - typing.Self needs Python 3.11
        with contextlib.ExitStack() as stack:
            self.has_disk = self._mount(stack)
            film(self._folder / "scene.avi")
            self.flaps = Flaps(self._folder / "broker")
            stack.callback(self.flaps.close)
            self.api = Api(self._folder)
            stack.callback(self.api.close)
            self.camera = stack.enter_context(RtspCamera(*_SIZE, fps=FPS, kbps=600))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _mount(self, stack: contextlib.ExitStack) -> bool:
        """Whether the state has a disk of its own, which can be filled."""
        if os.getuid() == 0:
            with contextlib.suppress(pytest.skip.Exception):
                stack.enter_context(small_disk(self._subject.state, f"size={_DISK_MB}m"))
                return True
        self._subject.state.mkdir(exist_ok=True)
        return False

    @property
    def places(self) -> dict[str, Any]:
        """For the agent's configuration."""
        ca = self.flaps.good.ca
        return {"camera": self.camera.url, "api": self.api.port, "broker": self.flaps.gate.port, "ca": ca}

    @property
    def faults(self) -> tuple[str, ...]:
        """Those that there can be here, once the agent runs."""
        broker = tuple(f"broker {kind}" for kind in KINDS)
        here = ((_DISK,) if self.has_disk else ()) + ((_RELOAD,) if self._subject.reloads else ())
        return (*broker, *_LINKS, *_REPLIES, *_CAMERA, *here)

    def begin(self, fault: str) -> Callable[[], None]:
        """Strike; what is returned mends it."""
        if fault.startswith("broker "):
            return self.flaps.begin(fault.removeprefix("broker "), self._dice)
        if fault in _LINKS:
            self.api.put("link", _LINKS[fault])
            return lambda: self.api.put("link", _GOOD_LINK)
        if fault in _REPLIES:
            self.api.put("fault", _REPLIES[fault])
            return lambda: self.api.put("fault", None)
        if fault in _CAMERA:
            return self._camera(fault)
        if fault == _DISK:
            return self._fill()
        self._subject.reload()
        return lambda: None

    def _camera(self, fault: str) -> Callable[[], None]:
        begin, end = {
            "camera gone": (self.camera.kill, self.camera.start),
            "camera frozen": (self.camera.freeze, self.camera.thaw),
            "camera of another size": (self.camera.resize, self.camera.resize),
        }[fault]
        begin()
        return lambda: _drop(end())

    def _fill(self) -> Callable[[], None]:
        filler = self._subject.state / "others"
        with filler.open("wb") as file:
            file.truncate(0)
            os.posix_fallocate(file.fileno(), 0, max(1, shutil.disk_usage(filler.parent).free - _LEFT_BYTES))
        return filler.unlink


def _drop(_: object) -> None:
    """For a call whose answer nobody wants."""
