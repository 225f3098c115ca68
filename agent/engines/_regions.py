"""Semantic segmentation: which class each pixel belongs to, and how sure that is. No state."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent import canvas
from agent.engines import _yolo
from agent.engines._runtime import Quantisation
from agent.errors import EngineBroken
from agent.flow import Prediction, Regions

BACKGROUND = "background"


@dataclass(frozen=True, slots=True)
class Areas:
    """How one model writes its classes."""

    classes_last: bool
    """True: (rows, columns, classes); False: (classes, rows, columns)."""
    quantisation: Quantisation
    input_width: int
    labels: tuple[str, ...]
    """By channel of the output."""

    @property
    def first_id(self) -> int:
        """The class id of channel 0: the hosted API's 0 is the background, which a model may have or not."""
        return 0 if not self.labels or self.labels[0].lower() == BACKGROUND else 1

    def names(self, channels: int) -> Mapping[int, str]:
        """The classes by id."""
        given = (self.labels[each] if each < len(self.labels) else f"class_{each}" for each in range(channels))
        named = {self.first_id + each: name for each, name in enumerate(given)}
        return {0: BACKGROUND, **named, **({0: BACKGROUND} if self.first_id == 0 else {})}


def decode(
    raw: NDArray[np.generic], head: Areas, *, place: _yolo.Place, wanted: _yolo.Wanted
) -> tuple[Regions, tuple[Prediction, ...]]:
    """The masks, as large as the frame, and the box around each class that is there but the background.

    A pixel whose best class is scored below `wanted.confidence` is background. Raises EngineBroken.
    """
    values = head.quantisation.to_real(raw)
    planes = np.moveaxis(values, 2, 0) if head.classes_last else values
    if not np.isfinite(planes).all():
        raise EngineBroken("the model's output is not numbers (NaN)")
    best, likely = _best(planes)
    stride = head.input_width / planes.shape[2]
    ids = canvas.nearest(_ids(best, likely, head, wanted), place.letterbox, stride, size=(place.width, place.height))
    whole = (0, 0, place.width, place.height)
    sure = canvas.seen_through(likely, place.letterbox, stride, box=whole)
    names = head.names(len(planes))
    present = tuple(int(each) for each in np.unique(ids))
    confidence_png = canvas.encode_png(np.rint(np.clip(sure, 0, 1) * 255).astype(np.uint8))
    regions = Regions(canvas.encode_png(ids), confidence_png, names, present)
    return regions, tuple(around(ids == each, sure, names[each], each) for each in present if each)


def _best(planes: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The best channel of each cell, and its share; logits become shares by softmax."""
    best = planes.argmax(axis=0)
    top = planes.max(axis=0)
    if planes.min() >= 0 and planes.max() <= 1 + 1e-3:
        return best, top
    return best, np.asarray(1 / np.exp(planes - top).sum(axis=0), dtype=np.float32)


def _ids(best: NDArray[np.intp], likely: NDArray[np.float32], head: Areas, wanted: _yolo.Wanted) -> NDArray[np.uint8]:
    return np.where(likely >= wanted.confidence, best + head.first_id, 0).astype(np.uint8)


def around(mask: NDArray[np.bool_], sure: NDArray[np.float32], name: str, class_id: int) -> Prediction:
    """The box around a class, `mask` (height, width), with the mean of its pixels' scores, `sure`, 0..1."""
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    left, right, top, bottom = (int(each) for each in (columns[0], columns[-1] + 1, rows[0], rows[-1] + 1))
    confidence = round(min(max(float(sure[mask].mean()), 0.0), 1.0), 4)
    return Prediction((left + right) / 2, (top + bottom) / 2, right - left, bottom - top, confidence, name, class_id)
