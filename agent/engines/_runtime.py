"""What every on-device runtime offers to the one engine above it (_local.py). No state."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Quantisation:
    """value = (stored - zero_point) * scale, as the tensor itself states; scale 0 means not quantised."""

    scale: float = 0.0
    zero_point: int = 0

    def to_real(self, stored: NDArray[np.generic]) -> NDArray[np.float32]:
        """Stored numbers as real ones."""
        values = stored.astype(np.float32, copy=False)
        return (values - np.float32(self.zero_point)) * np.float32(self.scale) if self.scale else values

    def to_stored(self, value: float) -> float:
        """The real number `value` on the scale of the stored ones; not rounded."""
        return value / self.scale + self.zero_point if self.scale else value


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of a loaded model."""

    name: str
    shape: tuple[int, ...]
    """With the batch axis, which is 1."""
    dtype: np.dtype[Any]
    quantisation: Quantisation = Quantisation()


class Runtime(Protocol):
    """A model that is loaded, and ready to run one picture at a time. One thread."""

    input: Tensor
    outputs: tuple[Tensor, ...]
    metadata: Mapping[str, Any]
    """What the exporter wrote into the file: names, task, imgsz, kpt_shape and others; empty when it wrote nothing."""

    def buffer(self) -> NDArray[np.generic]:
        """The memory that the model reads its picture from, without the batch axis; let go of it before `run`.

        What is written stays until it is overwritten.
        """

    def run(self) -> tuple[NDArray[np.generic], ...]:
        """The outputs as stored, each without its batch axis, valid until the next run. Raises EngineBroken."""

    def close(self) -> None:
        """Free the model; never raises."""
