"""Roboflow's hosted v2 API: `POST /{project}/{version}` with one JPEG, answers in the hosted shape.

The picture is shrunk to the model's input before upload, and answers are scaled back to the captured frame. Each
request has one total deadline. A refusal (key, credits, project) is told apart from slowness; see the table in
`_error_of`. Try it without a key: `vedette emulate` serves the same API on loopback; point `url` there.
Used by all threads of the cloud lane at once; the only state is where the key is sent.
"""

import difflib
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field, HttpUrl, field_validator
from pydantic_core import PydanticCustomError

from agent import imaging
from agent.errors import Cause, EngineError, EngineRefused, EngineUnavailable
from agent.flow import Answer, Frame, Prediction, Route, Timings
from agent.options import BARE_SECRET, Confidence, Secret
from agent.options import Options as BaseOptions
from agent.ports import Context, Engine

if TYPE_CHECKING:
    from agent.engines._http import DeadlineClient, Reply

ROUTE: Final = Route.CLOUD

_YOLOV8: Final = {"n": 3, "s": 6, "m": 8, "l": 7, "x": 5}
ALIASES: Final = {
    **{f"yolov8{size}-640": f"coco/{version}" for size, version in _YOLOV8.items()},
    **{f"yolov8{size}-1280": f"coco/{version}" for version, size in enumerate("nsmlx", start=9)},
    **{f"yolov10{size}-640": f"coco/{version}" for version, size in enumerate("nsmblx", start=19)},
    **{f"yolo{v}{size}-640": f"coco/{n}" for v in ("v11", "11") for n, size in enumerate("nsmlx", start=25)},
    **{f"yolo{v}{size}-1280": f"coco/{n}" for v in ("v11", "11") for n, size in enumerate("nsmlx", start=30)},
    **{f"yolo26{size}-640": f"coco/{version}" for version, size in enumerate("nsmlx", start=41)},
    "rfdetr-base": "coco/36",
    "rfdetr-nano": "coco/38",
    "rfdetr-small": "coco/39",
    "rfdetr-medium": "coco/40",
}
"""The API knows models by project/version only; these names are resolved here."""

_REFUSALS: Final = {
    401: (Cause.AUTH, "the API key is not accepted ({said}); check api_key"),
    402: (Cause.CREDITS, "the workspace has no credits left ({said}); check its billing"),
    403: (Cause.AUTH, "the API key may not use {model} ({said}); check the key's scope"),
    404: (Cause.NOT_FOUND, "the API has no model {model} ({said}); check project and version"),
    413: (Cause.TOO_LARGE, "the picture is too large for the API ({said}); lower input_px"),
    423: (Cause.PAUSED, "the workspace has paused its API use ({said})"),
}
"""Statuses that come again until a person acts: the cloud is closed for minutes."""
_FAILED = (Cause.SERVER, "the API failed with status {status} ({said})")
_PASSING: Final = {
    400: (Cause.BAD_REQUEST, "the API could not use this picture ({said})"),
    429: (Cause.RATE_LIMITED, "the API limits the rate of requests ({said})"),
    **dict.fromkeys((500, 502, 503, 504), _FAILED),
}
"""Statuses that may be gone with the next frame."""


