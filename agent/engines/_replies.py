"""What an HTTP answer says beside its content: an error's text, when to come back, whose page it is. No state."""

import json
import math
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.engines._http import Reply


def message(reply: "Reply") -> str:
    """The error's text, wherever it stands: message, detail, error, or the body itself."""
    text = reply.body[:2000].decode("utf-8", "replace")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = text
    said = (body.get("message") or body.get("detail") or body.get("error")) if isinstance(body, dict) else body
    if isinstance(said, dict):  # the platform's API has one more level
        said = said.get("message") or said
    return " ".join(str(said).split())[:200] or "no text"


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
