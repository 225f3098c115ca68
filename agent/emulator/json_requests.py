"""The bodies of the JSON routes: a model's and a workflow's, and FastAPI's words for a bad one. No state."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from agent.emulator import query, replies
from agent.emulator.query import Wanted

ROUTES: Final = (
    "object_detection",
    "instance_segmentation",
    "classification",
    "keypoints_detection",
    "semantic_segmentation",
)
"""Under /infer. Each runs whatever the model is, as the real ones do."""
_NAMES: Final = {"confidence": "confidence", "iou_threshold": "overlap", "max_detections": "max_detections"} | {
    name: name for name in ("keypoint_confidence", "response_mask_format")
}
"""A field of the body, and the query parameter that means the same."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What one request asks."""

    pictures: tuple[bytes, ...]
    many: bool
    """Whether they came as a list, and so shall the answers."""
    wanted: Wanted


def of_model(content: bytes, project: str) -> Asked:
    """Pictures and parameters of a request to a route of ROUTES.

    Raises:
        Refused: 422 for a field that is missing or badly typed, 404 for another model, 400 for what is no picture.
    """
    fields = _object(content)
    _require(fields, "model_id", "image")
    wanted = _wanted(fields)
    if fields["model_id"] != project:
        raise replies.Refused(replies.error(404))
    return Asked(_pictures(fields["image"]), isinstance(fields["image"], list), wanted)


def of_workflow(content: bytes) -> Asked:
    """Pictures and parameters of a request to a workflow whose inputs are `image` and, if given, `confidence`.

    Raises:
        Refused: 422 without inputs, 400 in a workflow's words without a picture.
    """
    fields = _object(content)
    _require(fields, "inputs")
    inputs = fields["inputs"]
    if not isinstance(inputs, dict) or "image" not in inputs:
        raise replies.Refused(replies.workflow_error(400, "RuntimeInputError", "the input image is missing"))
    return Asked(_pictures(inputs["image"]), isinstance(inputs["image"], list), _wanted(inputs))


def _object(content: bytes) -> Mapping[str, Any]:
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError) as error:
        problem = {"type": "json_invalid", "loc": ["body", 0], "msg": "JSON decode error", "input": {}}
        raise replies.Refused(replies.invalid([problem])) from error
    if not isinstance(fields, dict):
        problem = {"type": "model_attributes_type", "loc": ["body"], "msg": "Input should be a valid dictionary"}
        raise replies.Refused(replies.invalid([problem | {"input": None}]))
    return fields


def _require(fields: Mapping[str, Any], *names: str) -> None:
    missing = [
        {"type": "missing", "loc": ["body", name], "msg": "Field required", "input": {}}
        for name in names
        if name not in fields
    ]
    if missing:
        raise replies.Refused(replies.invalid(missing))


def _wanted(fields: Mapping[str, Any]) -> Wanted:
    """As the same words in a query would ask for it."""
    given = {name: fields[field] for field, name in _NAMES.items() if fields.get(field) is not None}
    return query.read({name: str(value) for name, value in given.items()}, place="body")


def _pictures(image: object) -> tuple[bytes, ...]:
    return tuple(map(_picture, image if isinstance(image, list) else [image]))


def _picture(image: object) -> bytes:
    kind, value = (image.get("type"), image.get("value")) if isinstance(image, dict) else (None, None)
    if kind == "url":
        raise replies.Refused(replies.undecodable("the emulator fetches no URLs; send the picture as base64"))
    if kind != "base64" or not isinstance(value, str):
        raise replies.Refused(replies.undecodable("an image is {type: base64, value: TEXT}"))
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise replies.Refused(replies.undecodable(f"the image is not base64: {error}")) from error
