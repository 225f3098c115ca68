"""A semantic answer of the hosted API: PNG masks of the picture that was sent, made as large as the frame. No state."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agent import canvas
from agent.engines import _fields, _regions
from agent.errors import FrameUnreadable
from agent.flow import Picture, Prediction, Regions

_LAST_ID: Final = 255
_LONGEST_MASK: Final = 16 * 1024 * 1024
"""Letters; the whole answer is not longer."""


def read(found: Mapping[str, Any], picture: Picture) -> tuple[Regions, tuple[Prediction, ...]]:
    """The masks as large as the frame, and the box around each class that is there but the background.

    Raises:
        ValueError: they are no such masks.
    """
    names = _names(found.get("class_map"))
    ids = _plane(found, "segmentation_mask", picture)
    sure = _plane(found, "confidence_mask", picture) if "confidence_mask" in found else np.full_like(ids, 255)
    present = tuple(int(each) for each in np.flatnonzero(np.bincount(ids.ravel(), minlength=1)))
    names |= {each: f"class_{each}" for each in present if each not in names}
    shares = sure.astype(np.float32) / np.float32(255)
    boxes = tuple(_regions.around(ids == each, shares, names[each], each) for each in present if each)
    return Regions(canvas.encode_png(ids), canvas.encode_png(sure), names, present), boxes


def _names(class_map: object) -> dict[int, str]:
    named = _fields.section(class_map, "class_map")
    if not all(key.isascii() and key.isdigit() and len(key) <= len(str(_LAST_ID)) for key in named):
        raise ValueError("class_map has keys that are no class ids")
    return {int(key): _fields.text(named, key) for key in named if int(key) <= _LAST_ID}


def _plane(found: Mapping[str, Any], name: str, picture: Picture) -> NDArray[np.uint8]:
    """A mask, (frame's height, frame's width)."""
    text = _fields.text(found, name, longest=_LONGEST_MASK)
    try:
        data = base64.b64decode(text, validate=True)
        plane = canvas.decode_plane(data, most_width=picture.width, most_height=picture.height)
    except (binascii.Error, FrameUnreadable) as error:
        raise ValueError(f"{name}: {error}") from error
    rows = np.arange(picture.frame_height) * plane.shape[0] // picture.frame_height
    columns = np.arange(picture.frame_width) * plane.shape[1] // picture.frame_width
    return plane[np.ix_(rows, columns)]
