"""The decoder on tensors made by hand: every way in which an export may write its output."""

import tracemalloc
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.canvas import Letterbox
from agent.engines import _segments, _yolo
from agent.engines._runtime import Quantisation
from agent.engines._yolo import Boxes, Place, Wanted
from agent.errors import EngineBroken
from agent.flow import Prediction

WIDTH, HEIGHT = 320, 256
LABELS = ("cat", "dog", "owl")
PLAIN = Quantisation(0.0, 0)
HEAD = Boxes(
    anchors_last=True,
    normalised=False,
    quantisation=PLAIN,
    input_width=WIDTH,
    input_height=HEIGHT,
    classes=len(LABELS),
    labels=LABELS,
)
BARS_ABOVE_AND_BELOW = (Letterbox(0.5, 0.5, 0, 38), (640, 360))
BARS_LEFT_AND_RIGHT = (Letterbox(0.64, 0.64, 96, 0), (200, 400))
UNCHANGED = (Letterbox(1.0, 1.0, 0, 0), (WIDTH, HEIGHT))

Row = tuple[float, float, float, float, int, float]
"""Centre x, centre y, width, height in pixels of the input, class id, score."""
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Numbers:
    """One kind of tensor: how it stores real numbers, and how far its own rounding may move a box, in input pixels."""

    dtype: Any
    quantisation: Quantisation
    normalised: bool
    slack_px: float


KINDS = {
    "float32 pixels": Numbers(np.float32, PLAIN, normalised=False, slack_px=0.01),
    "float32 shares": Numbers(np.float32, PLAIN, normalised=True, slack_px=0.01),
    "float16 pixels": Numbers(np.float16, PLAIN, normalised=False, slack_px=0.2),
    "float16 shares": Numbers(np.float16, PLAIN, normalised=True, slack_px=0.2),
    "int8 shares": Numbers(np.int8, Quantisation(0.0045, -119), normalised=True, slack_px=1.1),
    "uint8 shares": Numbers(np.uint8, Quantisation(0.004, 2), normalised=True, slack_px=1.0),
    "int16 pixels": Numbers(np.int16, Quantisation(0.01, -7), normalised=False, slack_px=0.02),
}


def tensor(*rows: Row, kind: str = "float32 pixels", last: bool = True) -> tuple[NDArray[np.generic], Boxes]:
    """An output with an empty anchor before and after each of `rows`, and the head that says how to read it."""
    numbers = KINDS[kind]
    real = np.zeros((4 + len(LABELS), 2 * len(rows) + 1))
    for index, (x, y, width, height, class_id, score) in enumerate(rows):
        real[:4, 2 * index + 1] = x, y, width, height
        real[4 + class_id, 2 * index + 1] = score
    if numbers.normalised:
        real[:4] /= np.array([[WIDTH], [HEIGHT], [WIDTH], [HEIGHT]])
    scale, zero_point = numbers.quantisation.scale, numbers.quantisation.zero_point
    stored = (np.round(real / scale + zero_point) if scale else real).astype(numbers.dtype)
    head = replace(HEAD, anchors_last=last, normalised=numbers.normalised, quantisation=numbers.quantisation)
    return (stored if last else np.ascontiguousarray(stored.T)), head


def decode(
    raw: NDArray[np.generic],
    head: Boxes = HEAD,
    place: tuple[Letterbox, tuple[int, int]] = UNCHANGED,
    *,
    confidence: float = 0.4,
    overlap: float = 0.3,
) -> tuple[Prediction, ...]:
    letterbox, size = place
    return _yolo.decode(raw, head, Place(letterbox, *size), Wanted(confidence, overlap))


def box(found: Prediction) -> Box:
    return found.x, found.y, found.width, found.height


