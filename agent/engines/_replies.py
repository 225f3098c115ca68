"""What an HTTP answer says beside its content: an error's text, when to come back, whose page it is. No state."""

import json
import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from agent.logs import redact

if TYPE_CHECKING:
    from agent.engines._http import Reply

_READ_BYTES: Final = 65_536
_SHOWN_LETTERS: Final = 300


def message(reply: "Reply") -> str:
    """The error's text, wherever it stands: message, detail, error, or the body itself."""
    text = reply.body[:_READ_BYTES].decode("utf-8", "replace")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = text
    said = _said(body) if isinstance(body, dict) else body
    return " ".join(redact(str(said)).split())[:_SHOWN_LETTERS] or "no text"  # half a key would not be known for one


def without(text: str, key: str) -> str:
    """`text` with the key struck out: some servers repeat it."""
    return text.replace(key, "***")


def _said(body: Mapping[str, Any]) -> object:
    said = body.get("message") or body.get("detail") or body.get("error")
    if isinstance(said, dict):  # the platform's API has one more level
        said = said.get("message") or said
    if isinstance(said, list):  # what is wrong with each field of the request
        said = "; ".join(map(_problem, said))
    inner, blocks = body.get("inner_error_message"), body.get("blocks_errors")
    if inner and str(inner) not in str(said):
        said = f"{said}: {inner}"
    if isinstance(blocks, list) and blocks:
        names = (str(block.get("block_id")) for block in blocks if isinstance(block, dict))
        said = f"at {', '.join(names)}: {said}"
    return said


def _problem(problem: object) -> str:
    """One of FastAPI's, such as "body.image: Field required"."""
    if not isinstance(problem, dict) or not isinstance(problem.get("loc"), list):
        return str(problem)
    return f"{'.'.join(map(str, problem['loc']))}: {problem.get('msg')}"


def seconds(text: str | None) -> float | None:
    """A header's number of seconds; None when absent, not a number, or negative."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def retry_after_s(reply: "Reply", wall_s: float) -> float | None:
    """How long the server asks to be left alone. A date counts from the server's own, for this clock may be wrong."""
    text = reply.headers.get("retry-after")
    until_s = _date_s(text)
    if until_s is None:
        return seconds(text)
    now_s = _date_s(reply.headers.get("date"))
    return max(0.0, until_s - (wall_s if now_s is None else now_s))


def _date_s(text: str | None) -> float | None:
    """A header's date in seconds since the epoch; None when it is none."""
    try:
        return parsedate_to_datetime(text or "").timestamp()
    except (ValueError, TypeError, OverflowError, OSError):
        return None


def is_page(reply: "Reply") -> bool:
    """Whether it is written for people: the API never answers so, those in between do."""
    start = reply.body[:200].lstrip().lower()
    return "html" in reply.headers.get("content-type", "") or start.startswith((b"<!doctype", b"<html"))
