"""What happens in rounds: all who wait for the next one are woken together. Owner: the page's event loop."""

import asyncio
from collections import deque
from typing import Final

_MOST_KEPT: Final = 16
"""Messages; who has not fetched one by then is too slow for it."""


class Rounds:
    """The page's beat."""

    def __init__(self) -> None:
        self._ended = asyncio.Event()

    def end(self) -> None:
        """This round is over."""
        ended, self._ended = self._ended, asyncio.Event()
        ended.set()

    async def next(self) -> None:
        """Wait until this round is over."""
        await self._ended.wait()


class Bulletin:
    """Messages to all who listen. Who is slow misses some; nobody is waited for."""

    def __init__(self) -> None:
        self.newest = 0
        """The number of the newest message."""
        self._kept: deque[tuple[int, bytes]] = deque(maxlen=_MOST_KEPT)

    def post(self, message: bytes) -> None:
        """One more."""
        self.newest += 1
        self._kept.append((self.newest, message))

    def since(self, number: int) -> list[bytes]:
        """Those after a number that are still kept, oldest first."""
        return [message for each, message in self._kept if each > number]
