"""Results to an address of yours, each as the JSON body of a POST (a webhook).

Talks HTTP/1.1 to one receiver, over one connection that is kept. A 2xx answer means that the receiver has it. Requests
carry the headers of Standard Webhooks: `webhook-id`, by which a result that comes twice is recognised,
`webhook-timestamp`, and with a `secret` the `webhook-signature` (`_webhook_signature`). Other answers and failures are
in the table of `_webhook_words`: those that may pass, and those that a person can mend, keep the results, and the
runtime opens the sink again later, after the receiver's Retry-After at the earliest.

Over http:// anybody on the way may answer in the receiver's name; a web page at least is never taken for its answer.
A look-up of the receiver's name is bounded by the system's resolver alone (`options timeout:1 attempts:2`).
Try it: `vedette check CONFIG --probe` connects; `nc -l 8080` shows what is sent to `url: http://localhost:8080/`.

State is owned by the one thread of the sink.
"""

import logging
import ssl
from collections import deque
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field, HttpUrl, TypeAdapter, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from agent import __version__, logs
from agent.errors import ConfigError, SinkUnavailable
from agent.flow import Delivery, Kind, Outcome
from agent.options import BARE_SECRET, Secret, SinkOptions, What, kinds_of
from agent.ports import Context, Sink
from agent.sinks import _webhook_signature as signature
from agent.sinks import _webhook_words as words
from agent.sinks._webhook_headers import host_of, mistake_in, never_said, value_of
from agent.sinks._webhook_words import Reply
from agent.trust import tls_context

if TYPE_CHECKING:
    from agent.sinks._webhook_http import Client

_WINDOW_S: Final = 2.0
"""No request of a batch begins later: with the longest `timeout_s` after it, `send` stays below 20 s, and a receiver
that is slow but works has few results that a crash would repeat."""
_SAID_LETTERS: Final = 160
_FIXED: Final = {
    "user-agent": f"vedette/{__version__}",
    "content-type": "application/json",
    "accept-encoding": "identity",
}
_NO_USER: Final = "keep user and password out of url; give them as headers: {Authorization: {env: NAME}}"
_NEITHER: Final = "give an address, https://HOST/PATH, or a reference to where it is: one of env, file, credential"
_URL: Final = TypeAdapter(HttpUrl)
_log = logging.getLogger(__name__)


class Options(SinkOptions):
    """POSTs to an address of yours."""

    type: Literal["webhook"] = Field(description="results to an HTTP receiver, one POST each")
    url: HttpUrl | Secret = Field(
        repr=False, description="http:// or https:// address; by reference where its path or query holds a token"
    )
    secret: Secret | None = Field(
        None, description="signing key, whsec_BASE64 by Standard Webhooks, two of them during a change; by reference"
    )
    headers: dict[str, str | Secret] = Field(
        default_factory=dict, repr=False, description="headers to add: text, or a reference as Authorization needs one"
    )
    what: What = Field("results", description="what is sent: results, events or both")
    batch: int = Field(
        1, ge=1, le=100, description="most records in a request; 1: the record itself, more: always a JSON array"
    )
    timeout_s: float = Field(10.0, gt=0, le=15, description="seconds for a whole request, connecting included")
    ca_file: Path | None = Field(None, description="PEM file of a CA to trust instead of the system's; https only")
    verify: bool = Field(True, description="false: any certificate will do, and anyone may read along; for trials only")
    accept_html: bool = Field(
        False, description="true: a web page is an answer too; false: it is taken for a captive portal's"
    )

    @field_validator("url", mode="before")
    @classmethod
    def _address_or_reference(cls, value: Any) -> Any:  # noqa: ANN401 - whatever the YAML held
        try:
            url = Secret.model_validate(value) if isinstance(value, dict | Secret) else _URL.validate_python(value)
        except ValidationError:
            raise PydanticCustomError(BARE_SECRET, "{advice}", {"advice": _NEITHER}) from None
        if isinstance(url, HttpUrl) and (url.username or url.password):
            raise PydanticCustomError(BARE_SECRET, "{advice}", {"advice": _NO_USER})
        return url

    @field_validator("headers", mode="before")
    @classmethod
    def _can_be_sent(cls, headers: Any) -> Any:  # noqa: ANN401 - whatever the YAML held
        for name, value in headers.items() if isinstance(headers, dict) else ():
            mistake = mistake_in(str(name), value)
            if mistake:
                raise PydanticCustomError(BARE_SECRET, "{mistake}", {"mistake": mistake})
        return headers

    @model_validator(mode="after")
    def _tls_where_it_is(self) -> "Options":
        if isinstance(self.url, HttpUrl) and self.url.scheme == "http" and (self.ca_file or not self.verify):
            raise ValueError("ca_file and verify are for https; this url is not encrypted")
        return self

    @property
    def kinds(self) -> frozenset[Kind]:
        """What `what` names."""
        return kinds_of(self.what)

    @property
    def target(self) -> str:
        """The address for what is sent; of a url only host and a hash, for it may hold a token."""
        if isinstance(self.url, Secret):
            return f"the url {self.url} for {self.what}"
        digest = sha256(str(self.url).encode()).hexdigest()[:8]
        return f"the url at {host_of(str(self.url))} (sha256 {digest}) for {self.what}"


