"""Cameras on this machine, up to the pipeline and the child's protocol: no such hardware takes part in a test run."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import picture

from agent.clock import SystemClock
from agent.errors import ConfigError, SourceAbsent, SourceLost
from agent.imaging import Format
from agent.isolation.isolated import Isolated
from agent.isolation.reader import OWN_PYTHON, SYSTEM_PYTHON, Limits, Recipe
from agent.ports import Source
from agent.sources import csi
from agent.sources._v4l2_reader import settle

Make = Callable[..., Source]
STANDINS = Path(__file__).resolve().parents[1] / "standins"


# V4L2


class Webcam:
    """What a UVC driver grants: of each format the sizes it has, each with its highest rate; the nearest is taken."""

    def __init__(self, **rates: dict[tuple[int, int], float]) -> None:
        self._rates = rates
        self.granted = Format("YUYV", 640, 480, 30.0)

    def negotiate(self, wanted: Format) -> Format:
        fourcc = wanted.fourcc if wanted.fourcc in self._rates else next(iter(self._rates))
        sizes = self._rates[fourcc]
        size = min(sizes, key=lambda each: abs(each[0] - wanted.width) + abs(each[1] - wanted.height))
        self.granted = Format(fourcc, *size, min(wanted.fps, sizes[size]))
        return self.granted


USB_2 = {
    "YUYV": {(640, 480): 30.0, (1280, 720): 10.0, (1920, 1080): 5.0},
    "MJPG": {(640, 480): 30.0, (1280, 720): 30.0},
}
OLD = {"YUYV": {(640, 480): 30.0}}
NTSC = {"YUYV": {(640, 480): 29.97}, "MJPG": {(640, 480): 30.0}}


@pytest.mark.parametrize(
    ("camera", "size", "fps", "choice", "granted"),
    [
        (USB_2, (640, 480), 30.0, "auto", Format("YUYV", 640, 480, 30.0)),
        (USB_2, (1280, 720), 30.0, "auto", Format("MJPG", 1280, 720, 30.0)),
        (USB_2, (1280, 720), 5.0, "auto", Format("YUYV", 1280, 720, 5.0)),
        (USB_2, (1920, 1080), 30.0, "auto", Format("YUYV", 1920, 1080, 5.0)),
        (USB_2, (640, 480), 30.0, "mjpg", Format("MJPG", 640, 480, 30.0)),
        (USB_2, (1280, 720), 30.0, "yuyv", Format("YUYV", 1280, 720, 10.0)),
        (OLD, (1280, 720), 30.0, "auto", Format("YUYV", 640, 480, 30.0)),
        (NTSC, (640, 480), 30.0, "auto", Format("YUYV", 640, 480, 29.97)),
    ],
)
def test_the_format_that_needs_no_decoding_is_taken_where_it_is_fast_enough(
    *,
    camera: dict[str, dict[tuple[int, int], float]],
    size: tuple[int, int],
    fps: float,
    choice: str,
    granted: Format,
) -> None:
    webcam = Webcam(**camera)
    assert settle(webcam, Format("", *size, fps), choice=choice) == granted
    assert webcam.granted == granted, "what is in force is what was agreed on last"


@pytest.mark.parametrize(("device", "path"), [(97, "/dev/video97"), ("97", "/dev/video97"), ("/dev/cam", "/dev/cam")])
def test_a_device_that_is_not_there_is_waited_for(device: str | int, path: str, make: Make) -> None:
    with pytest.raises(SourceAbsent, match=f"{path}: no such camera; plug it in"):
        make("v4l2", device=device).open()


def test_a_device_that_is_no_camera_is_a_lost_one(make: Make) -> None:
    source = make("v4l2", device="/dev/null")
    source.open()
    with pytest.raises(SourceLost, match="/dev/null cannot be opened; does another program use it"):
        picture(source)


def test_a_device_that_comes_back_under_another_number_is_found_by_its_name(make: Make, tmp_path: Path) -> None:
    name = tmp_path / "usb-046d_HD_Webcam-video-index0"
    source = make("v4l2", device=str(name))
    with pytest.raises(SourceAbsent):
        source.open()
    for number in ("/dev/null", "/dev/zero"):  # udev points the name at whatever number the kernel gave
        name.unlink(missing_ok=True)
        name.symlink_to(number)
        source.open()
        with pytest.raises(SourceLost, match=f"{name} cannot be opened"):
            picture(source)
        source.close()


# CSI


def pipelines(**options: Any) -> list[str]:
    return [each["pipeline"] for each in csi.pipelines(csi.Options(type="csi", **options))]


def test_a_jetson_s_camera_has_its_pipeline() -> None:
    wanted = (
        "nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),width=1920,height=1080,framerate=30/1 ! "
        "nvvidconv ! video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR ! "
        "appsink drop=true max-buffers=1 sync=false"
    )
    assert pipelines(api="argus", sensor=1, width=1920, height=1080, fps=30) == [wanted]


def test_a_libcamera_has_its_pipeline() -> None:
    wanted = (
        'libcamerasrc camera-name="/base/soc/i2c0mux/i2c@1/imx708@1a" ! '
        "video/x-raw,width=1280,height=720,framerate=2997/100 ! videoconvert ! video/x-raw,format=BGR ! "
        "appsink drop=true max-buffers=1 sync=false"
    )
    assert pipelines(api="libcamera", camera="/base/soc/i2c0mux/i2c@1/imx708@1a", fps=29.97) == [wanted]


def test_without_a_choice_the_jetson_s_way_is_tried_first() -> None:
    assert [each.split()[0] for each in pipelines()] == ["nvarguscamerasrc", "libcamerasrc"]


def test_a_camera_id_can_add_nothing_to_the_pipeline() -> None:
    with pytest.raises(ValueError, match="camera"):
        csi.Options(type="csi", camera='x" ! filesink location="/etc/passwd')


def _system_has_gstreamer() -> bool:
    asked = "import cv2; raise SystemExit(not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER))"
    try:
        return subprocess.run([SYSTEM_PYTHON, "-c", asked], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


needs_gstreamer = pytest.mark.skipif(
    not _system_has_gstreamer(),
    reason="not installed: an OpenCV with GStreamer for the system's Python (Debian: apt install python3-opencv "
    "gstreamer1.0-tools gstreamer1.0-plugins-base)",
)
TEST_PICTURE = {
    "elements": ["videotestsrc"],
    "pipeline": "videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=30/1 ! videoconvert ! "
    "video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false",
}


def pipeline_camera(*choices: dict[str, Any]) -> Isolated:
    settings = {"name": "csi camera", "pipelines": choices, "cure": "install nvidia-l4t-gstreamer"}
    recipe = Recipe("agent.sources._gstreamer_reader", "csi camera", settings, (OWN_PYTHON, SYSTEM_PYTHON))
    return Isolated(lambda: recipe, Limits(10, 5), SystemClock(), name="csi camera")


@needs_gstreamer
def test_where_only_the_system_s_python_has_gstreamer_it_reads_the_camera() -> None:
    source = pipeline_camera({"elements": ["nosuchsrc"], "pipeline": "nosuchsrc ! appsink"}, TEST_PICTURE)
    source.open()
    try:
        assert [picture(source).shape for _ in range(5)] == [(240, 320, 3)] * 5
    finally:
        source.close()


@needs_gstreamer
def test_an_element_that_is_absent_is_named_with_its_cure_and_hangs_nothing() -> None:
    source = pipeline_camera({"elements": ["nosuchsrc"], "pipeline": "nosuchsrc ! appsink"})
    source.open()
    with pytest.raises(ConfigError, match="install nvidia-l4t-gstreamer"):
        picture(source)
    source.close()


# picamera2, which a stand-in plays


@pytest.fixture
def picamera2(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A stand-in on the child's path."""
    monkeypatch.setenv("PYTHONPATH", str(STANDINS))
    return monkeypatch


