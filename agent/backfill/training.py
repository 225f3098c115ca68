"""Gives kept pictures to a project as training images, so many an hour and a day. Owner: the back-fill's thread."""

import logging
from collections.abc import Callable
from typing import Final

from agent.backfill import lull
from agent.backfill.contribution import Contribution
from agent.backfill.keep import Step
from agent.backfill.kept import Kept
from agent.backfill.pause import Pause
from agent.backfill.quota import Quota
from agent.errors import Cause, EngineError, EngineRefused, EngineUnavailable
from agent.flow import Prices
from agent.link import UNREACHED
from agent.logs import Damper
from agent.ports import Contributor
from agent.uplink import Uplink

_log = logging.getLogger(__name__)
_SAY_EVERY_S: Final = 600.0
_NOT_TAKEN: Final = (*UNREACHED, Cause.RATE_LIMITED, Cause.BAD_REQUEST, Cause.CAPTIVE_PORTAL)
"""Failures after which the project certainly has no picture."""


class Training:
    """What may come after the correction."""

    step = Step.GIVE

    def __init__(self, uplink: Uplink, contributor: Contributor, quota: Quota, *, agent: str) -> None:
        self.done = 0
        """Pictures that the project has now."""
        self._uplink = uplink
        self._contributor = contributor
        self._quota = quota
        self._agent = agent
        self._pause = Pause()
        self._damper = Damper(_log.warning, uplink.clock.now, interval_s=_SAY_EVERY_S)

    def open(self) -> None:
        """Get ready. Raises ConfigError."""
        self._contributor.open()

    def is_ready(self, size_bytes: int, prices: Prices | None) -> bool:
        """Whether a picture may be sent, as far as it is not the link's to say."""
        affordable = lull.is_affordable(size_bytes, prices, credits_=False)
        return affordable and self._pause.is_over(self._uplink.clock.now()) and self._quota.has_room

    def load(self, kept: Kept, yields: Callable[[], bool]) -> Contribution:
        """The request; it counts at once."""
        self._quota.take()
        name = f"{self._agent}-{kept.camera}-{kept.boot_id[:8]}-{kept.seq}.jpg"
        key = (f"{kept.camera} given", kept.seq)
        return Contribution(
            self._uplink,
            key,
            lambda give_up_s, watch: self._contributor.contribute(kept.picture, name, give_up_s=give_up_s, watch=watch),
            size_bytes=len(kept.picture.data),
            yields=yields,
        )

    def succeeded(self, kept: Kept, outcome: object, *, took_s: float) -> None:  # noqa: ARG002 - a Purpose's
        """The project has it; `outcome` is False where it had it before."""
        self._pause.end()
        self.done += 1

    def failed(self, error: EngineError) -> None:
        """It has not: that is said, for nothing else shows it."""
        if isinstance(error, EngineRefused) or error.cause in _NOT_TAKEN:
            self._quota.give_back()  # after another failure the project may have it all the same
        asked_s = error.retry_after_s if isinstance(error, EngineUnavailable) else None
        self._pause.begin(self._uplink.clock.now(), least_s=asked_s or 0.0)
        self._damper.note(error.cause.value, f"a training image was not taken: {error}")

    def gave_way(self) -> None:
        """It is sent again."""
        self._quota.give_back()

    def close(self) -> None:
        """Let go of connections and file."""
        self._contributor.close()
        self._quota.close()
