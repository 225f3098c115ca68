"""The layers of plain ASGI in front of the API: the proxy, faults, the rate limit and the key check, in this order.

State is owned by the emulator's event loop.
"""

import asyncio
import json
import uuid
from collections import Counter
from urllib.parse import parse_qs

from agent.clock import Clock
from agent.emulator import replies
from agent.emulator.faults import Fault, FaultBox, Kind, Target, Wire
from agent.emulator.keys import KeyRing, bearer
from agent.web import App, Message, Receive, Scope, Send

OPEN_PATHS = ("/", "/docs", "/info", "/healthz", "/readiness", "/openapi.json", "/metrics", "/model/registry")
"""No key is needed for these."""
_KEYED_METHODS = ("GET", "POST")
_PORTAL = (
    b"<!doctype html><html><head><title>Welcome</title></head>"
    b"<body><h1>Guest network</h1><p>Accept the terms to go online.</p></body></html>"
)
_TORN_JSON = b'{"inference_id":"2f0e1c64-7e4e-4b0b-8a63-2f5c1f0ad3c9","time":0.01,"image":{"width":64'


def header(scope: Scope, name: str) -> str | None:
    """The request header `name` (in lower case), or None."""
    wanted = name.encode()
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == wanted), None)


async def answer(reply: replies.Reply, send: Send) -> None:
    """Send `reply` whole."""
    headers = [("content-type", reply.media_type), ("content-length", str(len(reply.body))), *reply.headers]
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": pairs})
    await send({"type": "http.response.body", "body": reply.body})


