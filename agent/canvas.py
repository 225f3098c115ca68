"""How a frame becomes a model's input, and how what the model says comes back to the frame's pixels. No state."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

import agent.imaging  # noqa: F401 - it silences OpenCV, which has to come before the first use
from agent.errors import FrameUnreadable
from agent.flow import Pixels
from agent.package import Resize

import cv2  # isort: skip

GREY = 114
"""What lies around a letterboxed picture, as in YOLOv8's training."""
_PNG, _GREY_8 = b"\x89PNG\r\n\x1a\n", b"\x08\x00"
"""How a PNG file begins, and its head's words for 8 bits of grey."""
_TABLES = {np.dtype(kind): np.dtype(kind) for kind in (np.float32, np.uint8)}
_TABLES |= {np.dtype(np.int8): np.dtype(np.uint8), np.dtype(np.float16): np.dtype(np.uint16)}
"""Numbers that OpenCV's table look-up writes, and as what: bytes are bytes, and it has no signed result for an unsigned
picture, nor half-precision tables."""


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where a picture lies inside the model's input: divide by `scale` after taking off the padding."""

    scale_x: float
    scale_y: float
    left_px: int
    """Negative where the picture was cropped."""
    top_px: int


def fitted_rgb(pixels: Pixels, width: int, height: int, resize: Resize = Resize.LETTERBOX) -> tuple[Pixels, Letterbox]:
    """`pixels` as RGB, as large as inside an input of `width` x `height`, and where they will lie in it."""
    src_height, src_width = pixels.shape[:2]
    new_width, new_height = _size(src_width, src_height, width, height, resize=resize)
    if (new_width, new_height) != (src_width, src_height):
        pixels = cast("Pixels", cv2.resize(pixels, (new_width, new_height), interpolation=cv2.INTER_LINEAR))
    left, top = (width - new_width) // 2, (height - new_height) // 2
    inside = pixels[max(0, -top) : max(0, -top) + height, max(0, -left) : max(0, -left) + width]
    rgb = cast("Pixels", cv2.cvtColor(inside, cv2.COLOR_BGR2RGB))
    return rgb, Letterbox(new_width / src_width, new_height / src_height, left, top)


def _size(src_width: int, src_height: int, width: int, height: int, *, resize: Resize) -> tuple[int, int]:
    if resize is Resize.STRETCH:
        return width, height
    scales = width / src_width, height / src_height
    scale = min(scales) if resize is Resize.LETTERBOX else max(scales)
    return max(1, round(src_width * scale)), max(1, round(src_height * scale))


def letterbox_rgb(pixels: Pixels, width: int, height: int) -> tuple[Pixels, Letterbox]:
    """`pixels` as RGB inside (height, width, 3), aspect kept, centred, the rest grey."""
    rgb, letterbox = fitted_rgb(pixels, width, height)
    canvas = np.full((height, width, 3), GREY, dtype=np.uint8)
    canvas[letterbox.top_px :, letterbox.left_px :][: rgb.shape[0], : rgb.shape[1]] = rgb
    return canvas, letterbox


def look_up(picture: Pixels, table: NDArray[np.generic], out: NDArray[Any]) -> None:
    """Write the table's number for each byte of `picture` into `out`, in place.

    Args:
        picture: (height, width) or (height, width, 3) uint8.
        table: (256,), or (256, 3) with a column for each colour; of the type of `out`.
        out: as large as `picture`; may be a part of something larger.
    """
    if table.dtype in _TABLES and out[0].flags.c_contiguous:  # each row is in one piece
        kind = _TABLES[table.dtype]
        table, out = table.reshape(256, 1, -1).view(kind), out.view(kind)
        done = cv2.LUT(picture, cast("NDArray[np.uint8]", table), dst=out)
        if not np.may_share_memory(done, out):  # it could not write there
            out[...] = done
    elif table.ndim == 1:
        np.take(table, picture, out=out, mode="clip")
    else:
        for colour in range(picture.shape[2]):
            out[..., colour] = table[picture[..., colour], colour]


