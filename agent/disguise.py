"""The forms in which a secret may show: as URLs, JSON, Python, web pages and log fields write text. No state."""

import base64
import html
import json
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import quote, quote_plus

_BOTH_QUOTES: Final = "\"'"
_URL_SAFE: Final = ("", "/", "!$&'()*+,;=:@/?")
"""What libraries leave as it is in a query, a path, and where they follow the standard to the letter (RFC 3986)."""
_LEAST_BASE64_BYTES: Final = 6
"""Of fewer bytes so few letters are certain that they stand in other words by chance."""


def _python(text: str) -> Iterator[str]:
    """Which quotes stand around a text decides which are escaped in it."""
    yield repr(text)[1:-1]
    yield repr(_BOTH_QUOTES + text)[len(_BOTH_QUOTES) + 2 : -1]
    yield ascii(_BOTH_QUOTES + text)[len(_BOTH_QUOTES) + 2 : -1]
    yield repr(text.encode(errors="replace"))[2:-1]


def _json(text: str) -> Iterator[str]:
    yield from (json.dumps(text, ensure_ascii=ascii_alone)[1:-1] for ascii_alone in (True, False))


def _url(text: str) -> Iterator[str]:
    yield text.replace(" ", "+")  # a query that was read as if it were a path
    for form in (*(quote(text, safe=safe, errors="replace") for safe in _URL_SAFE), quote_plus(text, errors="replace")):
        yield form
        yield "%".join(part[:2].lower() + part[2:] if number else part for number, part in enumerate(form.split("%")))


def _page(text: str) -> Iterator[str]:
    yield from (html.escape(text, quote=quotes) for quotes in (True, False))


def _field(text: str) -> Iterator[str]:
    """In a field of a log line, and where what others say is put into one line."""
    yield text.replace('"', "'")
    yield " ".join(text.split())


_WRITERS: Final[tuple[Callable[[str], Iterator[str]], ...]] = (_python, _json, _url, _page, _field)


def _written(text: str) -> set[str]:
    return {form for write in _WRITERS for form in write(text)}


def forms(secret: str) -> frozenset[str]:
    """`secret` as it is, as anything above writes it, as anything writes that, and in base64."""
    once = _written(secret)
    twice = {form for each in once for form in _written(each)}
    return frozenset(filter(None, {secret, *once, *twice, *base64_parts(secret.encode(errors="replace"))}))


def base64_parts(secret: bytes) -> Iterator[str]:
    """What base64 makes of it wherever it stands, such as behind a user's name: the letters that are certain."""
    if len(secret) < _LEAST_BASE64_BYTES:
        return
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + secret).decode().rstrip("=")
        certain = encoded[-(-8 * before // 6) : (before + len(secret)) * 8 // 6]
        yield from (certain, certain.translate(str.maketrans("+/", "-_")))
