"""The time as a bar code over a picture's topmost rows, 32 bits, as tests/real/rtsp_server.py draws it."""

import time

import numpy as np
from numpy.typing import NDArray

BITS = 32
ROWS = 32
_READ_ROWS = slice(8, 24)
"""Those that no block of a codec shares with what lies below."""
_DARK, _BRIGHT = 16, 235


def now_ms() -> int:
    """CLOCK_MONOTONIC in milliseconds, modulo 2**32."""
    return int(time.monotonic() * 1000) & 0xFFFFFFFF


def draw(pixels: NDArray[np.uint8], time_ms: int) -> None:
    """Over the topmost rows of (height, width, 3) pixels, `width` a multiple of 32."""
    cell = pixels.shape[1] // BITS
    for bit in range(BITS):
        bright = time_ms >> (BITS - 1 - bit) & 1
        pixels[:ROWS, bit * cell : (bit + 1) * cell] = _BRIGHT if bright else _DARK


def read_ms(pixels: NDArray[np.uint8]) -> int:
    """When a picture was made. `pixels`: (height, width, 3), not scaled."""
    cell = pixels.shape[1] // BITS
    middle = slice(cell // 4, max(cell // 4 + 1, cell - cell // 4))
    rows = pixels[_READ_ROWS, : cell * BITS].mean(axis=(0, 2)).reshape(BITS, cell)[:, middle].mean(axis=1)
    return int("".join("1" if value > 127 else "0" for value in rows), 2)
