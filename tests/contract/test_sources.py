"""What every source promises, over each of them; then what is each one's own."""

import contextlib
import io
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeClock
from mjpeg_server import HEIGHT, WIDTH, MjpegServer

from agent import imaging, logs, plugins
from agent.errors import AgentError, ConfigError, FrameUnreadable, SourceEnded, SourceLost
from agent.flow import Pixels
from agent.ports import Context, Source
from agent.sources import image_folder, opencv, video_file

PASSWORD = "hunter2/p@ss"  # noqa: S105 - the cameras of these tests know it

Make = Callable[..., Source]


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context("test", FakeClock(), tmp_path, tmp_path)


@pytest.fixture
def make(context: Context) -> Iterator[Make]:
    made: list[Source] = []

    def build(type_: str, **options: Any) -> Source:
        model = next(o for o in plugins.options_of("sources") if o.__module__.endswith(f".{type_}"))
        made.append(plugins.build_source(model.model_validate({"type": type_, **options}), context))
        return made[-1]

    yield build
    for source in made:
        source.close()


@pytest.fixture
def camera() -> Iterator[MjpegServer]:
    server = MjpegServer().start()
    yield server
    server.stop()


@pytest.fixture
def guarded() -> Iterator[MjpegServer]:
    server = MjpegServer(user="viewer", password=PASSWORD).start()
    yield server
    server.stop()


@pytest.fixture
def password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A reference to the camera's password."""
    monkeypatch.setattr(logs, "_HIDDEN", set())
    (tmp_path / "password").write_text(PASSWORD + "\n", encoding="utf-8")
    return {"file": "password"}


def write_png(path: Path, pixels: np.ndarray[Any, Any]) -> None:
    path.write_bytes(encoded(".png", pixels))


def encoded(suffix: str, pixels: np.ndarray[Any, Any]) -> bytes:
    done, data = imaging.cv2.imencode(suffix, pixels)
    assert done
    return bytes(data.tobytes())


def write_video(path: Path, frames: int, *, noise: bool = False) -> Path:
    """A real video; frame n is grey, of brightness 20 * n, unless noise is wanted, which makes it large."""
    rng = np.random.default_rng(1)
    writer = imaging.cv2.VideoWriter(str(path), imaging.cv2.VideoWriter_fourcc(*"MJPG"), 12.5, (64, 48))
    for number in range(frames):
        grey = np.full((48, 64, 3), 20 * number, dtype=np.uint8)
        writer.write(rng.integers(0, 255, grey.shape, dtype=np.uint8) if noise else grey)
    writer.release()
    return path


def brightness(pixels: Pixels) -> int:
    return round(float(pixels.mean()))


@pytest.fixture(params=["image_folder", "opencv", "synthetic", "video_file"])
def source(request: pytest.FixtureRequest, make: Make, tmp_path: Path) -> Source:
    """Each source of this build with three frames or more."""
    match request.param:
        case "image_folder":
            for number in range(3):
                write_png(tmp_path / f"{number}.png", np.full((48, 64, 3), number, dtype=np.uint8))
            return make("image_folder", path=".")
        case "opencv":
            return make("opencv", url=request.getfixturevalue("camera").url, timeout_s=8)
        case "synthetic":
            return make("synthetic", width=64, height=64, frames=3)
    write_video(tmp_path / "three.avi", 3)
    return make("video_file", path="three.avi")


def test_every_source_of_this_build_is_tried_here() -> None:
    assert plugins.names("sources") == ["image_folder", "opencv", "synthetic", "video_file"]


def test_a_source_gives_colour_pictures_of_eight_bits(source: Source) -> None:
    source.open()
    for _ in range(3):
        pixels = source.read()
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 3
        assert pixels.shape[2] == 3
        assert min(pixels.shape) > 0


def test_a_picture_belongs_to_the_caller(source: Source) -> None:
    source.open()
    first = source.read()
    before = first.copy()
    source.read()
    assert np.array_equal(first, before)
    first[:] = 0


def test_closing_may_come_before_opening_and_twice(source: Source) -> None:
    source.close()
    source.open()
    source.read()
    source.close()
    source.close()