class Webhook:
    """One receiver; one thread."""

    def __init__(self, options: Options, context: Context) -> None:
        self._options = options
        self._context = context
        self._where = str(options.url) if isinstance(options.url, Secret) else host_of(str(options.url))
        self._client: Client | None = None
        self._headers: dict[str, str] = {}
        self._keys: tuple[bytes, ...] = ()
        self._unsaid: tuple[str, ...] = ()
        """What an error may not repeat, even where the receiver's answer does."""
        self._alone: set[str] = set()
        """Ids of deliveries that were refused together with others."""
        self._proven = False
        """The receiver has taken something since the agent started."""
        self._stopped_by: SinkUnavailable | None = None
        """Why the last batch ended early; the next call raises it in place of a request."""
        self._damper = logs.Damper(_log.warning, context.clock.now)

    def open(self) -> None:
        """Read the secrets and connect; nothing is sent yet. Raises SinkUnavailable, ConfigError (url, secrets, CA)."""
        from agent.sinks._webhook_http import Client

        options, base_dir = self._options, self._context.base_dir
        url = _address(options.url, base_dir)
        self._where = host_of(url)
        self._headers = {name.lower(): value_of(name, value, base_dir) for name, value in options.headers.items()}
        self._keys = signature.keys_of(options.secret, base_dir) if options.secret else ()
        self._unsaid = never_said(url, self._headers)
        tls = _tls(options, base_dir) if url.startswith("https:") else None
        self._client = Client(url, self._context.clock, tls)
        try:
            self._client.dial(options.timeout_s)
        except (OSError, UnicodeError) as error:
            raise words.no_answer(error, self._where, ca_file=options.ca_file) from error

    def send(self, batch: Sequence[Delivery]) -> Sequence[Outcome]:
        """POST in order; what comes after a failure, or was not begun within 2 s, is KEPT.

        A batch that is refused is sent once more, one by one, to find what is refused in it. An empty one asks nothing,
        for no request means nothing. Raises SinkUnavailable.
        """
        client = self._ready()
        self._alone &= {delivery.id for delivery in batch}
        settled: dict[str, Outcome] = {}
        refusals: dict[str, Reply] = {}
        try:
            self._deliver(client, batch, settled, refusals)
        except SinkUnavailable as error:
            if not settled or not self._proven:
                raise
            self._stopped_by = error
        if refusals:
            self._note(refusals)
        return [settled.get(delivery.id, Outcome.KEPT) for delivery in batch]

    def _ready(self) -> "Client":
        """Raises SinkUnavailable: it is closed, or the last batch ended early."""
        stopped_by, self._stopped_by = self._stopped_by, None
        if stopped_by is not None:
            raise stopped_by
        if self._client is None:
            raise SinkUnavailable(f"there is no connection to {self._where}; open it first")
        return self._client

    def _deliver(
        self, client: "Client", batch: Sequence[Delivery], settled: dict[str, Outcome], refusals: dict[str, Reply]
    ) -> None:
        """Raises SinkUnavailable; `settled` holds what was settled before."""
        now, groups = self._context.clock.now, _groups(batch, self._options.batch, self._alone)
        until_s = now() + _WINDOW_S
        while groups and now() < until_s:
            group = groups.popleft()
            reply = self._post(client, group)
            outcome = self._outcome(reply)
            if outcome is Outcome.REJECTED and len(group) > 1:
                self._alone.update(delivery.id for delivery in group)
                groups.extendleft([delivery] for delivery in reversed(group))
                continue
            self._proven |= outcome is Outcome.ACCEPTED
            settled.update({delivery.id: outcome for delivery in group})
            if outcome is Outcome.REJECTED:
                refusals[group[0].id] = reply

    def _post(self, client: "Client", group: Sequence[Delivery]) -> Reply:
        """Raises SinkUnavailable."""
        body = group[0].body if self._options.batch == 1 else b"[" + b",".join(each.body for each in group) + b"]"
        name = signature.message_id([delivery.id for delivery in group])
        signed = signature.signed_headers(name, body, wall_s=self._context.clock.wall(), keys=self._keys)
        try:
            return client.post(body, {**_FIXED, **self._headers, **signed}, self._options.timeout_s)
        except (OSError, UnicodeError) as error:
            raise words.no_answer(error, self._where, ca_file=self._options.ca_file) from error

    def _outcome(self, reply: Reply) -> Outcome:
        """Raises SinkUnavailable."""
        wall_s, accept_html = self._context.clock.wall(), self._options.accept_html
        return words.outcome(reply, self._where, said=self._said(reply), wall_s=wall_s, accept_html=accept_html)

    def _said(self, reply: Reply) -> str:
        """What the receiver says about it, for the end of a sentence."""
        if words.is_page(reply):
            return ""
        text = reply.body.decode("utf-8", "replace")
        for hidden in self._unsaid:
            text = text.replace(hidden, "***")
        text = " ".join(logs.redact(text).split())
        return f"; it says: {text[:_SAID_LETTERS]}" if text else ""

    def _note(self, refusals: dict[str, Reply]) -> None:
        """Say what was refused. Raises SinkUnavailable where nothing was ever taken."""
        name, reply = next(iter(refusals.items()))
        if not self._proven:
            raise words.refuses_all(reply.status, self._where, said=self._said(reply))
        detail = logs.fields(receiver=self._where, id=name, status=reply.status)
        self._damper.note("refused", f"the receiver refuses what it cannot use {detail}{self._said(reply)}")

    def close(self) -> None:
        """Close the connection."""
        self._stopped_by = None
        if self._client is not None:
            self._client.close()
            self._client = None

    def __repr__(self) -> str:
        return f"<Webhook {self._where} {'open' if self._client else 'closed'}>"