def seen_through(
    plane: NDArray[np.float32], letterbox: Letterbox, stride: float, *, box: tuple[int, int, int, int]
) -> NDArray[np.float32]:
    """The values of a coarse plane at each pixel of a part of the frame, linear between its cells.

    Args:
        plane: (rows, columns) over the model's input, a value for each square of `stride` input pixels.
        letterbox: where the frame lies inside the input.
        stride: input pixels for each cell.
        box: left, top, right, bottom of the part, whole pixels of the frame.

    Returns:
        (bottom - top, right - left).
    """
    left, top, right, bottom = box
    steps = letterbox.scale_x / stride, letterbox.scale_y / stride
    # The middle of pixel i lies at i + 0.5, in the frame as in the plane.
    starts = (
        ((left + 0.5) * letterbox.scale_x + letterbox.left_px) / stride - 0.5,
        ((top + 0.5) * letterbox.scale_y + letterbox.top_px) / stride - 0.5,
    )
    way = np.array([[steps[0], 0, starts[0]], [0, steps[1], starts[1]]], dtype=np.float64)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (right - left, bottom - top)
    return cast("NDArray[np.float32]", cv2.warpAffine(plane, way, size, flags=flags, borderMode=cv2.BORDER_REPLICATE))


def nearest(
    plane: NDArray[np.uint8], letterbox: Letterbox, stride: float, *, size: tuple[int, int]
) -> NDArray[np.uint8]:
    """The value of a coarse plane's cell at each pixel of the frame of `size` (width, height); see `seen_through`."""
    columns = ((np.arange(size[0]) + 0.5) * letterbox.scale_x + letterbox.left_px) / stride
    rows = ((np.arange(size[1]) + 0.5) * letterbox.scale_y + letterbox.top_px) / stride
    inside = (np.clip(rows.astype(int), 0, plane.shape[0] - 1), np.clip(columns.astype(int), 0, plane.shape[1] - 1))
    return plane[np.ix_(*inside)]


def encode_png(plane: NDArray[np.uint8]) -> bytes:
    """A grey plane (rows, columns) as a PNG file."""
    return cv2.imencode(".png", plane)[1].tobytes()


def largest_outline(mask: NDArray[np.bool_]) -> tuple[tuple[float, float], ...]:
    """The outer contour of the largest piece of `mask` (height, width) in pixels, x before y; () when it is empty."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return ()
    largest = max(contours, key=lambda contour: (cv2.contourArea(contour), len(contour)))
    return tuple((float(x), float(y)) for x, y in largest.reshape(-1, 2))


def filled(points: Sequence[tuple[float, float]], *, width: int, height: int) -> NDArray[np.bool_]:
    """The area within an outline, its edge included, as a mask (height, width)."""
    plane = np.zeros((height, width), np.uint8)
    cv2.fillPoly(plane, [np.rint(np.array(points)).astype(np.int32).reshape(-1, 2)], (1,))
    return plane.astype(bool)


def decode_plane(data: bytes, *, most_width: int, most_height: int) -> NDArray[np.uint8]:
    """A grey 8-bit PNG file as (height, width), of at most so many pixels a side: its head says so before it is read.

    Raises FrameUnreadable.
    """
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    if data[:8] != _PNG or data[24:26] != _GREY_8:
        raise FrameUnreadable("it is not a grey PNG of 8 bits")
    if width > most_width or height > most_height:
        raise FrameUnreadable(f"it has {width}x{height} pixels, and may have {most_width}x{most_height}")
    try:
        plane = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise FrameUnreadable(f"it cannot be decoded: {error.err}") from error
    if plane is None or plane.shape != (height, width):
        raise FrameUnreadable("it cannot be decoded")
    return cast("NDArray[np.uint8]", plane)
