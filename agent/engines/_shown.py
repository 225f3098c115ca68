"""A model that has been shown a picture without anything in it, and what came out. No state."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from agent.engines._input import InputWriter
from agent.engines._runtime import Runtime, Tensor
from agent.flow import Pixels

Raw: TypeAlias = tuple[NDArray[np.generic], ...]
"""The outputs of one run, without the batch axis, as stored."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that has been run on a grey picture."""

    file: Path
    width: int
    """Of the input, in pixels."""
    height: int
    outputs: tuple[Tensor, ...]
    raw: Raw
    """Of that run; valid until it is shown another picture."""
    show: Callable[[Pixels], Raw]
    """Runs it on a picture, (height, width, 3) BGR. Raises EngineBroken."""

    def looks(self) -> Iterator[Raw]:
        """What comes out for a few pictures that differ, the grey one first; each is valid until the next."""
        size = self.height, self.width, 3
        yield self.raw
        yield self.show(np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8))
        yield self.show(np.full(size, 255, dtype=np.uint8))


def loaded(file: Path, runtime: Runtime, writer: InputWriter) -> Loaded:
    """Run a model on a grey picture, twice, so that no frame pays for the first run. Raises EngineBroken."""

    def show(pixels: Pixels) -> Raw:
        writer.write(pixels)
        return runtime.run()

    writer.write_grey()
    runtime.run()
    return Loaded(file, writer.width, writer.height, runtime.outputs, runtime.run(), show)