def _groups(batch: Sequence[Delivery], most: int, alone: set[str]) -> deque[list[Delivery]]:
    """What goes into one request each, in order; those of `alone` go alone."""
    groups: deque[list[Delivery]] = deque()
    for delivery in batch:
        last = groups[-1] if groups else []
        if last and len(last) < most and not alone & {delivery.id, last[-1].id}:
            last.append(delivery)
        else:
            groups.append([delivery])
    return groups


def _address(url: HttpUrl | Secret, base_dir: Path) -> str:
    """The whole address. Raises ConfigError, which does not repeat it."""
    if isinstance(url, HttpUrl):
        return str(url)
    try:
        address = _URL.validate_python(url.reveal(base_dir))
    except ValidationError:
        raise ConfigError(f"what {url} holds is no address; put https://HOST/PATH there, and nothing else") from None
    if address.username or address.password:
        raise ConfigError(f"the address in {url} holds a user or password; {_NO_USER}")
    return str(address)


def _tls(options: Options, base_dir: Path) -> ssl.SSLContext:
    """Raises ConfigError."""
    ca_file = base_dir / options.ca_file if options.ca_file else None
    return tls_context(ca_file, key="ca_file", verify=options.verify)


def build(options: Options, context: Context) -> Sink:
    """The plugin's entry."""
    return Webhook(options, context)