def test_a_closed_source_can_be_opened_again(source: Source) -> None:
    for _ in range(3):
        source.open()
        assert source.read().size
        source.close()


def test_reading_without_opening_is_an_error_of_the_agent(source: Source) -> None:
    with pytest.raises(AgentError):
        source.read()


def test_a_source_says_whether_it_is_live_and_its_pace(source: Source) -> None:
    source.open()
    assert isinstance(source.live, bool)
    assert source.pace_fps is None or source.pace_fps > 0


@pytest.mark.parametrize("source", ["image_folder", "synthetic", "video_file"], indirect=True)
def test_a_source_with_an_end_says_so_every_time(source: Source) -> None:
    source.open()
    for _ in range(3):
        source.read()
    for _ in range(2):
        with pytest.raises(SourceEnded):
            source.read()


def test_a_source_s_text_says_what_it_is_and_no_more(source: Source) -> None:
    assert "hunter2" not in repr(source)


# A video file


def test_a_video_gives_every_frame_in_order(make: Make, tmp_path: Path) -> None:
    write_video(tmp_path / "v.avi", 6)
    source = make("video_file", path="v.avi")
    source.open()
    assert [brightness(source.read()) for _ in range(6)] == pytest.approx([0, 20, 40, 60, 80, 100], abs=3)
    assert not source.live
    assert source.pace_fps is None


def test_a_video_in_a_loop_begins_again(make: Make, tmp_path: Path) -> None:
    write_video(tmp_path / "v.avi", 2)
    source = make("video_file", path="v.avi", loop=True)
    source.open()
    assert [brightness(source.read()) for _ in range(5)] == pytest.approx([0, 20, 0, 20, 0], abs=3)


@pytest.mark.parametrize(("fps", "pace_fps"), [(None, 12.5), (3.0, 3.0)])
def test_a_video_in_real_time_has_the_pace_of_the_file_or_the_given_one(
    fps: float | None, pace_fps: float, make: Make, tmp_path: Path
) -> None:
    write_video(tmp_path / "v.avi", 2)
    source = make("video_file", path="v.avi", realtime=True, fps=fps)
    source.open()
    assert source.live
    assert source.pace_fps == pytest.approx(pace_fps)


