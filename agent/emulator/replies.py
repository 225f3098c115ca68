"""What the hosted API says: its error bodies, byte by byte, and the body of an answer. No state.

Four shapes of error, as on the hosted service: the key check answers `{"status","message"}`, a route `{"message"}`,
parameter validation `{"detail":[...]}`, and a proxy in front HTML. JSON is compact, nulls are left out.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from agent.flow import Answer, Prediction, Task
from agent.shape import hosted_shape

JSON = "application/json"
HTML = "text/html; charset=utf-8"
STATUSES = (400, 401, 402, 403, 404, 413, 423, 429, 500, 502, 503, 504)
"""The error statuses that `error` knows how to word."""
_GATE_STATUSES = (401, 402)
_OF_OBJECTS = (Task.OBJECT_DETECTION, Task.INSTANCE_SEGMENTATION, Task.KEYPOINT_DETECTION)
_BOX = ("x", "y", "width", "height", "confidence", "class", "class_id")
_PROXY_STATUSES = {502: "Bad Gateway", 504: "Gateway Timeout"}
_MESSAGES = {
    400: "Could not load input image. Cause: this error was asked for.",
    401: "Unauthorized api_key. This key is not authorized for serverless inference.",
    402: "This workspace cannot currently spend credits for serverless inference. "
    "Verify billing or credit cap settings.",
    403: "Unauthorized access: check that the API key is valid and has the scopes this model needs.",
    404: "Requested Roboflow resource not found. Make sure that workspace, project or model you referred to exists.",
    413: "Request body is too large.",
    423: "API usage of this workspace is paused.",
    429: "Too many requests.",
    500: "Internal error.",
    503: "Model is temporarily not ready - retry request.",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole HTTP answer."""

    status: int
    body: bytes
    media_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


class Refused(Exception):
    """Ends the handling of a request with `reply`; never leaves the emulator."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"{reply.status} {reply.body.decode('utf-8', 'replace')}")
        self.reply = reply


def compact(value: object) -> bytes:
    """`value` as JSON without blanks, in UTF-8, which has no halves of characters."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode(errors="replace")


def error(status: int, *, message: str | None = None, retry_after_s: float | None = None) -> Reply:
    """The answer with one of STATUSES, in the shape the hosted service gives it.

    Args:
        status: one of STATUSES.
        message: the sentence in the body; None for the usual one.
        retry_after_s: adds Retry-After, in whole seconds unless it has a fraction.
    """
    headers = () if retry_after_s is None else (("retry-after", f"{retry_after_s:g}"),)
    if status in _PROXY_STATUSES and message is None:
        title = f"{status} {_PROXY_STATUSES[status]}"
        page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\r\n"
        return Reply(status, page.encode(), HTML, headers)
    text = _MESSAGES[status] if message is None else message
    body = {"status": status, "message": text} if status in _GATE_STATUSES else {"message": text}
    return Reply(status, compact(body), headers=headers)


def message(status: int, text: str) -> Reply:
    """A route's own error."""
    return Reply(status, compact({"message": text}))


def undecodable(cause: str) -> Reply:
    """The image is not one."""
    return message(400, f"Could not load input image. Cause: {cause}")


def invalid(problems: Sequence[Mapping[str, object]]) -> Reply:
    """Badly typed parameters: each problem has type, loc, msg and input, as FastAPI words them."""
    return Reply(422, compact({"detail": list(problems)}))


def detail(status: int, text: str, headers: Mapping[str, str] | None = None) -> Reply:
    """A wrong path or verb."""
    return Reply(status, compact({"detail": text}), headers=tuple((headers or {}).items()))


def workflow_error(status: int, kind: str, text: str) -> Reply:
    """What a workflow's definition, inputs or steps did wrong; `kind` is the error's name."""
    body = {"message": text, "error_type": kind, "context": "workflow_execution", "inner_error_type": None}
    return Reply(status, compact(body | {"inner_error_message": None, "blocks_errors": []}))


def found(answer: Answer, *, width: int, height: int, time_s: float) -> dict[str, object]:
    """The body of an answered request.

    Args:
        answer: what was found, in pixels of the picture that was sent.
        width: of that picture, in pixels.
        height: of that picture, in pixels.
        time_s: seconds of pre-processing, inference and post-processing.
    """
    return {"inference_id": str(uuid.uuid4()), "time": time_s, **_seen(answer, width, height)}


def outputs(answers: Sequence[tuple[Answer, int, int]]) -> bytes:
    """The body of a workflow's answer, whose outputs are `predictions` and their `count`.

    `answers`: what was found in each picture, and that picture's width and height in pixels.
    """
    return compact(
        {
            "outputs": [
                {"predictions": _seen(answer, width, height), "count": len(answer.predictions)}
                for answer, width, height in answers
            ],
            "profiler_trace": [],
        }
    )


def _seen(answer: Answer, width: int, height: int) -> dict[str, object]:
    whole = tuple(_in_whole_pixels(each, width, height) for each in answer.predictions)
    shape = hosted_shape(replace(answer, predictions=whole))
    if answer.task in _OF_OBJECTS:
        shape["predictions"] = [_identified(item) for item in shape["predictions"]]
    return {"image": {"width": width, "height": height}, **shape}


def _identified(item: Mapping[str, object]) -> dict[str, object]:
    """An object with its id, which stands behind its box."""
    box = {name: item[name] for name in _BOX}
    return box | {"detection_id": str(uuid.uuid4())} | dict(item)


def _in_whole_pixels(found_: Prediction, width: int, height: int) -> Prediction:
    """Corners are rounded to whole pixels first, so that centres end in .0 or .5 and sizes are whole; so are points."""
    left, right = _whole(found_.x, found_.width, width)
    top, bottom = _whole(found_.y, found_.height, height)
    points, keypoints = found_.points, found_.keypoints
    return replace(
        found_,
        x=(left + right) / 2,
        y=(top + bottom) / 2,
        width=float(right - left),
        height=float(bottom - top),
        points=None if points is None else tuple((float(round(x)), float(round(y))) for x, y in points),
        keypoints=None
        if keypoints is None
        else tuple(replace(each, x=float(round(each.x)), y=float(round(each.y))) for each in keypoints),
    )


def _whole(centre: float, size: float, limit: int) -> tuple[int, int]:
    """Both ends of a box's side, rounded and inside the picture."""
    start, end = round(centre - size / 2), round(centre + size / 2)
    return min(max(start, 0), limit), min(max(end, 0), limit)