class Options(BaseOptions):
    """The hosted API and the model to use there."""

    type: Literal["roboflow"] = Field(description="Roboflow's hosted API, or a server that speaks it")
    model: str = Field(description="PROJECT/VERSION, or an alias such as yolov8n-640")
    api_key: Secret = Field(description="where the API key is: {env: NAME}, {file: PATH} or {credential: NAME}")
    url: HttpUrl = Field(HttpUrl("https://serverless.roboflow.com"), description="the API's address")
    ca_file: Path | None = Field(None, description="PEM file of a CA to trust instead of the system's")
    input_px: int | None = Field(
        None, ge=32, le=4096, description="longest side sent; left out: the model's own, or 640"
    )
    jpeg_quality: int = Field(85, ge=30, le=100, description="JPEG quality of the upload, 30..100")
    confidence: Confidence = Field(0.4, description="objects scored below this are left out, 0..1")
    overlap: Confidence = Field(0.3, description="boxes of one class that overlap more (IoU, 0..1) are one object")
    connect_timeout_s: float = Field(3.0, gt=0, le=8, description="how long opening a connection may take, seconds")

    @field_validator("model")
    @classmethod
    def _is_known(cls, model: str) -> str:
        project, _, version = ALIASES.get(model, model).partition("/")
        if not project or not version or "/" in version:
            near = ", ".join(difflib.get_close_matches(model, ALIASES) or ("yolov8n-640", "yolov8x-1280"))
            raise ValueError(
                f"give PROJECT/VERSION as the API has it, such as my-project/3, or an alias such as {near}"
            )
        return model

    @field_validator("url")
    @classmethod
    def _holds_no_secret(cls, url: HttpUrl) -> HttpUrl:
        if url.username or url.password or url.query:
            raise PydanticCustomError(BARE_SECRET, "give the server's address alone; the key goes into api_key")
        return url

    @property
    def longest_px(self) -> int:
        """The longest side worth uploading."""
        suffix = self.model.rpartition("-")[2]
        return self.input_px or (int(suffix) if suffix in ("640", "1280") else 640)


class Roboflow:
    """The hosted API as an engine; as wide as the lane lets it be."""

    def __init__(self, options: Options, context: Context, *, width: int = 6) -> None:
        self.width = width
        self._options = options
        self._context = context
        self._client: DeadlineClient | None = None
        self._key = ""
        self._key_in_query = False

    def open(self) -> None:
        """Read the key and make the client; connections are opened by the first requests. Raises ConfigError."""
        from agent.engines._http import DeadlineClient

        ca_file = self._options.ca_file
        self._key = self._options.api_key.reveal(self._context.base_dir)
        self._client = DeadlineClient(
            self._context.clock,
            connections=self.width,
            connect_timeout_s=self._options.connect_timeout_s,
            ca_file=self._context.base_dir / ca_file.expanduser() if ca_file else None,
        )

    def infer(self, frame: Frame, give_up_s: float) -> Answer:
        """See Engine. Raises EngineUnavailable, EngineRefused."""
        clock, options = self._context.clock, self._options
        begun_s = clock.now()
        small = imaging.shrink(frame.pixels, options.longest_px)
        jpeg = imaging.encode_jpeg(small, options.jpeg_quality)
        encoded_s = clock.now()
        reply = self._post(jpeg, give_up_s)
        replied_s = clock.now()
        found = _predictions(reply, frame, sent_width=small.shape[1], sent_height=small.shape[0])
        server_s = _seconds(reply.headers.get("x-processing-time"))
        network_s = None if server_s is None else max(0.0, replied_s - encoded_s - server_s)
        return Answer(
            predictions=found,
            model=options.model,
            engine="roboflow",
            timings=Timings(preprocess_s=encoded_s - begun_s, upload_s=network_s, server_s=server_s),
            size_bytes=len(jpeg),
            quality=options.jpeg_quality,
            cold_start=reply.headers.get("x-model-cold-start", "").lower() == "true",
        )

    def _post(self, jpeg: bytes, give_up_s: float) -> "Reply":
        """The reply with status 200. A key refused in the header is tried once in the query, as old servers want it."""
        in_query = self._key_in_query
        reply = self._send(jpeg, give_up_s, in_query=in_query)
        if reply.status == 401 and not in_query:  # noqa: PLR2004 - unauthorised
            reply = self._send(jpeg, give_up_s, in_query=True)
            self._key_in_query = reply.status == 200  # noqa: PLR2004 - it was the way, not the key
        if reply.status != 200:  # noqa: PLR2004 - OK
            raise _error_of(reply, self._options.model)
        return reply

    def _send(self, jpeg: bytes, give_up_s: float, *, in_query: bool) -> "Reply":
        from agent.engines._http import Upload

        if self._client is None:
            raise EngineUnavailable("the engine is not open", Cause.CONNECT)
        options = self._options
        params = {"confidence": f"{options.confidence:g}", "overlap": f"{options.overlap:g}"}
        headers = {"Accept-Encoding": "identity"}
        if in_query:
            params["api_key"] = self._key
        else:
            headers["Authorization"] = f"Bearer {self._key}"
        url = f"{str(options.url).rstrip('/')}/{ALIASES.get(options.model, options.model)}"
        return self._client.post(Upload(url, params, headers, jpeg), deadline_s=give_up_s)

    def close(self) -> None:
        """Close every connection."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def __repr__(self) -> str:
        return f"<Roboflow {self._options.model} at {self._options.url}>"


def _error_of(reply: "Reply", model: str) -> EngineError:
    """What a status other than 200 means for the agent."""
    status, said = reply.status, _message(reply)
    if status in _REFUSALS:
        cause, sentence = _REFUSALS[status]
        return EngineRefused(sentence.format(model=model, said=said), cause)
    if 300 <= status < 400:  # noqa: PLR2004 - redirections
        where = reply.headers.get("location", "nowhere")
        return EngineUnavailable(
            f"redirected to {where}; a captive portal? Sign in to the network", Cause.CAPTIVE_PORTAL
        )
    if status in _PASSING:
        cause, sentence = _PASSING[status]
        retry_after_s = _seconds(reply.headers.get("retry-after"))
        return EngineUnavailable(sentence.format(status=status, said=said), cause, retry_after_s=retry_after_s)
    return EngineRefused(f"the API refused with status {status} ({said})", Cause.BAD_REQUEST)


def _message(reply: "Reply") -> str:
    """The error's text, wherever it stands: message, detail, or the body itself."""
    text = reply.body[:2000].decode("utf-8", "replace")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = text
    said = (body.get("message") or body.get("detail")) if isinstance(body, dict) else body
    return " ".join(str(said).split())[:200] or "no text"


