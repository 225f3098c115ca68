"""Who may see the page: the checks before every request, and the headers after it. Plain ASGI; the page's thread.

- Without a token the page is for this machine alone, and a request must name this machine as its host. Else a web
  site in somebody's browser could read it through a name of its own that it points at 127.0.0.1 (DNS rebinding).
- With a token every request must have it: as `Authorization: Bearer TOKEN`, as `?token=TOKEN`, or as a cookie that
  `/?token=TOKEN` sets. The cookie is made of the token and does not hold it.
- Other sites' pages may link to this one, and neither embed nor fetch anything of it.
- Nothing here changes anything, so there are GET and HEAD alone.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs

from agent.web import App, Receive, Scope, Send

Headers: TypeAlias = list[tuple[bytes, bytes]]

LEAST_TOKEN: Final = 16
"""Letters of a token: what nobody guesses over a network."""
_COOKIE_DAYS: Final = 30
_ALWAYS_OPEN: Final = "/livez"
_METRICS: Final = ("/metrics", "/readyz")
_GUARDS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
    (b"cache-control", b"no-store"),
)
_NOTHING: Final = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
_LOGIN: Final = b"""<!doctype html><html lang=en><meta charset=utf-8><title>Vedette</title>
<meta name=viewport content="width=device-width"><h1>Vedette</h1>
<form action="/"><label>Token <input name=token type=password autocomplete=current-password autofocus></label>
<button>Open</button></form>"""


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect there."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class Gate:
    """Stands before the page."""

    def __init__(self, app: App, *, token: str | None, open_metrics: bool, port: int, policy: str) -> None:
        """The gate of one page.

        Args:
            app: what is behind it.
            token: what a request must have; None: requests come from this machine.
            open_metrics: /metrics and /readyz need no token.
            port: the page's: cookies of two pages on one machine go by it.
            policy: the Content-Security-Policy of what `app` answers.
        """
        self._app = app
        self._token = token
        self._open = (_ALWAYS_OPEN, *(_METRICS if open_metrics else ()))
        self._cookie = f"vedette_page_{port}"
        self._pass = "" if token is None else hmac.digest(token.encode(), b"vedette page", "sha256").hex()
        self._policy = policy.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or answer why not."""
        headers: Headers = list(scope.get("headers", ()))
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        by_query = self._knows_by_query(scope)
        if by_query and scope["path"] == "/":
            await _answer(send, 303, b"", (b"location", b"/"), self._set_cookie())
        elif scope["path"] in self._open or by_query or self._admits(headers):
            await self._app(scope, receive, self._guarded(send))
        else:
            await self._ask(send, headers)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, bytes] | None:
        if scope["method"] not in ("GET", "HEAD"):
            return 405, _json("only GET and HEAD are answered: nothing can be changed here")
        if self._token is None and not is_loopback(_host(_value(headers, b"host"))):
            words = "a page without a token is asked as localhost or 127.0.0.1; over a proxy, give page.token"
            return 421, _json(words)
        site, mode = _value(headers, b"sec-fetch-site"), _value(headers, b"sec-fetch-mode")
        if site in ("cross-site", "same-site") and mode != "navigate":
            return 403, _json("other sites may link to this page, not embed it")
        return None

    def _knows_by_query(self, scope: Scope) -> bool:
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
        return self._token is not None and _same(given, self._token)

    def _admits(self, headers: Headers) -> bool:
        if self._token is None:
            return True
        scheme, _, given = _value(headers, b"authorization").partition(" ")
        if scheme.lower() == "bearer" and _same(given.strip(), self._token):
            return True
        return _same(_cookie(_value(headers, b"cookie"), self._cookie), self._pass)

    async def _ask(self, send: Send, headers: Headers) -> None:
        """Say that a token is needed: to a person by a form."""
        more = ((b"www-authenticate", b"Bearer"), (b"content-security-policy", _NOTHING.encode()))
        if "text/html" in _value(headers, b"accept"):
            await _answer(send, 401, _LOGIN, *more, media_type=b"text/html; charset=utf-8")
        else:
            await _answer(send, 401, _json("give the token of page.token as Authorization: Bearer TOKEN"), *more)

    def _set_cookie(self) -> tuple[bytes, bytes]:
        value = f"{self._cookie}={self._pass}; Path=/; Max-Age={_COOKIE_DAYS * 86_400}; HttpOnly; SameSite=Strict"
        return b"set-cookie", value.encode()

    def _guarded(self, send: Send) -> Send:
        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                own = list(message.get("headers", ()))
                message["headers"] = [*own, *_GUARDS, (b"content-security-policy", self._policy)]
            await send(message)

        return guarded


def inline_policy(script: str, style: str) -> str:
    """The policy of a page that loads nothing but this script and this style, which stand in it."""
    return (
        f"{_NOTHING}; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "img-src 'self' data:; connect-src 'self'"
    )


def _digest(text: str) -> str:
    from base64 import b64encode

    return "sha256-" + b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _same(given: str, wanted: str) -> bool:
    """Takes equally long whatever is given."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), wanted.encode())


def _value(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    return next((value.decode("latin-1") for each, value in headers if each == name), "")


def _host(text: str) -> str:
    """The name in a Host header, without its port."""
    return text[1:].partition("]")[0] if text.startswith("[") else text.rpartition(":")[0] or text


def _cookie(text: str, name: str) -> str:
    try:
        found = SimpleCookie(text).get(name)
    except CookieError:
        return ""
    return "" if found is None else found.value


def _json(words: str) -> bytes:
    return json.dumps({"error": words}).encode() + b"\n"


async def _answer(
    send: Send, status: int, body: bytes, *more: tuple[bytes, bytes], media_type: bytes = b"application/json"
) -> None:
    """A whole answer."""
    headers = [(b"content-type", media_type), (b"content-length", str(len(body)).encode()), *_GUARDS, *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
