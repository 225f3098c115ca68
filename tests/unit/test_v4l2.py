"""V4L2 cameras: the name that stays, and the format where nothing fits."""

import io
import logging
from pathlib import Path

import pytest
from fakes import FakeClock

from agent.errors import SourceAbsent
from agent.imaging import Format
from agent.ports import Context
from agent.sources import v4l2
from agent.sources._v4l2_reader import settle


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "video0"
    path.touch()
    return path


@pytest.fixture
def by_id(tmp_path: Path) -> Path:
    folder = tmp_path / "by-id"
    folder.mkdir()
    return folder


def test_a_number_has_the_name_that_leads_to_it(device: Path, by_id: Path) -> None:
    (by_id / "usb-Other-video-index0").symlink_to("../video1")
    name = by_id / "usb-046d_HD_Webcam-video-index0"
    name.symlink_to("../video0")
    assert v4l2.stable_name(device, by_id) == name


def test_a_camera_without_such_a_name_has_none(device: Path, by_id: Path, tmp_path: Path) -> None:
    assert v4l2.stable_name(device, by_id) is None
    assert v4l2.stable_name(device, tmp_path / "absent") is None


def test_a_name_that_stays_needs_no_other(device: Path, by_id: Path) -> None:
    name = by_id / "usb-046d_HD_Webcam-video-index0"
    name.symlink_to(device)
    assert v4l2.stable_name(name, by_id) is None


def test_a_camera_given_by_its_number_has_its_name_said_once(
    device: Path, by_id: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (by_id / "usb-046d_HD_Webcam-video-index0").symlink_to(device)
    monkeypatch.setattr(v4l2.stable_name, "__defaults__", (by_id,))
    said, logger = io.StringIO(), logging.getLogger(v4l2.__name__)
    handler = logging.StreamHandler(said)
    logger.addHandler(handler)
    monkeypatch.setattr(logger, "level", logging.INFO)
    options = v4l2.Options(type="v4l2", device=str(device))
    source = v4l2.build(options, Context("test", FakeClock(), tmp_path, tmp_path))
    look_for_it = source._knock  # type: ignore[attr-defined]  # what `open` does before it starts a process
    look_for_it()
    look_for_it()
    logger.removeHandler(handler)
    assert said.getvalue().count("usb-046d_HD_Webcam-video-index0 stays") == 1
    device.unlink()
    with pytest.raises(SourceAbsent, match="video0: no such camera"):
        source.open()


class Odd:
    """A camera that has one size in each of its formats, none of them the wanted one."""

    def __init__(self, **formats: tuple[int, int, float]) -> None:
        self._formats = formats

    def negotiate(self, wanted: Format) -> Format:
        fourcc = wanted.fourcc if wanted.fourcc in self._formats else next(iter(self._formats))
        return Format(fourcc, *self._formats[fourcc])


def test_where_no_size_fits_the_nearest_one_is_taken() -> None:
    near, far = (1280, 800, 25.0), (320, 240, 30.0)
    wanted = Format("", 1280, 720, 30.0)
    assert settle(Odd(YUYV=far, MJPG=near), wanted, choice="auto") == Format("MJPG", *near)
    assert settle(Odd(YUYV=near, MJPG=far), wanted, choice="auto") == Format("YUYV", *near)


def test_a_camera_that_has_neither_format_gives_what_it_has() -> None:
    infrared = (640, 480, 30.0)
    assert settle(Odd(GREY=infrared), Format("", 1280, 720, 30.0), choice="auto") == Format("GREY", *infrared)