@pytest.mark.parametrize("content", [b"", b"this is no video\n" * 50, bytes(range(256)) * 40])
def test_a_file_that_is_no_video_is_named(content: bytes, make: Make, tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_bytes(content)
    source = make("video_file", path="notes.mp4")
    with pytest.raises(ConfigError, match=f"{tmp_path}/notes.mp4 cannot be opened; is it a video"):
        source.open()
    source.close()


def test_a_video_that_is_not_there_is_named(make: Make, tmp_path: Path) -> None:
    for path in ("absent.mp4", ".", "x" * 300):
        with pytest.raises(ConfigError, match=f"{tmp_path}.*cannot be read: .*; check the path"):
            make("video_file", path=path).open()


def test_a_video_that_was_cut_short_gives_what_it_holds_and_ends(make: Make, tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.avi", 10, noise=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = make("video_file", path="v.avi")
    source.open()
    assert 0 < len(list(iter_frames(source))) < 10


def iter_frames(source: Source) -> Iterator[Pixels]:
    with contextlib.suppress(SourceEnded):
        while True:
            yield source.read()


def test_a_video_without_a_picture_is_refused_rather_than_looped_for_ever(make: Make, tmp_path: Path) -> None:
    write_video(tmp_path / "v.avi", 0)

    def open_and_read() -> None:
        source = make("video_file", path="v.avi", loop=True)
        source.open()
        source.read()

    with pytest.raises(ConfigError, match=f"{tmp_path}/v.avi"):
        open_and_read()


def test_a_real_video_is_read(make: Make, shared: Path) -> None:
    source = make("video_file", path=str(shared / "media" / "car-detection.mp4"))
    source.open()
    assert source.read().shape[2] == 3


# A folder of pictures


def test_a_folder_gives_each_picture_once_by_name(make: Make, tmp_path: Path) -> None:
    for name in ("b.png", "a.PNG", "c.png"):
        write_png(tmp_path / name, np.full((4, 4, 3), ord(name[0]), dtype=np.uint8))
    (tmp_path / "notes.txt").write_text("no picture", encoding="utf-8")
    source = make("image_folder", path=".")
    source.open()
    assert [chr(brightness(source.read())) for _ in range(3)] == ["a", "b", "c"]
    with pytest.raises(SourceEnded):
        source.read()


def test_a_folder_in_a_loop_begins_again(make: Make, tmp_path: Path) -> None:
    for number in range(2):
        write_png(tmp_path / f"{number}.png", np.full((4, 4, 3), number, dtype=np.uint8))
    source = make("image_folder", path=".", loop=True)
    source.open()
    assert [brightness(source.read()) for _ in range(5)] == [0, 1, 0, 1, 0]


def test_a_folder_that_is_not_there_is_named(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in ("absent", "file", "x" * 300):
        with pytest.raises(ConfigError, match=f"{tmp_path}.*cannot be read: .*; name a folder of pictures"):
            make("image_folder", path=path).open()


def test_a_folder_without_pictures_says_which_kinds_it_looked_for(make: Make) -> None:
    with pytest.raises(ConfigError, match=r"holds no picture \(\.bmp, \.jpeg"):
        make("image_folder", path=".").open()


def pictures() -> dict[str, tuple[str, bytes, bool | None]]:
    """Name -> file name, content, whether it is a picture; None: some builds of OpenCV read what there is."""
    rng = np.random.default_rng(1)
    colour = rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)
    jpeg = encoded(".jpg", colour)
    deep = (colour.astype(np.uint16) * 257)[..., :3]
    return {
        "one pixel": ("a.png", encoded(".png", colour[:1, :1]), True),
        "16 bits": ("a.png", encoded(".png", deep), True),
        "16-bit grey": ("a.png", encoded(".png", deep[..., 0]), True),
        "16-bit grey tiff": ("a.tiff", encoded(".tiff", deep[..., 0]), True),
        "grey": ("a.jpg", encoded(".jpg", colour[..., 0]), True),
        "transparent": ("a.png", encoded(".png", np.dstack([colour, colour[..., :1]])), True),
        "webp": ("a.webp", encoded(".webp", colour), True),
        "bmp": ("a.bmp", encoded(".bmp", colour), True),
        "wrong suffix": ("a.png", jpeg, True),
        "truncated jpeg": ("a.jpg", jpeg[: len(jpeg) // 2], None),
        "jpeg header only": ("a.jpg", jpeg[:20], False),
        "empty": ("a.jpg", b"", False),
        "text": ("a.jpg", b"no picture at all", False),
        "png of 2 gigapixels": ("a.png", _png_claiming(50_000, 40_000), False),
        "truncated png": ("a.png", encoded(".png", colour)[:60], False),
    }


def _png_claiming(width: int, height: int) -> bytes:
    """A small PNG whose header claims a huge picture."""
    import struct
    import zlib

    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\x00" * 100)

    def chunk(body: bytes) -> bytes:
        return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))

    return b"\x89PNG\r\n\x1a\n" + chunk(header) + chunk(data) + chunk(b"IEND")


def picture_or_reason(source: Source) -> Pixels | str:
    try:
        return source.read()
    except FrameUnreadable as error:
        return str(error)


@pytest.mark.parametrize("name", pictures())
def test_any_picture_file_becomes_a_picture_or_is_left_out(name: str, make: Make, tmp_path: Path) -> None:
    file, content, is_picture = pictures()[name]
    (tmp_path / file).write_bytes(content)
    (tmp_path / "z.png").write_bytes(encoded(".png", np.full((2, 2, 3), 7, dtype=np.uint8)))
    source = make("image_folder", path=".")
    source.open()
    got = picture_or_reason(source)
    if isinstance(got, str):
        assert not is_picture, got
        assert got.startswith(f"{tmp_path}/{file} ")
    else:
        assert is_picture is not False
        assert got.dtype == np.uint8
        assert got.shape[2] == 3
    assert brightness(source.read()) == 7, "the next picture comes"


def test_a_deep_picture_keeps_its_brightness(make: Make, tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", np.full((4, 4), 200 * 257, dtype=np.uint16))
    source = make("image_folder", path=".")
    source.open()
    assert brightness(source.read()) == 200


def test_a_cmyk_jpeg_becomes_a_colour_picture(make: Make, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(_cmyk_jpeg())
    source = make("image_folder", path=".")
    source.open()
    assert source.read().shape == (8, 8, 3)


def _cmyk_jpeg() -> bytes:
    """A baseline JPEG of 8 x 8 pixels with four components, all of one value: what prepress programs write."""
    tables = b"\xff\xdb\x00\x43\x00" + b"\x01" * 64
    components = b"".join(bytes((number, 0x11, 0)) for number in range(1, 5))
    frame = b"\xff\xc0\x00\x14\x08\x00\x08\x00\x08\x04" + components
    # One code of one bit in each Huffman table: DC difference 0, and end of block.
    huffman = b"".join(b"\xff\xc4\x00\x14" + bytes((kind, 1)) + b"\x00" * 15 + b"\x00" for kind in (0x00, 0x10))
    scan = b"\xff\xda\x00\x0e\x04" + b"".join(bytes((number, 0)) for number in range(1, 5)) + b"\x00\x3f\x00"
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
    return b"\xff\xd8" + adobe + tables + frame + huffman + scan + b"\x00" + b"\xff\xd9"


def test_a_picture_that_was_deleted_meanwhile_is_left_out(make: Make, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_png(tmp_path / name, np.full((4, 4, 3), 9, dtype=np.uint8))
    source = make("image_folder", path=".")
    source.open()
    (tmp_path / "a.png").unlink()
    with pytest.raises(FrameUnreadable, match=r"a\.png cannot be read: No such file"):
        source.read()
    assert brightness(source.read()) == 9


def test_a_folder_that_is_called_like_a_picture_is_left_out(make: Make, tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    source = make("image_folder", path=".")
    source.open()
    with pytest.raises(FrameUnreadable, match=r"a\.png cannot be read"):
        source.read()


# A live camera


def test_a_camera_gives_its_frames_in_order(make: Make, camera: MjpegServer) -> None:
    source = make("opencv", url=camera.url, timeout_s=8)
    source.open()
    values = [brightness(source.read()) for _ in range(5)]
    assert values == sorted(values)
    assert len(set(values)) == 5
    assert source.read().shape == (HEIGHT, WIDTH, 3)
    assert source.live


def test_a_camera_that_goes_away_is_lost_and_comes_back(make: Make, camera: MjpegServer) -> None:
    source = make("opencv", url=camera.url, timeout_s=8)
    source.open()
    source.read()
    camera.stop()
    with pytest.raises(SourceLost, match=f"{camera.url}: no picture came; is the camera still there"):
        _read_until_it_fails(source)
    source.close()
    with pytest.raises(SourceLost, match=f"{camera.url} cannot be opened; is it switched on"):
        source.open()
    source.close()
    camera.start()
    source.open()
    assert source.read().size


def _read_until_it_fails(source: Source) -> None:
    until_s = time.monotonic() + 30
    while time.monotonic() < until_s:
        source.read()


def test_a_camera_that_freezes_is_lost_after_its_time(make: Make, camera: MjpegServer) -> None:
    source = make("opencv", url=camera.url, timeout_s=1)
    source.open()
    source.read()
    camera.frozen.set()
    with pytest.raises(SourceLost, match="no picture came"):
        _read_until_it_fails(source)


def test_an_address_where_nothing_answers_is_a_lost_camera(make: Make) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        source = make("opencv", url=f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x", timeout_s=0.5)
        with pytest.raises(SourceLost, match="cannot be opened"):
            source.open()
        source.close()


def test_an_address_of_an_unknown_kind_is_a_lost_camera(make: Make) -> None:
    with pytest.raises(SourceLost, match="cannot be opened"):
        make("opencv", url="carrier-pigeon://loft/1").open()


@pytest.mark.parametrize(("device", "path"), [(97, "/dev/video97"), ("97", "/dev/video97"), ("/dev/cam", "/dev/cam")])
def test_a_device_that_is_not_there_is_a_lost_camera(device: str | int, path: str, make: Make) -> None:
    source = make("opencv", device=device)
    with pytest.raises(SourceLost, match=f"{path}: no such camera; plug it in"):
        source.open()
    source.close()


def test_a_device_that_is_no_camera_is_a_lost_camera(make: Make) -> None:
    with pytest.raises(SourceLost, match="/dev/null cannot be opened; does another program use it"):
        make("opencv", device="/dev/null").open()


def test_a_camera_with_a_password_is_opened(make: Make, guarded: MjpegServer, password: dict[str, str]) -> None:
    source = make("opencv", url=guarded.url, username="viewer", password=password, timeout_s=8)
    source.open()
    assert source.read().size


def test_a_wrong_password_is_a_plain_sentence(make: Make, guarded: MjpegServer, password: dict[str, str]) -> None:
    source = make("opencv", url=guarded.url, username="another", password=password, timeout_s=5)
    with pytest.raises(SourceLost, match="are address, user and password right"):
        source.open()
    assert guarded.refused


def test_a_password_that_is_not_there_is_a_config_error(make: Make, guarded: MjpegServer) -> None:
    source = make("opencv", url=guarded.url, username="viewer", password={"env": "NOT_SET_ANYWHERE"})
    with pytest.raises(ConfigError, match="NOT_SET_ANYWHERE is not set"):
        source.open()
    source.close()


def test_a_password_is_in_no_error_and_no_log_line(make: Make, guarded: MjpegServer, password: dict[str, str]) -> None:
    stream, root = io.StringIO(), logging.getLogger()
    before = root.handlers[:], root.level
    logs.setup(stream, level="debug", with_time=False)
    source = make("opencv", url=guarded.url, username="viewer", password=password, timeout_s=5)
    source.open()
    source.read()
    guarded.stop()
    said = []
    for step in (lambda: _read_until_it_fails(source), source.open):
        with pytest.raises(SourceLost) as caught:
            step()
        said.append(str(caught.value))
        logging.getLogger("agent.test").warning("%s; address rtsp://viewer:%s@h", caught.value, PASSWORD)
    root.handlers[:], root.level = before
    for text in (*said, stream.getvalue(), repr(source)):
        assert "hunter2" not in text
        assert "viewer:" not in text


def test_a_password_among_the_parameters_of_an_address_is_in_no_error(make: Make) -> None:
    source = make("opencv", url="http://127.0.0.1:9/flv?user=admin&password=hunter2", timeout_s=1)
    with pytest.raises(SourceLost, match=r"password=\*\*\* cannot be opened") as caught:
        source.open()
    assert "hunter2" not in str(caught.value) + repr(source)


_TRY_TO_OPEN = """
import sys, pathlib
from agent import imaging
from agent.errors import SourceLost
for url in sys.argv[1:]:
    try:
        imaging.open_stream(url, name="camera", timeout_s=2).close()
    except SourceLost as error:
        print(error)
pathlib.Path("broken.jpg").write_bytes(b"broken")
try:
    imaging.read_image(pathlib.Path("broken.jpg"))
except Exception as error:
    print(type(error).__name__)
"""


def test_opencv_and_ffmpeg_print_nothing_by_themselves(guarded: MjpegServer, tmp_path: Path) -> None:
    address = f"127.0.0.1:{guarded.port}"
    urls = [f"http://viewer:hunter2@{address}/stream", "rtsp://viewer:hunter2@127.0.0.1:9/x", "pigeon://u:hunter2@loft"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENCV_")}
    environment["PYTHONPATH"] = str(Path(imaging.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", _TRY_TO_OPEN, *urls],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.stdout.count("camera cannot be opened") == 3
    assert "FrameUnreadable" in done.stdout
    assert done.stderr == ""


def test_a_camera_is_read_by_one_thread_and_closed_by_the_same(make: Make, camera: MjpegServer) -> None:
    failures: list[BaseException] = []

    def life() -> None:
        try:
            source = make("opencv", url=camera.url, timeout_s=8)
            source.open()
            source.read()
            source.close()
        except BaseException as error:  # noqa: BLE001 - carried to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=life) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    assert failures == []
    assert not any(thread.is_alive() for thread in threads)


def test_options_of_the_sources_are_those_of_this_build() -> None:
    assert {image_folder.Options, opencv.Options, video_file.Options} < set(plugins.options_of("sources"))
