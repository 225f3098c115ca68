"""The platform's side: a model's own weights, described in pages, and their files at signed addresses that expire.

State is owned by the emulator's event loop.
"""

import hashlib
import hmac
import random
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

from agent import plugins
from agent.clock import Clock
from agent.emulator import replies
from agent.emulator.gateway import answer, header
from agent.errors import ConfigError
from agent.flow import Route
from agent.ports import Card, Context, Described
from agent.web import Receive, Scope, Send

FILES: Final = "/weights"
"""Under this path the files lie; who has an address needs no key."""
_RANGE: Final = re.compile(r"bytes=(\d+)-")
_PIECE_BYTES: Final = 65_536
_REFUSED: Final = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>'
_TYPES: Final = {"break_after_bytes": int, "times": int, "status": int, "ranges": bool, "expires_s": float}
_MAY_BE_NONE: Final = ("break_after_bytes", "times", "status")
"""Where null turns it off."""
_PACKAGE: Final = "emulated-onnx"


@dataclass(frozen=True, slots=True)
class Weather:
    """How downloads go."""

    break_after_bytes: int | None = None
    """The connection ends after at most so many bytes, at a random one; None: it does not."""
    status: int | None = None
    """Said in place of the file; None: nothing is."""
    times: int | None = None
    """For so many downloads yet; None: for all."""
    ranges: bool = True
    """Whether a part can be asked for."""
    expires_s: float = 3600.0
    """How long an address is good."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What the platform has of one model."""

    card: Card
    files: Mapping[str, bytes]


def load(file: Path, context: Context) -> Weights:
    """The weights in an .onnx file, with what describes them. Raises ConfigError, EngineBroken."""
    kinds = {kind.__module__.rpartition(".")[2]: kind for kind in plugins.options_of("engines", route=Route.LOCAL)}
    engine = plugins.build_engine(kinds["onnx"].model_validate({"type": "onnx", "model": str(file)}), context)
    try:
        engine.open()
        card = engine.card if isinstance(engine, Described) else None
        if card is None:
            raise ConfigError(f"{file}: its engine does not say what it found out")
        return Weights(card, _files(file, card))
    finally:
        engine.close()


def _files(file: Path, card: Card) -> dict[str, bytes]:
    """As a package of the platform has them."""
    preparation = {
        "network_input": {
            "training_input_size": {"height": card.height, "width": card.width},
            "dynamic_spatial_size_supported": False,
            "color_mode": "rgb",
            "resize_mode": "letterbox",
            "padding_value": 114,
            "input_channels": 3,
            "scaling_factor": 255,
        },
        "forward_pass": {"static_batch_size": 1},
        "post_processing": {"type": "nms", "fused": False},
    }
    files = {
        "weights.onnx": file.read_bytes(),
        "class_names.txt": "\n".join(card.labels).encode(),
        "inference_config.json": replies.compact(preparation),
    }
    if card.keypoints:
        points = {str(number): name for number, name in enumerate(card.keypoints)}
        classes = [{"object_class_id": number, "keypoints": points, "edges": []} for number in range(len(card.labels))]
        files["keypoints_metadata.json"] = replies.compact(classes)
    return files


