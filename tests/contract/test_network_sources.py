"""Cameras on the network, over real connections: MJPEG here; RTSP's own are in tests/real."""

import io
import logging
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from canary import MARK
from contract.conftest import PASSWORD
from fakes import picture
from file_server import Answer, serving, whole
from mjpeg_server import HEIGHT, WIDTH, MjpegServer

from agent import imaging, logs
from agent.errors import ConfigError, SourceAbsent, SourceBroken, SourceLost, SourceRefused
from agent.ports import Source
from agent.sources._stream_reader import Lag

Make = Callable[..., Source]


def read_until_it_fails(source: Source) -> None:
    until_s = time.monotonic() + 30
    while time.monotonic() < until_s:
        source.read()


def test_a_camera_gives_its_frames_in_order(make: Make, camera: MjpegServer) -> None:
    source = make("mjpeg", url=camera.url)
    source.open()
    values = [round(float(picture(source).mean())) for _ in range(5)]
    assert values == sorted(values)
    assert len(set(values)) == 5
    assert picture(source).shape == (HEIGHT, WIDTH, 3)
    assert source.live


def test_a_camera_that_goes_away_is_lost_then_absent_and_comes_back(make: Make, camera: MjpegServer) -> None:
    source = make("mjpeg", url=camera.url)
    source.open()
    picture(source)
    camera.stop()
    with pytest.raises(SourceLost, match=rf"{camera.url}(: the connection failed|has closed)"):
        read_until_it_fails(source)
    source.close()
    with pytest.raises(SourceAbsent, match=rf"nothing answers at 127.0.0.1, port {camera.port} \(connection refused\)"):
        source.open()
    source.close()
    camera.start()
    source.open()
    assert picture(source).size


def test_a_camera_that_freezes_is_lost_after_its_time(make: Make, camera: MjpegServer) -> None:
    source = make("mjpeg", url=camera.url, next_frame_s=0.5)
    source.open()
    picture(source)
    camera.frozen.set()
    with pytest.raises(SourceLost, match=r"no picture came within 0.5 s"):
        read_until_it_fails(source)


