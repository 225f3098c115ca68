"""A V4L2 camera, read through OpenCV. Runs in the child.

Of two formats that reach the wanted rate the uncompressed one is taken, for it needs no decoding; a USB 2 link carries
it at small sizes only, and there MJPG is the faster one.
"""

import os
from pathlib import Path
from typing import Any, Final, Protocol

from agent import imaging
from agent.errors import SourceBroken
from agent.imaging import Format
from agent.sources._video_reader import VideoReader

RAW, COMPRESSED = "YUYV", "MJPG"
_ENOUGH: Final = 0.95
"""Of the wanted rate: drivers state 29.97 for 30."""


class Negotiable(Protocol):
    """Something that can be asked for a format."""

    def negotiate(self, wanted: Format) -> Format:
        """Ask for `wanted`; what is granted, and in force from then on."""


def settle(device: Negotiable, wanted: Format, *, choice: str) -> Format:
    """Agree on a format; `choice`: auto, yuyv or mjpg. What is in force afterwards."""
    if choice != "auto":
        return device.negotiate(_in(wanted, RAW if choice == "yuyv" else COMPRESSED))
    raw = device.negotiate(_in(wanted, RAW))
    if _serves(raw, wanted):
        return raw
    compressed = device.negotiate(_in(wanted, COMPRESSED))
    if compressed.fourcc == COMPRESSED and _rank(compressed, wanted) >= _rank(raw, wanted):
        return compressed
    return device.negotiate(_in(wanted, RAW))


def _in(wanted: Format, fourcc: str) -> Format:
    return Format(fourcc, wanted.width, wanted.height, wanted.fps)


def _serves(granted: Format, wanted: Format) -> bool:
    same_size = (granted.width, granted.height) == (wanted.width, wanted.height)
    return same_size and granted.fps >= _ENOUGH * wanted.fps


def _rank(granted: Format, wanted: Format) -> tuple[int, float]:
    """A size near the wanted one counts most, then the rate as far as it is wanted."""
    off_px = abs(granted.width - wanted.width) + abs(granted.height - wanted.height)
    return -off_px, min(granted.fps, wanted.fps)


def open_reader(settings: dict[str, Any]) -> VideoReader:
    """Open the device. `settings`: device, width, height, fps, format. Raises SourceLost, SourceBroken."""
    path = Path(settings["device"])
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        raise SourceBroken(f"{path} may not be opened; add the agent's user to the group that owns it, mostly video")
    video = imaging.open_device(path)
    wanted = Format(RAW, settings["width"], settings["height"], settings["fps"])
    granted = settle(video, wanted, choice=settings["format"])
    if settings["format"] not in ("auto", granted.fourcc.lower()):
        video.close()
        raise SourceBroken(f"{path} does not give {settings['format']}, but {granted.fourcc}; set format to auto")
    print(f"{path}: {granted.fourcc} {granted.width}x{granted.height} at {granted.fps:g} fps")  # noqa: T201 - last words
    return VideoReader(
        video,
        lost=f"{path}: no picture came; is the camera still there?",
        unreadable=f"{path} sent a picture that cannot be decoded; is its cable good?",
    )
