"""What runs in the child: a Reader, made from a Recipe. No state.

A module that makes readers has `open_reader(settings) -> Reader`. The system's Python may run it, which has neither
pydantic nor anything else that the agent brings along: the module imports the standard library, numpy, its own library,
and of the agent only `agent.errors`, `agent.flow`, `agent.isolation` and `agent.imaging`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from agent.flow import Pixels

OWN_PYTHON, SYSTEM_PYTHON = "", "/usr/bin/python3"


class Reader(Protocol):
    """An open camera. All calls come from the child's one thread."""

    def grab(self) -> None:
        """Wait for the next picture and hold on to it, as raw as it is. Called for each picture of the camera.

        Raises:
            SourceError: there is none; SourceLost and its kin end the child.
        """

    def picture(self) -> Pixels:
        """The picture grabbed last, as (height, width, 3) uint8 BGR. Called only for pictures that are wanted.

        Raises:
            SourceError: it cannot be decoded.
        """

    def close(self) -> None:
        """Let go of the camera in good order; never raises."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a camera is read."""

    module: str
    """Full name of the module with `open_reader`."""
    name: str
    """The camera as people know it, without any secret: an address, a device."""
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What `open_reader` gets: JSON values, secrets among them. They reach the child through a socket and stand in no
    command line and no environment."""
    pythons: tuple[str, ...] = (OWN_PYTHON,)
    """The interpreters that may run it, the best first; the next one is tried where a LibraryMissing is raised."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a reader is given up, killed and replaced."""

    first_frame_s: float = 15.0
    """From its start to its first picture."""
    next_frame_s: float = 5.0
    """From one picture to the next."""
    frozen_s: float = 60.0
    """The same picture for so long; 0: never."""
    memory_bytes: int = 1_000_000_000
    """Resident memory, which a reader that leaks reaches."""