class Platform:
    """One project's weights."""

    def __init__(self, project: str, weights: Weights | None, clock: Clock) -> None:
        """`project`: the model id. Without `weights` there is no such model."""
        self._project = project
        self._weights = weights
        self._clock = clock
        self._weather = Weather()
        self._secret = secrets.token_bytes(16)
        self._downloads = self._resumed = self._sent_bytes = 0
        self._random = random.Random(0)  # noqa: S311 - the same places in every run

    def set(self, values: Mapping[str, object]) -> None:
        """From now on downloads go so. Raises ConfigError: a key or a value that is none."""
        for name, value in values.items():
            kind = _TYPES.get(name)
            if kind is None:
                raise ConfigError(f"downloads have no {name}; they have {', '.join(_TYPES)}")
            if value is None and name in _MAY_BE_NONE:
                continue
            if not isinstance(value, kind) and not (kind is float and isinstance(value, int)):
                raise ConfigError(f"{name} of downloads is {value!r}; give a {kind.__name__}")
        self._weather = replace(Weather(), **values)  # type: ignore[arg-type] # checked above

    def state(self) -> dict[str, object]:
        """For `GET /emulator/state`."""
        told = {
            "downloads": self._downloads,
            "resumed": self._resumed,
            "bytes_sent": self._sent_bytes,
            "weather": asdict(self._weather),
        }
        return {} if self._weights is None else {"weights": told}

    def describe(self, query: Mapping[str, str], host: str) -> replies.Reply:
        """The answer to `GET /models/v1/external/weights`: two pages, the second with what an edge device uses."""
        if self._weights is None or query.get("modelId") != self._project:
            return replies.error(404)
        second = query.get("startAfter") == _PACKAGE
        told = {
            "type": "external-model-metadata-v1",
            "modelId": self._project,
            "modelArchitecture": "yolov8",
            "taskType": self._weights.card.task.value,
            "modelPackages": [self._onnx(host, self._weights)] if second else [_TENSORRT],
            "nextPage": None if second else _PACKAGE,
        }
        return replies.Reply(200, replies.compact({"modelMetadata": told}))

    def _onnx(self, host: str, weights: Weights) -> dict[str, object]:
        return {
            "type": "external-model-package-v1",
            "packageId": _PACKAGE,
            "packageManifest": {
                "type": "onnx-model-package-v1",
                "backendType": "onnx",
                "dynamicBatchSize": False,
                "staticBatchSize": 1,
                "quantization": "fp32",
                "opset": 17,
            },
            "packageFiles": [
                {
                    "fileHandle": name,
                    "downloadUrl": f"http://{host}{FILES}/{name}?{self._signed(name)}",
                    "md5Hash": hashlib.md5(data, usedforsecurity=False).hexdigest(),
                }
                for name, data in weights.files.items()
            ],
            "trustedSource": True,
        }

    def _signed(self, name: str) -> str:
        until = f"{self._clock.wall() + self._weather.expires_s:.3f}"
        return f"expires={until}&signature={self._signature(name, until)}"

    def _signature(self, name: str, until: str) -> str:
        return hmac.new(self._secret, f"{name} {until}".encode(), "sha256").hexdigest()

    async def files(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - a GET has no body
        """`GET /weights/NAME`, or a part of it."""
        name = scope["path"].rpartition("/")[2]
        data = None if self._weights is None else self._weights.files.get(name)
        weather = self._met()
        if data is None:
            await answer(replies.error(404), send)
        elif weather.status is not None:
            await answer(replies.message(weather.status, "This was asked for."), send)
        elif not self._good(name, scope):
            await answer(replies.Reply(403, _REFUSED, "application/xml"), send)
        else:
            await self._send(data, _begins(scope) if weather.ranges else 0, weather, send)

    def _met(self) -> Weather:
        """What this download meets."""
        self._downloads += 1
        weather = self._weather
        if weather.times is not None:
            left = weather.times - 1
            calm = replace(weather, break_after_bytes=None, status=None, times=None)
            self._weather = replace(weather, times=left) if left else calm
        return weather

    def _good(self, name: str, scope: Scope) -> bool:
        query = parse_qs(scope["query_string"].decode("latin-1"))
        until, signature = query.get("expires", [""])[0], query.get("signature", [""])[0]
        right = hmac.compare_digest(self._signature(name, until), signature)
        return right and self._clock.wall() < float(until)

    async def _send(self, data: bytes, begins: int, weather: Weather, send: Send) -> None:
        """The file from `begins` on, as far as the weather lets it."""
        if begins and begins >= len(data):
            await answer(replies.Reply(416, b"", "text/plain", (("content-range", f"bytes */{len(data)}"),)), send)
            return
        left, sent = data[begins:], len(data) - begins
        if weather.break_after_bytes is not None:
            sent = min(sent, self._random.randint(0, weather.break_after_bytes))
        headers = [(b"content-length", str(len(left)).encode()), (b"content-type", b"application/octet-stream")]
        if begins:
            headers.append((b"content-range", f"bytes {begins}-{len(data) - 1}/{len(data)}".encode()))
        await send({"type": "http.response.start", "status": 206 if begins else 200, "headers": headers})
        self._sent_bytes += sent
        self._resumed += begins > 0
        for at in range(0, sent, _PIECE_BYTES):
            await send(
                {"type": "http.response.body", "body": left[at : min(at + _PIECE_BYTES, sent)], "more_body": True}
            )
        if sent == len(left):  # else the server sees an unfinished answer, and hangs up
            await send({"type": "http.response.body", "body": b""})


def _begins(scope: Scope) -> int:
    asked = _RANGE.fullmatch(header(scope, "range") or "")
    return int(asked[1]) if asked else 0


_TENSORRT: Final = {
    "type": "external-model-package-v1",
    "packageId": "emulated-trt",
    "packageManifest": {"type": "trt-model-package-v1", "backendType": "trt", "quantization": "fp16"},
    "packageFiles": [],
}
"""Built for another machine, as most that the platform has are."""
