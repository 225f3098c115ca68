"""Answers of the hosted API, one of each shape, to a picture of 64x48 pixels: for tests."""

import base64
from typing import Any

import numpy as np

from agent import canvas
from agent.engines import _masks
from agent.flow import Picture

PICTURE = Picture(b"jpeg", 64, 48, 85, 1280, 960)
"""A frame of 1280x960, sent 20 times smaller."""
BOX: dict[str, Any] = {
    "x": 32.0,
    "y": 24.5,
    "width": 16.0,
    "height": 9.0,
    "confidence": 0.9,
    "class": "crate",
    "class_id": 2,
    "detection_id": "2f0e1c64-7e4e-4b0b-8a63-2f5c1f0ad3c9",
}
CORNERS = [{"x": 24.0, "y": 20.0}, {"x": 24.0, "y": 28.0}, {"x": 39.0, "y": 28.0}, {"x": 39.0, "y": 20.0}]
MASK = np.zeros((48, 64), bool)
MASK[20:29, 24:40] = True
IDS = np.zeros((48, 64), np.uint8)
IDS[30:, :] = 1
IDS[40:44, 10:20] = 7
SURE = np.where(IDS == 7, 51, 204).astype(np.uint8)


def body(predictions: Any, **more: Any) -> dict[str, Any]:
    """The envelope."""
    image = {"width": 64, "height": 48}
    return {"inference_id": "i", "time": 0.01, "image": image, "predictions": predictions, **more}


def png(plane: Any) -> str:
    """A plane as base64."""
    return base64.b64encode(canvas.encode_png(plane)).decode()


def rle(mask: Any) -> dict[str, Any]:
    """A mask as the API gives it."""
    runs = _masks.encode_runs(mask)
    return {"size": [runs.height, runs.width], "counts": runs.counts}


SHAPES: dict[str, dict[str, Any]] = {
    "object-detection": body([BOX]),
    "polygon": body([BOX | {"points": CORNERS, "mask_format": "polygon"}]),
    "rle": body([BOX | {"rle": rle(MASK), "mask_format": "rle"}]),
    "keypoint-detection": body(
        [BOX | {"keypoints": [{"x": 30.0, "y": 21.5, "confidence": 0.97, "class_id": 0, "class": "nose"}]}]
    ),
    "classification": body(
        [{"class": "ok", "class_id": 1, "confidence": 0.8342}, {"class": "torn", "class_id": 0, "confidence": 0.41}],
        top="ok",
        confidence=0.8342,
    ),
    "multi-label-classification": body(
        {"helmet": {"confidence": 0.9, "class_id": 0}, "vest": {"confidence": 0.12, "class_id": 1}},
        predicted_classes=["helmet"],
    ),
    "semantic-segmentation": body(
        {
            "segmentation_mask": png(IDS),
            "class_map": {"0": "background", "1": "road", "7": "kerb"},
            "confidence_mask": png(SURE),
            "present_class_ids": [0, 1, 7],
        }
    ),
}
