"""The newest state of everything, and what has changed since a sink last asked. Any thread; one lock."""

import threading
from dataclasses import dataclass
from enum import Enum


class Subject(str, Enum):
    """What a state is about."""

    HEALTH = "health"
    """The agent: a JSON object."""
    CAMERA = "camera"
    """One camera: `online` or `offline`."""
    COUNT = "count"
    """How many objects of one class the newest result of a camera has: a whole number."""
    ZONE = "zone"
    """How many tracked objects of one class are in a zone of a camera: a whole number."""
    LINE = "line"
    """How many tracked objects have crossed a line of a camera in one direction since the agent's start."""


class Direction(str, Enum):
    """Which way a line was crossed, as seen by who looks from its first point to its second."""

    IN = "in"
    """From the left to the right."""
    OUT = "out"
    """From the right to the left."""


@dataclass(frozen=True, slots=True)
class State:
    """What is true until the next one of its kind: only the newest is of interest, and none waits for a sink."""

    subject: Subject
    body: bytes
    camera: str | None = None
    class_name: str | None = None
    place: str | None = None
    """The name of the zone, or of the line."""
    direction: Direction | None = None

    @property
    def about(self) -> tuple[str | None, ...]:
        """What it is a state of; the newest one about the same is the one that holds."""
        return self.subject, self.camera, self.class_name, self.place, self.direction


class States:
    """One state for each thing that a state can be about."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mark = 0
        self._newest: dict[tuple[str | None, ...], tuple[int, State]] = {}

    def put(self, state: State) -> None:
        """What is true from now on; the same again changes nothing."""
        about = state.about
        with self._lock:
            if about not in self._newest or self._newest[about][1] != state:
                self._mark += 1
                self._newest[about] = self._mark, state

    def since(self, mark: int) -> tuple[int, list[State]]:
        """The mark of now, and what changed since `mark`; since 0: all, in the order of the last changes."""
        with self._lock:
            changed = sorted(entry for entry in self._newest.values() if entry[0] > mark)
            return self._mark, [state for _, state in changed]
