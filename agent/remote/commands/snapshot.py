"""`snapshot`: the next answered frame of a camera, as a JPEG picture in the answer.

The frame is shown to a gallery of its own, which keeps nothing while no snapshot is under way.
"""

import base64
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from pydantic import Field

from agent.clock import Clock
from agent.errors import CommandFailed, CommandRefused, FrameUnreadable
from agent.flow import Frame, Pixels, Prediction, Result
from agent.options import Options
from agent.page.gallery import Gallery
from agent.record import Identity, delivery_of
from agent.remote.cameras import chosen
from agent.remote.command import Outcome, Steps, checked
from agent.remote.order import Order
from agent.remote.words import Word

_PATIENCE_S: Final = 10.0
"""Longer than the slowest deadline."""
Develop: TypeAlias = Callable[[Pixels, Sequence[Prediction], str, int], bytes]
"""A captured frame, what is drawn into it, a comment, and the longest side in pixels become a JPEG file."""


class Fields(Options):
    """What may be said of a snapshot."""

    camera: str | None = Field(None, description="the camera; left out: the only one")
    boxes: bool = Field(True, description="with what was found drawn in; false: as captured")
    longest_px: int = Field(960, ge=64, le=4096, description="longest side of the picture, pixels")


class Snapshot:
    """See Command."""

    word = Word.SNAPSHOT
    alone = False

    def __init__(
        self, cameras: Sequence[str], gallery: Gallery, develop: Develop, *, identity: Identity, clock: Clock
    ) -> None:
        self._cameras = cameras
        self._gallery = gallery
        self._develop = develop
        self._identity = identity
        self._clock = clock

    def run(self, order: Order) -> Steps:
        """See Command."""
        fields = checked(Fields, order)
        names = chosen(fields.camera, self._cameras)
        if len(names) > 1:
            raise CommandRefused(f"which camera? There are: {', '.join(names)}")
        begun_s = self._clock.now()
        while (shown := self._shown(names[0], begun_s)) is None:
            if self._clock.now() - begun_s >= _PATIENCE_S:
                raise CommandFailed(
                    f"camera {names[0]} gave no frame within {_PATIENCE_S:g} s; it is offline, paused, outside its "
                    "schedule, or nothing moves before it"
                )
            yield None
        return Outcome(self._result(shown[0], shown[1], fields))

    def _shown(self, camera: str, begun_s: float) -> tuple[Frame, Result] | None:
        """The newest frame, if it was captured since."""
        now_s = self._clock.now()
        self._gallery.watched(now_s)
        self._gallery.watch(camera, now_s)
        newest = self._gallery.newest(camera)
        return newest if newest is not None and newest[0].captured_s >= begun_s else None

    def _result(self, frame: Frame, result: Result, fields: Fields) -> dict[str, object]:
        record = delivery_of(result, self._identity).id
        found = result.answer.predictions if result.answer is not None and fields.boxes else ()
        try:
            jpeg = self._develop(frame.pixels, found, record, fields.longest_px)
        except FrameUnreadable as error:
            raise CommandFailed(str(error)) from error
        return {"camera": frame.camera, "of": record, "type": "image/jpeg", "base64": base64.b64encode(jpeg).decode()}
