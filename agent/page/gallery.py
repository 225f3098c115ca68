"""A witness for the page: the newest answered frame of each camera that somebody watches, and the newest results.

Emit threads show frames, the page's thread takes them. Nothing is locked, copied or kept unless somebody asked for it
within the last seconds, so a page that nobody looks at costs a frame two comparisons.
"""

from collections import deque
from typing import Final

from agent.flow import Frame, Result

WATCHED_S: Final = 3.0
"""For how long one question keeps a camera's frames coming."""
MOST_LINES: Final = 200
"""Results that wait for the page's next look, which comes within half a second."""


class Gallery:
    """A Witness of all cameras."""

    def __init__(self) -> None:
        self._newest: dict[str, tuple[Frame, Result]] = {}
        self._watched_until_s: dict[str, float] = {}
        self._lines: deque[Result] = deque(maxlen=MOST_LINES)
        self._read_until_s = float("-inf")

    def see(self, frame: Frame, result: Result) -> None:
        """See Witness."""
        if result.answered_s < self._read_until_s:
            self._lines.append(result)
        if result.answered_s < self._watched_until_s.get(frame.camera, float("-inf")):
            self._newest[frame.camera] = (frame, result)

    def watch(self, camera: str, now_s: float) -> None:
        """Somebody looks at this camera at a monotonic time."""
        self._watched_until_s[camera] = now_s + WATCHED_S

    def watched(self, now_s: float) -> list[str]:
        """The cameras that somebody looks at; of others nothing is kept."""
        for camera, until_s in list(self._watched_until_s.items()):
            if now_s >= until_s:
                del self._watched_until_s[camera]
                self._newest.pop(camera, None)
        return list(self._watched_until_s)

    def newest(self, camera: str) -> tuple[Frame, Result] | None:
        """The newest frame of a camera that is watched, and its result."""
        return self._newest.get(camera)

    def lines(self, now_s: float) -> list[Result]:
        """The results since the last call, oldest first; the first call after a while begins to collect them."""
        self._read_until_s = now_s + WATCHED_S
        found = list[Result]()
        while self._lines:
            found.append(self._lines.popleft())
        return found
