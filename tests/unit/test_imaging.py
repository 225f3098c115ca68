"""Pictures: where one lies inside the model's input, which boxes stay, and what is no picture."""

from pathlib import Path

import numpy as np
import pytest

from agent import imaging
from agent.errors import FrameUnreadable, SourceLost

BLUE, RED = (255, 0, 0), (0, 0, 255)
"""As the camera has them: BGR."""


def picture(width: int, height: int, colour: tuple[int, int, int] = BLUE) -> imaging.Pixels:
    return np.full((height, width, 3), colour, dtype=np.uint8)


def test_suppression_looks_at_each_class_apart_and_gives_the_best_first() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 10, 10], [0, 0, 10, 10], [50, 50, 10, 10]], dtype=np.float32)
    scores = np.array([0.6, 0.7, 0.5, 0.9], dtype=np.float32)
    assert imaging.suppress(boxes, scores, np.array([0, 0, 1, 0], dtype=np.int32), overlap=0.3) == [3, 1, 2]


def test_suppression_of_nothing_is_nothing() -> None:
    none = np.zeros((0, 4), dtype=np.float32)
    assert imaging.suppress(none, none[:, 0], np.zeros(0, dtype=np.int32), overlap=0.3) == []


@pytest.mark.parametrize(
    ("size", "longest", "expected"),
    [((640, 360), 320, (320, 180)), ((1, 900), 90, (1, 90)), ((64, 36), 320, (64, 36))],
)
def test_shrinking_keeps_the_aspect_and_never_enlarges(
    size: tuple[int, int], longest: int, expected: tuple[int, int]
) -> None:
    assert imaging.shrink(picture(*size), longest).shape[1::-1] == expected


def test_a_jpeg_comes_back_with_its_colours() -> None:
    again = imaging.decode_image(imaging.encode_jpeg(picture(64, 48, RED), 90))
    assert again.shape == (48, 64, 3)
    assert np.abs(again.astype(int) - RED).max() <= 3


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((4, 6), 200, dtype=np.uint8),
        np.full((4, 6, 1), 200, dtype=np.uint8),
        np.full((4, 6, 4), 200, dtype=np.uint8),
        np.full((4, 6, 3), 200 * 256 + 255, dtype=np.uint16),
    ],
    ids=["grey", "one channel", "BGRA", "16 bits"],
)
def test_other_pictures_become_8_bit_bgr(pixels: imaging.Pixels) -> None:
    bgr = imaging.as_bgr(pixels)
    assert (bgr.shape, bgr.dtype) == ((4, 6, 3), np.uint8)
    assert (bgr == 200).all()


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8\xff\xe0"])
def test_bytes_that_are_no_picture_are_a_clear_error(data: bytes) -> None:
    with pytest.raises(FrameUnreadable, match="is not a picture"):
        imaging.decode_image(data)


def test_files_that_are_missing_are_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FrameUnreadable, match=r"gone.jpg cannot be read: No such file"):
        imaging.read_image(tmp_path / "gone.jpg")
    with pytest.raises(SourceLost, match=r"gone.mp4 cannot be opened"):
        imaging.open_video(tmp_path / "gone.mp4")
