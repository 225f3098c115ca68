"""How a frame becomes a model's input: where it lies there, in which numbers, and the way back to its pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from agent import canvas, imaging
from agent.canvas import Letterbox
from agent.flow import Pixels
from agent.package import Resize

BLUE, RED = (255, 0, 0), (0, 0, 255)
"""As the camera has them: BGR."""
HALF = Letterbox(0.5, 0.5, 0, 70)
"""A frame of 640x360 in an input of 320x320."""


def picture(width: int, height: int, colour: tuple[int, int, int] = BLUE) -> Pixels:
    return np.full((height, width, 3), colour, dtype=np.uint8)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((640, 360), Letterbox(0.5, 0.5, 0, 38)),
        ((200, 400), Letterbox(0.64, 0.64, 96, 0)),
        ((320, 256), Letterbox(1.0, 1.0, 0, 0)),
        ((1, 1), Letterbox(256.0, 256.0, 32, 0)),
        ((4000, 2), Letterbox(0.08, 0.5, 0, 127)),
    ],
)
def test_a_picture_lies_in_the_middle_as_rgb_with_grey_around_it(size: tuple[int, int], expected: Letterbox) -> None:
    whole, letterbox = canvas.letterbox_rgb(picture(*size), 320, 256)
    assert letterbox == expected
    assert whole.shape == (256, 320, 3)
    across, down = round(size[0] * letterbox.scale_x), round(size[1] * letterbox.scale_y)
    inside = whole[letterbox.top_px : letterbox.top_px + down, letterbox.left_px : letterbox.left_px + across]
    assert (inside == BLUE[::-1]).all()
    assert np.count_nonzero((whole == canvas.GREY).all(axis=2)) == 320 * 256 - across * down


def test_the_captured_picture_is_left_as_it_was() -> None:
    pixels = picture(320, 256)
    canvas.letterbox_rgb(pixels, 320, 256)
    assert (pixels == BLUE).all()


@pytest.mark.parametrize("resize", Resize)
@given(width=st.integers(1, 700), height=st.integers(1, 700))
def test_what_lies_inside_fits_and_fills_at_least_one_side(resize: Resize, width: int, height: int) -> None:
    rgb, letterbox = canvas.fitted_rgb(picture(width, height), 64, 48, resize)
    rows, columns = rgb.shape[:2]
    assert rows <= 48
    assert columns <= 64
    assert rows == 48 or columns == 64
    if resize is not Resize.LETTERBOX:
        assert (rows, columns) == (48, 64)
    if resize is Resize.STRETCH:
        assert letterbox == Letterbox(64 / width, 48 / height, 0, 0)


def test_a_cropped_picture_shows_its_middle_and_knows_what_was_cut_off() -> None:
    pixels = picture(300, 100)
    pixels[:, 100:200] = RED
    rgb, letterbox = canvas.fitted_rgb(pixels, 50, 50, Resize.CROP)
    assert letterbox == Letterbox(0.5, 0.5, -50, 0)
    assert (rgb == (255, 0, 0)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8, np.uint8, np.int16, np.float64])
@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("turned", [False, True], ids=["as it lies", "every second column"])
def test_a_table_is_looked_up_in_place_inside_of_something_larger(
    dtype: type[np.generic], columns: int, turned: bool
) -> None:
    draw = np.random.default_rng(1)
    pixels = draw.integers(0, 256, (6, 9, 3), dtype=np.uint8)
    table = draw.integers(-100, 100, (256, columns)).astype(dtype)
    whole = np.full((10, 36, 3), 7).astype(dtype)
    part = whole[2:8, 4:22:2] if turned else whole[2:8, 4:13]
    canvas.look_up(pixels, table[:, 0] if columns == 1 else table, part)
    colours = np.zeros(3, dtype=int) if columns == 1 else np.arange(3)
    assert (part == table[pixels, colours]).all()
    assert (whole[:2] == dtype(7)).all()
    assert (whole[:, :4] == dtype(7)).all()


def ramp() -> NDArray[np.float32]:
    """Each cell of a plane of 80 x 80 has the place of its middle in the input, in pixels, across."""
    return np.tile((np.arange(80, dtype=np.float32) + 0.5) * 4, (80, 1))


def test_a_coarse_plane_is_seen_at_the_middle_of_each_pixel_of_the_frame() -> None:
    seen = canvas.seen_through(ramp(), HALF, 4.0, box=(100, 30, 300, 90))
    assert seen.shape == (60, 200)
    expected = (np.arange(100, 300) + 0.5) * 0.5
    assert np.abs(seen - expected).max() < 0.1


def test_the_nearest_cell_of_a_coarse_plane_is_given_to_each_pixel() -> None:
    cells = np.arange(80, dtype=np.uint8)[None, :].repeat(80, axis=0)
    seen = canvas.nearest(cells, HALF, 4.0, size=(640, 360))
    assert seen.shape == (360, 640)
    assert (seen[0] == np.arange(640) // 8).all()


def test_a_plane_comes_back_from_its_png() -> None:
    plane = np.arange(256, dtype=np.uint8).reshape(8, 32)
    assert (imaging.decode_image(canvas.encode_png(plane))[..., 0] == plane).all()
