"""RTSP cameras, served by GStreamer's own RTSP server."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from canary import secret
from fakes import picture
from real.rtsp_camera import RtspCamera, needs_rtsp, read_timecode_ms

from agent import logs
from agent.clock import SystemClock
from agent.errors import SourceBroken, SourceLost, SourceRefused
from agent.ports import Context, Source
from agent.sources import rtsp

pytestmark = needs_rtsp
PASSWORD = secret("a/b@c%:'\"x")
"""The cameras of these tests know it."""
Make = Callable[..., Source]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    monkeypatch.setattr(logs, "_HIDDEN", set())
    (tmp_path / "password").write_text(PASSWORD)
    context = Context("test", SystemClock(), tmp_path, tmp_path)
    made: list[Source] = []

    def build(camera: RtspCamera, path: str = "", **options: Any) -> Source:
        made.append(rtsp.build(rtsp.Options(type="rtsp", url=camera.url + path, **options), context))
        made[-1].open()
        return made[-1]

    yield build
    for source in made:
        source.close()


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_every_picture_is_newer_than_the_one_before_and_none_is_of_the_past(make: Make, transport: str) -> None:
    with RtspCamera() as camera:
        source = make(camera, transport=transport)
        codes = [read_timecode_ms(picture(source)) for _ in range(30)]
        assert codes == sorted(set(codes))
        assert (int(time.monotonic() * 1000) - codes[-1]) % 2**32 < 1000


@pytest.mark.parametrize("codec", ["h265", "mjpeg"])
def test_other_codecs_of_cameras_are_read(make: Make, codec: str) -> None:
    with RtspCamera(codec=codec, audio=True) as camera:
        assert picture(make(camera)).shape == (480, 640, 3)


@pytest.mark.parametrize("digest", [False, True])
def test_a_camera_takes_its_password_whatever_letters_are_in_it(make: Make, digest: bool) -> None:
    with RtspCamera(user="viewer", password=PASSWORD, digest=digest) as camera:
        assert picture(make(camera, username="viewer", password={"file": "password"})).size
        with pytest.raises(SourceRefused, match="refuses user or password; check username and password"):
            picture(make(camera, username="other", password={"file": "password"}))


@pytest.mark.parametrize(
    ("codec", "said"),
    [
        ("other", "has no picture that can be decoded .*set the camera to H.264, H.265 or MJPEG"),
        ("none", "the camera answers with an error"),
    ],
)
def test_a_stream_that_nobody_can_read_is_said_plainly(make: Make, codec: str, said: str) -> None:
    with RtspCamera(codec=codec) as camera, pytest.raises(SourceBroken, match=said):
        picture(make(camera))


def test_a_path_that_the_camera_has_not_is_said_plainly(make: Make) -> None:
    with RtspCamera() as camera:
        source = make(camera, path="2")
        with pytest.raises(SourceBroken, match="no such stream; check the path in its address"):
            picture(source)


def test_a_camera_that_changes_its_size_in_mid_stream_goes_on(make: Make) -> None:
    with RtspCamera(resized=(320, 240)) as camera:
        source = make(camera)
        assert picture(source).shape == (480, 640, 3)
        camera.resize()
        sizes = [picture(source).shape for _ in range(40)]
        assert sizes[-1] == (240, 320, 3)


def test_a_camera_whose_power_is_cut_is_lost_at_once(make: Make) -> None:
    with RtspCamera() as camera:
        source = make(camera)
        picture(source)
        camera.kill()
        with pytest.raises(SourceLost, match=r"has closed the connection|the connection failed"):
            read_for_ever(source)


def read_for_ever(source: Source) -> None:
    while True:
        source.read()
