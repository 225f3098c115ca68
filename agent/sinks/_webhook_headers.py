"""What may be a header of a request, and what of a request may be shown. No state."""

import re
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from agent import logs
from agent.errors import ConfigError
from agent.options import Secret

_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?")
"""A header's name and value (RFC 9110, sections 5.1 and 5.5), the latter in ASCII."""
_OURS: Final = re.compile(r"webhook-.*|content-(type|length|encoding)|host|connection|transfer-encoding", re.IGNORECASE)
_SECRET_NAME: Final = re.compile(r"authorization|cookie|key|token|secret|password|signature", re.IGNORECASE)
_LIKE_A_TOKEN: Final = 8
"""A part of a path with so many letters may be one."""


def mistake_in(name: str, value: object) -> str | None:
    """What is wrong with one header of the configuration, without its value; None when nothing is."""
    if not _NAME.fullmatch(name) or _OURS.fullmatch(name):
        return "a header needs a name that HTTP allows, and that the webhook does not set itself"
    if isinstance(value, dict | Secret):
        return None
    if not isinstance(value, str):
        return f"the header {name} needs text in quotes, or a reference: env, file or credential"
    if _SECRET_NAME.search(name):
        return f"for the header {name}, give a reference, not the secret: env, file or credential"
    return None if _VALUE.fullmatch(value) else f"the header {name} needs a value in plain ASCII, in one line"


def value_of(name: str, value: str | Secret, base_dir: Path) -> str:
    """The value of a header, past any reference. Raises ConfigError: where it should be is none."""
    text = value.reveal(base_dir) if isinstance(value, Secret) else value
    if isinstance(value, Secret):  # of `Bearer TOKEN` a receiver repeats the token alone
        logs.hide(text.partition(" ")[2].strip())
    if not _VALUE.fullmatch(text):
        raise ConfigError(f"what {value} holds cannot be the header {name}; put plain ASCII there, in one line")
    return text


def host_of(url: str) -> str:
    """What of an address may be shown: its host, and port where one is given. Path and query may hold a token."""
    return urlsplit(url).netloc


def never_said(url: str, headers: dict[str, str]) -> tuple[str, ...]:
    """What no sentence may repeat, even where the receiver's answer does."""
    parts = urlsplit(url)
    pieces = [piece for piece in parts.path.split("/") if len(piece) >= _LIKE_A_TOKEN]
    pieces += [value for _, value in parse_qsl(parts.query)]
    texts = (url, parts.query, parts.path, unquote(parts.path), *pieces, *headers.values())
    return tuple(sorted({text for text in texts if text[1:]}, key=len, reverse=True))
