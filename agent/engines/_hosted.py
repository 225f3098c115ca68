"""The hosted API as an engine: asks, reads the answer, and tells a refusal from slowness.

Used by all threads of the cloud lane at once; the only state is where the key is sent, and the task last seen.
"""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from agent.engines import _answers, _outputs, _refusals, _replies, _tcp_info
from agent.engines._dialects import Dialect
from agent.errors import Cause, EngineError, EngineRefused, EngineUnavailable
from agent.flow import Answer, Picture, Task, Timings
from agent.logs import Damper
from agent.ports import Context, Watch

if TYPE_CHECKING:
    from agent.engines._http import Call, DeadlineClient, Reply

_log = logging.getLogger(__name__)
_OK, _UNAUTHORISED = 200, 401
_WELCOME: Final = (_OK, 400, 422)
"""To a request without a picture: it was let in."""
_HEAD_BYTES: Final = 2_000
"""Address and headers, and more than they ever take."""
_WORKFLOW_BILLED_S: Final = 0.1
"""Beside the time of its models elsewhere. Source: Roboflow's pricing page."""
_SAY_EVERY_S: Final = 600.0
_LEAST_KEY: Final = 8
"""Letters; a shorter one, of a server of one's own, stands in other words by chance."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """What of a workflow's answer is wanted."""

    predictions: str
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Service:
    """What is asked for, where and how."""

    name: str
    """Of the model or workflow, as it is configured."""
    address: str
    dialect: Dialect
    asked: _refusals.Asked
    expected: Task
    """What the model does, as far as it is known beforehand."""
    outputs: Outputs | None
    """Of a workflow; None: it is a model."""
    longest_px: int
    finest_quality: int
    most_bytes: int | None
    """Of a request; None: nobody says."""
    key_in_query: bool
    """Whether the key goes there from the first request on; else in a header, until that is refused."""


