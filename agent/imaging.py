"""Pictures: reading, writing, resizing, and box suppression. With canvas.py, all that imports OpenCV. No state.

Any cv2 from 4.8 to 5 serves, the device's own included; only long-standing functions are used.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from agent.errors import FrameUnreadable, SourceLost
from agent.flow import Picture, Pixels, Prediction
from agent.snapshots.annotation import Mark, marks_of
from agent.view.view import Fill

# OpenCV and FFmpeg print to standard error by themselves, past redaction and damping, some lines with the camera's
# whole address. Our own errors say it instead. Both are read once, before the first use.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # noqa: TID251 - the only switch that OpenCV 4.8 to 5 share
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # noqa: TID251 - FFmpeg's AV_LOG_QUIET; there is no other switch
import cv2

_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
_PARTS, _PART_PX = 8, 16
_ONE_AROUND = np.ones((3, 3), np.uint8)
_SMALL_PX = 160
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_LETTER_SHARE = 1 / 45
_LETTER_LEAST_PX = 9
"""How high a capital is: so much of the picture's shorter side, and never less than can be read."""
_FONT_PX = 22
"""Height of a capital of that font at scale 1."""
_FURTHEST_PX = 30_000
"""Of a corner that is drawn: OpenCV counts in sixteenths of a pixel."""
_COMMENT = b"\xff\xfe"
_LONGEST_COMMENT_BYTES = 65_533
"""A JPEG's comment segment: its marker, and what its two bytes of length leave."""