@pytest.mark.usefixtures("picamera2")
def test_a_pi_s_camera_gives_its_newest_picture_in_the_size_that_was_asked_for(make: Make) -> None:
    source = make("picamera", width=320, height=240, fps=60)
    source.open()
    numbers = [int(picture(source)[0, 0, 0]) for _ in range(10)]
    assert numbers == sorted(set(numbers))
    assert picture(source).shape == (240, 320, 3)


@pytest.mark.usefixtures("picamera2")
def test_a_pi_s_camera_is_stopped_in_good_order(make: Make) -> None:
    source = make("picamera", fps=60)
    source.open()
    picture(source)
    process = source._process  # type: ignore[attr-defined]
    source.close()
    assert process._popen.returncode == 0


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("STANDIN_CAMERAS", "", "picamera 0: no cameras are there; check the cable"),
        ("STANDIN_BUSY", "1", "did not complete.*does another program use it"),
    ],
)
def test_a_pi_without_a_camera_to_open_says_so(
    *, name: str, value: str, said: str, make: Make, picamera2: pytest.MonkeyPatch
) -> None:
    picamera2.setenv(name, value)
    source = make("picamera")
    source.open()
    with pytest.raises(SourceLost, match=said):
        picture(source)


def test_where_no_python_has_picamera2_the_cure_is_a_sentence(make: Make) -> None:
    source = make("picamera")
    source.open()
    with pytest.raises(ConfigError, match="picamera2 is not there; install it: sudo apt install python3-picamera2"):
        picture(source)


@pytest.mark.skipif(not Path(SYSTEM_PYTHON).exists(), reason="there is no system Python at /usr/bin/python3")
def test_the_system_s_python_can_run_every_reader_without_the_agent_s_libraries(tmp_path: Path) -> None:
    home = Path(csi.__file__).parents[2]
    code = (
        "import sys; sys.modules['pydantic'] = sys.modules['yaml'] = sys.modules['httpx'] = None; "
        f"sys.path.append({str(home)!r}); "
        "import agent.isolation.child, agent.sources._picamera_reader, agent.sources._gstreamer_reader"
    )
    needed = subprocess.run([SYSTEM_PYTHON, "-c", "import cv2, numpy"], capture_output=True, check=False)
    if needed.returncode:
        pytest.skip("the system's Python has no OpenCV")
    done = subprocess.run([SYSTEM_PYTHON, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stderr == ""
    assert done.returncode == 0
