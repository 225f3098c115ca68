import threading

import numpy as np
import pytest
from fakes import PICTURE
from hypothesis import given
from hypothesis import strategies as st

from agent import imaging
from agent.flow import Picture, Pixels, Rung
from agent.ladder import CHANGED, LEAST_PX, POOREST_QUALITY, TARGETS_BYTES, Ladder


def scene(busyness: float, *, width: int = 1280, height: int = 720) -> Pixels:
    """A picture with as much detail as `busyness` says."""
    draw = np.random.default_rng(7)
    y, x = np.mgrid[0:height, 0:width]
    waves = 128 + 60 * np.sin(x / 40) + 40 * np.cos(y / 25)
    noise = draw.normal(0, busyness, (height, width, 3))
    return np.clip(waves[..., None] + noise, 0, 255).astype(np.uint8)


def climbed(pixels: Pixels, *, longest_px: int = 640, finest_quality: int = 95) -> Ladder:
    ladder = Ladder(imaging.encode, longest_px, finest_quality)
    ladder.picture(pixels, ladder.rungs[0])
    return ladder


def test_before_the_first_picture_the_rungs_are_typical_ones() -> None:
    rungs = Ladder(imaging.encode, 640, 95).rungs
    assert tuple(rung.size_bytes for rung in rungs) == TARGETS_BYTES
    assert [rung.worth for rung in rungs] == sorted(rung.worth for rung in rungs)


def test_no_rung_is_finer_than_the_model_has_use_for() -> None:
    for rung in Ladder(imaging.encode, 640, 80).rungs + climbed(scene(30), finest_quality=80).rungs:
        assert rung.quality <= 80
        assert rung.longest_px <= 640


@pytest.mark.parametrize("busyness", [12.0, 25.0, 40.0])
def test_after_one_picture_each_rung_makes_the_size_that_it_states(busyness: float) -> None:
    pixels = scene(busyness)
    ladder = climbed(pixels)
    for rung in ladder.rungs:
        assert len(ladder.picture(pixels, rung).data) == pytest.approx(rung.size_bytes, rel=CHANGED)


def test_a_busy_scene_has_a_rung_near_every_target() -> None:
    ladder = climbed(scene(40))
    for target in TARGETS_BYTES:
        nearest = min(ladder.rungs, key=lambda rung: abs(rung.size_bytes - target))
        assert nearest.size_bytes == pytest.approx(target, rel=0.35)


def test_a_plain_scene_has_few_rungs_and_the_last_is_the_finest_picture() -> None:
    pixels = scene(0.0)
    ladder = climbed(pixels)
    finest = imaging.encode(pixels, 640, 95)
    assert len(ladder.rungs) < len(TARGETS_BYTES)
    assert (ladder.rungs[-1].size_bytes, ladder.rungs[-1].worth) == (len(finest.data), 1.0)


def test_where_a_poor_quality_is_still_too_large_the_resolution_goes_down() -> None:
    smallest = climbed(scene(60), longest_px=1280).rungs[0]
    assert smallest.quality == POOREST_QUALITY
    assert LEAST_PX <= smallest.longest_px < 1280
    assert smallest.worth < 0.9


def test_a_camera_with_fewer_pixels_than_the_model_wants_loses_nothing_by_that() -> None:
    assert climbed(scene(10, width=320, height=240), longest_px=1280).rungs[-1].worth == 1.0


def test_a_change_of_scene_is_measured_with_the_picture_that_shows_it_and_that_one_has_its_size() -> None:
    ladder = climbed(scene(3))
    before = ladder.rungs
    rung = before[0]
    busy = scene(50)
    made = ladder.picture(busy, rung)
    assert len(made.data) < 2 * rung.size_bytes < len(imaging.encode(busy, rung.longest_px, rung.quality).data)
    assert ladder.rungs != before


def test_small_changes_of_the_scene_move_the_stated_size_without_measuring_anew() -> None:
    encoded: list[int] = []

    def encode(pixels: Pixels, longest_px: int, quality: int) -> Picture:
        encoded.append(quality)
        return imaging.encode(pixels, longest_px, quality)

    ladder = Ladder(encode, 640, 95)
    ladder.picture(scene(20), ladder.rungs[0])
    rung = ladder.rungs[0]
    encoded.clear()
    for _ in range(20):
        ladder.picture(scene(21), ladder.rungs[0])
    assert len(encoded) == 20
    assert ladder.rungs[0].size_bytes == pytest.approx(len(imaging.encode(scene(21), 640, rung.quality).data), rel=0.03)


def test_a_scene_that_changes_little_by_little_is_measured_anew_before_the_rungs_are_far_off() -> None:
    ladder = climbed(scene(10))
    for step in range(60):
        pixels = scene(10 + step / 2)
        for rung in ladder.rungs:
            ladder.picture(pixels, rung)
    for target in TARGETS_BYTES:
        assert any(abs(rung.size_bytes / target - 1) <= 0.4 for rung in ladder.rungs), ladder


def test_threads_that_share_a_ladder_always_see_a_whole_one() -> None:
    ladder, seen = climbed(scene(20)), list[tuple[Rung, ...]]()

    def climb(busyness: float) -> None:
        for _ in range(10):
            ladder.picture(scene(busyness, width=320, height=240), ladder.rungs[0])
            seen.append(ladder.rungs)

    threads = [threading.Thread(target=climb, args=(busyness,)) for busyness in (5.0, 50.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(seen) == 20
    assert all(rungs for rungs in seen)


@given(
    sizes=st.dictionaries(st.integers(1, 100), st.integers(200, 2_000_000), max_size=8),
    finest=st.integers(30, 100),
    longest_px=st.integers(32, 4096),
)
def test_whatever_an_encoder_makes_the_rungs_rise_in_size_and_worth(
    sizes: dict[int, int], finest: int, longest_px: int
) -> None:
    def encode(pixels: Pixels, px: int, quality: int) -> Picture:
        height, width = pixels.shape[:2]
        size_bytes = sizes.get(quality, 200 + quality * px)
        return Picture(bytes(size_bytes), px, px, quality, width, height)

    ladder = Ladder(encode, longest_px, finest)
    for rung in ladder.rungs:
        ladder.picture(PICTURE, rung)
    rungs = ladder.rungs
    assert 1 <= len(rungs) <= len(TARGETS_BYTES)
    assert [rung.size_bytes for rung in rungs] == sorted(rung.size_bytes for rung in rungs)
    assert all(0 < rung.worth <= 1 and rung.size_bytes > 0 for rung in rungs)
