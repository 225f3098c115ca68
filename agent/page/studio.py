"""The newest frame of each watched camera as a JPEG with its boxes, drawn once for all who look. Owner: page's thread.

A picture of 1280x720 that is shrunk to 960 px takes the thread 4 ms, with six boxes; scripts/bench-page measures what
that costs the frames.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from agent import logs
from agent.clock import Clock
from agent.errors import FrameUnreadable
from agent.flow import Frame, Pixels, Prediction, Result
from agent.page.gallery import Gallery

_log = logging.getLogger(__name__)
Develop: TypeAlias = Callable[[Pixels, Sequence[Prediction], str], bytes]
"""A captured frame, what is drawn into it, and a comment become a JPEG file."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture for the page."""

    seq: int
    """Of its frame."""
    jpeg: bytes


class Studio:
    """Draws what is watched."""

    def __init__(self, gallery: Gallery, develop: Develop, clock: Clock) -> None:
        self._gallery = gallery
        self._develop = develop
        self._clock = clock
        self._shots: dict[str, Shot] = {}
        self._damper = logs.Damper(_log.warning, clock.now)

    def watch(self, camera: str) -> None:
        """Somebody looks at this camera; to be repeated."""
        self._gallery.watch(camera, self._clock.now())

    def shot(self, camera: str) -> Shot | None:
        """The newest picture of a camera that is watched; None: there is none yet."""
        return self._shots.get(camera)

    def step(self) -> None:
        """Draw each watched camera's newest frame, unless it is drawn already."""
        watched = self._gallery.watched(self._clock.now())
        for camera in self._shots.keys() - watched:
            del self._shots[camera]
        for camera in watched:
            seen, drawn = self._gallery.newest(camera), self._shots.get(camera)
            if seen is not None and (drawn is None or drawn.seq != seen[0].seq):
                self._draw(*seen)

    def _draw(self, frame: Frame, result: Result) -> None:
        found = () if result.answer is None else result.answer.predictions
        try:
            jpeg = self._develop(frame.pixels, found, "")
        except FrameUnreadable as error:
            self._damper.note("draw", f"camera {frame.camera}: the page cannot show a frame: {error}")
        else:
            self._shots[frame.camera] = Shot(frame.seq, jpeg)
