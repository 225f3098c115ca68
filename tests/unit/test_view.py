"""What a camera's picture becomes before anything else sees it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from agent import imaging
from agent.errors import FrameUnreadable
from agent.flow import Pixels
from agent.polygon import Point, Polygon
from agent.view.crop import Crop
from agent.view.view import Fill, Mask, View

corners = st.tuples(st.floats(0, 0.8), st.floats(0, 0.8), st.floats(0.1, 0.2), st.floats(0.1, 0.2)).map(
    lambda r: (r[0], r[1], r[0] + r[2], r[1] + r[3])
)


def rectangle(left: float, top: float, right: float, bottom: float) -> Polygon:
    return Polygon((Point(left, top), Point(right, top), Point(right, bottom), Point(left, bottom)))


def noise(width: int = 160, height: int = 120, seed: int = 1) -> Pixels:
    """Every pixel differs from its neighbours, and none is black."""
    return np.random.default_rng(seed).integers(40, 256, (height, width, 3)).astype(np.uint8)


def view(rotate: int = 0, crop: Crop | None = None, masks: tuple[Mask, ...] = ()) -> View:
    return View(imaging.turned, imaging.cover, rotate=rotate, crop=crop, masks=masks)


def detail(pixels: Pixels) -> float:
    """How much neighbours differ, in grey levels."""
    grey = pixels.astype(np.float32).mean(axis=2)
    return float(np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean())


def test_a_view_of_nothing_is_the_picture_itself() -> None:
    picture = noise()
    assert np.array_equal(view().of(picture.copy()), picture)


@pytest.mark.parametrize(("degrees", "turns"), [(90, -1), (180, 2), (270, 1)])
def test_a_picture_is_turned_clockwise(degrees: int, turns: int) -> None:
    picture = noise()
    assert np.array_equal(view(degrees).of(picture.copy()), np.rot90(picture, turns))


def test_a_crop_is_of_the_turned_picture() -> None:
    picture = noise(160, 120)
    seen = view(90, Crop(0.0, 0.5, 1.0, 1.0)).of(picture.copy())
    assert np.array_equal(seen, np.rot90(picture, -1)[80:])


@given(corners, corners, st.sampled_from([0, 90, 180, 270]), st.sampled_from(Fill))
def test_a_mask_lies_where_it_was_drawn_whatever_is_cropped(
    area: tuple[float, float, float, float], crop: tuple[float, float, float, float], degrees: int, fill: Fill
) -> None:
    picture = noise()
    seen = view(degrees, Crop(*crop), (Mask(rectangle(*area), fill),)).of(picture.copy())
    whole = np.rot90(picture, {0: 0, 90: -1, 180: 2, 270: 1}[degrees])
    height, width = whole.shape[:2]
    left, top, right, bottom = Crop(*crop).box_px(width, height)
    plain = whole[top:bottom, left:right]
    assert seen.shape == plain.shape
    outer, inner = (_within(area, (width, height), margin_px)[top:bottom, left:right] for margin_px in (1, -1))
    assert np.array_equal(seen[~outer], plain[~outer])
    if fill is Fill.BLACK:
        assert not seen[inner].any()


def _within(area: tuple[float, ...], size: tuple[int, int], margin_px: int) -> NDArray[np.bool_]:
    """Which pixels of a picture of `size` lie in the area, made larger by a margin."""
    left, top, right, bottom = np.array(area) * np.tile(size, 2)
    y, x = np.mgrid[: size[1], : size[0]]
    across: NDArray[np.bool_] = (x >= left - margin_px) & (x <= right + margin_px)
    return across & (y >= top - margin_px) & (y <= bottom + margin_px)


@pytest.mark.parametrize("fill", [Fill.BLUR, Fill.PIXELATE])
def test_nothing_can_be_read_behind_a_coarse_mask(fill: Fill) -> None:
    picture = np.full((480, 640, 3), 128, np.uint8)
    picture[100:300:2, 200:400] = 255
    picture[101:300:2, 200:400] = 0
    seen = view(masks=(Mask(rectangle(0.25, 0.15, 0.7, 0.7), fill),)).of(picture.copy())
    assert detail(picture[100:300, 200:400]) > 100
    assert detail(seen[100:300, 200:400]) < 8


def test_a_coarse_mask_keeps_no_more_than_eight_by_eight_values() -> None:
    seen = view(masks=(Mask(rectangle(0.0, 0.0, 1.0, 1.0), Fill.PIXELATE),)).of(noise(640, 480))
    assert len(np.unique(seen.reshape(-1, 3), axis=0)) <= 64


def test_a_mask_has_the_shape_that_was_drawn() -> None:
    triangle = Polygon((Point(0.0, 0.0), Point(1.0, 0.0), Point(0.0, 1.0)))
    seen = view(masks=(Mask(triangle),)).of(noise(200, 200))
    assert not seen[20, 20].any()
    assert seen[180, 180].all()


def test_a_camera_that_changes_its_size_has_its_masks_at_once() -> None:
    masked = view(masks=(Mask(rectangle(0.5, 0.5, 1.0, 1.0)),))
    for width, height in ((160, 120), (640, 360), (64, 48)):
        seen = masked.of(noise(width, height))
        assert not seen[height * 6 // 10 :, width * 6 // 10 :].any()
        assert seen[: height * 4 // 10].all()


def test_a_picture_that_cannot_be_masked_is_none() -> None:
    broken = np.zeros((4, 4, 5), np.uint8)
    with pytest.raises(FrameUnreadable, match="a mask cannot be applied"):
        view(masks=(Mask(rectangle(0.0, 0.0, 1.0, 1.0)),)).of(broken)


@pytest.mark.parametrize("edges", [(0.5, 0, 0.5, 1), (0, 0, 1.1, 1), (0, 0.9, 1, 0.1), (-0.1, 0, 1, 1)])
def test_a_crop_that_is_no_rectangle_in_the_picture_is_refused(edges: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match=r"give \[left, top, right, bottom\] as fractions"):
        Crop(*edges)
