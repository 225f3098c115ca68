"""What a camera's picture becomes before anything else sees it."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
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
    touched, near = (_touched(area, (width, height), margin_px)[top:bottom, left:right] for margin_px in (0, 2))
    assert np.array_equal(seen[~near], plain[~near])
    if fill is Fill.BLACK:
        assert not seen[touched].any()


def _touched(area: tuple[float, ...], size: tuple[int, int], margin_px: int) -> NDArray[np.bool_]:
    """Which pixels of a picture of `size` the area, made larger by a margin, touches."""
    left, top, right, bottom = np.array(area) * np.tile(size, 2)
    y, x = np.mgrid[: size[1], : size[0]]
    across: NDArray[np.bool_] = (x + 1 > left - margin_px) & (x < right + margin_px)
    both: NDArray[np.bool_] = across & (y + 1 > top - margin_px) & (y < bottom + margin_px)
    return both


@st.composite
def stars(draw: st.DrawFn) -> Polygon:
    """Polygons of any shape, seen all around from their middle: none of them crosses itself."""
    turns = draw(st.lists(st.floats(0.05, 0.95), min_size=3, max_size=9))
    arms = [draw(st.floats(0.05, 0.45)) for _ in turns]
    angles = [2 * math.pi * (n + turn) / len(turns) for n, turn in enumerate(turns)]
    points = [Point(0.5 + arm * math.cos(a), 0.5 + arm * math.sin(a)) for a, arm in zip(angles, arms, strict=True)]
    return Polygon(tuple(points))


@given(stars(), corners, st.sampled_from([0, 90, 180, 270]), st.sampled_from(Fill))
@settings(max_examples=40, deadline=None)
def test_a_mask_of_any_shape_hides_each_pixel_whose_middle_it_holds(
    polygon: Polygon, crop: tuple[float, float, float, float], degrees: int, fill: Fill
) -> None:
    picture = noise(64, 48)
    whole = np.rot90(picture, -degrees // 90)
    height, width = whole.shape[:2]
    left, top, right, bottom = Crop(*crop).box_px(width, height)
    seen = view(degrees, Crop(*crop), (Mask(polygon, fill),)).of(picture.copy())
    blank = view(degrees, Crop(*crop), (Mask(polygon),)).of(np.full_like(picture, 255))
    for y, x in np.ndindex(bottom - top, right - left):
        if polygon.contains((left + x + 0.5) / width, (top + y + 0.5) / height):
            assert not blank[y, x].any()
    shown = blank.all(axis=2)
    assert np.array_equal(seen[shown], whole[top:bottom, left:right][shown])


def test_what_was_behind_a_coarse_mask_does_not_matter_but_for_its_mean_colours() -> None:
    stripes, flat = np.full((480, 640, 3), 128, np.uint8), np.full((480, 640, 3), 128, np.uint8)
    stripes[0:480:2, 160:480], stripes[1:480:2, 160:480] = 160, 96
    for fill in (Fill.BLUR, Fill.PIXELATE):
        masked = view(masks=(Mask(rectangle(0.25, 0.0, 0.75, 1.0), fill),))
        seen, plain = masked.of(stripes.copy()), masked.of(flat.copy())
        assert np.abs(seen.astype(int) - plain.astype(int)).max() <= 2


def test_no_code_can_be_read_behind_a_mask() -> None:
    code = cv2.QRCodeEncoder.create().encode("AB 123 CD")
    picture = np.full((480, 640, 3), 200, np.uint8)
    side_px = 12 * code.shape[0]
    large = cv2.resize(code, (side_px, side_px), interpolation=cv2.INTER_NEAREST)
    picture[60 : 60 + side_px, 160 : 160 + side_px] = large[..., None]
    read = cv2.QRCodeDetector().detectAndDecode
    assert read(picture)[0] == "AB 123 CD"
    for fill in Fill:
        assert read(view(masks=(Mask(rectangle(0.25, 0.125, 0.8, 0.9), fill),)).of(picture.copy()))[0] == ""


def test_a_picture_with_a_fourth_channel_is_masked_like_any_other() -> None:
    picture = np.full((40, 60, 4), 200, np.uint8)
    seen = view(masks=(Mask(rectangle(0.0, 0.0, 0.5, 1.0)),)).of(imaging.as_bgr(picture))
    assert not seen[:, :30].any()
    assert (seen[:, 40:] == 200).all()


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


def test_a_camera_that_changes_the_shape_of_its_pictures_is_told_of_where_it_has_masks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    masked, plain = view(masks=(Mask(rectangle(0.5, 0.5, 1.0, 1.0)),)), view()
    for width, height in ((160, 120), (640, 480), (640, 360)):
        masked.of(noise(width, height))
        plain.of(noise(width, height))
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "the camera's picture has another shape now, 1.78 to 1 instead of 1.33 to 1"
    ]


def test_a_picture_that_cannot_be_masked_is_none() -> None:
    broken = np.zeros((4, 4, 5), np.uint8)
    with pytest.raises(FrameUnreadable, match="a mask cannot be applied"):
        view(masks=(Mask(rectangle(0.0, 0.0, 1.0, 1.0)),)).of(broken)


@pytest.mark.parametrize("edges", [(0.5, 0, 0.5, 1), (0, 0, 1.1, 1), (0, 0.9, 1, 0.1), (-0.1, 0, 1, 1)])
def test_a_crop_that_is_no_rectangle_in_the_picture_is_refused(edges: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match=r"give \[left, top, right, bottom\] as fractions"):
        Crop(*edges)
