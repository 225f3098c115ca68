"""Roboflow's hosted v2 API: `POST /{project}/{version}` with one JPEG, answers in the hosted shape.

Answers are scaled from the picture that was sent to the captured frame. Each request has one total deadline. A refusal
(key, credits, project) is told apart from slowness; see the table in `_error_of`. Try it without a key: `vedette
emulate` serves the same API on loopback; point `url` there.
Used by all threads of the cloud lane at once; the only state is where the key is sent.
"""

import difflib
import json
import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field, HttpUrl, field_validator
from pydantic_core import PydanticCustomError

from agent.engines import _replies, _tcp_info, _upload
from agent.errors import Cause, ConfigError, EngineError, EngineRefused, EngineUnavailable
from agent.flow import Answer, Picture, Prediction, Route, Timings
from agent.options import BARE_SECRET, Confidence, Secret
from agent.options import Options as BaseOptions
from agent.ports import CloudEngine, Context, Contributor, Project, Watch

if TYPE_CHECKING:
    from agent.engines._http import DeadlineClient, Reply

_log = logging.getLogger(__name__)
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
_PORTAL: Final = "a web page came instead of an answer; a captive portal? Sign in to the network"
_FAILED: Final = (Cause.SERVER, "the API failed with status {status} ({said})")
_PASSING: Final = {
    400: (Cause.BAD_REQUEST, "the API could not use this picture ({said})"),
    408: (Cause.TIMEOUT, "the API did not wait for the whole picture ({said})"),
    425: (Cause.SERVER, "the API was not ready for this picture ({said})"),
    429: (Cause.RATE_LIMITED, "the API limits the rate of requests ({said})"),
    **dict.fromkeys((500, 502, 503, 504, *range(520, 531)), _FAILED),  # the last are those of a network in front
    511: (Cause.CAPTIVE_PORTAL, _PORTAL),
}
"""Statuses that may be gone with the next frame."""
_WELCOME: Final = (200, 400, 422)
"""To a request without a picture: it was let in."""


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
    jpeg_quality: int = Field(85, ge=30, le=100, description="JPEG quality of the finest picture, 30..100")
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
        self.longest_px = options.longest_px
        self.finest_quality = options.jpeg_quality
        self.measures = _tcp_info.measures()
        self._options = options
        self._context = context
        self._client: DeadlineClient | None = None
        self._key = ""
        self._key_in_query = False

    def open(self) -> None:
        """Read the key and make the client; connections are opened by the first requests. Raises ConfigError."""
        self._key = _key(self._options, self._context)
        self._client = _client(self._options, self._context, connections=self.width)
        if not self.measures:
            _log.warning("this system does not tell what was acknowledged (TCP_INFO); uploads are timed end to end")

    def infer(self, picture: Picture, give_up_s: float, watch: Watch) -> Answer:
        """See CloudEngine. Raises EngineUnavailable, EngineRefused."""
        reply = self._ask(give_up_s, picture=picture.data, watch=watch)
        if reply.status != 200:  # noqa: PLR2004 - OK
            raise self._error_of(reply)
        return Answer(
            predictions=_predictions(reply, picture),
            model=self._options.model,
            engine="roboflow",
            timings=Timings(
                connect_s=reply.connect_s,
                upload_s=reply.upload_s,
                server_s=reply.server_s,
                processing_s=_replies.seconds(reply.headers.get("x-processing-time")),
            ),
            size_bytes=len(picture.data),
            quality=picture.quality,
            cold_start=reply.headers.get("x-model-cold-start", "").lower() == "true",
        )

    def dial(self, give_up_s: float) -> int:
        """See CloudEngine. Raises EngineUnavailable."""
        return self._opened().dial(str(self._options.url), deadline_s=give_up_s)

    def knock(self, give_up_s: float) -> int:
        """See CloudEngine: a request without a picture, which the API finds bad once it has let it in.

        Raises EngineUnavailable, EngineRefused.
        """
        reply = self._ask(give_up_s)
        if reply.status not in _WELCOME:
            raise self._error_of(reply)
        if _replies.is_page(reply):
            raise EngineUnavailable(_PORTAL, Cause.CAPTIVE_PORTAL)
        return reply.metered_bytes

    def _opened(self) -> "DeadlineClient":
        if self._client is None:
            raise EngineUnavailable("the engine is not open", Cause.CONNECT)
        return self._client

    def _ask(self, give_up_s: float, *, picture: bytes | None = None, watch: Watch | None = None) -> "Reply":
        """What the API says.

        A key refused in the header is tried in the query, as old servers want it: first without the picture.
        """
        from agent.engines._http import Call

        client, in_query = self._opened(), self._key_in_query
        reply = client.post(Call(*self._request(in_query=in_query), picture), deadline_s=give_up_s, watch=watch)
        if reply.status != 401 or in_query:  # noqa: PLR2004 - unauthorised
            return reply
        knock = client.post(Call(*self._request(in_query=True)), deadline_s=give_up_s, spent_bytes=reply.metered_bytes)
        self._key_in_query = knock.status != 401  # noqa: PLR2004 - it is the way, not the key
        if picture is None or not self._key_in_query:
            return knock
        call = Call(*self._request(in_query=True), picture)
        return client.post(call, deadline_s=give_up_s, watch=watch, spent_bytes=knock.metered_bytes)

    def _request(self, *, in_query: bool) -> tuple[str, dict[str, str], dict[str, str]]:
        """Address, parameters and headers."""
        options = self._options
        params = {"confidence": f"{options.confidence:g}", "overlap": f"{options.overlap:g}"}
        headers = {"Accept-Encoding": "identity"}
        if in_query:
            params["api_key"] = self._key
        else:
            headers["Authorization"] = f"Bearer {self._key}"
        return f"{str(options.url).rstrip('/')}/{ALIASES.get(options.model, options.model)}", params, headers

    def _error_of(self, reply: "Reply") -> EngineError:
        """What a status other than 200 means; some servers repeat the key, so it is struck out."""
        said = _replies.message(reply).replace(self._key, "***")
        where = reply.headers.get("location", "nowhere").partition("?")[0].replace(self._key, "***")
        wait_s = _replies.retry_after_s(reply, self._context.clock.wall())
        error = _error_of(reply.status, self._options.model, said=said, where=where, retry_after_s=wait_s)
        error.metered_bytes, error.processing_s = (
            reply.metered_bytes,
            _replies.seconds(reply.headers.get("x-processing-time")),
        )
        return error

    def close(self) -> None:
        """Close every connection."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def __repr__(self) -> str:
        return f"<Roboflow {self._options.model} at {self._options.url}>"


def _error_of(status: int, model: str, *, said: str, where: str, retry_after_s: float | None) -> EngineError:
    """What a status other than 200 means for the agent."""
    if status in _REFUSALS:
        cause, sentence = _REFUSALS[status]
        return EngineRefused(sentence.format(model=model, said=said), cause)
    if 300 <= status < 400:  # noqa: PLR2004 - redirections
        return EngineUnavailable(
            f"redirected to {where}; a captive portal? Sign in to the network", Cause.CAPTIVE_PORTAL
        )
    if status in _PASSING:
        cause, sentence = _PASSING[status]
        return EngineUnavailable(sentence.format(status=status, said=said), cause, retry_after_s=retry_after_s)
    return EngineRefused(f"the API refused with status {status} ({said})", Cause.BAD_REQUEST)


def _predictions(reply: "Reply", picture: Picture) -> tuple[Prediction, ...]:
    """The answer's objects in the captured frame. Raises EngineUnavailable when the body is not the API's."""
    body = _json_body(reply)
    try:
        image = body.get("image") or {}
        width, height = float(image.get("width", picture.width)), float(image.get("height", picture.height))
        factors = picture.frame_width / width, picture.frame_height / height
        return tuple(_finite(_prediction(item).scaled(*factors)) for item in body["predictions"])
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise EngineUnavailable(f"the answer is not an object detection ({reason})", Cause.BAD_ANSWER) from error


def _json_body(reply: "Reply") -> dict[str, Any]:
    try:
        body = json.loads(reply.body)
    except (ValueError, RecursionError) as error:
        if _replies.is_page(reply):
            raise EngineUnavailable(_PORTAL, Cause.CAPTIVE_PORTAL) from error
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


def _key(options: Options, context: Context) -> str:
    """The API key. Raises ConfigError."""
    key = options.api_key.reveal(context.base_dir)
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"api_key {options.api_key} holds characters that no API key has; put the key alone")
    return key


def _client(options: Options, context: Context, *, connections: int) -> "DeadlineClient":
    """What makes the requests. Raises ConfigError."""
    from agent.engines._http import DeadlineClient

    return DeadlineClient(
        context.clock,
        connections=connections,
        connect_timeout_s=options.connect_timeout_s,
        ca_file=context.base_dir / options.ca_file.expanduser() if options.ca_file else None,
    )


def build_contributor(options: Options, context: Context, project: Project) -> Contributor:
    """The way to a project of the same platform; `options` say how, and with which key."""
    return _upload.Uploads(
        project,
        context.clock,
        make_client=lambda: _client(options, context, connections=1),
        key=lambda: _key(options, context),
    )


def build(options: Options, context: Context, *, width: int = 6) -> CloudEngine:
    """The plugin's entry. `width`: how many requests may be under way at once."""
    return Roboflow(options, context, width=width)
