"""The HTTP side of the emulator: the hosted API's routes, and the emulator's own under /emulator.

State is owned by the emulator's event loop. The only file that imports Starlette. Differences from the hosted
service, all said to the client: no pictures by URL (400), no drawn answers (`format=image`, 501), one model, one
workflow. Beside the hosted service it plays the older one, and a server of one's own with the JSON routes.
"""

import base64
import binascii
import json
import logging
import re
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

import agent
from agent.clock import Clock
from agent.emulator import faults, json_requests, query, replies
from agent.emulator.dataset import Dataset
from agent.emulator.flavour import Flavour
from agent.emulator.gateway import Faulty, Gate, Proxy, RateLimit, answer, key_outside
from agent.emulator.keys import KeyRing
from agent.emulator.link import Link
from agent.emulator.model import HostedModel, Served
from agent.emulator.platform import FILES, Platform
from agent.emulator.schedule import Player
from agent.errors import ConfigError
from agent.web import App, Receive, Scope, Send

_DATA_URL = re.compile(rb"^data:image/[\w.+-]+;base64,")
_BLANKS = b" \t\r\n"
WORKFLOW = "count-objects"
"""The one that there is: it runs the model, and its outputs are `predictions` and their `count`."""
Handlers: TypeAlias = dict[Any, Callable[[Request, Exception], Awaitable[Response]]]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Site:
    """What the API serves, and its limits."""

    flavour: Flavour
    project: str
    """The model id, `project/version`."""
    workspace: str
    keys: KeyRing
    model: HostedModel
    dataset: Dataset
    platform: Platform
    box: faults.FaultBox
    link: Link
    player: Player
    clock: Clock
    max_body_bytes: int
    rate_limit_per_s: float | None
    retry_after_s: float | None
    """What a 429 says in Retry-After; None: nothing."""
    control_by_link: bool
    """Whether /emulator may be reached through the link; else only at the port behind it."""


def build_app(site: Site) -> App:
    """The whole application."""
    hosted = _hosted(site)
    limit = RateLimit(site.clock, site.rate_limit_per_s, site.retry_after_s) if site.rate_limit_per_s else None
    gate = Gate(hosted, site.keys, limit, is_v1=site.flavour is Flavour.V1)
    faulty = Faulty(gate, site.box, site.link)
    proxy = Proxy(faulty, site.clock, max_body_bytes=site.max_body_bytes)
    control = _Control(site, proxy)
    mounts = [Mount("/emulator", app=control.app), Mount(FILES, app=site.platform.files), Mount("/", app=proxy)]
    return cast("App", Starlette(routes=mounts))


def _hosted(site: Site) -> App:
    inference = _Inference(site)
    routes = [
        _route("/", _landing),
        _route("/info", _info()),
        _route("/healthz", _fixed({"status": "healthy"})),
        _route("/readiness", _fixed({"status": "ready"})),
        *(_json_routes(site, inference) if site.flavour is Flavour.SERVER else ()),
        *(_workflow_routes(inference) if site.flavour is not Flavour.V1 else ()),
        _route("/{project}/{version}", inference.serve, "POST"),
        Route("/dataset/{project}/upload", _Uploads(site.dataset).serve, methods=["POST"]),
        _route("/models/v1/external/weights", _weights(site.platform)),
    ]
    handlers: Handlers = {replies.Refused: _refused, HTTPException: _wrong_path, Exception: _broken}
    return cast("App", Starlette(routes=routes, exception_handlers=handlers))


def _json_routes(site: Site, inference: "_Inference") -> Iterator[Route]:
    """Those that a dedicated or self-hosted server has; at the hosted service they lead to no project called infer."""
    for name in json_requests.ROUTES:
        yield Route(f"/infer/{name}", inference.serve_json, methods=["POST"])
    yield _route("/model/registry", _fixed({"models": [{"model_id": site.project} | site.model.registered()]}))


def _workflow_routes(inference: "_Inference") -> Iterator[Route]:
    for path in ("/{workspace}/workflows/{id}", "/infer/workflows/{workspace}/{id}"):
        yield Route(path, inference.serve_workflow, methods=["POST"])