class _Capture(Protocol):
    def isOpened(self) -> bool: ...  # noqa: N802 - OpenCV's name
    def grab(self) -> bool: ...
    def retrieve(self) -> tuple[bool, Pixels]: ...
    def get(self, prop: int) -> float: ...
    def set(self, prop: int, value: float) -> bool: ...
    def release(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Format:
    """What a V4L2 device is to send."""

    fourcc: str
    """YUYV, MJPG or another of V4L2's four letters."""
    width: int
    height: int
    fps: float


class Video:
    """An open video file, device or pipeline. One thread."""

    def __init__(self, capture: _Capture) -> None:
        self._capture = capture

    @property
    def fps(self) -> float | None:
        """Frames per second as the container states it; None when it does not."""
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        return fps if np.isfinite(fps) and 0 < fps <= 1000 else None  # noqa: PLR2004 - some containers state ticks

    def negotiate(self, wanted: Format) -> Format:
        """Ask the device for a format; what it grants. The codec comes first: sizes and rates depend on it."""
        self._capture.set(cv2.CAP_PROP_FOURCC, _code_of(wanted.fourcc))
        self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, wanted.width)
        self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, wanted.height)
        self._capture.set(cv2.CAP_PROP_FPS, wanted.fps)
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 2)  # with one, the driver drops what begins while we hold it
        fourcc = int(self._capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode("ascii", "replace")
        width, height = (int(self._capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        return Format(fourcc, width, height, self.fps or 0.0)

    def grab(self) -> bool:
        """Wait for the next picture, undecoded where the device allows it; False: there is none."""
        return self._capture.grab()

    def picture(self) -> Pixels | None:
        """The picture that was grabbed as (height, width, 3) uint8 BGR; None: it cannot be decoded."""
        ok, pixels = self._capture.retrieve()
        return as_bgr(pixels) if ok and pixels is not None and pixels.size else None

    def read(self) -> Pixels | None:
        """The next picture as (height, width, 3) uint8 BGR, or None when there is none."""
        return self.picture() if self.grab() else None

    def close(self) -> None:
        """Let go of the device or file."""
        self._capture.release()


def _code_of(fourcc: str) -> int:
    """Four letters as V4L2's number, the first in the lowest byte."""
    return int.from_bytes(fourcc.encode("ascii"), "little")


def open_video(path: Path) -> Video:
    """Open a video file. Raises SourceLost when it is not one."""
    return _opened(cv2.VideoCapture(str(path)), str(path), f"is it a video? Try: ffprobe {path}")


def open_device(path: Path) -> Video:
    """Open a V4L2 device such as /dev/video0. Raises SourceLost."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_V4L2)
    return _opened(capture, str(path), "does another program use it, and is it a camera?")


def open_pipeline(pipeline: str, *, name: str) -> Video:
    """Open a GStreamer pipeline that ends in an appsink. Raises SourceLost."""
    return _opened(cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER), name, "does another program use the camera?")


def has_gstreamer() -> bool:
    """Whether this OpenCV can open pipelines. The one from PyPI cannot."""
    return bool(cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER))


def _opened(capture: cv2.VideoCapture, name: str, advice: str) -> Video:
    if not capture.isOpened():
        capture.release()
        raise SourceLost(f"{name} cannot be opened; {advice}")
    return Video(cast("_Capture", capture))


def read_image(path: Path) -> Pixels:
    """A picture file as 8-bit BGR, whatever its depth or colours. Raises FrameUnreadable."""
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise FrameUnreadable(f"{path} cannot be read: {error.strerror}") from error
    return decode_image(data.tobytes(), name=str(path))


def decode_image(data: bytes, *, name: str = "the picture") -> Pixels:
    """An encoded picture as 8-bit BGR. Raises FrameUnreadable."""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error as error:
        raise FrameUnreadable(f"{name} is not a picture OpenCV can decode: {error.err}") from error
    if pixels is None:
        raise FrameUnreadable(f"{name} is not a picture OpenCV can decode")
    return cast("Pixels", pixels)


def as_bgr(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> Pixels:
    """Grey, BGRA or 16-bit pictures as (height, width, 3) uint8 BGR."""
    if pixels.dtype == np.uint16:
        pixels = (pixels // 256).astype(np.uint8)
    flat = pixels[..., None] if pixels.ndim == 2 else pixels  # noqa: PLR2004 - a picture without a channel axis
    if flat.shape[2] == 1:
        return cast("Pixels", np.repeat(flat, 3, axis=2))
    return cast("Pixels", np.ascontiguousarray(flat[..., :3]))  # OpenCV draws into nothing else


def encode_jpeg(pixels: Pixels, quality: int) -> bytes:
    """`pixels` as a JPEG file of `quality` 1..100. Raises FrameUnreadable: a side is longer than a JPEG's may be."""
    done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise FrameUnreadable(f"a frame of {pixels.shape[1]}x{pixels.shape[0]} cannot be a JPEG")
    return data.tobytes()


def encode(pixels: Pixels, longest_px: int, quality: int) -> Picture:
    """`pixels` shrunk to `longest_px` as a JPEG of `quality` 1..100, ready for upload."""
    small = shrink(pixels, longest_px)
    height, width = pixels.shape[:2]
    return Picture(encode_jpeg(small, quality), small.shape[1], small.shape[0], quality, width, height)


def snapshot(
    pixels: Pixels, predictions: Sequence[Prediction], comment: str, *, longest_px: int, quality: int
) -> bytes:
    """A picture for people as a JPEG file; `pixels` stay as they are. Raises FrameUnreadable.

    Args:
        pixels: the captured frame.
        predictions: what is drawn into it, in the captured frame's pixels; none: nothing is.
        comment: goes into the file's comment segment.
        longest_px: neither side of the picture is longer; 0: it is as large as the frame.
        quality: 1..100.
    """
    try:
        small = shrink(pixels, longest_px) if longest_px else pixels
        if predictions:
            factor_x, factor_y = small.shape[1] / pixels.shape[1], small.shape[0] / pixels.shape[0]
            small = annotated(small, marks_of(found.scaled(factor_x, factor_y) for found in predictions))
        return _with_comment(encode_jpeg(small, quality), comment)
    except cv2.error as error:  # such as one that is too large for the memory
        raise FrameUnreadable(f"the frame cannot be made a picture: {error.err}") from error


def _with_comment(jpeg: bytes, comment: str) -> bytes:
    """`jpeg` with a comment behind its first segment, which JFIF wants to be its own."""
    text = comment.encode()[:_LONGEST_COMMENT_BYTES]
    at = 4 + int.from_bytes(jpeg[4:6], "big")
    return jpeg[:at] + _COMMENT + (len(text) + 2).to_bytes(2, "big") + text + jpeg[at:]


def annotated(pixels: Pixels, marks: Sequence[Mark]) -> Pixels:
    """A copy of `pixels` with the marks drawn in, in this order; lines and letters are as large as the picture asks."""
    canvas: Pixels = np.array(pixels, order="C")
    letter_px = max(_LETTER_LEAST_PX, min(canvas.shape[:2]) * _LETTER_SHARE)
    for mark in marks:
        _draw(canvas, mark, letter_px)
    return canvas


def _draw(canvas: Pixels, mark: Mark, letter_px: float) -> None:
    """The box, what is inside, and its words on a ground of its colour: above it, or inside for want of room above."""
    height, width = canvas.shape[:2]
    left, right = (_inside(value, width) for value in (mark.left, mark.right))
    top, bottom = (_inside(value, height) for value in (mark.top, mark.bottom))
    thickness, scale = max(1, round(letter_px / 6)), letter_px / _FONT_PX
    weight, gap = max(1, round(letter_px / 10)), max(2, round(letter_px / 4))
    cv2.rectangle(canvas, (left, top), (right, bottom), _ink(mark), thickness + 2)  # an edge, on a ground of its colour
    cv2.rectangle(canvas, (left, top), (right, bottom), mark.colour_bgr, thickness)
    if mark.outline:
        cv2.polylines(canvas, [_corners(mark.outline)], True, mark.colour_bgr, thickness, cv2.LINE_AA)
    for x, y in _corners(mark.dots):
        cv2.circle(canvas, (int(x), int(y)), 2 * thickness, _ink(mark), cv2.FILLED, cv2.LINE_AA)  # an edge, likewise
        cv2.circle(canvas, (int(x), int(y)), 2 * thickness - 1, mark.colour_bgr, cv2.FILLED, cv2.LINE_AA)
    (text_px, rise_px), fall_px = cv2.getTextSize(mark.words, _FONT, scale, weight)
    wide, high = text_px + 2 * gap, rise_px + fall_px + gap
    x, y = max(0, min(left, width - wide)), top - high if top >= high else top
    cv2.rectangle(canvas, (x, y), (x + wide, y + high), mark.colour_bgr, cv2.FILLED)
    cv2.putText(canvas, mark.words, (x + gap, y + high - fall_px), _FONT, scale, _ink(mark), weight, cv2.LINE_AA)


def _corners(points: Sequence[tuple[float, float]]) -> NDArray[np.int32]:
    """Whole pixels, (n, 2), as far out as OpenCV draws."""
    places = np.array(points, dtype=np.float64).reshape(-1, 2)
    return cast("NDArray[np.int32]", np.rint(np.clip(places, -_FURTHEST_PX, _FURTHEST_PX)).astype(np.int32))


def _inside(value: float, limit_px: int) -> int:
    return round(min(max(value, 0.0), limit_px - 1.0))


def _ink(mark: Mark) -> tuple[int, int, int]:
    """Black on light colours, white on dark ones: by Rec. 601's luma."""
    blue, green, red = mark.colour_bgr
    light = 0.114 * blue + 0.587 * green + 0.299 * red > 128  # noqa: PLR2004 - half of 255
    return (0, 0, 0) if light else (255, 255, 255)


def turned(pixels: Pixels, degrees: int) -> Pixels:
    """`pixels` turned clockwise by 90, 180 or 270 degrees. Raises FrameUnreadable."""
    try:
        return cast("Pixels", cv2.rotate(pixels, _TURNS[degrees]))
    except cv2.error as error:  # such as one that is too large for the memory
        raise FrameUnreadable(f"the picture cannot be turned: {error.err}") from error


def cover(pixels: Pixels, points: Sequence[tuple[float, float]], fill: Fill) -> None:
    """Hide every pixel that the area within `points` touches, in place. Raises FrameUnreadable: it could not be hidden.

    Blurred and pixelated areas keep the same: the mean of 8 by 8 parts of the rectangle around them, or of larger ones
    where those would be smaller than 16 pixels.
    """
    outline = np.rint(np.array(points)).astype(np.int32)
    first, last = outline.min(axis=0) - 2, outline.max(axis=0) + 3
    left, top = np.maximum(first, 0)
    right, bottom = np.minimum(last, (pixels.shape[1], pixels.shape[0]))
    if left >= right or top >= bottom:
        return
    area = pixels[top:bottom, left:right]
    try:
        hidden = _filled(outline - first, last - first)[top - first[1] :, left - first[0] :][
            : len(area), : right - left
        ]
        instead = None if fill is Fill.BLACK else _coarse(area, smooth=fill is Fill.BLUR)
        np.bitwise_and(area, ~hidden, out=area)  # NumPy raises where it cannot write; OpenCV may write elsewhere
        if instead is not None:
            np.bitwise_or(area, instead & hidden, out=area)
    except (cv2.error, ValueError) as error:
        raise FrameUnreadable(f"a mask cannot be applied: {error}") from error


def _filled(outline: NDArray[np.int32], size: NDArray[np.int32]) -> Pixels:
    """White inside the outline and one pixel around it, for corners were rounded; black elsewhere.

    The canvas holds all of it: OpenCV puts an edge that it clips elsewhere by a pixel.
    """
    canvas = np.zeros((size[1], size[0]), np.uint8)
    cv2.fillPoly(canvas, [outline], (255,))
    return cast("Pixels", cv2.cvtColor(cv2.dilate(canvas, _ONE_AROUND), cv2.COLOR_GRAY2BGR))


def _coarse(area: Pixels, *, smooth: bool) -> Pixels:
    """What may be known of `area`."""
    height, width = area.shape[:2]
    parts = (max(1, min(_PARTS, width // _PART_PX)), max(1, min(_PARTS, height // _PART_PX)))
    means = cv2.resize(area, parts, interpolation=cv2.INTER_AREA)
    way = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST
    return cast("Pixels", cv2.resize(means, (width, height), interpolation=way))


def small_grey(pixels: Pixels) -> NDArray[np.uint8]:
    """A grey picture at most 160 pixels long, each the mean of what it stands for."""
    return cast("NDArray[np.uint8]", cv2.cvtColor(shrink(pixels, _SMALL_PX), cv2.COLOR_BGR2GRAY))


def shrink(pixels: Pixels, longest_px: int) -> Pixels:
    """`pixels` with neither side longer than `longest_px`, aspect kept; never enlarged."""
    height, width = pixels.shape[:2]
    factor = longest_px / max(height, width)
    if factor >= 1:
        return pixels
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cast("Pixels", cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))


def suppress(
    boxes_xywh: NDArray[np.float32], scores: NDArray[np.float32], class_ids: NDArray[np.int32], *, overlap: float
) -> list[int]:
    """Per-class non-maximum suppression.

    Args:
        boxes_xywh: (n, 4) left, top, width, height in pixels.
        scores: (n,) 0..1.
        class_ids: (n,) whole numbers.
        overlap: boxes of one class whose IoU is above this are one object.

    Returns:
        The rows to keep, best score first.
    """
    if not len(scores):
        return []
    kept = cv2.dnn.NMSBoxesBatched(boxes_xywh.tolist(), scores.tolist(), class_ids.tolist(), 0.0, overlap)
    return sorted((int(row) for row in np.asarray(kept).reshape(-1)), key=lambda row: -float(scores[row]))


def opencv_summary() -> str:
    """The cv2 in use, and which of the ways to a camera it has and lacks."""
    ways = {"FFmpeg": cv2.CAP_FFMPEG, "V4L2": cv2.CAP_V4L2, "GStreamer": cv2.CAP_GSTREAMER}
    there = {backend for backend in ways.values() if cv2.videoio_registry.hasBackend(backend)}
    has = ", ".join(name for name, backend in ways.items() if backend in there) or "none"
    lacks = ", ".join(name for name, backend in ways.items() if backend not in there)
    return f"OpenCV {cv2.__version__} with {has}" + (f", without {lacks}" if lacks else "")
