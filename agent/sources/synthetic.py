"""A camera without a camera: coloured shapes move before a soft background, the same for everybody with the same seed.

It talks to nothing and needs nothing. It fails in one way only: after `frames` frames, when given, it has ended.
To try it: `source: {type: synthetic}` in the configuration, with the shipped model `shapes`, which knows these shapes.
One thread uses it.
"""

from itertools import count
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from agent import options
from agent.errors import SourceEnded
from agent.flow import Pixels
from agent.ports import Context, Source
from agent.sources._scene import Scene

if TYPE_CHECKING:
    from collections.abc import Iterator


class Options(options.Options):
    """What is drawn, and how often."""

    type: Literal["synthetic"] = Field(description="a drawn scene of moving shapes")
    width: int = Field(640, ge=64, le=4096, description="pixels across")
    height: int = Field(480, ge=64, le=4096, description="pixels down")
    fps: float = Field(10.0, gt=0, le=1000, description="frames per second")
    seed: int = Field(0, ge=0, description="which scene: the same seed and size give the same frames everywhere")
    shapes: int = Field(6, ge=0, le=100, description="how many shapes move about")
    frames: int | None = Field(None, ge=1, description="end after so many frames; null goes on for ever")


class Synthetic:
    """The drawn scene as a camera. Every `open` starts again with its first frame."""

    live = True

    def __init__(self, options: Options) -> None:
        self.pace_fps: float | None = options.fps
        self._options = options
        self._frames: Iterator[Pixels] = iter(())

    def open(self) -> None:
        """Draw the background; the shapes follow frame by frame."""
        wanted = self._options
        scene = Scene(wanted.width, wanted.height, seed=wanted.seed, shapes=wanted.shapes)
        indexes = count() if wanted.frames is None else range(wanted.frames)
        self._frames = map(scene.render, indexes)

    def read(self) -> Pixels:
        """The next frame, drawn now: (height, width, 3) uint8 BGR. Raises SourceEnded after the last."""
        pixels = next(self._frames, None)
        if pixels is None:
            raise SourceEnded(f"the synthetic camera has shown all its frames (frames: {self._options.frames})")
        return pixels

    def close(self) -> None:
        """Forget the scene."""
        self._frames = iter(())


def build(options: Options, context: Context) -> Source:  # noqa: ARG001 - every plugin gets the context
    """The source that `options` describe."""
    return Synthetic(options)
