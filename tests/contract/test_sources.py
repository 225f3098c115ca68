"""What every source promises, over each of them; then what is each one's own."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import picture

from agent import imaging, plugins
from agent.errors import AgentError, ConfigError, FrameUnreadable, SourceEnded
from agent.flow import Pixels
from agent.ports import Source
from agent.sources import image_folder, mjpeg, video_file

Make = Callable[..., Source]


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


@pytest.fixture(params=["image_folder", "mjpeg", "synthetic", "video_file"])
def source(request: pytest.FixtureRequest, make: Make, tmp_path: Path) -> Source:
    """Each source that can be had here, with three frames or more."""
    match request.param:
        case "image_folder":
            for number in range(3):
                write_png(tmp_path / f"{number}.png", np.full((48, 64, 3), number, dtype=np.uint8))
            return make("image_folder", path=".")
        case "mjpeg":
            return make("mjpeg", url=request.getfixturevalue("camera").url)
        case "synthetic":
            return make("synthetic", width=64, height=64, frames=3)
    write_video(tmp_path / "three.avi", 3)
    return make("video_file", path="three.avi")


def test_every_source_of_this_build_is_tried_here_or_with_a_stand_in() -> None:
    here, network, devices = {"image_folder", "synthetic", "video_file"}, {"mjpeg", "rtsp"}, {"csi", "picamera", "v4l2"}
    assert set(plugins.names("sources")) == here | network | devices


def test_a_source_gives_colour_pictures_of_eight_bits(source: Source) -> None:
    source.open()
    for _ in range(3):
        pixels = picture(source)
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 3
        assert pixels.shape[2] == 3
        assert min(pixels.shape) > 0


def test_a_picture_belongs_to_the_caller(source: Source) -> None:
    source.open()
    first = picture(source)
    before = first.copy()
    picture(source)
    assert np.array_equal(first, before)
    first[:] = 0


def test_closing_may_come_before_opening_and_twice(source: Source) -> None:
    source.close()
    source.open()
    picture(source)
    source.close()
    source.close()


def test_a_closed_source_can_be_opened_again(source: Source) -> None:
    for _ in range(3):
        source.open()
        assert picture(source).size
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
        picture(source)
    for _ in range(2):
        with pytest.raises(SourceEnded):
            picture(source)


def test_a_source_s_text_says_what_it_is_and_no_more(source: Source) -> None:
    assert "hunter2" not in repr(source)


# A video file


def test_a_video_gives_every_frame_in_order(make: Make, tmp_path: Path) -> None:
    write_video(tmp_path / "v.avi", 6)
    source = make("video_file", path="v.avi")
    source.open()
    assert [brightness(picture(source)) for _ in range(6)] == pytest.approx([0, 20, 40, 60, 80, 100], abs=3)
    assert not source.live
    assert source.pace_fps is None


def test_a_video_in_a_loop_begins_again(make: Make, tmp_path: Path) -> None:
    write_video(tmp_path / "v.avi", 2)
    source = make("video_file", path="v.avi", loop=True)
    source.open()
    assert [brightness(picture(source)) for _ in range(5)] == pytest.approx([0, 20, 0, 20, 0], abs=3)


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
            yield picture(source)


def test_a_video_without_a_picture_is_refused_rather_than_looped_for_ever(make: Make, tmp_path: Path) -> None:
    write_video(tmp_path / "v.avi", 0)

    def open_and_read() -> None:
        source = make("video_file", path="v.avi", loop=True)
        source.open()
        picture(source)

    with pytest.raises(ConfigError, match=f"{tmp_path}/v.avi"):
        open_and_read()


def test_a_real_video_is_read(make: Make, shared: Path) -> None:
    source = make("video_file", path=str(shared / "media" / "car-detection.mp4"))
    source.open()
    assert picture(source).shape[2] == 3


# A folder of pictures


def test_a_folder_gives_each_picture_once_by_name(make: Make, tmp_path: Path) -> None:
    for name in ("b.png", "a.PNG", "c.png"):
        write_png(tmp_path / name, np.full((4, 4, 3), ord(name[0]), dtype=np.uint8))
    (tmp_path / "notes.txt").write_text("no picture", encoding="utf-8")
    source = make("image_folder", path=".")
    source.open()
    assert [chr(brightness(picture(source))) for _ in range(3)] == ["a", "b", "c"]
    with pytest.raises(SourceEnded):
        picture(source)


def test_a_folder_in_a_loop_begins_again(make: Make, tmp_path: Path) -> None:
    for number in range(2):
        write_png(tmp_path / f"{number}.png", np.full((4, 4, 3), number, dtype=np.uint8))
    source = make("image_folder", path=".", loop=True)
    source.open()
    assert [brightness(picture(source)) for _ in range(5)] == [0, 1, 0, 1, 0]


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
        return picture(source)
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
    assert brightness(picture(source)) == 7, "the next picture comes"


def test_a_deep_picture_keeps_its_brightness(make: Make, tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", np.full((4, 4), 200 * 257, dtype=np.uint16))
    source = make("image_folder", path=".")
    source.open()
    assert brightness(picture(source)) == 200


def test_a_cmyk_jpeg_becomes_a_colour_picture(make: Make, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(_cmyk_jpeg())
    source = make("image_folder", path=".")
    source.open()
    assert picture(source).shape == (8, 8, 3)


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
        picture(source)
    assert brightness(picture(source)) == 9


def test_a_folder_that_is_called_like_a_picture_is_left_out(make: Make, tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    source = make("image_folder", path=".")
    source.open()
    with pytest.raises(FrameUnreadable, match=r"a\.png cannot be read"):
        picture(source)


def test_options_of_the_sources_are_those_of_this_build() -> None:
    assert {image_folder.Options, mjpeg.Options, video_file.Options} < set(plugins.options_of("sources"))
