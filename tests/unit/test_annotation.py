"""What is drawn into a picture: boxes where the objects are, words that can be read, colours that stay the same."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import imaging
from agent.errors import FrameUnreadable
from agent.flow import Keypoint, Pixels, Prediction
from agent.snapshots.annotation import ascii_of, colour_of, marks_of
from agent.sources._scene import Scene

PERSON = Prediction(320.0, 240.0, 200.0, 100.0, 0.87, "person", 0)
"""Left 220, top 190, right 420, bottom 290 of 640x480."""


def scene(width: int = 640, height: int = 480) -> Pixels:
    return Scene(width, height, seed=3, shapes=5).render(7)


def picture_of(pixels: Pixels, *found: Prediction, longest_px: int = 0, quality: int = 95) -> Pixels:
    return imaging.decode_image(imaging.snapshot(pixels, found, "id", longest_px=longest_px, quality=quality))


def difference(one: Pixels, other: Pixels) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    return np.abs(one.astype(np.int64) - other.astype(np.int64)).max(axis=2)


# The picture


def test_a_clean_picture_is_the_frame_but_for_what_a_jpeg_loses() -> None:
    pixels = scene()
    again = picture_of(pixels)
    assert again.shape == pixels.shape
    assert difference(again, pixels).mean() < 4
    assert (again == imaging.decode_image(imaging.encode_jpeg(pixels, 95))).all(), "nothing but the encoding changed it"


def test_an_annotated_picture_has_the_box_where_the_object_is_and_the_frame_everywhere_else() -> None:
    pixels = scene()
    before = pixels.copy()
    again = picture_of(pixels, PERSON)
    assert (pixels == before).all(), "drawn on a copy"
    blue, green, red = colour_of(0)
    for y, x in ((190, 400), (290, 300), (240, 220), (240, 420), (215, 220)):
        assert np.abs(again[y, x].astype(int) - (blue, green, red)).max() < 60, (y, x)
    changed = difference(again, picture_of(pixels)) > 40
    rows, columns = np.nonzero(changed)
    assert (columns.min(), columns.max(), rows.max()) == (
        pytest.approx(220, abs=9),
        pytest.approx(420, abs=9),
        pytest.approx(290, abs=9),
    )
    assert rows.min() > 150, "the words stand right above the box"
    assert not changed[200:280, 232:408].any(), "the object itself is not covered"


def test_an_outline_and_keypoints_are_drawn_where_they_are_also_on_a_picture_that_is_shrunk() -> None:
    pixels = np.full((960, 1280, 3), 90, dtype=np.uint8)
    diamond = ((640.0, 400.0), (740.0, 480.0), (640.0, 560.0), (540.0, 480.0))
    nose = Keypoint(640.0, 480.0, 0.9, "nose", 0)
    plain = Prediction(640, 480, 320, 240, 0.9, "a", 0)
    for longest_px, factor in ((0, 1.0), (640, 0.5)):
        bare = picture_of(pixels, plain, longest_px=longest_px)
        again = picture_of(pixels, replace(plain, points=diamond, keypoints=(nose,)), longest_px=longest_px)
        changed = difference(again, bare) > 40
        for x, y in ((640, 400), (690, 440), (590, 520), (640, 480)):
            assert changed[round(y * factor), round(x * factor)], (x, y)
        assert not changed[round(440 * factor), round(640 * factor)], "between them is the object"
        assert changed.sum() < changed.size / 50


def test_points_far_outside_can_be_drawn() -> None:
    far = ((-1e7, 5.0), (1e7, 1e7), (5.0, 9.0))
    found = replace(PERSON, points=far, keypoints=tuple(Keypoint(x, y, 0.5, "p", 0) for x, y in far))
    assert picture_of(np.zeros((48, 64, 3), dtype=np.uint8), found).shape == (48, 64, 3)


@pytest.mark.parametrize("longest_px", [0, 1280, 320, 160])
def test_a_picture_that_is_shrunk_has_its_box_at_the_same_place_of_the_scene(longest_px: int) -> None:
    pixels = np.full((1080, 1920, 3), 90, dtype=np.uint8)
    again = picture_of(pixels, Prediction(960, 540, 960, 540, 0.9, "a", 0), longest_px=longest_px)
    height, width = again.shape[:2]
    assert max(height, width) == (longest_px or 1920)
    red = (again[:, :, 2] > 180) & (again[:, :, 0] < 110)
    assert red[height // 2].nonzero()[0].min() == pytest.approx(width / 4, abs=width / 60 + 2)
    assert red[height // 2].nonzero()[0].max() == pytest.approx(width * 3 / 4, abs=width / 60 + 2)
    assert red[:, width * 5 // 8].nonzero()[0].max() == pytest.approx(height * 3 / 4, abs=height / 60 + 2)


@pytest.mark.parametrize("size", [(160, 120), (320, 240), (640, 480), (1920, 1080), (3840, 2160)])
def test_words_can_be_read_on_a_picture_of_any_size(size: tuple[int, int]) -> None:
    width, height = size
    pixels = np.full((height, width, 3), 90, dtype=np.uint8)
    again = picture_of(pixels, Prediction(width / 2, height / 2, width / 3, height / 3, 0.9, "person", 0))
    ground = (again[:, :, 2] > 170) & (again[:, :, 0] < 120)
    words = ground[: height // 3 + 2].sum(axis=1).nonzero()[0]
    assert max(10, height / 50) < len(words) < max(24, height / 15), "rows of the words' ground"


@given(
    st.lists(
        st.builds(
            Prediction,
            *(st.floats(-1e6, 1e6) for _ in "xy"),
            *(st.floats(0, 1e6) for _ in "wh"),
            st.floats(0, 1),
            st.text(max_size=60),
            st.integers(0, 2000),
        ),
        max_size=4,
    ),
    st.sampled_from([(1, 1), (1, 40), (64, 48), (7, 300)]),
)
def test_boxes_anywhere_and_names_of_any_letters_can_be_drawn(found: list[Prediction], size: tuple[int, int]) -> None:
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    assert picture_of(pixels, *found).shape == pixels.shape
    assert not pixels.any()


def test_a_picture_names_its_result_in_its_comment_and_any_viewer_can_still_read_it(tmp_path: Path) -> None:
    data = imaging.snapshot(scene(), (PERSON,), "yard/gate/boot/7/0", longest_px=0, quality=85)
    (tmp_path / "picture.jpg").write_bytes(data)
    assert data.startswith(b"\xff\xd8\xff\xe0"), "JFIF wants its own segment first"
    assert b"\xff\xfe\x00\x14yard/gate/boot/7/0\xff" in data
    assert imaging.read_image(tmp_path / "picture.jpg").shape == (480, 640, 3)


def test_a_frame_that_no_jpeg_can_hold_is_a_clear_error() -> None:
    with pytest.raises(FrameUnreadable, match="cannot be a"):
        imaging.snapshot(np.zeros((1, 70_000, 3), dtype=np.uint8), (), "", longest_px=0, quality=85)


# Words and colours


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("person", "person"),
        ("Größe", "Grosse"),
        ("Łódź", "Lodz"),
        ("crème brûlée", "creme brulee"),
        ("人", ""),
        ("人 walking", "walking"),
        ("a\n\tb", "ab"),
        ("x" * 100, "x" * 32),
        ("½", "12"),
    ],
)
def test_a_name_is_drawn_in_letters_that_opencv_has(name: str, drawn: str) -> None:
    assert ascii_of(name) == drawn


def test_an_object_is_told_by_class_and_confidence_and_by_its_number_where_no_letter_can_be_drawn() -> None:
    assert [mark.words for mark in marks_of([PERSON])] == ["person 0.87"]
    assert marks_of([Prediction(1, 1, 1, 1, 0.5, "人", 7)])[0].words == "class 7 0.50"


def test_the_most_certain_object_lies_on_top() -> None:
    found = [Prediction(1, 1, 1, 1, score, "a", 0) for score in (0.5, 0.9, 0.7)]
    assert [mark.words for mark in marks_of(found)] == ["a 0.50", "a 0.70", "a 0.90"]


def test_classes_have_colours_of_their_own_that_stay_the_same_over_runs() -> None:
    assert [colour_of(n) for n in range(3)] == [(25, 25, 255), (255, 92, 25), (25, 255, 159)]
    colours = [np.array(colour_of(n)) for n in range(80)]
    assert min(np.abs(a - b).max() for i, a in enumerate(colours[:12]) for b in colours[:i]) > 30
    assert len({tuple(colour) for colour in colours}) == 80
