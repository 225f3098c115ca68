"""Everything that an agent can talk to; all but one camera say no, and repeat whatever they were told."""

import base64
import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import yaml
from canary import hand_over, secret
from mjpeg_server import MjpegServer
from webhook_receiver import scripted_port

_MQTT5 = 5


class _Parrot(BaseHTTPRequestHandler):
    """Answers 401 or 500 in turn, with the request as text, as JSON, as a URL has it, and its headers decoded."""

    server: "_Aviary"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        said = f"{unquote(self.path)} {self.path} " + " ".join(self.headers.values())
        body = json.dumps({"message": f"{said} {quote(said)} {json.dumps(said)}"}).encode()
        self.server.asked += 1
        self.send_response(401 if self.server.asked % 2 else 500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


class _Aviary(ThreadingHTTPServer):
    asked = 0
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """An agent that goes away is nothing to speak of."""


@contextmanager
def _parrot() -> Iterator[int]:
    with _Aviary(("127.0.0.1", 0), _Parrot) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_port
        server.shutdown()


def _no_rtsp(connection: socket.socket, _: threading.Event) -> None:
    """A camera that wants another password."""
    while request := connection.recv(4096).decode():
        number = next(line for line in request.splitlines() if line.lower().startswith("cseq"))
        head = 'WWW-Authenticate: Basic realm="camera"\r\nContent-Length: 0'
        connection.sendall(f"RTSP/1.0 401 Unauthorized\r\n{number}\r\n{head}\r\n\r\n".encode())


def _no_mqtt(connection: socket.socket, _: threading.Event) -> None:
    """A broker that knows another password."""
    hello = connection.recv(4096)
    version = hello[hello.index(b"MQTT") + 4]
    connection.sendall(b"\x20\x03\x00\x86\x00" if version == _MQTT5 else b"\x20\x02\x00\x04")


@dataclass(frozen=True)
class World:
    """Where everybody is."""

    folder: Path
    text: str
    """Stands in each secret, as far as that may hold it."""
    rtsp: int
    mjpeg: int
    willing: int
    """The camera that says yes."""
    mqtt: int
    http: int

    def configure(self, *, form: str, page: int | None) -> tuple[Path, dict[str, str]]:
        """A configuration with a secret wherever there may be one, and the environment that it needs.

        `form` is the log's, `page` the port of the page; None: there is no page.
        """
        plain = "".join(letter if " " <= letter <= "~" else "~" for letter in self.text)
        key = base64.b64encode(self.text.encode()[:18].ljust(18)).decode()
        files = {"password": secret(self.text), "api": secret(plain), "token": secret(plain)}
        files |= {"auth": f"Bearer {secret(plain)}", "sign": f"whsec_{secret(key)}"}
        files["url"] = f"http://127.0.0.1:{self.http}/{secret('path')}?a={secret(key)}"
        for name, value in files.items():
            hand_over(self.folder / name, value)
        (self.folder / "f.yaml").write_text(yaml.safe_dump(self._page(form, page)), encoding="utf-8")
        return self.folder / "f.yaml", {
            "CAMERA_PASSWORD": secret(self.text),
            "MQTT_PASSWORD": f" {secret(self.text)}\n",
            "CREDENTIALS_DIRECTORY": str(self.folder),
        }

    def _page(self, form: str, page: int | None) -> dict[str, Any]:
        hooks = {"type": "webhook", "headers": {"Authorization": {"file": "auth"}, "X-Site": "north"}}
        user = {"username": "viewer"}
        cameras = {
            "rtsp": {"type": "rtsp", "url": f"rtsp://127.0.0.1:{self.rtsp}/x", "password": {"env": "CAMERA_PASSWORD"}},
            "willing": {
                "type": "mjpeg",
                "url": f"http://127.0.0.1:{self.willing}/s",
                "password": {"env": "CAMERA_PASSWORD"},
            },
            "mjpeg": {"type": "mjpeg", "url": f"http://127.0.0.1:{self.mjpeg}/s", "password": {"file": "password"}},
            "query": {
                "type": "mjpeg",
                "url": f"http://127.0.0.1:{self.mjpeg}/s?u={{username}}&p={{password}}",
                "password": {"file": "password"},
            },
        }
        scene = {"type": "synthetic", "width": 320, "height": 240, "fps": 20}
        api = f"http://127.0.0.1:{self.http}"
        return {
            "agent": "porch",
            "cameras": [
                {"name": "scene", "source": scene},
                *({"name": name, "source": {**source, **user}} for name, source in cameras.items()),
            ],
            "engines": {
                "local": {"type": "tflite", "model": "shapes", "threads": 1},
                "cloud": {"type": "roboflow", "model": "yard/3", "api_key": {"credential": "api"}, "url": api},
            },
            "backfill": {"every_s": 0.1, "below": 0.99, "contribute": {"project": "yard", "url": api}},
            "snapshots": {"folder": "pictures", "rules": [{"every_s": 0.2}]},
            "sinks": [
                {"type": "jsonl", "path": "results.jsonl"},
                {"type": "csv", "path": "results.csv"},
                {"type": "stdout"},
                {**hooks, "url": f"{api}/hook"},
                {**hooks, "url": {"file": "url"}, "secret": {"file": "sign"}},
                {
                    "type": "mqtt",
                    "host": "127.0.0.1",
                    "port": self.mqtt,
                    "username": "porch",
                    "password": {"env": "MQTT_PASSWORD"},
                },
            ],
            "log": {"level": "debug", "format": form},
            **({} if page is None else {"page": {"port": page, "token": {"file": "token"}}}),
        }


@contextmanager
def refusing(folder: Path, text: str) -> Iterator[World]:
    """All of them, until the block ends."""
    with ExitStack() as stack:
        mjpeg, willing = (MjpegServer(user="viewer", password=each).start() for each in (secret("no"), secret(text)))
        stack.callback(mjpeg.stop)
        stack.callback(willing.stop)
        rtsp, mqtt = (stack.enter_context(scripted_port(script)) for script in (_no_rtsp, _no_mqtt))
        http = stack.enter_context(_parrot())
        yield World(folder, text, rtsp=rtsp, mjpeg=mjpeg.port, willing=willing.port, mqtt=mqtt, http=http)


@contextlib.contextmanager
def ended(process: Any) -> Iterator[Any]:
    """`process`, which is told to stop at the end of the block."""
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)
