"""One picture on its way to the training images: link and budget know of it. Owner: the thread that carries it.

The link hears of it from the first byte on, so that an API that is slow to be reached stalls no live frame, and learns
from its acknowledgements what the wire can carry; of the hosted model it learns nothing.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

from agent.errors import Cause, EngineError
from agent.flow import Reading
from agent.link import RequestKey
from agent.ports import Watch
from agent.uplink import Uplink

_NEVER_LATE_S: Final = 3600.0
"""Beyond the end of the request: that it is late would be held against the hosted model."""
Give: TypeAlias = Callable[[float, Watch], bool]
"""Monotonic time to give up at, and the watch -> whether the picture was new there."""


class Contribution:
    """Carried at most once, then ended."""

    def __init__(
        self, uplink: Uplink, key: RequestKey, give: Give, *, size_bytes: int, yields: Callable[[], bool]
    ) -> None:
        """`yields`: asked while bytes are on the wire, whether others need it more."""
        self.yielded = False
        """It was given up for others, which is no failure."""
        self._uplink = uplink
        self._key = key
        self._give = give
        self._size_bytes = size_bytes
        self._yields = yields
        self._reading: Reading | None = None
        self._receipt = uplink.budget.reserve(size_bytes)

    def carry(self, give_up_s: float) -> bool:
        """Hand it over; False: it was there already. Raises EngineUnavailable, EngineRefused."""
        try:
            return self._give(give_up_s, self._watch)
        except EngineError as error:
            self.yielded = self.yielded and error.cause is Cause.TIMEOUT
            raise

    def end(self) -> None:
        """However it went: nothing of it is under way any more. It costs no credits."""
        self._uplink.link.note_ended(self._key)
        metered_bytes = 0 if self._reading is None else self._reading.metered_bytes
        self._uplink.budget.settle(self._receipt, metered_bytes=metered_bytes, billed=False)
        self._uplink.on_progress()

    def _watch(self, reading: Reading) -> bool:
        link, now_s = self._uplink.link, self._uplink.clock.now()
        if self._reading is None:
            link.note_sent(self._key, size_bytes=self._size_bytes, now_s=now_s, due_s=now_s + _NEVER_LATE_S)
        self._reading = reading
        wanted = link.note_reading(self._key, reading, now_s=now_s)
        self._uplink.on_progress()
        self.yielded = self.yielded or (wanted and reading.unacked_bytes > 0 and self._yields())
        return wanted and not self.yielded
