"""Writes a frame into a model's own input: resized, in its colours, in its numbers, with no copy between.

State, where the last frame lay, is owned by the one thread of the local lane.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent import canvas
from agent.canvas import Letterbox
from agent.engines._runtime import Runtime, Tensor
from agent.errors import EngineBroken
from agent.flow import Pixels
from agent.package import Input

_COLOURS = 3
_ENOUGH_STEPS = 128
"""Of 256 brightnesses; a model that was calibrated rightly has nearly all."""
_MISSED = 0.05
"""Calibration that met neither quite black nor quite white is no fault."""


class InputWriter:
    """The layout of one model's input, and how bytes become its numbers."""

    def __init__(self, runtime: Runtime, said: Input | None, file: Path) -> None:
        """Raises EngineBroken: the input is not one colour picture, or not what the package says, or not to be read."""
        tensor = runtime.input
        shape = tensor.shape
        if len(shape) != 4 or shape[0] != 1 or _COLOURS not in (shape[1], shape[3]):  # noqa: PLR2004 - its axes
            raise EngineBroken(f"{file}: takes an input of {list(shape)}, not one colour picture [1, height, width, 3]")
        self.channels_first = shape[3] != _COLOURS
        self.height, self.width = shape[2:] if self.channels_first else shape[1:3]
        if said is not None and (said.width, said.height) != (self.width, self.height):
            raise EngineBroken(
                f"{file}: takes pictures of {self.width}x{self.height}, but model.yaml says "
                f"{said.width}x{said.height}; correct its input"
            )
        self._runtime = runtime
        self._said = said or Input(self.width, self.height)
        _refuse_unscaled(tensor, self._said, file)
        self._tables = _tables(tensor, self._said)
        self._written: tuple[Letterbox, tuple[int, int]] | None = None

    def write(self, pixels: Pixels) -> Letterbox:
        """Write a frame, (height, width, 3) BGR; where it lies inside the input now."""
        rgb, letterbox = canvas.fitted_rgb(pixels, self.width, self.height, self._said.resize)
        buffer = self._runtime.buffer()
        rows, columns = rgb.shape[:2]
        if self._written != (letterbox, (rows, columns)):
            self._pad(buffer)  # it stays around all frames of one size
            self._written = letterbox, (rows, columns)
        top, left = max(0, letterbox.top_px), max(0, letterbox.left_px)
        if self.channels_first:
            area = buffer[:, top : top + rows, left : left + columns]
            for number in range(_COLOURS):
                canvas.look_up(rgb[..., self._colour(number)], self._tables[:, number], area[number])
        else:
            picture = rgb[..., ::-1] if self._said.bgr else rgb
            table = self._tables[:, 0] if self._same else self._tables
            canvas.look_up(picture, table, buffer[top : top + rows, left : left + columns])
        return letterbox

    def write_grey(self) -> None:
        """Write a picture with nothing in it."""
        self.write(np.full((self.height, self.width, 3), canvas.GREY, dtype=np.uint8))

    def _colour(self, number: int) -> int:
        """Which colour of RGB the model's channel `number` is."""
        return _COLOURS - 1 - number if self._said.bgr else number

    @property
    def _same(self) -> bool:
        """Whether all channels have one table."""
        return len(set(self._said.mean)) == 1 and len(set(self._said.std)) == 1

    def _pad(self, buffer: NDArray[Any]) -> None:
        padding = self._tables[self._said.padding]
        buffer[...] = padding[:, None, None] if self.channels_first else padding

    @property
    def layout(self) -> str:
        """In words."""
        return "channels first" if self.channels_first else "channels last"

    def complaint(self) -> str | None:
        """What is wrong with the input's quantisation, if anything is."""
        tensor = self._runtime.input
        scale = tensor.quantisation.scale
        if not scale:
            return None
        limits = np.iinfo(tensor.dtype)
        low, high = ((edge - tensor.quantisation.zero_point) * scale for edge in (int(limits.min), int(limits.max)))
        used = len(np.unique(self._tables))
        dark, bright = float(_reals(self._said).min()), float(_reals(self._said).max())
        slack = _MISSED * (bright - dark)
        if used >= _ENOUGH_STEPS and low <= dark + slack and high >= bright - slack:
            return None
        return (
            f"its input is quantised for numbers from {low:.3g} to {high:.3g}, but pictures have {dark:.3g} to "
            f"{bright:.3g}: {used} of 256 steps are used, which costs accuracy; it was calibrated on pictures prepared "
            "otherwise (as with mean and standard deviation taken off): export it again, calibrated on 0..1"
        )


def _reals(said: Input) -> NDArray[np.float32]:
    """(256, 3): the number that each brightness of each of the model's channels stands for."""
    shares = np.arange(256, dtype=np.float32)[:, None] / np.float32(255)
    return np.asarray((shares - np.array(said.mean)) / np.array(said.std), dtype=np.float32)


def _takes_bytes(tensor: Tensor) -> bool:
    """Whether brightnesses are written as they are, 0..255."""
    return tensor.dtype == np.uint8 and not tensor.quantisation.scale


def _refuse_unscaled(tensor: Tensor, said: Input, file: Path) -> None:
    """Of whole numbers that stand for themselves, those of a picture's own bytes alone make sense."""
    if _takes_bytes(tensor):
        if any(said.mean) or set(said.std) != {1.0}:
            raise EngineBroken(
                f"{file}: takes a picture's bytes as they are (uint8 without a scale), but model.yaml says to take a "
                "mean off them; remove mean and std from its input"
            )
    elif tensor.dtype.kind != "f" and not tensor.quantisation.scale:
        raise EngineBroken(
            f"{file}: its input is {tensor.dtype} and does not say what its numbers stand for (no scale), so that no "
            "picture can be written into it; export it with its quantisation, or with a uint8 or float32 input"
        )


def _tables(tensor: Tensor, said: Input) -> NDArray[np.generic]:
    """(256, 3): the same as the tensor stores it; where bytes stand for themselves, the brightness as it is."""
    real = _reals(said)
    if _takes_bytes(tensor):
        return np.repeat(np.arange(256, dtype=np.uint8)[:, None], _COLOURS, axis=1)
    if not tensor.quantisation.scale:
        plain: NDArray[np.generic] = real.astype(tensor.dtype)
        return plain
    stored = np.round(real / np.float32(tensor.quantisation.scale)) + tensor.quantisation.zero_point
    limits = np.iinfo(tensor.dtype)
    table: NDArray[np.generic] = np.clip(stored, limits.min, limits.max).astype(tensor.dtype)
    return table
