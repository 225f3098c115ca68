"""The drawn scene: the same everywhere, and its truth is what the pixels show."""

import hashlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from agent.flow import Pixels
from agent.sources._scene import CLASSES, VISIBLE_SHARE, Scene, Shape

SIDES = st.integers(64, 400)
SEEDS = st.integers(0, 2**63)
INDEXES = st.integers(0, 10**9)


def bright(pixels: Pixels) -> NDArray[np.bool_]:
    """Where shapes are: the background stays below 130 in each channel, a shape is above 200 in one."""
    return np.asarray(pixels.max(axis=2) > 165)


def edges(shape: Shape) -> tuple[float, float, float, float]:
    return (
        shape.x - shape.width / 2,
        shape.y - shape.height / 2,
        shape.x + shape.width / 2,
        shape.y + shape.height / 2,
    )


def edges_of(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    rows, columns = np.nonzero(mask)
    return float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)


def test_frames_are_the_same_in_any_order_of_calls() -> None:
    forward, backward = (Scene(200, 120, seed=3, shapes=5) for _ in range(2))
    first = [(forward.render(index), forward.truth(index)) for index in range(6)]
    second = [(backward.render(index), backward.truth(index)) for index in reversed(range(6))][::-1]
    for (pixels, truth), (again, truth_again) in zip(first, second, strict=True):
        assert np.array_equal(pixels, again)
        assert truth == truth_again


@pytest.mark.parametrize(
    ("size", "seed", "index", "digest"),
    [
        ((64, 64), 0, 0, "21ef07ca30fd2e26"),
        ((640, 480), 0, 123, "f0e67eab39aae0d9"),
        ((101, 333), 7, 10**9, "7af0464c6f6c791b"),
    ],
)
def test_a_frame_has_the_same_bytes_on_every_platform(
    size: tuple[int, int], seed: int, index: int, digest: str
) -> None:
    """The shipped model was trained on these very pictures: if they change, it must be trained again."""
    pixels = Scene(*size, seed=seed, shapes=6).render(index)
    assert hashlib.sha256(pixels.tobytes()).hexdigest()[:16] == digest


def test_another_seed_is_another_scene() -> None:
    one, other = (Scene(160, 120, seed=seed, shapes=4) for seed in (1, 2))
    assert one.truth(0) != other.truth(0)
    assert not np.array_equal(one.render(0), other.render(0))


def test_a_frame_belongs_to_the_caller() -> None:
    scene = Scene(160, 120, seed=0, shapes=3)
    untouched = scene.render(4)
    scene.render(4)[:] = 0
    assert np.array_equal(scene.render(4), untouched)


@given(size=st.tuples(SIDES, SIDES), seed=SEEDS, shapes=st.integers(0, 12), index=INDEXES)
@settings(deadline=None)
def test_every_box_lies_inside_the_frame(size: tuple[int, int], seed: int, shapes: int, index: int) -> None:
    width, height = size
    scene = Scene(width, height, seed=seed, shapes=shapes)
    pixels, truth = scene.render(index), scene.truth(index)
    assert pixels.shape == (height, width, 3)
    assert pixels.dtype == np.uint8
    assert len(truth) <= shapes
    for shape in truth:
        left, top, right, bottom = edges(shape)
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        assert shape.class_name == CLASSES[shape.class_id]


@given(width=SIDES, height=SIDES, seed=SEEDS, index=INDEXES)
@settings(deadline=None)
def test_the_box_of_a_lone_shape_is_exactly_where_its_pixels_are(
    width: int, height: int, seed: int, index: int
) -> None:
    scene = Scene(width, height, seed=seed, shapes=1)
    (shape,) = scene.truth(index)
    assert edges(shape) == edges_of(bright(scene.render(index)))


