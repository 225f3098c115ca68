"""Frames on which two versions are compared. Emit threads show them, the rollout's thread takes them; one lock.

Nothing is held unless a new version waits: then at most `frames` frames with objects in them and a quarter as many
without, as captured, each of at most 1920x1080 pixels' bytes, so 64 MB for the usual 8. They are spaced in time, for
frames that follow each other show the same. A frame that the hosted API has answered is worth more than one it has not.
"""

import math
import threading
from dataclasses import dataclass, replace
from typing import Final

from agent.flow import Answer, Frame, Result, Route

MOST_BYTES: Final = 1920 * 1080 * 3
"""Of one frame. On-device models take 320 to 1280 pixels, so a larger one loses nothing when it is thinned out."""
_EMPTY_SHARE: Final = 4
"""One frame without objects for so many with objects: there a new version must not see what is not there."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One frame, and what the hosted API said of it."""

    frame: Frame
    hosted: Answer | None
    """In the pixels of `frame`; None: the API did not answer it, or not in time."""


class References:
    """A Witness."""

    def __init__(self, frames: int, every_s: float) -> None:
        """The limits.

        Args:
            frames: so many with objects in them are enough.
            every_s: at least so many seconds lie between two frames of one camera.
        """
        self._frames = frames
        self._every_s = every_s
        self._wanted = False
        self._lock = threading.Lock()
        self._full: list[Reference] = []
        """With objects, the oldest first."""
        self._empty: list[Reference] = []
        self._newest_s: dict[str, float] = {}

    def see(self, frame: Frame, result: Result) -> None:
        """See Witness."""
        if not self._wanted or result.answer is None or not self._is_due(frame):
            return
        is_hosted, has_objects = result.published is Route.CLOUD, bool(result.answer.predictions)
        with self._lock:
            if not self._has_room(is_hosted=is_hosted, has_objects=has_objects):
                return
        made = _reference(frame, result.answer if is_hosted else None)  # copies, so not under the lock
        with self._lock:
            if self._wanted and self._has_room(is_hosted=is_hosted, has_objects=has_objects):
                self._newest_s[frame.camera] = frame.captured_s
                self._keep(made, self._full if has_objects else self._empty)

    def _is_due(self, frame: Frame) -> bool:
        return frame.captured_s >= self._newest_s.get(frame.camera, -math.inf) + self._every_s

    def _has_room(self, *, is_hosted: bool, has_objects: bool) -> bool:
        if not has_objects:
            return len(self._empty) < max(1, self._frames // _EMPTY_SHARE)
        return len(self._full) < self._frames or (is_hosted and any(each.hosted is None for each in self._full))

    def _keep(self, made: Reference, place: list[Reference]) -> None:
        if place is self._full and len(place) == self._frames:
            place.remove(next(each for each in place if each.hosted is None))
        place.append(made)

    def collect(self) -> None:
        """From now on frames are wanted."""
        self._wanted = True

    def forget(self) -> None:
        """Let go of all frames; none are wanted for now."""
        with self._lock:
            self._wanted = False
            self._full, self._empty = [], []
            self._newest_s.clear()

    def taken(self) -> list[Reference]:
        """What there is, those with objects first."""
        with self._lock:
            return [*self._full, *self._empty]

    @property
    def found(self) -> int:
        """How many have objects in them."""
        return len(self._full)

    @property
    def hosted(self) -> int:
        """How many of those the hosted API has answered."""
        with self._lock:
            return sum(each.hosted is not None for each in self._full)

    def __repr__(self) -> str:
        return f"<References {len(self._full)} of {self._frames} with objects, {len(self._empty)} without>"


def _reference(frame: Frame, hosted: Answer | None) -> Reference:
    """`frame`, thinned out where it is large: every second or third pixel each way, and the answer's places with it."""
    step = math.ceil(math.sqrt(frame.pixels.nbytes / MOST_BYTES))
    if step <= 1:
        return Reference(frame, hosted)
    small = replace(frame, pixels=frame.pixels[::step, ::step].copy())
    if hosted is None:
        return Reference(small, None)
    factors = small.width / frame.width, small.height / frame.height
    found = tuple(each.scaled(*factors) for each in hosted.predictions)
    return Reference(small, replace(hosted, predictions=found))