def _seconds(text: str | None) -> float | None:
    """A header's number of seconds; None when absent, not a number, or negative."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _predictions(reply: "Reply", frame: Frame, *, sent_width: int, sent_height: int) -> tuple[Prediction, ...]:
    """The answer's objects in the captured frame. Raises EngineUnavailable when the body is not the API's."""
    body = _json_body(reply)
    try:
        image = body.get("image") or {}
        width, height = float(image.get("width", sent_width)), float(image.get("height", sent_height))
        factors = frame.width / width, frame.height / height
        return tuple(_finite(_prediction(item).scaled(*factors)) for item in body["predictions"])
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise EngineUnavailable(f"the answer is not an object detection ({reason})", Cause.BAD_ANSWER) from error


def _json_body(reply: "Reply") -> dict[str, Any]:
    try:
        body = json.loads(reply.body)
    except (ValueError, RecursionError) as error:
        start = reply.body[:200].lstrip().lower()
        if "html" in reply.headers.get("content-type", "") or start.startswith((b"<!doctype", b"<html")):
            text = "a web page came instead of an answer; a captive portal? Sign in to the network"
            raise EngineUnavailable(text, Cause.CAPTIVE_PORTAL) from error
        raise EngineUnavailable("the answer is not JSON; it may be cut short", Cause.BAD_ANSWER) from error
    if not isinstance(body, dict):
        raise EngineUnavailable("the answer is not a JSON object", Cause.BAD_ANSWER)
    return body


def _prediction(item: dict[str, Any]) -> Prediction:
    x, y, width, height, confidence = (float(item[name]) for name in ("x", "y", "width", "height", "confidence"))
    return Prediction(x, y, width, height, confidence, str(item["class"]), int(item.get("class_id", -1)))


def _finite(found: Prediction) -> Prediction:
    numbers = (found.x, found.y, found.width, found.height, found.confidence)
    if not all(math.isfinite(number) for number in numbers) or found.width < 0 or found.height < 0:
        raise ValueError("a box is not finite")
    return found


def build(options: Options, context: Context, *, width: int = 6) -> Engine:
    """The plugin's entry. `width`: how many requests may be under way at once."""
    return Roboflow(options, context, width=width)