class Proxy:
    """The outermost layer: takes each upload in whole, counts, and stamps X-Processing-Time and X-Request-ID.

    As at the hosted service's own proxy, an answer comes after the upload, so that a refusal is not lost in a broken
    connection; the time starts there too, so a slow link is not billed. Only a body too large is answered at once.
    """

    def __init__(self, app: App, clock: Clock, *, max_body_bytes: int) -> None:
        self._app = app
        self._clock = clock
        self._max_body_bytes = max_body_bytes
        self._requests = self._bytes_in = self._bytes_out = 0
        self._answers: Counter[int] = Counter()

    def state(self) -> dict[str, object]:
        """For `GET /emulator/state`: requests, answers by status, and the bytes of their bodies."""
        answers = {str(status): count for status, count in sorted(self._answers.items())}
        return {
            "requests": self._requests,
            "answers": answers,
            "body_bytes_received": self._bytes_in,
            "body_bytes_sent": self._bytes_out,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its whole body; the answer gets its two headers."""
        self._requests += 1
        begun_s = self._clock.now()
        try:
            body = await self._take_in(scope, receive)
        except replies.Refused as refused:
            await answer(refused.reply, self._stamped(send, begun_s))
            return
        if body is not None:
            await self._app(scope, _replayed(body, receive), self._stamped(send, self._clock.now()))

    async def _take_in(self, scope: Scope, receive: Receive) -> bytes | None:
        """The body; None when the client went away before its end. Raises Refused (413)."""
        length = header(scope, "content-length") or ""
        if length.isdigit() and int(length) > self._max_body_bytes:
            raise replies.Refused(replies.error(413))
        body, more = bytearray(), True
        while more:
            part = await receive()
            if part["type"] == "http.disconnect":
                return None
            body += part.get("body", b"")
            self._bytes_in += len(part.get("body", b""))
            if len(body) > self._max_body_bytes:
                raise replies.Refused(replies.error(413))
            more = part.get("more_body", False)
        return bytes(body)

    def _stamped(self, send: Send, begun_s: float) -> Send:
        async def stamped(part: Message) -> None:
            if part["type"] == "http.response.start":
                self._answers[part["status"]] += 1
                seconds = str(self._clock.now() - begun_s).encode()
                stamps = [(b"x-processing-time", seconds), (b"x-request-id", uuid.uuid4().hex.encode())]
                part = {**part, "headers": [*part["headers"], *stamps]}
            self._bytes_out += len(part.get("body", b""))
            await send(part)

        return stamped


def _replayed(body: bytes, receive: Receive) -> Receive:
    """`body` in one piece, then what `receive` has: the client's going away."""
    parts: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return parts.pop() if parts else await receive()

    return replayed


class Faulty:
    """Plays the fault that is on."""

    def __init__(self, app: App, box: FaultBox, wire: Wire) -> None:
        self._app = app
        self._box = box
        self._wire = wire

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or play the fault with it."""
        fault = self._box.take(Target.UPLOAD if scope["path"].startswith("/dataset/") else Target.INFERENCE)
        if fault is None:
            await self._app(scope, receive, send)
        elif (reply := _instead(fault)) is not None:
            await answer(reply, send)
        else:
            await self._bend(fault, scope, receive, send)

    async def _bend(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        """The kinds that need the request, the real answer or the connection."""
        peer_port = scope["client"][1] if scope.get("client") else 0
        if fault.kind is Kind.BLACKHOLE:
            await _swallow(receive)
        elif fault.kind is Kind.RESET:
            self._wire.reset_at_end(peer_port)
            await self._app(scope, receive, _Halved(send))
        elif fault.kind is Kind.DRIP:
            self._wire.drip(peer_port, fault.seconds or 0.0)
            await self._app(scope, receive, _closing(send))
        else:
            await asyncio.sleep(fault.seconds or 0.0)
            await self._app(scope, receive, send)


def _instead(fault: Fault) -> replies.Reply | None:
    """The whole answer of those faults that are one."""
    if fault.kind is Kind.STATUS and fault.status is not None:
        return replies.error(fault.status, retry_after_s=fault.retry_after_s)
    if fault.kind is Kind.CAPTIVE_PORTAL:
        return replies.Reply(200, _PORTAL, replies.HTML)
    return replies.Reply(200, _TORN_JSON) if fault.kind is Kind.BAD_JSON else None


async def _swallow(receive: Receive) -> None:
    """Read until the client goes away."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _closing(send: Send) -> Send:
    """`send`, with an answer that ends the connection: a connection once made to drip stays so."""

    async def closing(part: Message) -> None:
        if part["type"] == "http.response.start":
            part = {**part, "headers": [*part["headers"], (b"connection", b"close")]}
        await send(part)

    return closing


class _Halved:
    """Passes the head and the first half of the body. The server then sees an unfinished answer and hangs up."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._cut = False

    async def __call__(self, part: Message) -> None:
        if self._cut:
            return
        if part["type"] == "http.response.body":
            self._cut = True
            body = part.get("body", b"")
            part = {"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True}
        await self._send(part)


class RateLimit:
    """A token bucket: `per_s` requests a second, and at most one second's worth at once."""

    def __init__(self, clock: Clock, per_s: float, retry_after_s: float | None) -> None:
        self._clock = clock
        self._per_s = per_s
        self._retry_after_s = retry_after_s
        self._room = max(1.0, per_s)
        self._tokens = self._room
        self._counted_s = clock.now()

    def refusal(self) -> replies.Reply | None:
        """429 when the bucket is empty; else None, and one token less."""
        now_s = self._clock.now()
        self._tokens = min(self._room, self._tokens + (now_s - self._counted_s) * self._per_s)
        self._counted_s = now_s
        if self._tokens < 1:
            return replies.error(429, retry_after_s=self._retry_after_s)
        self._tokens -= 1
        return None


def key_outside(scope: Scope) -> str | None:
    """The key of `?api_key=`, which wins even when it is the wrong one, else of the Authorization header."""
    query = parse_qs(scope["query_string"].decode("latin-1"))
    return query.get("api_key", [None])[-1] or bearer(header(scope, "authorization"))


def _key_inside(body: bytes) -> str | None:
    """The key of a JSON object."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return None
    key = fields.get("api_key") if isinstance(fields, dict) else None
    return key if isinstance(key, str) else None


class Gate:
    """Refuses by rate and by key."""

    def __init__(self, app: App, keys: KeyRing, rate_limit: RateLimit | None, *, is_v1: bool) -> None:
        self._app = app
        self._keys = keys
        self._rate_limit = rate_limit
        self._is_v1 = is_v1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        refusal = self._rate_limit.refusal() if self._rate_limit is not None else None
        if refusal is None and scope["method"] in _KEYED_METHODS and scope["path"] not in OPEN_PATHS:
            key = key_outside(scope)
            if key is None and header(scope, "content-type") == replies.JSON:
                body = (await receive()).get("body", b"")  # the proxy hands it over in one piece
                key, receive = _key_inside(body), _replayed(body, receive)
            refusal = self._keys.refusal(key, is_v1=self._is_v1)
        if refusal is not None:
            await answer(refusal, send)
        else:
            await self._app(scope, receive, send)
