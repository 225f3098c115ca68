"""Picks out the doubtful frames as their results leave. Emit threads show them, the back-fill's takes them; one lock.

One frame of each camera at most is held here, and only until the back-fill's thread comes round.
"""

import threading

from agent.backfill.doubt import Doubt, deserves
from agent.flow import Frame, Result


class Sieve:
    """A Witness with one slot for each camera."""

    def __init__(self, doubt: Doubt, every_s: float) -> None:
        """`every_s`: at least so many seconds lie between two frames of one camera."""
        self.stirred = threading.Event()
        """Set when a frame was caught, and by whoever else has news for the thread that waits for it."""
        self._doubt = doubt
        self._every_s = every_s
        self._lock = threading.Lock()
        self._caught: dict[str, tuple[Frame, Result]] = {}
        self._newest_s: dict[str, float] = {}

    def see(self, frame: Frame, result: Result) -> None:
        """See Witness."""
        if not deserves(result, self._doubt):
            return
        with self._lock:
            due_s = self._newest_s.get(frame.camera, float("-inf")) + self._every_s
            if frame.captured_s < due_s or frame.camera in self._caught:
                return
            self._newest_s[frame.camera] = frame.captured_s
            self._caught[frame.camera] = frame, result
        self.stirred.set()

    def take(self) -> tuple[Frame, Result] | None:
        """One of the frames that were caught, taken out."""
        with self._lock:
            camera = next(iter(self._caught), None)
            return None if camera is None else self._caught.pop(camera)

    def __repr__(self) -> str:
        return f"<Sieve {len(self._caught)} caught>"
