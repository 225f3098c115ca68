"""What the runtime asks of a plugin, and what it promises one. No state.

Promises: all calls on one source or sink come from one thread; an engine's `infer` may overlap up to its `width`.
`close` comes after the last call, even when `open` failed, and `open` may be called again after `close`.
A plugin opens, works and closes: it never sleeps, retries, starts threads or loops over failures.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from agent.clock import Clock
from agent.flow import Answer, Delivery, Frame, Outcome, Picture, Pixels, Reading, Result, Task
from agent.states import State


@dataclass(frozen=True, slots=True)
class Context:
    """What a plugin may know of its surroundings."""

    agent: str
    """This agent's name."""
    clock: Clock
    base_dir: Path
    """Relative paths in the configuration start here: the folder of the YAML file."""
    state_dir: Path
    """Where the agent may write."""
    progress: Callable[[str], None] = lambda _: None
    """Called in `open` by what takes longer than seconds, every few of them, with words for people: it is alive.

    Raises EngineUnwanted: the agent stops. Whoever calls it several times a second ends in time with the others.
    """
    trial: bool = False
    """A check, perhaps beside a running agent: leave alone what that one owns (files, client ids, retained topics)."""


class Source(Protocol):
    """A camera, or something that stands in for one."""

    live: bool
    """True: frames come whether anyone is ready or not, and the newest wins. False: every frame is wanted."""
    pace_fps: float | None
    """How often the runtime calls `read`; None: `read` itself blocks until the next frame. Known after `open`."""

    def open(self) -> None:
        """Get ready to read. Raises SourceLost (try again later) or ConfigError (a person must act)."""

    def read(self) -> Pixels | None:
        """The next picture, (height, width, 3) uint8 BGR, owned by the caller; None: none has come for a moment.

        Raises SourceLost, SourceEnded, FrameUnreadable, ConfigError.
        """

    def close(self) -> None:
        """Let go of the device or file; never raises."""


@dataclass(frozen=True, slots=True)
class Card:
    """What an on-device engine has found out about its model, by its file and by running it."""

    task: Task
    runtime: str
    """The engine's `type` in the configuration."""
    width: int
    """Of the input, in pixels."""
    height: int
    labels: tuple[str, ...]
    """By class id; empty when nothing names them."""
    keypoints: tuple[str, ...] = ()
    """By number, where it is a keypoint model."""
    tensors: tuple[str, ...] = ()
    """A line for people about each input and output: name, shape, numbers."""
    reading: str = ""
    """In words: how its numbers are read (layout, units, precision)."""
    threads: int | None = None
    """CPU threads in use; None: that is not for us to say."""
    complaints: tuple[str, ...] = ()
    """What is wrong with a model that runs all the same, each with its cure."""


@runtime_checkable
class Described(Protocol):
    """An engine that knows its model."""

    card: Card | None
    """None until it is open."""


class Engine(Protocol):
    """A model on this device."""

    width: int
    """How many frames it can work on at once."""

    def open(self) -> None:
        """Load and warm up. Raises EngineBroken or ConfigError."""

    def infer(self, frame: Frame, give_up_s: float) -> Answer:
        """Objects in `frame`, in its own pixels; gives up at the monotonic time `give_up_s`.

        Raises EngineUnavailable, EngineRefused, EngineBroken.
        """

    def close(self) -> None:
        """Free what `open` took; never raises."""


class Watch(Protocol):
    """Is told how an upload stands."""

    def __call__(self, reading: Reading) -> bool:
        """Called when the body begins, every 10 to 20 ms until all of it is acknowledged, and once at the end.

        False: the request is not worth its connection any more; the engine closes it and raises EngineUnavailable.
        """


class CloudEngine(Protocol):
    """A model behind the link."""

    width: int
    """How many requests may be under way at once."""
    longest_px: int
    """Longest side of a picture that the model makes use of."""
    finest_quality: int
    """JPEG quality above which nothing is gained."""
    measures: bool
    """Whether readings come from acknowledged bytes. False: this platform cannot tell, and only the end is read."""

    def open(self) -> None:
        """Get ready; connections are opened when they are needed. Raises ConfigError."""

    def infer(self, picture: Picture, give_up_s: float, watch: Watch) -> Answer:
        """Objects in `picture`, in the captured frame's pixels; gives up at the monotonic time `give_up_s`.

        Raises EngineUnavailable, EngineRefused.
        """

    def dial(self, give_up_s: float) -> int:
        """Open a connection and keep it for the next request, sending nothing; the bytes that this took.

        Raises EngineUnavailable.
        """

    def knock(self, give_up_s: float) -> int:
        """Ask, without a picture, whether requests are served again; the bytes that this took.

        Raises EngineUnavailable, EngineRefused.
        """

    def close(self) -> None:
        """Close every connection; never raises."""


@dataclass(frozen=True, slots=True)
class Project:
    """Where training images are collected."""

    url: str
    """Of the platform's API, without a path."""
    name: str
    """The project's slug."""
    batch: str
    tags: tuple[str, ...] = ()
    split: str = "train"


class Contributor(Protocol):
    """Takes pictures as training images."""

    def open(self) -> None:
        """Get ready; connections are opened when they are needed. Raises ConfigError."""

    def contribute(self, picture: Picture, name: str, *, give_up_s: float, watch: Watch) -> bool:
        """Hand `picture` over under the file name `name`; gives up at the monotonic time `give_up_s`.

        False: it was there already. Raises EngineUnavailable, EngineRefused.
        """

    def close(self) -> None:
        """Close every connection; never raises."""


class Witness(Protocol):
    """Is shown every frame that has a result, with its pixels, once the result has left."""

    def see(self, frame: Frame, result: Result) -> None:
        """Called by the emit threads of all cameras, once for each answered frame. Never waits, never raises.

        A frame that it keeps goes into a slot of its own, one for each camera at most: what takes time, such as
        encoding and disks, is for a loop of its own.
        """


@dataclass(frozen=True, slots=True)
class Report:
    """What one result has to tell beyond itself."""

    result: Result
    """As it is published: with the ids of its objects, where they are tracked."""
    states: tuple[State, ...] = ()
    events: tuple[Delivery, ...] = ()


class Reporter(Protocol):
    """Follows what one camera sees, result by result."""

    def note(self, result: Result) -> Report:
        """Called by the camera's emit thread with each result that has an answer, in capture order.

        Corrections (a revision above 0) come in between, whenever they are there. Never raises.
        """


class Intake(Protocol):
    """What takes results on their way out."""

    def put(self, delivery: Delivery) -> None:
        """Take `delivery`. Never waits, never raises."""


class Sink(Protocol):
    """Somewhere results go."""

    def open(self) -> None:
        """Connect, or open the file. Raises SinkUnavailable or ConfigError."""

    def send(self, batch: Sequence[Delivery]) -> Sequence[Outcome]:
        """Hand over `batch` in order, and say for each delivery how it ended.

        ACCEPTED means the other side has acknowledged it. An empty batch asks whether the sink is still there.
        Raises SinkUnavailable when nothing was taken.
        """

    def close(self) -> None:
        """Say goodbye and let go; never raises."""


@runtime_checkable
class Board(Protocol):
    """A sink that also shows states: the newest of each, and none that is past."""

    def show(self, states: Sequence[State]) -> None:
        """Show `states`, each in place of the one before it: after each `open` all that are known, later what changed.

        Raises SinkUnavailable; all are shown again after the next `open`.
        """
