"""Roboflow's hosted API, and servers that speak it: one JPEG a request, answers in the hosted shape.

Three flavours: `v2`, the hosted service; `v1`, the older one, with a host for each task; `server`, a dedicated or
self-hosted one, with its JSON routes. Or a saved workflow in place of a model. Answers are scaled from the picture that
was sent to the captured frame. Each request has one total deadline. A refusal (key, credits, project) is told apart
from slowness; see _refusals.py. Try it without a key: `vedette emulate` serves the same API on loopback; point `url`
there. No state; that of the engine is in _hosted.py.
"""

import difflib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field, HttpUrl, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from agent.engines import _aliases, _dialects, _hosted, _refusals, _upload
from agent.errors import ConfigError
from agent.flow import Route, Task
from agent.options import BARE_SECRET, Confidence, Secret
from agent.options import Options as BaseOptions
from agent.ports import CloudEngine, Context, Contributor, Project

if TYPE_CHECKING:
    from agent.engines._http import DeadlineClient

ROUTE: Final = Route.CLOUD
_MOST_BYTES: Final = {"v1": 5_000_000, "v2": 20_000_000, "server": None}
"""Of a request; a server's own limit is its owner's."""
_WORKFLOW: Final = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


class WorkflowOptions(BaseOptions):
    """A saved workflow, and what it gives."""

    id: str = Field(description="WORKSPACE/ID, as in the workflow's address")
    image: str = Field("image", min_length=1, description="the name of its input for the picture")
    predictions: str = Field("predictions", min_length=1, description="the name of its output that holds predictions")
    outputs: tuple[str, ...] = Field((), description="names of other outputs, which go into the results")
    parameters: dict[str, Any] = Field(default_factory=dict, description="values for its other inputs, by name")

    @field_validator("id")
    @classmethod
    def _is_two_parts(cls, id_: str) -> str:
        if not _WORKFLOW.fullmatch(id_):
            raise ValueError("give WORKSPACE/ID, such as my-workspace/count-boxes")
        return id_

    @field_validator("parameters")
    @classmethod
    def _leave_the_picture_alone(cls, parameters: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        image = info.data.get("image")
        if image in parameters:
            raise ValueError(f"{image} is the picture's; give the other inputs")
        try:
            json.dumps(parameters, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError("give values that JSON has: texts, numbers, true, false, lists, mappings") from error
        return parameters


class Options(BaseOptions):
    """The hosted API and the model or workflow to use there."""

    type: Literal["roboflow"] = Field(description="Roboflow's hosted API, or a server that speaks it")
    model: str | None = Field(None, description="PROJECT/VERSION, or an alias such as yolov8n-640; or give workflow")
    workflow: WorkflowOptions | None = Field(None, description="a saved workflow, in place of a model")
    api: Literal["v2", "v1", "server"] = Field(
        "v2",
        description="v2: the hosted service; v1: the older one, whose requests have at most 5 MB; server: a dedicated "
        "or self-hosted one, at url",
    )
    task: Task | None = Field(
        None,
        description="what the model does: for the host of v1, the route of a server, and answers without objects; left "
        "out: by the alias, else object-detection",
    )
    api_key: Secret = Field(description="where the API key is: {env: NAME}, {file: PATH} or {credential: NAME}")
    url: HttpUrl | None = Field(None, description="the API's address; left out: the hosted service's")
    ca_file: Path | None = Field(None, description="PEM file of a CA to trust instead of the system's")
    input_px: int | None = Field(
        None, ge=32, le=4096, description="longest side sent; left out: the model's own, or 640"
    )
    jpeg_quality: int = Field(85, ge=30, le=100, description="JPEG quality of the finest picture, 30..100")
    confidence: Confidence = Field(0.4, description="objects and classes scored below this are left out, 0..1")
    overlap: Confidence = Field(0.3, description="boxes of one class that overlap more (IoU, 0..1) are one object")
    keypoint_confidence: float = Field(0.0, ge=0, lt=1, description="keypoints scored below this are left out, 0..1")
    masks: Literal["polygon", "rle"] = Field(
        "polygon", description="how instance segmentation gives masks; polygon: outlines; rle: COCO's run lengths"
    )
    connect_timeout_s: float = Field(3.0, gt=0, le=8, description="how long opening a connection may take, seconds")

    @field_validator("model")
    @classmethod
    def _is_known(cls, model: str | None) -> str | None:
        if model is None:
            return None
        project, _, version = _aliases.resolved(model).partition("/")
        if not project or not version or "/" in version:
            near = ", ".join(difflib.get_close_matches(model, _aliases.ALIASES) or ("yolov8n-640", "yolov8x-1280"))
            raise ValueError(
                f"give PROJECT/VERSION as the API has it, such as my-project/3, or an alias such as {near}"
            )
        return model

    @field_validator("url")
    @classmethod
    def _holds_no_secret(cls, url: HttpUrl | None) -> HttpUrl | None:
        if url is not None and (url.username or url.password or url.query):
            raise PydanticCustomError(BARE_SECRET, "give the server's address alone; the key goes into api_key")
        return url

    @model_validator(mode="after")
    def _fit_together(self) -> "Options":
        if (self.model is None) == (self.workflow is None):
            raise ValueError("give a model or a workflow, one of them")
        if self.api == "server" and self.url is None:
            raise ValueError("api: server needs the server's address; give url")
        if self.api == "v1" and self.workflow is not None:
            raise ValueError("api: v1 has no workflows; leave api out, or give a model")
        return self

    @property
    def name(self) -> str:
        """Of the model or workflow."""
        return self.workflow.id if self.workflow is not None else str(self.model)

    @property
    def expected(self) -> Task:
        """What the model does, as far as it is known beforehand."""
        return self.task or _aliases.task_of(self.name) or Task.OBJECT_DETECTION

    @property
    def address(self) -> str:
        """Of the API, without a path of its own."""
        hosted = _dialects.V1_HOSTS[self.expected] if self.api == "v1" else _dialects.V2_HOST
        return (hosted if self.url is None else str(self.url)).rstrip("/")

    @property
    def longest_px(self) -> int:
        """The longest side worth uploading."""
        suffix = self.name.rpartition("-")[2]
        return self.input_px or (int(suffix) if suffix in ("640", "1280") else 640)


def _service(options: Options) -> _hosted.Service:
    """What the options ask for."""
    flow = options.workflow
    kind = "model" if flow is None else "workflow"
    return _hosted.Service(
        name=options.name,
        address=options.address,
        dialect=_dialect(options),
        asked=_refusals.Asked(f"{kind} {options.name}", is_workflow=flow is not None, is_v1=options.api == "v1"),
        expected=options.expected,
        outputs=None if flow is None else _hosted.Outputs(flow.predictions, flow.outputs),
        longest_px=options.longest_px,
        finest_quality=options.jpeg_quality,
        most_bytes=_MOST_BYTES[options.api],
        key_in_query=options.api == "v1",  # the only way that the older service documents
    )


def _dialect(options: Options) -> _dialects.Dialect:
    """How it is asked."""
    flow, address = options.workflow, options.address
    if flow is not None:
        return _dialects.workflow(address, flow.id, flow.image, flow.parameters)
    model = _aliases.resolved(options.name)
    wanted = _dialects.Wanted(options.confidence, options.overlap, options.keypoint_confidence, options.masks == "rle")
    if options.api == "server":
        return _dialects.server(address, model, options.expected, wanted)
    return _dialects.hosted(address, model, wanted)


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
    return _hosted.Roboflow(
        _service(options),
        context,
        make_client=lambda: _client(options, context, connections=width),
        key=lambda: _key(options, context),
        width=width,
    )
