"""Roboflow's Upload API: `POST /dataset/{project}/upload` with one JPEG, which becomes a training image of the project.

The key goes as to the hosted API: in a header, and in the query where that is refused. A picture that the project has
already is no error. Used by one thread at a time; the only state is where the key is sent.
"""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from agent.clock import Clock
from agent.engines import _body, _replies
from agent.errors import Cause, EngineError, EngineRefused, EngineUnavailable
from agent.flow import Picture
from agent.ports import Project, Watch

if TYPE_CHECKING:
    from agent.engines._http import Call, DeadlineClient, Reply

_OK, _UNAUTHORISED, _CONFLICT = 200, 401, 409
_REFUSALS: Final = {
    401: (Cause.AUTH, "the API key is not accepted for uploads ({said}); check api_key, and its scope for the dataset"),
    402: (Cause.CREDITS, "the workspace has nothing left for uploads ({said}); check its plan and billing"),
    403: (Cause.AUTH, "the API key may not upload to {project} ({said}); check the key's scope and its workspace"),
    404: (Cause.NOT_FOUND, "there is no project {project} ({said}); check backfill.contribute.project"),
    413: (Cause.TOO_LARGE, "the picture is too large to upload ({said}); lower backfill.longest_px"),
    423: (Cause.PAUSED, "the workspace has paused its API use ({said})"),
}
"""Statuses that come again until a person acts."""
_PORTAL: Final = "a web page came instead of an answer to an upload; a captive portal? Sign in to the network"
_FAILED: Final = (Cause.SERVER, "the Upload API failed with status {status} ({said})")
_PASSING: Final = {
    400: (Cause.BAD_REQUEST, "the picture was not taken as a training image ({said})"),
    408: (Cause.TIMEOUT, "the Upload API did not wait for the whole picture ({said})"),
    429: (Cause.RATE_LIMITED, "the Upload API limits the rate of uploads ({said})"),
}
"""Statuses that may be gone with the next picture; so may all from 500 on."""


class Uploads:
    """The Upload API for one project."""

    def __init__(
        self, project: Project, clock: Clock, *, make_client: "Callable[[], DeadlineClient]", key: Callable[[], str]
    ) -> None:
        """`make_client`, `key`: called by `open`; they raise ConfigError."""
        self._project = project
        self._clock = clock
        self._make_client = make_client
        self._reveal = key
        self._client: DeadlineClient | None = None
        self._key = ""
        self._key_in_query = False

    def open(self) -> None:
        """See Contributor. Raises ConfigError."""
        self._key = self._reveal()
        self._client = self._make_client()

    def contribute(self, picture: Picture, name: str, *, give_up_s: float, watch: Watch) -> bool:
        """See Contributor. Raises EngineUnavailable, EngineRefused."""
        client = self._opened()
        reply = client.post(self._call(picture, name), deadline_s=give_up_s, watch=watch)
        if reply.status == _UNAUTHORISED and not self._key_in_query:
            reply = self._with_key_in_query(picture, name, reply, give_up_s=give_up_s, watch=watch)
        said = self._said(reply)
        if reply.status == _CONFLICT or said.get("duplicate"):
            return False
        if reply.status != _OK:
            raise self._error_of(reply)
        if not said.get("success"):
            text = self._without_key(_replies.message(reply))
            raise EngineUnavailable(f"the Upload API does not say that it has the picture ({text})", Cause.BAD_ANSWER)
        return True

    def _with_key_in_query(
        self, picture: Picture, name: str, refusal: "Reply", *, give_up_s: float, watch: Watch
    ) -> "Reply":
        """The key as older servers want it: first without the picture, for the key may be a wrong one."""
        client, self._key_in_query = self._opened(), True
        knock = client.post(self._call(None, name), deadline_s=give_up_s, spent_bytes=refusal.metered_bytes)
        if knock.status == _UNAUTHORISED:
            self._key_in_query = False
            return knock
        call = self._call(picture, name)
        return client.post(call, deadline_s=give_up_s, watch=watch, spent_bytes=knock.metered_bytes)

    def _opened(self) -> "DeadlineClient":
        if self._client is None:
            raise EngineUnavailable("the Upload API is not open", Cause.CONNECT)
        return self._client

    def _call(self, picture: Picture | None, name: str) -> "Call":
        from agent.engines._http import Call

        project = self._project
        params: dict[str, str | list[str]] = {"batch": project.batch, "split": project.split, "tag": list(project.tags)}
        headers = {"Accept-Encoding": "identity"}
        if self._key_in_query:
            params["api_key"] = self._key
        else:
            headers["Authorization"] = f"Bearer {self._key}"
        url = f"{project.url.rstrip('/')}/dataset/{quote(project.name, safe='')}/upload"
        values = {"name": name, "split": project.split}
        body = None if picture is None else _body.form(picture.data, name=name, values=values)
        return Call(url, params, headers, body)

    def _said(self, reply: "Reply") -> dict[str, Any]:
        """The answer's object; empty where it is none. Raises EngineUnavailable."""
        try:
            body = json.loads(reply.body)
        except (ValueError, RecursionError) as error:
            if reply.status == _OK and _replies.is_page(reply):
                raise EngineUnavailable(_PORTAL, Cause.CAPTIVE_PORTAL) from error
            return {}
        return body if isinstance(body, dict) else {}

    def _error_of(self, reply: "Reply") -> EngineError:
        said, name = self._without_key(_replies.message(reply)), self._project.name
        if reply.status in _REFUSALS:
            cause, sentence = _REFUSALS[reply.status]
            return EngineRefused(sentence.format(project=name, said=said), cause)
        if 300 <= reply.status < 400:  # noqa: PLR2004 - redirections
            return EngineUnavailable("an upload was redirected; a captive portal?", Cause.CAPTIVE_PORTAL)
        cause, sentence = _PASSING.get(
            reply.status, (Cause.SERVER, "the Upload API failed with status {status} ({said})")
        )
        wait_s = _replies.retry_after_s(reply, self._clock.wall())
        return EngineUnavailable(sentence.format(status=reply.status, said=said), cause, retry_after_s=wait_s)

    def _without_key(self, text: str) -> str:
        return _replies.without(text, self._key)

    def close(self) -> None:
        """See Contributor."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def __repr__(self) -> str:
        return f"<Uploads to {self._project.name} at {self._project.url}>"