@given(seed=SEEDS, index=INDEXES)
@settings(deadline=None)
def test_a_lone_shape_fills_its_box_as_its_class_does(seed: int, index: int) -> None:
    """Areas from geometry: a circle fills pi/4; a square half or more; a triangle 0.46 to 0.5; a star about a third."""
    bands = {"circle": (0.75, 0.82), "square": (0.48, 1.0), "triangle": (0.42, 0.54), "star": (0.25, 0.40)}
    scene = Scene(640, 480, seed=seed, shapes=1)
    (shape,) = scene.truth(index)
    low, high = bands[shape.class_name]
    assert low <= np.count_nonzero(bright(scene.render(index))) / (shape.width * shape.height) <= high


def test_all_four_classes_appear_and_a_shape_keeps_its_class() -> None:
    scene = Scene(640, 480, seed=0, shapes=4)
    full = [truth for truth in map(scene.truth, range(0, 600, 20)) if len(truth) == 4]
    assert len(full) > 10
    assert {tuple(shape.class_name for shape in truth) for truth in full} == {
        tuple(shape.class_name for shape in full[0])
    }
    assert {shape.class_name for shape in full[0]} == set(CLASSES)


@given(width=SIDES, height=SIDES, seed=SEEDS)
@settings(deadline=None, max_examples=25)
def test_a_shape_moves_smoothly_and_reaches_both_ends_of_the_shorter_side(width: int, height: int, seed: int) -> None:
    scene = Scene(width, height, seed=seed, shapes=1)
    boxes = [scene.truth(index)[0] for index in range(400)]
    step_px = max(width, height) / 60 + 0.1 * min(width, height)  # its path, and its outline's change as it turns
    for one, following in pairwise(boxes):
        assert abs(following.x - one.x) <= step_px
        assert abs(following.y - one.y) <= step_px
    along = [(shape.y, shape.height) if width >= height else (shape.x, shape.width) for shape in boxes]
    margin_px = 0.1 * min(width, height)  # a shape that turns does not always touch the edge with a corner
    assert min(centre - size / 2 for centre, size in along) <= margin_px
    assert max(centre + size / 2 for centre, size in along) >= min(width, height) - margin_px


def test_the_truth_holds_what_is_at_least_two_fifths_in_sight_and_boxes_only_that() -> None:
    """Each shape's visible pixels are counted by colour in the rendered frame."""
    hidden = partial = 0
    for seed in range(40):
        scene = Scene(160, 120, seed=seed, shapes=6)
        for index in range(0, 1000, 50):
            pixels = scene.render(index).astype(np.int16)
            expected = []
            for body in scene._bodies:
                above = pixels - np.array(body.colour_bgr)
                seen = ((above >= 0) & (above <= 3)).all(axis=2)  # the noise adds 0 to 3
                share = np.count_nonzero(seen) / np.count_nonzero(scene._patch(body, index).mask)
                if share >= VISIBLE_SHARE:
                    expected.append((body.class_id, edges_of(seen)))
                hidden += int(share < VISIBLE_SHARE)
                partial += int(VISIBLE_SHARE <= share < 1)
            assert [(shape.class_id, edges(shape)) for shape in scene.truth(index)] == expected
    assert hidden > 0
    assert partial > 0


def test_shapes_seldom_hide_each_other() -> None:
    scenes = [Scene(640, 480, seed=seed, shapes=6) for seed in range(20)]
    shown = sum(len(scene.truth(index)) for scene in scenes for index in range(0, 1000, 25))
    assert shown >= 0.985 * 20 * 40 * 6


def test_a_scene_without_shapes_is_background_only() -> None:
    scene = Scene(64, 64, seed=0, shapes=0)
    assert scene.truth(0) == ()
    assert not bright(scene.render(0)).any()


@pytest.mark.parametrize(("width", "height"), [(3840, 2160), (2160, 3840), (64, 4096)])
def test_large_and_long_frames_work_too(width: int, height: int) -> None:
    scene = Scene(width, height, seed=1, shapes=6)
    pixels = scene.render(17)
    assert pixels.shape == (height, width, 3)
    for shape in scene.truth(17):
        left, top, right, bottom = (int(edge) for edge in edges(shape))
        assert bright(pixels[top:bottom, left:right]).any()
