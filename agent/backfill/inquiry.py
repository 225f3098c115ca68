"""Asks the hosted model about a kept picture, and publishes its answer. Owner: the back-fill's thread."""

import logging
from collections.abc import Callable
from typing import Final, cast

from agent.backfill import lull
from agent.backfill.keep import Step
from agent.backfill.kept import Kept
from agent.backfill.pause import Pause
from agent.errors import EngineError
from agent.flow import Answer, Prices, Result
from agent.logs import Damper
from agent.stamp import elapsed_s
from agent.uplink import Cargo, Uplink, Upload

_log = logging.getLogger(__name__)
_SAY_EVERY_S: Final = 600.0


class Inquiry:
    """What back-fill is for."""

    step = Step.ASK

    def __init__(
        self, uplink: Uplink, publish: Callable[[Result, str], None], *, deadline_s: float, boot_id: str
    ) -> None:
        """`publish`: takes a correction and the boot that its frame was taken in."""
        self.done = 0
        """Corrections that were published."""
        self._uplink = uplink
        self._publish = publish
        self._deadline_s = deadline_s
        self._boot_id = boot_id
        self._pause = Pause()
        self._damper = Damper(_log.warning, uplink.clock.now, interval_s=_SAY_EVERY_S)

    def open(self) -> None:
        """Nothing to do: the engine is the lane's."""

    def is_ready(self, size_bytes: int, prices: Prices | None) -> bool:
        """Whether a picture may be sent, as far as it is not the link's to say."""
        return self._pause.is_over(self._uplink.clock.now()) and lull.is_affordable(size_bytes, prices)

    def load(self, kept: Kept, yields: Callable[[], bool]) -> Upload:
        """The request, from now on its way. An answer counts as in time when a live frame's would."""
        key = (f"{kept.camera} kept", kept.seq)  # no camera has a blank in its name
        picture, due_s = kept.picture, self._uplink.clock.now() + self._deadline_s
        return self._uplink.load(Cargo(key, len(picture.data), lambda: picture, due_s, yields))

    def succeeded(self, kept: Kept, outcome: object, *, took_s: float) -> None:
        """The answer is there."""
        self._pause.end()
        age_s = elapsed_s(kept.stamp, self._uplink.clock, self._boot_id)
        self._publish(kept.correction(cast("Answer", outcome), age_s=age_s, took_s=took_s), kept.boot_id)
        self.done += 1

    def failed(self, error: EngineError) -> None:
        """There is none; the link knows why."""
        self._pause.begin(self._uplink.clock.now())
        self._damper.note(error.cause.value, f"a kept picture was not answered: {error}")

    def gave_way(self) -> None:
        """It is sent again."""

    def close(self) -> None:
        """Nothing to do."""
