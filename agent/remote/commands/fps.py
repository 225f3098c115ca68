"""`fps`: fewer frames a second than the configuration has; never more. Until the next start."""

from collections.abc import Sequence

from pydantic import Field

from agent.controls import Controls
from agent.options import Options
from agent.remote.cameras import chosen
from agent.remote.command import Outcome, checked
from agent.remote.order import Order
from agent.remote.words import Word

BY = "remote"


class Fields(Options):
    """What may be said of it."""

    camera: str | None = Field(None, description="the camera; left out: all")
    fps: float | None = Field(gt=0, le=240, description="most frames a second; null: as configured")


class Fps:
    """See Command."""

    word = Word.FPS
    alone = False

    def __init__(self, cameras: Sequence[str], controls: Controls) -> None:
        self._cameras = cameras
        self._controls = controls

    def run(self, order: Order) -> Outcome:
        """See Command."""
        fields = checked(Fields, order)
        names = chosen(fields.camera, self._cameras)
        for name in names:
            self._controls.limit_fps(name, fields.fps, by=BY)
        return Outcome({"cameras": names, "fps": fields.fps})
