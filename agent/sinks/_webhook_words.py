"""What a receiver's answers and the network's errors mean, and the sentence for each. No state.

status                   outcome      why
-----------------------  -----------  ---------------------------------------------------------------------------
2xx                      ACCEPTED     unless a web page comes with it (see `is_page`)
2xx with a web page      unavailable  a captive portal or a wrong address, which would swallow every result
3xx                      unavailable  not followed: a POST would become a GET, and a portal would be taken for the
                                      receiver
400, 413, 422            REJECTED     this delivery will never be taken; others may be
401, 403, 407            unavailable  a person mends the secret; nothing is lost until then
404, 405, 410            unavailable  a person mends the address
408, 425, 429, 5xx       unavailable  the receiver may take it later; Retry-After says when
409                      unavailable  it still works on the first attempt (draft-ietf-httpapi-idempotency-key-header)
511                      unavailable  a captive portal, by name (RFC 6585)
any other                unavailable  a person looks at it

Nothing of an address is shown but its host: path and query may hold a token.
"""

import re
import socket
import ssl
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from agent.errors import Cause, SinkUnavailable
from agent.flow import Outcome
from agent.trust import distrust

_REJECTS: Final = frozenset({400, 413, 422})
_FOR_A_PERSON_S: Final = 60.0
"""Until a person has acted, more attempts get an address locked out, and cost data."""
_LONGEST_PAUSE_S: Final = 3600.0
"""What Retry-After may ask for: a slip of the receiver is not to silence the sink for ever."""
_MENDED_BY_A_PERSON: Final = {
    401: (Cause.AUTH, "does not let us in (401); check secret and headers"),
    403: (Cause.AUTH, "forbids it (403); check url, secret and headers, and the receiver's access list"),
    404: (Cause.NOT_FOUND, "has nothing at this address (404); check url"),
    405: (Cause.NOT_FOUND, "takes no POST at this address (405); check url"),
    407: (Cause.AUTH, "is behind a proxy that asks who we are (407); proxies are not supported, go round it"),
    410: (Cause.NOT_FOUND, "says that this address is gone for good (410); give a new url, or remove the sink"),
}
_PASSING: Final = {
    408: (Cause.TIMEOUT, "did not wait for the whole request (408); it is sent again"),
    409: (Cause.SERVER, "says conflict (409), and it is sent again; a receiver answers a repeated webhook-id with 200"),
    425: (Cause.SERVER, "is not ready for it (425); it is sent again"),
    429: (Cause.RATE_LIMITED, "limits the rate of requests (429); they go on later"),
    511: (Cause.CAPTIVE_PORTAL, "is behind a captive portal (511); sign in to the network"),
}
_PAGE: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html)[\s>]", re.IGNORECASE)
_MARKUP: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*<")
_OTHER_NAME: Final = "check url, and sign in to the network if a captive portal is in between"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the receiver answered."""

    status: int
    headers: dict[str, str] = field(repr=False)
    """Names in lower case."""
    body: bytes = field(repr=False)
    """Its first 64 KiB at most, as they came."""


def outcome(reply: Reply, where: str, *, said: str, wall_s: float, accept_html: bool) -> Outcome:
    """ACCEPTED or REJECTED; see the table above.

    Args:
        reply: the receiver's answer.
        where: the receiver's host.
        said: the answer's text, for people.
        wall_s: the wall time, for a Retry-After that is a date where the receiver does not give its own.
        accept_html: a web page is as good an answer as any.

    Raises:
        SinkUnavailable: neither, for now.
    """
    if reply.status in _REJECTS:
        return Outcome.REJECTED
    if not 200 <= reply.status < 300:  # noqa: PLR2004 - success
        raise _refused(reply, where, said=said, wall_s=wall_s)
    if is_page(reply) and not accept_html:
        raise SinkUnavailable(
            f"{where} answers with a web page, as a captive portal or a wrong address does; sign in to the network, "
            "check url, or set accept_html: true if that is the receiver's answer",
            Cause.CAPTIVE_PORTAL,
        )
    return Outcome.ACCEPTED


def is_page(reply: Reply) -> bool:
    """Whether the answer is a web page.

    A content type of text/html is not enough: it is the default of Flask and PHP for an `ok`.
    """
    html = "html" in reply.headers.get("content-type", "").lower()
    return (_MARKUP if html else _PAGE).match(reply.body) is not None


def _refused(reply: Reply, where: str, *, said: str, wall_s: float) -> SinkUnavailable:
    status = reply.status
    if 300 <= status < 400:  # noqa: PLR2004 - redirections
        return _redirected(reply, where)
    if status in _MENDED_BY_A_PERSON:
        cause, words = _MENDED_BY_A_PERSON[status]
    elif status in _PASSING:
        cause, words = _PASSING[status]
    elif status >= 500:  # noqa: PLR2004 - server errors
        cause, words = Cause.SERVER, f"failed with status {status}; it is tried again"
    else:
        cause, words = Cause.BAD_REQUEST, f"refuses with status {status}; check url, headers and what it expects"
    error = SinkUnavailable(f"{where} {words}{said}", cause)
    least_s = _FOR_A_PERSON_S if status in _MENDED_BY_A_PERSON else 0.0
    error.least_pause_s = max(least_s, min(_LONGEST_PAUSE_S, _retry_after_s(reply, wall_s)))
    return error


def _redirected(reply: Reply, where: str) -> SinkUnavailable:
    target = reply.headers.get("location", "")
    try:
        host = urlsplit(target).hostname
    except ValueError:
        host = "nowhere"
    same = host is None or host == urlsplit(f"//{where}").hostname
    error = SinkUnavailable(
        f"{where} redirects to {'another address of its own' if same else host} ({reply.status}), and redirects are "
        "not followed; put the final address into url, or sign in to the network if this is a captive portal",
        Cause.NOT_FOUND if same else Cause.CAPTIVE_PORTAL,
    )
    error.least_pause_s = min(_LONGEST_PAUSE_S, _retry_after_s(reply, 0.0))
    return error


def _retry_after_s(reply: Reply, wall_s: float) -> float:
    """How long the receiver asks to be left alone. A date counts from its own, for this clock may be wrong."""
    text = reply.headers.get("retry-after", "").strip()
    if re.fullmatch("[0-9]{1,9}", text):
        return float(text)
    until, now = _date(text), _date(reply.headers.get("date", ""))
    return 0.0 if until is None else max(0.0, until.timestamp() - (wall_s if now is None else now.timestamp()))


def _date(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None


def refuses_all(status: int, where: str, *, said: str) -> SinkUnavailable:
    """A receiver that has never taken anything refuses every delivery: it is more likely to be the wrong one."""
    return SinkUnavailable(
        f"{where} has taken nothing yet, and refuses every result as one that it cannot use ({status}); "
        f"check url, batch and what the receiver expects{said}",
        Cause.BAD_REQUEST,
    )


def no_answer(error: OSError | UnicodeError, where: str, *, ca_file: Path | None) -> SinkUnavailable:
    """Why there is no answer: `error` is what TCP, DNS, TLS or HTTP said."""
    if isinstance(error, ssl.SSLCertVerificationError):
        wrong = distrust(error, ca_file, key="ca_file", other_name=_OTHER_NAME)
        return SinkUnavailable(f"{where} shows a certificate {wrong}", Cause.TLS)
    if isinstance(error, ssl.SSLError):
        return SinkUnavailable(
            f"TLS with {where} failed: {error.reason or error}; is this its https port, or should url be http://?",
            Cause.TLS,
        )
    if isinstance(error, socket.gaierror | UnicodeError):
        return SinkUnavailable(f"no address is found for {where}; check url, and the network's DNS", Cause.DNS)
    if isinstance(error, TimeoutError):
        return SinkUnavailable(
            f"{where} did not answer in time; is it up, and is timeout_s long enough?", Cause.TIMEOUT
        )
    if isinstance(error, ConnectionRefusedError):
        return SinkUnavailable(f"{where} refuses connections; does the receiver run, on this port?", Cause.CONNECT)
    reason = error.strerror or str(error).rstrip(".") or type(error).__name__
    return SinkUnavailable(f"the connection to {where} broke ({reason}); it is tried again", Cause.NETWORK)