def test_an_address_where_somebody_listens_and_says_nothing_is_a_lost_camera(make: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        source = make("rtsp", url=f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x", first_frame_s=1)
        source.open()
        with pytest.raises(SourceLost, match="no first picture came within 1 s"):
            read_until_it_fails(source)


def test_a_camera_with_a_password_is_opened(make: Make, guarded: MjpegServer, password: dict[str, str]) -> None:
    source = make("mjpeg", url=guarded.url, username="viewer", password=password)
    source.open()
    assert picture(source).size


def test_a_wrong_password_is_a_plain_sentence(make: Make, guarded: MjpegServer, password: dict[str, str]) -> None:
    source = make("mjpeg", url=guarded.url, username="another", password=password)
    source.open()
    with pytest.raises(SourceRefused, match="refuses user or password; check username and password"):
        read_until_it_fails(source)
    assert guarded.refused


def test_a_password_that_is_not_there_is_a_config_error(make: Make, guarded: MjpegServer) -> None:
    source = make("mjpeg", url=guarded.url, username="viewer", password={"env": "NOT_SET_ANYWHERE"})
    with pytest.raises(ConfigError, match="NOT_SET_ANYWHERE is not set"):
        source.open()


def test_a_password_is_in_no_error_no_log_line_and_no_process_list(
    make: Make, guarded: MjpegServer, password: dict[str, str]
) -> None:
    stream, root = io.StringIO(), logging.getLogger()
    before = root.handlers[:], root.level
    logs.setup(stream, level="debug", with_time=False)
    source = make("mjpeg", url=guarded.url, username="viewer", password=password)
    source.open()
    picture(source)
    shown = _shown_of_children()
    guarded.stop()
    said = []
    for step in (lambda: read_until_it_fails(source), lambda: (source.close(), source.open())):
        with pytest.raises(SourceLost) as caught:
            step()
        said.append(str(caught.value))
    root.handlers[:], root.level = before
    assert guarded.url in shown
    for text in (*said, stream.getvalue(), repr(source), shown):
        assert MARK not in text
        assert "viewer:" not in text


def _shown_of_children() -> str:
    """Command lines and environments of this process's children, as anybody on the machine may see them."""
    pids = Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/children").read_text(encoding="ascii").split()
    files = [Path(f"/proc/{pid}/{name}") for pid in pids for name in ("cmdline", "environ")]
    return "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files)


def test_a_password_among_the_parameters_of_an_address_is_in_no_error(make: Make) -> None:
    source = make("mjpeg", url="http://127.0.0.1:9/flv?user=admin&password=hunter2")
    with pytest.raises(SourceLost, match=r"flv\?\*\*\*: nothing answers") as caught:
        source.open()
    assert "hunter2" not in str(caught.value) + repr(source)


_TRY_TO_OPEN = """
import sys, pathlib
from agent import imaging
from agent.errors import SourceLost
from agent.sources import _stream_reader
for url in sys.argv[1:]:
    try:
        _stream_reader.open_reader({"url": url, "name": "camera", "options": {}})
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
    assert [line[:6] for line in done.stdout.splitlines()] == ["camera", "camera", "camera", "FrameU"]
    assert "hunter2" not in done.stdout
    assert done.stderr == ""


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[MjpegServer]:
    """A camera with a certificate of its own making, as cameras have."""
    if shutil.which("openssl") is None:
        pytest.skip("not installed: openssl")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=camera"]
    command += ["-keyout", "key.pem", "-out", "ca.pem", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "ca.pem", tmp_path / "key.pem")
    server = MjpegServer(tls=context).start()
    yield server
    server.stop()


def test_a_certificate_that_is_named_is_trusted(make: Make, encrypted: MjpegServer) -> None:
    source = make("mjpeg", url=encrypted.url, ca_file="ca.pem")
    source.open()
    assert picture(source).size


def test_a_certificate_that_nobody_vouches_for_is_not_trusted(make: Make, encrypted: MjpegServer) -> None:
    source = make("mjpeg", url=encrypted.url)
    source.open()
    with pytest.raises(SourceLost, match=r"is its certificate to be trusted \(ca_file\)"):
        read_until_it_fails(source)


def test_a_certificate_is_not_verified_where_the_configuration_says_so_which_is_logged(
    make: Make, encrypted: MjpegServer, caplog: pytest.LogCaptureFixture
) -> None:
    source = make("mjpeg", url=encrypted.url, verify=False)
    source.open()
    assert picture(source).size
    assert "its certificate is not verified (verify: false)" in caplog.text


def test_a_stream_that_falls_behind_is_known_by_its_own_clock() -> None:
    lag = Lag()
    for number in range(100):
        assert lag.note(number / 10, 500 + number / 10) == pytest.approx(0, abs=1e-6)
    assert lag.note(10.0, 510.8) == pytest.approx(0.8, abs=0.01)


def test_a_stream_whose_clock_drifts_is_not_taken_for_a_late_one() -> None:
    lag = Lag()
    late_s = [lag.note(second * 0.9995, 500.0 + second) for second in range(3600)]
    assert max(late_s) < 0.1


def test_a_stream_whose_clock_begins_anew_is_measured_anew() -> None:
    lag = Lag()
    lag.note(5000.0, 500.0)
    assert lag.note(0.0, 500.1) == 0.0


def test_a_camera_that_wants_its_password_in_the_address_gets_it_there(
    make: Make, guarded: MjpegServer, password: dict[str, str]
) -> None:
    source = make(
        "mjpeg", url=f"{guarded.url}?user={{username}}&pwd={{password}}", username="viewer", password=password
    )
    source.open()
    with pytest.raises(SourceRefused) as caught:  # this camera wants it in its header, and says what it was asked for
        picture(source)
    assert guarded.asked[-1] == f"/stream?user=viewer&pwd={quote(PASSWORD, safe='')}"
    assert MARK not in str(caught.value) + repr(source)


def test_a_camera_that_sends_a_playlist_does_not_make_this_device_ask_for_what_stands_in_it(make: Make) -> None:
    with serving(whole(b"inside")) as inside:
        playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{inside.url}/admin.ts\n#EXT-X-ENDLIST\n"
        answer = Answer(playlist.encode(), headers={"Content-Type": "application/vnd.apple.mpegurl"})
        with serving(lambda _: answer) as hostile:
            source = make("mjpeg", url=f"{hostile.url}/stream")
            source.open()
            with pytest.raises(SourceBroken, match="sends nothing that can be decoded"):
                read_until_it_fails(source)
            assert hostile.asked
        assert inside.asked == []
