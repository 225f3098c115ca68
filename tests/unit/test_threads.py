"""How many threads a model gets: measured, and the same from then on."""

from pathlib import Path

import pytest

from agent.engines import _threads


@pytest.mark.parametrize(
    ("taken_s", "best"),
    [
        ((1.0, 0.55, 0.4, 0.3), 4),
        ((1.0, 0.55, 0.54, 0.53), 2),  # what a third and a fourth save, cameras and sinks would miss
        ((1.0, 0.99, 0.98, 0.97), 1),
        ((1.0, 1.5, 2.0, 0.9), 4),
        ((0.3, 0.5, 0.6, 0.7), 1),
    ],
)
def test_a_thread_more_has_to_be_worth_it(taken_s: tuple[float, ...], best: int) -> None:
    assert _threads.fastest(range(1, 5), lambda count: taken_s[count - 1]) == best


def test_what_was_measured_is_known_to_the_next_start(tmp_path: Path) -> None:
    assert _threads.known(tmp_path / "state", "m") is None
    _threads.keep(tmp_path / "state", "m", 1)
    assert _threads.known(tmp_path / "state", "m") == 1
    assert _threads.known(tmp_path / "state", "other") is None


def test_that_a_model_runs_is_known_even_where_its_speed_is_not(tmp_path: Path) -> None:
    _threads.keep(tmp_path, "m", _threads.UNMEASURED)
    assert _threads.known(tmp_path, "m") == _threads.UNMEASURED


@pytest.mark.parametrize("text", ["", "[", "[1]", '{"m": "2"}', '{"m": 99}', '{"m": true}', "[" * 100_000])
def test_a_file_that_is_damaged_means_that_it_is_measured_again(text: str, tmp_path: Path) -> None:
    (tmp_path / "threads.json").write_text(text, encoding="utf-8")
    assert _threads.known(tmp_path, "m") is None
    _threads.keep(tmp_path, "m", 1)
    assert _threads.known(tmp_path, "m") == 1


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for number in range(60):
        _threads.keep(tmp_path, f"m{number}", 1)
    assert _threads.known(tmp_path, "m0") is None
    assert _threads.known(tmp_path, "m59") == 1


def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    _threads.keep(tmp_path / "file" / "state", "m", 1)
    assert _threads.known(tmp_path / "file" / "state", "m") is None
