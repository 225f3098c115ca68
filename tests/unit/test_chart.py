"""Pictures: what the bins keep, and what a picture file may replace."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from agent.chart import bins, timeline
from agent.chart.figure import sheet
from agent.chart.panels import COLOURS
from agent.chart.timeline import Track
from agent.errors import ChartError
from agent.flow import Reason

REASONS = tuple(reason.value for reason in Reason)
BLUE, RED, PURPLE = (0x2F, 0x6F, 0xB3), (0xA6, 0x1C, 0x1C), (0x7B, 0x52, 0xAB)


def track(reasons: Sequence[Reason], *, fps: float = 10.0, budget: bool = False) -> Track:
    count = len(reasons)
    codes = np.array([REASONS.index(reason.value) for reason in reasons], np.int16)
    of = np.full
    return Track(
        title="yard-north/gate",
        at_s=1_795_441_839.0 + np.arange(count) / fps,
        span=np.zeros(count, np.int32),
        reason=codes,
        from_cloud=codes == REASONS.index("p_ok"),
        corrected=np.zeros(count, np.bool_),
        late=np.zeros(count, np.bool_),
        took_ms=of(count, 120.0),
        deadline_ms=of(count, 500.0),
        uplink_mbit_s=of(count, 6.5),
        rtt_ms=of(count, 40.0),
        p=of(count, 0.9),
        threshold=of(count, 0.5),
        data_left_mb=of(count, 12.0 if budget else np.nan),
        credits_left=of(count, np.nan),
        corrected_at_s=np.empty(0),
        corrected_took_ms=np.empty(0),
    )


def pixels(path: Path) -> NDArray[np.uint8]:
    """RGB."""
    image = cv2.imread(str(path))
    assert image is not None
    return image[:, :, ::-1].astype(np.uint8)


def of_colour(path: Path, colour: tuple[int, int, int]) -> int:
    return int(np.count_nonzero((pixels(path) == colour).all(axis=2)))


# The picture


def test_a_reason_has_the_area_of_its_share(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    timeline.draw(path, [track([Reason.NO_EVIDENCE] * 100 + [Reason.DEAD] * 300)], REASONS, title="a")
    often = of_colour(path, RED)
    timeline.draw(path, [track([Reason.NO_EVIDENCE] * 300 + [Reason.DEAD] * 100)], REASONS, title="a")
    assert often / of_colour(path, RED) == pytest.approx(3.0, rel=0.15)


def test_one_probe_in_a_day_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    day = [Reason.DEAD] * 86_400
    timeline.draw(path, [track(day, fps=1.0)], REASONS, title="a")
    without = pixels(path)
    day[40_000] = Reason.PROBE
    timeline.draw(path, [track(day, fps=1.0)], REASONS, title="a")
    assert np.count_nonzero((pixels(path)[:140, :860] != without[:140, :860]).any(axis=2)) > 5


def test_a_budget_has_a_panel_only_where_there_is_one(tmp_path: Path) -> None:
    frames = [Reason.P_OK] * 20
    timeline.draw(tmp_path / "a.png", [track(frames)], REASONS, title="a")
    timeline.draw(tmp_path / "b.png", [track(frames, budget=True)], REASONS, title="b")
    assert pixels(tmp_path / "b.png").shape[0] > pixels(tmp_path / "a.png").shape[0]


def test_each_camera_has_a_column_and_very_many_have_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "MOST_CAMERAS", 2)
    timeline.draw(tmp_path / "a.png", [track([Reason.P_OK] * 3)] * 3, REASONS, title="a")
    assert pixels(tmp_path / "a.png").shape[1] == 2200


def test_a_single_frame_makes_a_picture_too(tmp_path: Path) -> None:
    few = track([Reason.P_OK])
    unknown = replace(few, took_ms=few.took_ms * np.nan, p=few.p * np.nan, rtt_ms=few.rtt_ms * 0)
    timeline.draw(tmp_path / "a.png", [unknown], ("p_ok", "moon_phase"), title="a")
    assert pixels(tmp_path / "a.png").any()


def test_what_the_cloud_corrected_in_time_is_shown_as_the_cloud_s(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    plain = track([Reason.STALLED] * 50)
    timeline.draw(path, [plain], REASONS, title="a")
    without = of_colour(path, BLUE)
    timeline.draw(path, [replace(plain, corrected=~plain.corrected)], REASONS, title="a")
    assert of_colour(path, BLUE) > without + 1000


def test_no_frame_makes_no_picture(tmp_path: Path) -> None:
    with pytest.raises(ChartError, match="no picture: there is no frame to draw"):
        timeline.draw(tmp_path / "a.png", [track([])], REASONS, title="a")
    assert list(tmp_path.iterdir()) == []


def test_every_reason_has_a_colour_of_its_own() -> None:
    assert set(COLOURS) == set(REASONS)
    assert len(set(COLOURS.values())) == len(REASONS)


# The file


def test_an_earlier_picture_is_replaced_and_one_that_failed_leaves_it_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for inches in (2.0, 3.0):
        with sheet(path, width_in=inches, height_in=1.0):
            pass
    with pytest.raises(ZeroDivisionError), sheet(path, width_in=4.0, height_in=1.0):
        _ = 1 / 0
    assert pixels(path).shape == (100, 300, 3)
    assert [one.name for one in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n a photograph"])
def test_what_is_no_picture_of_ours_stays(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ChartError, match="is not a picture that vedette made, so it stays; name another file"):
        timeline.draw(path, [track([Reason.P_OK])], REASONS, title="a")
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", ["a.jpg", "a", ".png", "a.png.gz"])
def test_another_ending_than_that_of_a_png_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ChartError, match=r"it would be a PNG, and .* does not end in \.png; name one that does"):
        timeline.draw(tmp_path / name, [track([Reason.P_OK])], REASONS, title="a")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_takes_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ChartError, match="cannot be written: No such file or directory; name another file"):
        timeline.draw(tmp_path / "absent" / "a.png", [track([Reason.P_OK])], REASONS, title="a")
    with pytest.raises(ChartError, match="is not a picture"):
        timeline.draw(tmp_path, [track([Reason.P_OK])], REASONS, title="a")


# The bins

TIMES = st.lists(st.floats(0, 1000), min_size=1, max_size=50).map(sorted).map(np.array)


@settings(deadline=None)
@given(TIMES, st.integers(1, 20), st.randoms())
def test_a_band_keeps_the_extremes_and_is_no_longer_than_its_bins_and_breaks(
    at_s: NDArray[np.float64], count: int, random: Random
) -> None:
    values = np.array([random.random() for _ in at_s])
    span = np.sort(np.array([int(random.random() * 3) for _ in at_s]))
    band = bins.band(at_s, values, span, bins.edges(0.0, 1000.0, count))
    assert np.nanmin(band.lowest) == values.min()
    assert np.nanmax(band.highest) == values.max()
    known = np.isfinite(band.at_s)
    assert (band.lowest[known] <= band.median[known]).all()
    assert (band.median[known] <= band.highest[known]).all()
    assert len(band) <= count + 2 * 2 + 2


@settings(deadline=None)
@given(TIMES, st.integers(1, 20))
def test_shares_are_of_the_time_that_frames_last(at_s: NDArray[np.float64], count: int) -> None:
    step_s, limits_s = bins.steps(at_s, np.zeros(len(at_s), np.int32)), bins.edges(0.0, 1000.0, count)
    odd = np.arange(len(at_s)) % 2 == 1
    odds, evens, all_of_them = bins.shares(at_s, step_s, [odd, ~odd, odd | ~odd], limits_s)
    assert odds + evens == pytest.approx(all_of_them, abs=1e-6)
    inside = np.clip(at_s + step_s, 0, 1000) - at_s
    assert all_of_them.sum() * 1000 / count == pytest.approx(inside.sum(), abs=1e-3)


def test_a_line_breaks_where_nothing_is_known_and_between_stretches() -> None:
    at_s, span = np.arange(6.0), np.array([0, 0, 0, 0, 1, 1])
    band = bins.band(at_s, np.array([1, np.nan, 2, 3, 4, 5]), span, bins.edges(0.0, 5.0, 5))
    assert np.isnan(band.median).tolist() == [False, True, False, False, True, False]


def test_nothing_makes_an_empty_band() -> None:
    assert len(bins.band(np.empty(0), np.empty(0), np.empty(0, np.int32), bins.edges(0.0, 1.0, 4))) == 0
