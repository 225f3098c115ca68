"""`pause` and `resume`: a camera is closed, and is used again as its configuration has it. Until the next start."""

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
    """What may be said of both."""

    camera: str | None = Field(None, description="the camera; left out: all")


class Pause:
    """See Command."""

    word = Word.PAUSE
    alone = False

    def __init__(self, cameras: Sequence[str], controls: Controls) -> None:
        self._cameras = cameras
        self._controls = controls

    def run(self, order: Order) -> Outcome:
        """See Command."""
        names = chosen(checked(Fields, order).camera, self._cameras)
        for name in names:
            self._act(name)
        return Outcome({"cameras": names})

    def _act(self, camera: str) -> None:
        self._controls.pause(camera, by=BY)


class Resume(Pause):
    """See Command."""

    word = Word.RESUME

    def _act(self, camera: str) -> None:
        self._controls.resume(camera, by=BY)
