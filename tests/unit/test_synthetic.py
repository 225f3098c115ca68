"""The synthetic camera as a plugin."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from agent.clock import SystemClock
from agent.errors import SourceEnded
from agent.ports import Context, Source
from agent.sources import synthetic
from agent.sources._scene import Scene


def camera(tmp_path: Path, **options: Any) -> Source:
    context = Context(agent="test", clock=SystemClock(), base_dir=tmp_path, state_dir=tmp_path)
    return synthetic.build(synthetic.Options(type="synthetic", **options), context)


def test_it_is_a_live_camera_at_the_rate_it_was_given(tmp_path: Path) -> None:
    source = camera(tmp_path, fps=12.5)
    assert source.live
    assert source.pace_fps == 12.5


def test_without_options_it_shows_six_shapes_at_640_by_480_ten_times_a_second(tmp_path: Path) -> None:
    source = camera(tmp_path)
    source.open()
    assert np.array_equal(source.read(), Scene(640, 480, seed=0, shapes=6).render(0))
    assert source.pace_fps == 10.0


def test_it_shows_the_frames_of_the_scene_in_order(tmp_path: Path) -> None:
    source = camera(tmp_path, width=96, height=64, seed=5, shapes=2)
    scene = Scene(96, 64, seed=5, shapes=2)
    source.open()
    for index in range(10):
        assert np.array_equal(source.read(), scene.render(index))


def test_after_the_given_number_of_frames_it_says_that_it_has_ended(tmp_path: Path) -> None:
    source = camera(tmp_path, width=64, height=64, frames=3)
    source.open()
    for _ in range(3):
        source.read()
    for _ in range(2):
        with pytest.raises(SourceEnded, match="frames: 3"):
            source.read()


def test_opened_again_it_starts_with_the_first_frame(tmp_path: Path) -> None:
    source = camera(tmp_path, width=64, height=64, frames=2)
    source.open()
    first = source.read()
    source.read()
    source.close()
    source.open()
    assert np.array_equal(source.read(), first)


def test_closing_it_unopened_or_twice_does_no_harm(tmp_path: Path) -> None:
    source = camera(tmp_path, width=64, height=64)
    source.close()
    source.open()
    source.close()
    source.close()


@pytest.mark.parametrize(
    "wrong",
    [{"width": 63}, {"height": 5000}, {"fps": 0}, {"seed": -1}, {"shapes": -1}, {"frames": 0}, {"speed": 2}],
    ids=str,
)
def test_an_option_that_makes_no_sense_is_named(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        camera(tmp_path, **wrong)
