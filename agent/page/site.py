"""The page's routes: the page itself, live pictures, what happens, metrics and health. Owner: the page's event loop.

Whoever looks shares one drawing of each camera and one text of each message. A viewer who is slow is sent the newest
picture once he has taken the last; what waits for him is one picture here and the socket's buffer.
"""

import contextlib
import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from agent.clock import Clock
from agent.metrics import Metrics
from agent.page import report
from agent.page.gallery import Gallery
from agent.page.gate import inline_policy
from agent.page.rounds import Bulletin, Rounds
from agent.page.studio import Studio
from agent.readiness import Readiness, Watched
from agent.web import App

MOST_VIEWERS: Final = 8
"""Live pictures under way at once."""
MOST_LISTENERS: Final = 16
_LINES_EVERY_S: Final = 0.25
_STATE_EVERY_S: Final = 1.0
_LOOK_EVERY_S: Final = 30.0
"""Whoever listens or not: readiness goes by what has changed lately."""
_STILL_LIMIT_S: Final = 4.0
"""A still that has not come by then: no frame was answered, as where nothing moves."""
_BOUNDARY: Final = "vedette"
HTML: Final = Path(__file__).with_name("index.html").read_text(encoding="utf-8")
_SCRIPT, _STYLE = (re.findall(f"<{tag}>(.*?)</{tag}>", HTML, re.DOTALL) for tag in ("script", "style"))
POLICY: Final = inline_policy(_SCRIPT[0], _STYLE[0])


@dataclass(slots=True)
class _Places:
    """How many may do something at once."""

    left: int

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        self.left -= 1
        try:
            yield
        finally:
            self.left += 1


class Site:
    """Everything that is served."""

    def __init__(
        self, watched: Watched, readiness: Readiness, *, gallery: Gallery, studio: Studio, metrics: Metrics
    ) -> None:
        self._watched = watched
        self._readiness = readiness
        self._gallery = gallery
        self._studio = studio
        self._metrics = metrics
        self._clock: Clock = watched.clock
        self._begun_s = self._clock.now()
        self._rounds = Rounds()
        self._bulletin = Bulletin()
        self._viewers, self._listeners = _Places(MOST_VIEWERS), _Places(MOST_LISTENERS)
        self._lines_s = self._state_s = self._look_s = float("-inf")

    def app(self) -> App:
        """The application, without its gate."""
        routes = [
            Route("/", self._index),
            Route("/live/{name}", self._live),
            Route("/state.json", self._state),
            Route("/events", self._events),
            Route("/metrics", self._scrape),
            Route("/livez", self._livez),
            Route("/readyz", self._readyz),
        ]
        return cast("App", Starlette(routes=routes))

    def turn(self) -> None:
        """One round: draw what is watched, tell who listens. Called several times a second."""
        now_s = self._clock.now()
        self._studio.step()
        if self._listeners.left < MOST_LISTENERS:
            self._tell(now_s)
        if now_s - self._look_s >= _LOOK_EVERY_S:
            self._look_s = now_s
            self._readiness.condition()
        self._rounds.end()

    def _tell(self, now_s: float) -> None:
        if now_s - self._state_s >= _STATE_EVERY_S:
            self._state_s = now_s
            self._bulletin.post(_event("state", self._everything()))
        if now_s - self._lines_s >= _LINES_EVERY_S:
            self._lines_s = now_s
            lines = [report.of_result(result) for result in self._gallery.lines(now_s)]
            if lines:
                self._bulletin.post(_event("results", lines))

    def _everything(self) -> dict[str, Any]:
        uptime_s = self._clock.now() - self._begun_s
        return report.of_everything(self._watched, self._readiness.condition(), uptime_s=uptime_s)

    async def _index(self, _: Request) -> Response:
        return HTMLResponse(HTML)

    async def _state(self, _: Request) -> Response:
        return JSONResponse(self._everything())

    async def _livez(self, _: Request) -> Response:
        stuck = self._watched.stuck()
        return JSONResponse({"alive": not stuck}, 503 if stuck else 200)

    async def _readyz(self, _: Request) -> Response:
        condition = self._readiness.condition()
        return JSONResponse(report.of_condition(condition), 200 if condition.ready else 503)

    async def _scrape(self, request: Request) -> Response:
        text, media_type = self._metrics.page(request.headers.get("accept", ""))
        return Response(text, headers={"content-type": media_type})

    async def _live(self, request: Request) -> Response:
        camera, _, kind = request.path_params["name"].rpartition(".")
        if kind not in ("mjpeg", "jpg") or camera not in {each.camera for each in self._watched.pipelines}:
            return JSONResponse({"error": "there is /live/CAMERA.mjpeg and /live/CAMERA.jpg of each camera"}, 404)
        if kind == "jpg":
            return await self._still(camera)
        if not self._viewers.left:
            return JSONResponse({"error": f"{MOST_VIEWERS} live pictures are open, which is the most"}, 503)
        media_type = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
        if request.method == "HEAD":
            return Response(media_type=media_type)
        return StreamingResponse(self._pictures(camera), media_type=media_type)

    async def _still(self, camera: str) -> Response:
        until_s = self._clock.now() + _STILL_LIMIT_S
        while self._clock.now() < until_s:
            self._studio.watch(camera)
            shot = self._studio.shot(camera)
            if shot is not None:
                return Response(shot.jpeg, media_type="image/jpeg")
            await self._rounds.next()
        return JSONResponse({"error": f"camera {camera} has no new frame"}, 503)

    async def _pictures(self, camera: str) -> AsyncIterator[bytes]:
        """Each part ends with the boundary of the next, for browsers show a picture when they have seen that."""
        shown = None
        with self._viewers.taken():
            yield f"--{_BOUNDARY}\r\n".encode()
            while True:
                self._studio.watch(camera)
                shot = self._studio.shot(camera)
                if shot is not None and shot.seq != shown:
                    shown = shot.seq
                    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(shot.jpeg)}\r\n\r\n"
                    yield head.encode() + shot.jpeg + f"\r\n--{_BOUNDARY}\r\n".encode()
                await self._rounds.next()

    async def _events(self, request: Request) -> Response:
        if not self._listeners.left:
            return JSONResponse({"error": f"{MOST_LISTENERS} pages are open, which is the most"}, 503)
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        return StreamingResponse(self._messages(), media_type="text/event-stream")

    async def _messages(self) -> AsyncIterator[bytes]:
        with self._listeners.taken():
            heard = self._bulletin.newest
            yield b"retry: 2000\n\n" + _event("state", self._everything())
            while True:
                await self._rounds.next()
                messages, heard = self._bulletin.since(heard), self._bulletin.newest
                if messages:
                    yield b"".join(messages)


def _event(name: str, value: object) -> bytes:
    """A message of Server-Sent Events."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return f"event: {name}\ndata: {text}\n\n".encode()