def _route(path: str, endpoint: Callable[..., object], *verbs: str) -> Route:
    route = Route(path, endpoint, methods=["GET", *verbs])
    # Starlette adds HEAD to GET; the hosted service's framework does not.
    route.methods = {"GET", *verbs}
    return route


def _response(reply: replies.Reply) -> Response:
    return Response(reply.body, reply.status, dict(reply.headers), reply.media_type)


async def _refused(_: Request, error: Exception) -> Response:
    return _response(cast("replies.Refused", error).reply)


async def _wrong_path(_: Request, error: Exception) -> Response:
    wrong = cast("HTTPException", error)
    return _response(replies.detail(wrong.status_code, wrong.detail, wrong.headers))


async def _broken(_: Request, error: Exception) -> Response:
    _log.error("a request failed: %s", error, exc_info=error)
    return _response(replies.error(500))


async def _landing(_: Request) -> Response:
    page = b"<!doctype html><title>vedette emulate</title><p>An emulator of the hosted API.</p>"
    return Response(page, media_type="text/html")


def _fixed(value: Mapping[str, object]) -> Callable[..., object]:
    async def endpoint(_: Request) -> Response:
        return Response(replies.compact(value), media_type=replies.JSON)

    return endpoint


def _weights(platform: Platform) -> Callable[..., object]:
    """`GET /models/v1/external/weights`, which is the platform's, at a host of its own."""

    async def endpoint(request: Request) -> Response:
        return _response(platform.describe(request.query_params, request.url.netloc))

    return endpoint


def _info() -> Callable[..., object]:
    return _fixed({"name": "vedette emulate", "version": agent.__version__, "uuid": str(uuid.uuid4())})


class _Inference:
    """The routes that look at pictures."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def serve(self, request: Request) -> Response:
        """`POST|GET /{project}/{version}`; checks in the hosted service's order.

        Parameters, what the body is, key (one in the body opens the gate, but not this route), model, picture.
        """
        wanted = query.read(request.query_params)
        content, is_text = await _content(request)
        if key_outside(request.scope) is None:
            raise replies.Refused(replies.error(401))
        if f"{request.path_params['project']}/{request.path_params['version']}" != self._site.project:
            raise replies.Refused(replies.error(403 if self._site.flavour is Flavour.V1 else 404))
        served = await self._site.model.look(_from_base64(content) if is_text else content, wanted)
        return self._answered(replies.compact(_found(served)), served)

    async def serve_json(self, request: Request) -> Response:
        """`POST /infer/{task}`: one picture or a list of them."""
        asked = json_requests.of_model(await request.body(), self._site.project)
        served = [await self._site.model.look(picture, asked.wanted) for picture in asked.pictures]
        bodies = [_found(each) for each in served]
        for body in bodies[1:]:
            body["inference_id"] = bodies[0]["inference_id"]
        return self._answered(replies.compact(bodies if asked.many else bodies[0]), *served)

    async def serve_workflow(self, request: Request) -> Response:
        """`POST /{workspace}/workflows/{id}`, and its older name."""
        place = request.path_params["workspace"], request.path_params["id"]
        asked = json_requests.of_workflow(await request.body())
        if place != (self._site.workspace, WORKFLOW):
            raise replies.Refused(replies.error(404))
        served = [await self._site.model.look(picture, asked.wanted) for picture in asked.pictures]
        body = replies.outputs([(each.answer, each.width, each.height) for each in served])
        return self._answered(body, *served, more={"x-workflow-id": WORKFLOW})

    def _answered(self, body: bytes, *served: Served, more: Mapping[str, str] | None = None) -> Response:
        headers = self._headers(served[0]) if served else {}
        return Response(body, headers=headers | dict(more or {}), media_type=replies.JSON)

    def _headers(self, served: Served) -> dict[str, str]:
        cold = served.load_s is not None
        headers = {
            "x-inference-engine": "inference-models",
            "x-workspace-id": self._site.workspace,
            "x-model-cold-start": str(cold).lower(),
            "x-model-cold-start-count": str(int(cold)),
            "x-model-id": self._site.project,
        }
        if cold:
            headers["x-model-load-time"] = str(served.load_s)
            headers["x-model-load-details"] = json.dumps([{"m": self._site.project, "t": served.load_s}])
        return headers


def _found(served: Served) -> dict[str, object]:
    return replies.found(served.answer, width=served.width, height=served.height, time_s=served.time_s)


class _Uploads:
    """`POST /dataset/{project}/upload`, which is the platform's, at a host of its own."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    async def serve(self, request: Request) -> Response:
        """The name and the split may stand in the form or in the query."""
        async with request.form() as form:
            part, query_ = form.get("file"), request.query_params
            if not isinstance(part, UploadFile):
                raise replies.Refused(replies.message(400, "No image was given: there is no file part called file."))
            reply = self._dataset.add(
                request.path_params["project"],
                await part.read(),
                name=str(form.get("name") or part.filename),
                split=str(form.get("split") or query_.get("split") or "train"),
                batch=query_.get("batch"),
                tags=query_.getlist("tag"),
            )
        return _response(reply)


