"""What a status other than 200 means for the agent, in words. No state."""

from dataclasses import dataclass
from typing import Final

from agent.errors import Cause, EngineError, EngineRefused, EngineUnavailable

PORTAL: Final = "a web page came instead of an answer; a captive portal? Sign in to the network"
_REFUSALS: Final = {
    401: (Cause.AUTH, "the API key is not accepted ({said}); check api_key"),
    402: (Cause.CREDITS, "the workspace has no credits left ({said}); check its billing"),
    403: (Cause.AUTH, "the API key may not use {what} ({said}); check the key's scope"),
    404: (Cause.NOT_FOUND, "the API has no {what} ({said}); check its name"),
    413: (Cause.TOO_LARGE, "the picture is too large for the API ({said}); lower input_px"),
    423: (Cause.PAUSED, "the workspace has paused its API use ({said})"),
}
"""Statuses that come again until a person acts: the cloud is closed for minutes."""
_V1_FORBIDDEN: Final = "the API (v1) refuses the key, or has no {what} for it ({said}); check api_key and the model"
_FAULTY_WORKFLOW: Final = "{what} cannot be run so ({said}); look at its inputs and blocks, and at workflow.parameters"
_FAILED: Final = (Cause.SERVER, "the API failed with status {status} ({said})")
_PASSING: Final = {
    400: (Cause.BAD_REQUEST, "the API could not use this picture ({said})"),
    408: (Cause.TIMEOUT, "the API did not wait for the whole picture ({said})"),
    425: (Cause.SERVER, "the API was not ready for this picture ({said})"),
    429: (Cause.RATE_LIMITED, "the API limits the rate of requests ({said})"),
    **dict.fromkeys((500, 502, 503, 504, *range(520, 531)), _FAILED),  # the last are those of a network in front
    511: (Cause.CAPTIVE_PORTAL, PORTAL),
}
"""Statuses that may be gone with the next frame."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for, in words, and of whom."""

    what: str
    """Such as "model coco/3"."""
    is_workflow: bool = False
    is_v1: bool = False
    """The older service, which says 403 to a wrong key and to a model it does not know alike."""


def error_of(asked: Asked, status: int, *, said: str, where: str, retry_after_s: float | None) -> EngineError:
    """The error that `status` is.

    Args:
        asked: what for.
        status: not 200.
        said: the server's own words.
        where: it redirects to.
        retry_after_s: it asks to be left alone for so long.
    """
    if asked.is_v1 and status == 403:  # noqa: PLR2004 - forbidden
        return EngineRefused(_V1_FORBIDDEN.format(what=asked.what, said=said), Cause.AUTH)
    if asked.is_workflow and status in (
        400,
        422,
    ):  # its definition, or its parameters: the next picture changes neither
        return EngineRefused(_FAULTY_WORKFLOW.format(what=asked.what, said=said), Cause.BAD_REQUEST)
    if status in _REFUSALS:
        cause, sentence = _REFUSALS[status]
        return EngineRefused(sentence.format(what=asked.what, said=said), cause)
    if 300 <= status < 400:  # noqa: PLR2004 - redirections
        return EngineUnavailable(
            f"redirected to {where}; a captive portal? Sign in to the network", Cause.CAPTIVE_PORTAL
        )
    if status in _PASSING:
        cause, sentence = _PASSING[status]
        return EngineUnavailable(sentence.format(status=status, said=said), cause, retry_after_s=retry_after_s)
    return EngineRefused(f"the API refused with status {status} ({said})", Cause.BAD_REQUEST)
