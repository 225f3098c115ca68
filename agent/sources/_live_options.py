"""The keys that every camera read in a child process has. No state."""

from pydantic import Field

from agent.isolation.reader import Limits
from agent.options import Options


class LiveOptions(Options):
    """When a camera is given up and opened again."""

    first_frame_s: float = Field(
        15.0, ge=1, le=300, description="no first picture within so many seconds: the camera is opened again"
    )
    next_frame_s: float = Field(
        5.0,
        ge=0.5,
        le=3600,
        description="no picture for so many seconds: the camera is opened again; more for one that sends a picture now "
        "and then",
    )
    frozen_s: float = Field(
        60.0,
        ge=0,
        le=86_400,
        description="the very same picture for so many seconds: the camera is opened again; 0: never, for scenes that "
        "may be still to the last bit",
    )
    memory_mb: float = Field(
        1000.0, ge=100, description="a reader that grows beyond so many megabytes is replaced by a new one"
    )

    @property
    def limits(self) -> Limits:
        """The limits as the isolation knows them."""
        return Limits(self.first_frame_s, self.next_frame_s, self.frozen_s, round(self.memory_mb * 1e6))
