"""Masks as run lengths: exact, judged by COCO's own code, and never painted larger than a picture."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from pycocotools import mask as coco

from agent.engines._masks import LARGEST_PX, decode_runs, encode_runs, outline, placed_runs, resized_runs
from agent.flow import Runs

SIDES = st.integers(1, 40)
MASKS = st.tuples(SIDES, SIDES).flatmap(lambda shape: arrays.arrays(bool, shape))


def disc(height: int, width: int, radius: float) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:height, :width]
    return np.asarray((rows - height / 2) ** 2 + (columns - width / 2) ** 2 < radius**2)


@given(MASKS)
def test_a_mask_comes_back_from_its_runs_as_it_was(mask: NDArray[np.bool_]) -> None:
    assert np.array_equal(decode_runs(encode_runs(mask)), mask)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # their NumPy code is older
@given(MASKS)
def test_the_runs_are_those_that_cocos_own_code_writes_and_reads(mask: NDArray[np.bool_]) -> None:
    runs = encode_runs(mask)
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert {"size": [runs.height, runs.width], "counts": runs.counts.encode()} == theirs
    assert np.array_equal(coco.decode(theirs).astype(bool), decode_runs(runs))


@pytest.mark.parametrize("shape", [(1080, 1920), (2000, 3)])
def test_runs_of_a_large_picture_are_cocos_too(shape: tuple[int, int]) -> None:
    for mask in (disc(*shape, radius=300), np.zeros(shape, bool), np.ones(shape, bool)):
        theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert encode_runs(mask).counts.encode() == theirs["counts"]


@given(MASKS, st.tuples(*[st.integers(0, 9)] * 4))
def test_a_part_is_placed_where_it_belongs(part: NDArray[np.bool_], around: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = around
    whole = np.pad(part, ((top, bottom), (left, right)))
    height, width = whole.shape
    assert placed_runs(part, left=left, top=top, width=width, height=height) == encode_runs(whole)


@given(MASKS, SIDES, SIDES)
def test_resized_runs_are_the_nearest_pixels(mask: NDArray[np.bool_], width: int, height: int) -> None:
    rows = np.arange(height) * mask.shape[0] // height
    columns = np.arange(width) * mask.shape[1] // width
    assert resized_runs(encode_runs(mask), width, height) == encode_runs(mask[rows][:, columns])


@given(st.integers(-2, 1 << 40), st.integers(-2, 1 << 40), st.text(max_size=60))
@settings(max_examples=300)
def test_runs_from_anywhere_are_a_mask_or_a_value_error(height: int, width: int, counts: str) -> None:
    runs = Runs(height, width, counts)
    with contextlib.suppress(ValueError):
        assert decode_runs(runs).shape == (height, width)
    with contextlib.suppress(ValueError):
        assert resized_runs(runs, 64, 48).width == 64


@given(SIDES, SIDES, st.text(st.characters(min_codepoint=48, max_codepoint=111), min_size=1, max_size=12))
def test_letters_of_the_right_kind_are_a_mask_or_a_value_error(height: int, width: int, counts: str) -> None:
    try:
        mask = decode_runs(Runs(height, width, counts))
    except ValueError:
        return
    assert mask.shape == (height, width)


def test_a_mask_larger_than_any_picture_is_refused_before_it_is_painted() -> None:
    side = 10**9
    whole = encode_runs(np.ones((1, 1), bool))
    with pytest.raises(ValueError, match="larger than any picture"):
        decode_runs(Runs(side, side, whole.counts))
    with pytest.raises(ValueError, match="larger than any picture"):
        decode_runs(Runs(1, LARGEST_PX + 1, whole.counts))
    with pytest.raises(ValueError, match="no pictures of"):
        resized_runs(Runs(side, side, whole.counts), 64, 48)
    with pytest.raises(ValueError, match="not those of"):
        resized_runs(Runs(side, 1, whole.counts), 64, 48)


def test_a_mask_of_more_parts_than_any_object_has_is_refused() -> None:
    full = Runs(1, 1 << 30, "0" + placed_runs(np.zeros((1, 1), bool), left=0, top=0, width=1, height=1 << 30).counts)
    with pytest.raises(ValueError, match="more runs than any object"):
        resized_runs(full, 64, 48)


def test_runs_whose_sum_would_overflow_are_refused() -> None:
    longest = "o" * 7 + "?"  # 2^39 - 1, and so the difference to the one before the last
    for counts in (longest * 500_000, longest * 600_000, "0" * 20_000_000):
        with pytest.raises(ValueError, match="runs"):
            decode_runs(Runs(100, 100, counts))


def test_the_outline_is_that_of_the_largest_piece() -> None:
    mask = np.zeros((40, 60), bool)
    mask[2:5, 2:5] = True
    mask[10:31, 20:51] = True
    assert set(outline(mask)) == {(20.0, 10.0), (50.0, 10.0), (50.0, 30.0), (20.0, 30.0)}
    assert outline(np.zeros((4, 4), bool)) == ()


@pytest.mark.parametrize("cells", [[(1, 1)], [(1, 1), (1, 2)]])
def test_a_piece_without_an_area_has_an_outline_all_the_same(cells: list[tuple[int, int]]) -> None:
    mask = np.zeros((4, 4), bool)
    for row, column in cells:
        mask[row, column] = True
    assert {(float(column), float(row)) for row, column in cells} == set(outline(mask))
