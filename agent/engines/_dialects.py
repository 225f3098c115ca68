"""How a picture is asked about, by the kind of server: the hosted route, the JSON routes, a workflow. No state."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from agent.engines import _body
from agent.flow import Task

if TYPE_CHECKING:
    from agent.engines._http import Call

Image: TypeAlias = dict[str, str]
"""A picture as JSON has it."""
V1_HOSTS: Final = {
    Task.OBJECT_DETECTION: "https://detect.roboflow.com",
    Task.KEYPOINT_DETECTION: "https://detect.roboflow.com",
    Task.INSTANCE_SEGMENTATION: "https://outline.roboflow.com",
    Task.CLASSIFICATION: "https://classify.roboflow.com",
    Task.MULTI_LABEL_CLASSIFICATION: "https://classify.roboflow.com",
    Task.SEMANTIC_SEGMENTATION: "https://segment.roboflow.com",
}
"""The older service has a host for each task."""
V2_HOST: Final = "https://serverless.roboflow.com"
_ROUTES: Final = {
    Task.OBJECT_DETECTION: "object_detection",
    Task.KEYPOINT_DETECTION: "keypoints_detection",
    Task.INSTANCE_SEGMENTATION: "instance_segmentation",
    Task.CLASSIFICATION: "classification",
    Task.MULTI_LABEL_CLASSIFICATION: "classification",
    Task.SEMANTIC_SEGMENTATION: "semantic_segmentation",
}
_HEADERS: Final = {"Accept-Encoding": "identity"}


class Dialect(Protocol):
    """One way to put a request."""

    @property
    def key_in_body(self) -> bool:
        """Whether the key's place is fixed; else it goes into a header or into the query."""

    def call(self, key: str, picture: bytes | None, *, key_in_query: bool) -> "Call":
        """The request; without a picture it is one that the server finds bad, once it has let it in."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of a model."""

    confidence: float
    overlap: float
    keypoint_confidence: float = 0.0
    as_runs: bool = False
    """Masks as run lengths, in place of outlines."""

    def values(self, overlap: str) -> dict[str, float | str]:
        """By the API's names; `overlap` is what the route calls that."""
        values: dict[str, float | str] = {"confidence": self.confidence, overlap: self.overlap}
        if self.keypoint_confidence:
            values["keypoint_confidence"] = self.keypoint_confidence
        if self.as_runs:
            values["response_mask_format"] = "rle"
        return values


@dataclass(frozen=True, slots=True)
class HostedRoute:
    """`POST /{project}/{version}` with a form, as the hosted service has it, old and new."""

    url: str
    params: Mapping[str, str] = field(repr=False)
    key_in_body: bool = field(default=False, init=False)

    def call(self, key: str, picture: bytes | None, *, key_in_query: bool) -> "Call":
        """See Dialect."""
        from agent.engines._http import Call

        params, headers = dict(self.params), dict(_HEADERS)
        if key_in_query:
            params["api_key"] = key
        else:
            headers["Authorization"] = f"Bearer {key}"
        return Call(self.url, params, headers, None if picture is None else _body.form(picture))


@dataclass(frozen=True, slots=True)
class JsonRoute:
    """`POST` of a JSON object that holds key, picture and all."""

    url: str
    fields: Callable[[Image], Mapping[str, Any]] = field(repr=False)
    """What stands beside the key, by the picture."""
    key_in_body: bool = field(default=True, init=False)

    def call(self, key: str, picture: bytes | None, *, key_in_query: bool) -> "Call":  # noqa: ARG002 - see Dialect
        """See Dialect."""
        from agent.engines._http import Call

        fields: Mapping[str, Any] = {} if picture is None else self.fields(_body.base64_image(picture))
        body = _body.document({"api_key": key, **fields}, picture_bytes=len(picture or b""))
        return Call(self.url, {}, dict(_HEADERS), body)


def hosted(address: str, model: str, wanted: Wanted) -> Dialect:
    """The route of the hosted service; `model` is PROJECT/VERSION."""
    params = {
        name: value if isinstance(value, str) else f"{value:g}" for name, value in wanted.values("overlap").items()
    }
    return HostedRoute(f"{address}/{model}", params)


def server(address: str, model: str, task: Task, wanted: Wanted) -> Dialect:
    """The JSON route that a dedicated or self-hosted server has for `task`."""
    fields = {"model_id": model, **wanted.values("iou_threshold")}
    return JsonRoute(f"{address}/infer/{_ROUTES[task]}", lambda image: {**fields, "image": image})


def workflow(address: str, name: str, image_input: str, parameters: Mapping[str, Any]) -> Dialect:
    """A saved workflow, WORKSPACE/ID, whose input `image_input` is the picture."""
    workspace, _, id_ = name.partition("/")
    return JsonRoute(
        f"{address}/{workspace}/workflows/{id_}", lambda image: {"inputs": {**parameters, image_input: image}}
    )