class Roboflow:
    """The API as an engine; as wide as the lane lets it be."""

    def __init__(
        self,
        service: Service,
        context: Context,
        *,
        make_client: "Callable[[], DeadlineClient]",
        key: Callable[[], str],
        width: int,
    ) -> None:
        """`make_client`, `key`: called by `open`; they raise ConfigError."""
        self.width = width
        self.longest_px = service.longest_px
        self.finest_quality = service.finest_quality
        self.measures = _tcp_info.measures()
        self._service = service
        self._context = context
        self._make_client = make_client
        self._reveal = key
        self._client: DeadlineClient | None = None
        self._key = ""
        self._key_in_query = service.key_in_query
        self._task = service.expected
        self._damper = Damper(_log.warning, context.clock.now, interval_s=_SAY_EVERY_S)

    def open(self) -> None:
        """Read the key and make the client; connections are opened by the first requests. Raises ConfigError."""
        self._key = self._reveal()
        self._client = self._make_client()
        if not self.measures:
            _log.warning("this system does not tell what was acknowledged (TCP_INFO); uploads are timed end to end")

    def infer(self, picture: Picture, give_up_s: float, watch: Watch) -> Answer:
        """See CloudEngine. Raises EngineUnavailable, EngineRefused."""
        reply = self._ask(give_up_s, picture=picture.data, watch=watch)
        if reply.status != _OK:
            raise self._error_of(reply)
        body, outputs = self._content(reply)
        try:
            found = _answers.read(body, picture, assumed=self._task)
        except ValueError as error:
            raise self._bad_answer(f"the answer is not the API's: {error}") from error
        self._task = found.task
        return Answer(
            predictions=found.predictions,
            model=self._service.name,
            engine="roboflow",
            timings=_timings(reply),
            size_bytes=len(picture.data),
            quality=picture.quality,
            cold_start=reply.headers.get("x-model-cold-start", "").lower() == "true",
            task=found.task,
            scores=found.scores,
            regions=found.regions,
            outputs=outputs,
        )

    def dial(self, give_up_s: float) -> int:
        """See CloudEngine. Raises EngineUnavailable."""
        return self._opened().dial(self._service.address, deadline_s=give_up_s)

    def knock(self, give_up_s: float) -> int:
        """See CloudEngine: a request without a picture, which the API finds bad once it has let it in.

        Raises EngineUnavailable, EngineRefused.
        """
        reply = self._ask(give_up_s)
        if reply.status not in _WELCOME:
            raise self._error_of(reply)
        if _replies.is_page(reply):
            raise EngineUnavailable(_refusals.PORTAL, Cause.CAPTIVE_PORTAL)
        return reply.metered_bytes

    def _opened(self) -> "DeadlineClient":
        if self._client is None:
            raise EngineUnavailable("the engine is not open", Cause.CONNECT)
        return self._client

    def _ask(self, give_up_s: float, *, picture: bytes | None = None, watch: Watch | None = None) -> "Reply":
        """What the API says.

        A key refused in the header is tried in the query, as old servers want it: first without the picture.
        """
        client, in_query = self._opened(), self._key_in_query
        reply = client.post(self._call(picture, in_query=in_query), deadline_s=give_up_s, watch=watch)
        if reply.status != _UNAUTHORISED or in_query or self._service.dialect.key_in_body:
            return reply
        knock = client.post(self._call(None, in_query=True), deadline_s=give_up_s, spent_bytes=reply.metered_bytes)
        self._key_in_query = knock.status != _UNAUTHORISED  # it is the way, not the key
        if picture is None or not self._key_in_query:
            return knock
        call = self._call(picture, in_query=True)
        return client.post(call, deadline_s=give_up_s, watch=watch, spent_bytes=knock.metered_bytes)

    def _call(self, picture: bytes | None, *, in_query: bool) -> "Call":
        """The request. Raises EngineRefused: it is larger than the API allows."""
        call = self._service.dialect.call(self._key, picture, key_in_query=in_query)
        size_bytes = _HEAD_BYTES + (len(call.body.content) if call.body is not None else 0)
        most_bytes = self._service.most_bytes
        if most_bytes is not None and size_bytes > most_bytes:
            raise EngineRefused(
                f"the request would have {size_bytes / 1e6:.1f} MB, and the API takes {most_bytes / 1e6:g}; lower "
                "input_px or jpeg_quality",
                Cause.TOO_LARGE,
            )
        return call

    def _content(self, reply: "Reply") -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
        """What has the hosted shape, and what else is wanted of a workflow. Raises EngineUnavailable, EngineRefused."""
        body, wanted = _json_body(reply, unless=self._key), self._service.outputs
        if wanted is None:
            return body, None
        try:
            outputs = _outputs.of(body)
            others, too_large = _outputs.others(outputs, wanted.others)
            predictions = _outputs.predictions(outputs, wanted.predictions)
        except _outputs.NoSuchOutput as error:
            said = self._without_key(str(error))
            raise EngineRefused(f"{self._service.asked.what} {said}", Cause.BAD_REQUEST) from error
        except ValueError as error:
            raise self._bad_answer(f"the answer is not a workflow's: {error}") from error
        for name in too_large:
            most = f"results have room for {_outputs.MOST_BYTES // 1000} kB of outputs"
            self._damper.note(name, f"the output {name} of {self._service.asked.what} is left empty, for {most}")
        return predictions, others or None

    def _error_of(self, reply: "Reply") -> EngineError:
        """What a status other than 200 means."""
        said = self._without_key(_replies.message(reply))
        where = self._without_key(reply.headers.get("location", "nowhere").partition("?")[0])
        wait_s = _replies.retry_after_s(reply, self._context.clock.wall())
        error = _refusals.error_of(self._service.asked, reply.status, said=said, where=where, retry_after_s=wait_s)
        error.metered_bytes = reply.metered_bytes
        remote_s = _remote_s(reply)
        stated_s = _replies.seconds(reply.headers.get("x-processing-time"))
        error.processing_s = stated_s if remote_s is None else remote_s
        return error

    def _bad_answer(self, sentence: str) -> EngineUnavailable:
        return EngineUnavailable(self._without_key(sentence), Cause.BAD_ANSWER)

    def _without_key(self, text: str) -> str:
        return _replies.without(text, self._key)

    def close(self) -> None:
        """Close every connection."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def __repr__(self) -> str:
        return f"<Roboflow {self._service.name} at {self._service.address}>"


def _json_body(reply: "Reply", *, unless: str) -> Mapping[str, Any]:
    """The answer's object. Whoever repeats the key in it would publish it with the results: `unless` is struck out."""
    try:
        body = json.loads(reply.body.replace(unless.encode(), b"***") if len(unless) >= _LEAST_KEY else reply.body)
    except (ValueError, RecursionError) as error:
        if _replies.is_page(reply):
            raise EngineUnavailable(_refusals.PORTAL, Cause.CAPTIVE_PORTAL) from error
        raise EngineUnavailable("the answer is not JSON; it may be cut short", Cause.BAD_ANSWER) from error
    if not isinstance(body, dict):
        raise EngineUnavailable("the answer is not a JSON object", Cause.BAD_ANSWER)
    return body


def _timings(reply: "Reply") -> Timings:
    return Timings(
        connect_s=reply.connect_s,
        upload_s=reply.upload_s,
        server_s=reply.server_s,
        processing_s=_replies.seconds(reply.headers.get("x-processing-time")),
        billed_s=_remote_s(reply),
    )


def _remote_s(reply: "Reply") -> float | None:
    """What is billed of a workflow whose models ran elsewhere; None: it is billed as everything else is."""
    remote_s = _replies.seconds(reply.headers.get("x-remote-processing-time"))
    return None if remote_s is None else _WORKFLOW_BILLED_S + remote_s
