"""What a reader gives when it cannot keep up: fewer pictures, and none that is not the camera's."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from fakes import FakeClock

from agent.errors import SourceLost
from agent.flow import Pixels
from agent.sources import _stream_reader
from agent.sources._stream_reader import StreamReader

FPS, KEY_EVERY, FRAMES = 25, 60, 200


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stream whose frames refer to those before them, as a camera's do, with a key frame every 60."""
    path = tmp_path_factory.mktemp("stream") / "camera.mkv"
    draw = np.random.default_rng(1)
    ground = draw.integers(0, 255, (120, 160, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.width, stream.height, stream.gop_size = 160, 120, KEY_EVERY
        stream.bit_rate = 4_000_000
        for number in range(FRAMES):
            picture = np.ascontiguousarray(np.roll(ground, 3 * number, axis=1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())
    return path


class StallingClock(FakeClock):
    """The time of somebody who gets a packet each fortieth of a second, and once is held up for a while."""

    def __init__(self, stall_at: int, stall_s: float, catch_up: float = 1.0) -> None:
        super().__init__()
        self._packets, self._stall_at, self._stall_s, self._catch_up = 0, stall_at, stall_s, catch_up

    def now(self) -> float:
        self._packets += 1
        late = self._packets - self._stall_at
        held_s = 0.0 if late < 0 else max(0.0, self._stall_s - self._catch_up * late / FPS)
        return 1000.0 + self._packets / FPS + held_s


def pictures(path: Path, clock: FakeClock) -> Iterator[tuple[int, Pixels]]:
    """The number of each frame that a reader gives, and the frame."""
    container = av.open(str(path))
    stream = _stream_reader._video_in(container, "camera")
    reader = StreamReader(container, stream, "camera", clock=clock)
    try:
        while True:
            reader.grab()
            assert reader._frame is not None
            assert reader._frame.time is not None
            yield round(reader._frame.time * FPS), reader.picture()
    except SourceLost:
        reader.close()


@pytest.mark.parametrize("stall_at", [5, 40, 70])
@pytest.mark.parametrize("stall_s", [0.6, 1.5])
def test_after_a_stall_every_picture_is_still_the_camera_s_own(recording: Path, stall_at: int, stall_s: float) -> None:
    whole = dict(pictures(recording, StallingClock(10_000, 0.0)))
    given = list(pictures(recording, StallingClock(stall_at, stall_s)))
    assert len(whole) == FRAMES
    for number, pixels in given:
        error = np.abs(pixels.astype(int) - whole[number].astype(int)).mean()
        assert error < 1, f"frame {number} is not what was sent"
    numbers = [number for number, _ in given]
    assert numbers == sorted(set(numbers))
    assert set(range(KEY_EVERY * 3 + 1, FRAMES)) <= set(numbers), "once it has caught up, it misses none"


def test_a_stall_costs_the_frames_up_to_a_key_frame_and_no_more(recording: Path) -> None:
    numbers = [number for number, _ in pictures(recording, StallingClock(40, 0.7))]
    missed = set(range(FRAMES)) - set(numbers)
    assert missed
    assert missed <= set(range(39, KEY_EVERY))