async def _content(request: Request) -> tuple[bytes, bool]:
    """The picture, and whether it is base64 text; in the hosted service's order: `?image=`, multipart, body."""
    if "image" in request.query_params:
        raise replies.Refused(replies.undecodable("the emulator fetches no URLs; send the picture in the body"))
    media_type = request.headers.get("content-type")
    if media_type is None:
        raise replies.Refused(replies.message(400, "Content-Type header not provided with request."))
    if "multipart/form-data" in media_type:
        return await _part(request), False
    return await request.body(), True


async def _part(request: Request) -> bytes:
    async with request.form() as form:
        part = form.get("file")
        if not isinstance(part, UploadFile):
            names = ", ".join(sorted(form)) or "none"
            raise replies.Refused(replies.undecodable(f"there is no file part called file; parts: {names}"))
        return await part.read()


def _from_base64(body: bytes) -> bytes:
    text = _DATA_URL.sub(b"", body.strip(_BLANKS)).translate(None, delete=_BLANKS)
    if not text:
        raise replies.Refused(replies.undecodable("the body is empty"))
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise replies.Refused(replies.undecodable(f"the body is not base64: {error}")) from error


class _Control:
    """`/emulator`: what happened so far, and switches for tests. No key: only this machine reaches it."""

    def __init__(self, site: Site, proxy: Proxy) -> None:
        self._site = site
        self._proxy = proxy
        routes = [
            Route("/state", self._state, methods=["GET"]),
            Route("/fault", self._put_fault, methods=["PUT"]),
            Route("/fault", self._delete_fault, methods=["DELETE"]),
            Route("/link", self._put_link, methods=["PUT"]),
            Route("/weights", self._put_weights, methods=["PUT"]),
        ]
        handlers: Handlers = {replies.Refused: _refused, HTTPException: _wrong_path, ConfigError: _misconfigured}
        self._routes = cast("App", Starlette(routes=routes, exception_handlers=handlers))

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Only for this machine: behind the link every client looks local, so its address proves nothing."""
        peer_port = scope["client"][1] if scope.get("client") else 0
        if not self._site.control_by_link and self._site.link.carries(peer_port):
            text = "The emulator listens on a public address, so /emulator answers only at its control port."
            await answer(replies.message(403, text), send)
        else:
            await self._routes(scope, receive, send)

    async def _state(self, _: Request) -> Response:
        site = self._site
        state = self._proxy.state() | site.model.state() | site.dataset.state() | site.box.state()
        state |= site.platform.state()
        state |= {"link": site.player.state()}
        return Response(replies.compact({"project": site.project} | state), media_type=replies.JSON)

    async def _put_fault(self, request: Request) -> Response:
        self._site.box.set(faults.from_mapping(await _object(request)))
        return await self._state(request)

    async def _delete_fault(self, request: Request) -> Response:
        self._site.box.set(None)
        return await self._state(request)

    async def _put_weights(self, request: Request) -> Response:
        self._site.platform.set(await _object(request))
        return await self._state(request)

    async def _put_link(self, request: Request) -> Response:
        self._site.player.set_by_hand(await _object(request))
        return await self._state(request)


async def _misconfigured(_: Request, error: Exception) -> Response:
    return _response(replies.message(400, str(error)))


async def _object(request: Request) -> Mapping[str, object]:
    try:
        value = json.loads(await request.body())
    except ValueError as error:
        raise ConfigError(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError("the body is not a JSON object")
    return value
