"""A real Chromium without a window, driven through its DevTools pipe: no library is needed for it."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --remote-debugging-pipe"
)
_LIMIT_S = 20.0


class Tab:
    """One tab, and what went wrong in it."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._out, self._in = to_browser, from_browser
        self._kept = b""
        self._number = 0
        self._session: str | None = None
        self.complaints: list[str] = []
        """Errors of scripts, refused loads and breaches of the content security policy."""

    def attach(self) -> None:
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        call: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            call["sessionId"] = self._session
        os.write(self._out, json.dumps(call).encode() + b"\0")
        while (message := self._message()).get("id") != self._number:
            self._note(message)
        assert "error" not in message, message
        result: dict[str, Any] = message["result"]
        return result

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._kept:
            assert select.select([self._in], [], [], _LIMIT_S)[0], "Chromium does not answer"
            self._kept += os.read(self._in, 1 << 20)
        text, _, self._kept = self._kept.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        if message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(message["params"]["exceptionDetails"])[:600])
        if message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            self.complaints.append(json.dumps(message["params"]["entry"])[:600])

    def show(self, url: str, *, width: int, height: int, phone: bool = False) -> None:
        scale = 2 if phone else 1
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )
        self.ask("Page.navigate", url=url)

    def value(self, script: str) -> Any:
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def until(self, script: str) -> None:
        until_s = time.monotonic() + _LIMIT_S
        while not self.value(script):
            assert time.monotonic() < until_s, f"never true: {script}; {self.complaints}"
            time.sleep(0.05)

    def picture(self, *, whole: bool = False) -> bytes:
        """What is to be seen, as a PNG file; `whole`: all of the page, as if the screen were as long."""
        return base64.b64decode(self.ask("Page.captureScreenshot", captureBeyondViewport=whole)["data"])


@contextlib.contextmanager
def chromium(folder: Path) -> Iterator[Tab]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium (Debian: chromium)")
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    shell = f'exec "$0" "$@" 3<&{to_read} 4>&{from_write} 2>/dev/null'
    command = ["bash", "-c", shell, program, *_FLAGS.split(), f"--user-data-dir={folder / 'profile'}"]
    process = subprocess.Popen(command, pass_fds=(to_read, from_write), start_new_session=True)
    os.close(to_read)
    os.close(from_write)
    try:
        tab = Tab(to_write, from_read)
        tab.attach()
        yield tab
    finally:
        process.kill()
        process.wait()
        os.close(to_write)
        os.close(from_read)