@pytest.mark.parametrize("last", [True, False], ids=["anchors last", "anchors first"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("place", "cat", "owl"),
    [
        (BARS_ABOVE_AND_BELOW, (260, 124, 80, 80), (400, 244, 60, 200)),
        (BARS_LEFT_AND_RIGHT, (53.125, 156.25, 62.5, 62.5), (162.5, 250, 46.875, 156.25)),
        (UNCHANGED, (130, 100, 40, 40), (200, 160, 30, 100)),
    ],
    ids=["bars above and below", "bars left and right", "no bars"],
)
def test_every_kind_of_output_gives_the_boxes_of_the_captured_frame(
    place: tuple[Letterbox, tuple[int, int]], cat: Box, owl: Box, *, kind: str, last: bool
) -> None:
    raw, head = tensor((130, 100, 40, 40, 0, 0.9), (200, 160, 30, 100, 2, 0.6), kind=kind, last=last)
    found = decode(raw, head, place)
    slack_px = KINDS[kind].slack_px / place[0].scale_x + 0.01
    assert [one.class_name for one in found] == ["cat", "owl"]
    assert [one.class_id for one in found] == [0, 2]
    assert box(found[0]) == pytest.approx(cat, abs=slack_px)
    assert box(found[1]) == pytest.approx(owl, abs=slack_px)
    assert [one.confidence for one in found] == pytest.approx([0.9, 0.6], abs=0.005)


def test_scales_that_differ_across_and_down_are_taken_off_apart() -> None:
    raw, head = tensor((100, 100, 40, 40, 0, 0.9))
    (found,) = decode(raw, head, (Letterbox(0.5, 0.25, 20, 10), (600, 900)))
    assert box(found) == pytest.approx((160, 360, 80, 160))


def test_a_box_ends_at_the_frame_s_edges() -> None:
    raw, head = tensor((10, 100, 60, 40, 0, 0.9), (300, 250, 60, 40, 1, 0.8))
    left, corner = decode(raw, head)
    assert box(left) == pytest.approx((20, 100, 40, 40))
    assert box(corner) == pytest.approx((295, 243, 50, 26))


@pytest.mark.parametrize("y", [10, 246])
def test_a_box_in_the_padding_is_none(y: float) -> None:
    raw, head = tensor((100, y, 30, 20, 0, 0.9))
    assert decode(raw, head, BARS_ABOVE_AND_BELOW) == ()


@pytest.mark.parametrize(
    ("quantisation", "stored", "kept"),
    [
        (Quantisation(0.01, 0), 40, True),
        (Quantisation(0.01, 0), 39, False),
        (Quantisation(1 / 256, -128), -25, True),
        (Quantisation(1 / 256, -128), -26, False),
    ],
)
def test_a_quantised_score_is_compared_as_the_real_number_that_it_stands_for(
    quantisation: Quantisation, stored: int, kept: bool
) -> None:
    raw = np.full((7, 3), quantisation.zero_point, dtype=np.int8)
    raw[:4, 1] = quantisation.zero_point + 60
    raw[5, 1] = stored
    head = replace(HEAD, normalised=True, quantisation=quantisation)
    assert [found.class_name for found in decode(raw, head, confidence=0.4)] == ["dog"] * kept


@pytest.mark.parametrize(("confidence", "kept"), [(0.5, 1), (0.50001, 0)])
def test_a_score_at_the_threshold_is_kept(confidence: float, kept: int) -> None:
    raw, head = tensor((100, 100, 40, 40, 0, 0.5))
    assert len(decode(raw, head, confidence=confidence)) == kept


def test_the_best_class_names_the_object() -> None:
    raw, head = tensor((100, 100, 40, 40, 0, 0.5))
    raw[5, 1] = 0.7
    assert [(found.class_name, found.confidence) for found in decode(raw, head)] == [("dog", 0.7)]


def test_two_classes_at_one_place_both_stay() -> None:
    raw, head = tensor((100, 100, 40, 40, 0, 0.8), (100, 100, 40, 40, 1, 0.9))
    assert [found.class_name for found in decode(raw, head)] == ["dog", "cat"]


def test_of_two_boxes_of_one_class_at_one_place_the_better_stays() -> None:
    raw, head = tensor((100, 100, 40, 40, 1, 0.8), (102, 100, 40, 40, 1, 0.9))
    assert [(found.x, found.confidence) for found in decode(raw, head)] == [(102, 0.9)]


@pytest.mark.parametrize(("overlap", "kept"), [(0.3, 1), (0.4, 2)])
def test_boxes_of_one_class_are_two_objects_up_to_the_overlap(overlap: float, kept: int) -> None:
    raw, head = tensor((100, 100, 40, 40, 1, 0.8), (120, 100, 40, 40, 1, 0.9))  # their IoU is 1/3
    assert len(decode(raw, head, overlap=overlap)) == kept


@pytest.mark.parametrize("kind", KINDS)
def test_no_candidate_is_no_object(kind: str) -> None:
    raw, head = tensor((100, 100, 40, 40, 1, 0.2), kind=kind)
    assert decode(raw, head) == ()


def everywhere(*, side_px: int = 640) -> tuple[NDArray[np.float32], Boxes]:
    """An output in which each anchor of a square input is a sure object apart from the others, with its own score."""
    cells = [np.mgrid[: side_px // stride, : side_px // stride].reshape(2, -1) * stride for stride in (8, 16, 32)]
    centres = np.concatenate([cell + 2 + 2 * number for number, cell in enumerate(cells)], axis=1)
    scores = np.zeros((len(LABELS), centres.shape[1]))
    scores[1] = np.random.default_rng(0).permutation(np.linspace(0.5, 0.99, centres.shape[1]))
    raw = np.concatenate([centres, np.full(centres.shape, 1.5), scores]).astype(np.float32)
    return raw, replace(HEAD, input_width=side_px, input_height=side_px)


@pytest.mark.parametrize(
    ("wanted", "given"), [(Wanted(0.4, 0.3), 300), (Wanted(0.4, 0.3, most=1), 1), (Wanted(0.4, 0.3, most=9000), 3000)]
)
def test_of_a_frame_full_of_objects_the_surest_are_given_best_first(wanted: Wanted, given: int) -> None:
    raw, head = everywhere()
    assert raw.shape == (7, 8400)
    found = _yolo.decode(raw, head, Place(Letterbox(1.0, 1.0, 0, 0), 640, 640), wanted)
    best = sorted(raw[5].tolist(), reverse=True)[:given]
    assert [one.confidence for one in found] == pytest.approx(best, abs=1e-4)


def test_a_mask_is_made_of_those_objects_alone_that_are_given() -> None:
    raw, head = everywhere()
    rows = np.concatenate([raw, np.ones((1, raw.shape[1]), np.float32)])
    segments = _segments.Segments(head, prototypes_last=False, quantisation=PLAIN)
    prototypes = np.ones((1, 160, 160), np.float32)
    place = Place(Letterbox(1.0, 1.0, 0, 0), 640, 640)
    tracemalloc.start()
    found = _segments.decode(rows, prototypes, segments, place=place, wanted=Wanted(0.4, 0.3))
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 300
    assert most_bytes < 100e6  # a plane each: 31 MB for 300, and 860 MB for 8,400


def test_a_class_without_a_label_is_called_by_its_number() -> None:
    raw, head = tensor((100, 100, 40, 40, 2, 0.9))
    assert [found.class_name for found in decode(raw, replace(head, labels=("cat",)))] == ["class_2"]


def test_a_score_that_rounding_put_above_one_is_reported_as_one() -> None:
    raw, head = tensor((100, 100, 40, 40, 2, 1.01))
    assert [found.confidence for found in decode(raw, head)] == [1.0]


@pytest.mark.parametrize(("shape", "last"), [((1, 84, 1680), True), ((1, 1680, 84), False), ((1, 5, 1680), True)])
def test_the_axis_of_the_anchors_is_known_by_their_number(shape: tuple[int, ...], last: bool) -> None:
    assert _yolo.anchors_last(shape, width=WIDTH, height=HEIGHT) is last


@pytest.mark.parametrize(
    "shape",
    [(), (1680,), (84, 1680), (1, 84, 1681), (1, 4, 1680), (1, 1680, 4), (2, 84, 1680), (1, 84, 1680, 1), (1, 300, 6)],
)
def test_an_output_of_another_shape_is_refused_with_the_right_one(shape: tuple[int, ...]) -> None:
    with pytest.raises(EngineBroken) as caught:
        _yolo.anchors_last(shape, width=WIDTH, height=HEIGHT)
    assert str(list(shape)) in str(caught.value)
    assert "320x256 it would be [1, 4 + classes, 1680]" in str(caught.value)


@pytest.mark.parametrize("row", [2, 5])
def test_an_output_that_is_no_number_ends_the_run_and_not_in_silence(row: int) -> None:
    raw, head = tensor((100, 100, 40, 40, 1, 0.9))
    raw[row] = np.nan
    with pytest.raises(EngineBroken, match="not numbers"):
        decode(raw, head)


def test_the_unit_of_the_boxes_is_seen_at_their_centres() -> None:
    centres = np.full((2, 5), 0.5, dtype=np.float32)
    assert _yolo.looks_normalised(centres)
    centres[1, 4] = 1.1  # a centre a little outside the picture
    assert _yolo.looks_normalised(centres)
    centres[0, 0] = 4.0
    assert not _yolo.looks_normalised(centres)
